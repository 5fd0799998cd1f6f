"""speechlite units: cluster features of speech, and label every frame with its cluster."""

from __future__ import annotations

import argparse
from pathlib import Path

from speechlite.cli.registry import open_registry
from speechlite.cli.stage import add_config_options
from speechlite.core.errors import DataError, UsageError

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb.

    Args:
        parser: the parser to add them to.
    """
    add_config_options(parser)
    parser.add_argument("--config", metavar="NAME", help="primary file in that folder")
    parser.add_argument("--out_dir", type=Path, help="where codebook and units go")
    parser.add_argument("--force", action="store_true", help="make them anew although up to date")
    parser.add_argument(
        "--check",
        nargs="+",
        type=Path,
        metavar="DIR",
        help="only check units that are to be used together: folders of a codebook, or single ones",
    )


def run(args: argparse.Namespace) -> int:
    """Make units, or check some.

    Args:
        args: the parsed options.

    Returns:
        0, or 3 where units that were to be checked cannot be used.

    Raises:
        UsageError: if it is not said where the result goes.
    """
    if args.check is not None:
        return _check(args.check)
    if args.out_dir is None:
        raise UsageError("no place for the result", remedy="add --out_dir DIR, or --check DIR")
    from speechlite.config.compose import compose

    registry = open_registry()
    config = compose(
        "units",
        registry=registry,
        config_dir=args.config_dir,
        config_name=args.config,
        overrides=args.overrides,
    )
    from speechlite.engine.units import make_units

    print(make_units(config, args.out_dir, registry, force=args.force))
    return 0


def _check(paths: list[Path]) -> int:
    from speechlite.data.unit_checks import lint_units, unit_directories

    directories = [directory for path in paths for directory in unit_directories(path)]
    problems = lint_units(directories)
    for problem in problems:
        print(problem)
    if problems:
        return DataError.exit_code
    for directory in directories:
        print(f"{directory}: valid")
    return 0
