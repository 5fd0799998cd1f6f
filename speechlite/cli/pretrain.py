"""speechlite pretrain: train a model from unlabelled speech."""

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
    parser.add_argument("--config", metavar="NAME", help="primary file in that folder")
    parser.add_argument("--out_dir", type=Path, help="where checkpoints, logs and the model go")
    parser.add_argument("--force", action="store_true", help="train anew although up to date")
    add_sweep_options(parser)


def run(args: argparse.Namespace) -> int:
    """Pretrain one model, or all systems of a sweep.

    Args:
        args: the parsed options.

    Returns:
        0.

    Raises:
        UsageError: if it is not said where the result goes.
    """
    from speechlite.config.compose import compose

    registry = open_registry()
    if args.experiments is not None:
        if args.config is None:
            raise UsageError("--experiments without --config", remedy="add --config NAME")
        sweep, experiments = open_sweep(args, registry)
        sweep.pretrain(experiments, args.config)
        return 0
    if args.out_dir is None:
        raise UsageError("no place for the result", remedy="add --out_dir DIR, or --experiments")
    config = compose(
        "pretrain",
        registry=registry,
        config_dir=args.config_dir,
        config_name=args.config,
        overrides=args.overrides,
    )
    from speechlite.engine.pretrain import pretrain

    print(pretrain(config, args.out_dir, registry, force=args.force))
    return 0
