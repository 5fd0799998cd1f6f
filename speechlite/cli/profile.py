"""speechlite profile: measure what a model costs."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from speechlite.cli.registry import open_registry
from speechlite.cli.stage import add_config_options

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb.

    Args:
        parser: the parser to add them to.
    """
    add_config_options(parser)
    parser.add_argument("--config", metavar="NAME", help="primary file in that folder")
    parser.add_argument("--model", type=Path, required=True, help="checkpoint to profile")


def run(args: argparse.Namespace) -> int:
    """Print the cost of a model as JSON.

    Args:
        args: the parsed options.

    Returns:
        0.
    """
    from speechlite.config.compose import compose

    registry = open_registry()
    config = compose(
        "profile",
        registry=registry,
        config_dir=args.config_dir,
        config_name=args.config,
        overrides=args.overrides,
    )
    from speechlite.engine.checkpoint import load_model
    from speechlite.engine.profile import profile

    cost = profile(load_model(args.model, registry), config, args.model)
    print(json.dumps(cost, indent=1))
    return 0
