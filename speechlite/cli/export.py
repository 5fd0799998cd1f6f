"""speechlite export: write a model for other toolkits."""

from __future__ import annotations

import argparse
from pathlib import Path

from speechlite.cli.registry import open_registry

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb.

    Args:
        parser: the parser to add them to.
    """
    parser.add_argument("--model", type=Path, required=True, help="checkpoint to export")
    parser.add_argument("--format", required=True, help="huggingface or onnx")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder (huggingface) or file (onnx)"
    )
    parser.add_argument(
        "--family", help="huggingface: hubert or wav2vec2; default: hubert, or wavlm"
    )


def run(args: argparse.Namespace) -> int:
    """Write the model and print where it is.

    Args:
        args: the parsed options.

    Returns:
        0.
    """
    from speechlite.engine.importing import export_checkpoint

    registry = open_registry()
    export_checkpoint(args.model, args.out, registry, format=args.format, family=args.family)
    print(args.out)
    return 0
