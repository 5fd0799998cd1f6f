"""speechlite compress: make a model cheaper by one compressor."""

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
    parser.add_argument("--model", type=Path, help="checkpoint to compress")
    parser.add_argument("--out_dir", type=Path, help="the result goes to its model/")
    add_sweep_options(parser)
    parser.add_argument("--scale", help="what the names of a sweep's primary files end in")


def run(args: argparse.Namespace) -> int:
    """Compress one model, or carry out all chains of a sweep.

    Args:
        args: the parsed options.

    Returns:
        0.

    Raises:
        UsageError: if model or place are not named.
    """
    from speechlite.config.compose import compose

    registry = open_registry()
    if args.experiments is not None:
        sweep, experiments = open_sweep(args, registry)
        sweep.compress(experiments, args.scale)
        return 0
    if args.model is None or args.out_dir is None:
        raise UsageError(
            "compress needs a model and a place for the result",
            remedy="add --model DIR --out_dir DIR, or --experiments",
        )
    config = compose(
        "compress",
        registry=registry,
        config_dir=args.config_dir,
        config_name=args.config,
        overrides=args.overrides,
    )
    from speechlite.engine.compress import compress_checkpoint

    print(compress_checkpoint(config, args.model, args.out_dir, registry))
    return 0
