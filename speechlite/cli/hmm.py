"""speechlite hmm: DNN-HMM recognition on the frames of frozen models."""

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
    parser.add_argument(
        "steps", help="lang, lm, gmm, tdnn, graph, decode, rescore joined by commas, or all"
    )
    add_config_options(parser)
    parser.add_argument("--config", metavar="NAME", help="primary file")
    parser.add_argument("--features", type=Path, help="directory of dumped features")
    add_sweep_options(parser)


def run(args: argparse.Namespace) -> int:
    """Run steps for the experiments of a recipe.

    Args:
        args: the parsed options.

    Returns:
        0.

    Raises:
        UsageError: if steps, experiments or the primary file are not named.
    """
    if args.experiments is None or args.config is None:
        raise UsageError(
            "hmm needs experiments and a primary file",
            remedy="add --experiments conf/experiments.yaml --config_dir conf --config NAME",
        )
    registry = open_registry()
    sweep, experiments = open_sweep(args, registry)
    from speechlite.engine.dnn_hmm.sweep import DnnHmmSweep, select_steps

    steps = select_steps(args.steps)
    DnnHmmSweep(sweep, experiments, args.config, args.features).run(steps)
    return 0
