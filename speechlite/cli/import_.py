"""speechlite import: turn another toolkit's checkpoint into one of ours."""

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
    parser.add_argument("source", metavar="PATH_OR_NAME", help="folder, file, or torchaudio bundle")
    parser.add_argument("options", nargs="*", metavar="KEY=VALUE", help="such as encoder.heads=8")
    parser.add_argument("--out_dir", type=Path, required=True, help="where the checkpoint goes")
    parser.add_argument(
        "--format",
        default="auto",
        help="auto, huggingface, torchaudio, fairseq or dphubert; default: %(default)s",
    )
    parser.add_argument(
        "--legacy_padding",
        action="store_true",
        help="count padding in the group norm, as published",
    )


def run(args: argparse.Namespace) -> int:
    """Write the checkpoint, and print what was read, assumed and left out.

    Args:
        args: the parsed options.

    Returns:
        0.
    """
    from speechlite.engine.importing import import_checkpoint, read_options

    registry = open_registry()
    options = read_options(args.options)
    if args.legacy_padding:
        options["frontend.legacy_padding"] = True
    model, imported = import_checkpoint(
        args.source, args.out_dir, registry, format=args.format, options=options
    )
    count = sum(parameter.numel() for parameter in model.parameters())
    print(f"{imported.source}: {count:,} parameters")
    if imported.head is not None:
        print(f"with its CTC head of {len(imported.head.symbols)} symbols")
    for kind, numbers in sorted(imported.left_out.items()):
        print(f"left out: {kind}, {numbers:,}")
    for option, value in imported.assumed.items():
        print(f"assumed: {option}={value}")
    print(args.out_dir)
    return 0
