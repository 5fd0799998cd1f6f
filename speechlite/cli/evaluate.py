"""speechlite evaluate: train a head on a frozen model and score it."""

from __future__ import annotations

import argparse
from pathlib import Path

from speechlite.cli.registry import open_registry
from speechlite.cli.stage import add_config_options, add_sweep_options, open_sweep
from speechlite.core.errors import UsageError

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb.

    Args:
        parser: the parser to add them to.
    """
    add_config_options(parser)
    parser.add_argument(
        "--config", metavar="NAME[,NAME...]", help="primary files of the tasks, joined by commas"
    )
    parser.add_argument("--model", type=Path, help="checkpoint to evaluate")
    parser.add_argument("--out_dir", type=Path, help="where the record goes")
    parser.add_argument("--row", help="name of the row in tables; default: the model's directory")
    parser.add_argument("--features", type=Path, help="directory of dumped features")
    add_sweep_options(parser)


def run(args: argparse.Namespace) -> int:
    """Evaluate one model, or all experiments of a sweep.

    Args:
        args: the parsed options.

    Returns:
        0.

    Raises:
        UsageError: if model, place or tasks are not named.
    """
    registry = open_registry()
    names = [name for name in (args.config or "").split(",") if name]
    if args.experiments is not None:
        if not names:
            raise UsageError("--experiments without --config", remedy="add --config NAME,NAME")
        sweep, experiments = open_sweep(args, registry)
        sweep.evaluate(experiments, names, features=args.features)
        return 0
    if args.model is None or args.out_dir is None:
        raise UsageError(
            "evaluate needs a model and a place for the record",
            remedy="add --model DIR --out_dir DIR, or --experiments",
        )
    from speechlite.config.compose import compose

    configs = [
        compose(
            "evaluate",
            registry=registry,
            config_dir=args.config_dir,
            config_name=name,
            overrides=args.overrides,
        )
        for name in (names or [None])
    ]
    from speechlite.engine.single import evaluate_checkpoint

    for config in configs:
        print(
            evaluate_checkpoint(
                config,
                args.model,
                args.out_dir,
                registry,
                row=args.row or args.model.name,
                features=args.features,
            )
        )
    return 0
