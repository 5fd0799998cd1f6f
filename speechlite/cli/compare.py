"""speechlite compare: put result records side by side."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from speechlite.engine.comparison import Comparison

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb.

    Args:
        parser: the parser to add them to.
    """
    parser.add_argument("paths", nargs="+", help="experiment directories or record files")
    parser.add_argument(
        "--reported", nargs="*", default=[], help="CSV tables of numbers that papers print"
    )
    parser.add_argument("--claims", type=Path, help="YAML file of claims to decide")
    parser.add_argument("--out_dir", type=Path, help="where RESULTS.md and report.html go")
    parser.add_argument(
        "--format", default="terminal", help="terminal, markdown, csv, latex; joined by commas"
    )
    parser.add_argument("--baseline", help="row that differences refer to")
    parser.add_argument("--metrics", help="metrics to show, joined by commas; default: all")
    parser.add_argument("--joined", action="store_true", help="put all tables into one")
    parser.add_argument("--title", default="speechlite report", help="heading of the report")
    parser.add_argument("--fail_if", help="condition such as 'wer.delta > 0.3' that exits 1")


def run(args: argparse.Namespace) -> int:
    """Print a comparison, and write RESULTS.md and report.html where asked for.

    Args:
        args: the parsed options.

    Returns:
        0, or 1 where the condition of ``--fail_if`` holds.
    """
    from speechlite.engine.compare_run import run_compare

    figures, claims = [], []
    if args.out_dir is not None:
        from speechlite.engine.architecture_plot import architecture_figures
        from speechlite.engine.layer_analysis import layer_figures

        paths = [Path(path) for path in args.paths]
        figures = [*layer_figures(paths), *architecture_figures(paths)]
    if args.claims is not None:
        from speechlite.engine.claims import decide_claims

        claims = decide_claims(args.claims, args.paths)
    comparison, text = run_compare(
        args.paths,
        reported=args.reported,
        out_dir=args.out_dir,
        formats=args.format.split(","),
        baseline=args.baseline,
        metrics=None if args.metrics is None else args.metrics.split(","),
        joined=args.joined,
        claims=claims,
        figures=figures,
        title=args.title,
    )
    print(text)
    if args.out_dir is not None:
        for name in ("RESULTS.md", "report.html"):
            print(args.out_dir / name)
    return _verdict(args.fail_if, comparison)


def _verdict(text: str | None, comparison: Comparison) -> int:
    if text is None:
        return 0
    from speechlite.engine.condition import parse_condition, rows_that_meet

    rows = rows_that_meet(comparison, parse_condition(text))
    for row in rows:
        print(f"{text}: {row}")
    return int(bool(rows))
