"""Options that the verbs of a sweep share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from speechlite.core.errors import UsageError
from speechlite.plugins.registry import Registry

if TYPE_CHECKING:
    from speechlite.engine.experiments import Experiment
    from speechlite.engine.sweep import Sweep

__all__ = ["add_config_options", "add_sweep_options", "open_sweep"]


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Declare where options come from.

    Args:
        parser: the parser to add them to.
    """
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="choices and options")
    parser.add_argument("--config_dir", type=Path, help="folder of the recipe's YAML files")


def add_sweep_options(parser: argparse.ArgumentParser) -> None:
    """Declare how a verb runs many experiments of a recipe in one process.

    Args:
        parser: the parser to add them to.
    """
    group = parser.add_argument_group("many experiments at once")
    group.add_argument("--experiments", type=Path, help="the recipe's experiments.yaml")
    group.add_argument("--select", help="ids joined by commas, or all; default: as in the file")
    group.add_argument("--seeds", default="1", help="seeds joined by commas")
    group.add_argument("--exp_dir", type=Path, default=Path("exp"), help="directory of the sweep")


def open_sweep(args: argparse.Namespace, registry: Registry) -> tuple[Sweep, list[Experiment]]:
    """Return the sweep that a command line asks for.

    Args:
        args: the parsed options.
        registry: where components are looked up.

    Returns:
        The sweep and its selected experiments.

    Raises:
        UsageError: if the folder of YAML files is not named.
    """
    from speechlite.engine.experiments import read_experiments, read_seeds

    if args.config_dir is None:
        raise UsageError("--experiments without --config_dir", remedy="add --config_dir conf")
    experiments = read_experiments(args.experiments)
    selected, seeds = experiments.select(args.select), read_seeds(args.seeds)
    from speechlite.engine.sweep import Sweep

    sweep = Sweep(
        recipe=experiments.recipe,
        exp_dir=args.exp_dir,
        seeds=seeds,
        config_dir=args.config_dir,
        overrides=args.overrides,
        registry=registry,
    )
    return sweep, selected
