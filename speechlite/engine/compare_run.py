"""Compare experiments from their directories and write every form of the outcome."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from speechlite.core.errors import UsageError
from speechlite.engine.compare import compare, load_records, load_reported
from speechlite.engine.comparison import Comparison
from speechlite.engine.report import Claim, Figure, write_report, write_results
from speechlite.engine.tables import to_csv, to_latex, to_markdown, to_terminal

__all__ = ["FORMATS", "comparison_figures", "run_compare"]

FORMATS = ("terminal", "markdown", "csv", "latex")
"""Forms in which a comparison can be printed."""


def run_compare(
    paths: Iterable[str | Path],
    *,
    reported: Iterable[str | Path] = (),
    out_dir: str | Path | None = None,
    formats: Sequence[str] = ("terminal",),
    baseline: str | None = None,
    metrics: Sequence[str] | None = None,
    joined: bool = False,
    claims: Sequence[Claim] = (),
    figures: Sequence[Figure] = (),
    config: str = "",
    title: str = "speechlite report",
) -> tuple[Comparison, str]:
    """Compare the records under some directories and write RESULTS.md and report.html.

    Args:
        paths: experiment directories, record files, or patterns of either.
        reported: CSV tables of numbers that papers print.
        out_dir: where RESULTS.md and report.html go; None writes no file.
        formats: what to return as text: ``terminal``, ``markdown``, ``csv``, ``latex``.
        baseline: name of the row that differences refer to.
        metrics: names of the metrics to show; None shows all.
        joined: put the rows of all tables into one table.
        claims: claims with their verdicts and numbers.
        figures: figures to show besides the comparison's own.
        config: the resolved configuration.
        title: heading of the page.

    Returns:
        The comparison, and the texts of ``formats`` one after the other.

    Raises:
        UsageError: if a format is unknown.
        DataError: if a record, its scores or a table is malformed, or nothing compares.
        EnvironmentProblem: if a file cannot be written.
    """
    writers = {
        "terminal": to_terminal,
        "markdown": to_markdown,
        "csv": to_csv,
        "latex": to_latex,
    }
    for name in formats:
        if name not in FORMATS:
            cause = f"format is {name!r}"
            raise UsageError(cause, remedy=f"name one of: {', '.join(FORMATS)}")
    printed = [record for path in reported for record in load_reported(path)]
    comparison = compare(
        load_records(paths), reported=printed, baseline=baseline, metrics=metrics, joined=joined
    )
    if out_dir is not None:
        drawn = [*figures, *comparison_figures(comparison)]
        place = Path(out_dir)
        write_results(comparison, place / "RESULTS.md", figures=drawn, claims=claims)
        write_report(
            comparison,
            place / "report.html",
            figures=drawn,
            claims=claims,
            config=config,
            title=title,
        )
    return comparison, "\n".join(writers[name](comparison) for name in formats)


def comparison_figures(comparison: Comparison) -> list[Figure]:
    """Draw the figures that a comparison's own numbers give.

    Args:
        comparison: the comparison.

    Returns:
        The score against each cost that at least two rows have, each block with lines, and each
        layer table.
    """
    # imported here so that tables without figures start fast
    from speechlite.engine.plots import layer_table
    from speechlite.engine.score_plots import line_points, pareto, score_lines

    figures: list[Figure] = []
    for key, title in (("bytes", "size"), ("macs", "computation"), ("rtf", "real-time factor")):
        if _num_points(comparison, key) > 1:
            caption = "Filled: rows that no other row beats in both; bars are intervals."
            figures.append((f"Score against {title}", caption, pareto(comparison, x=key)))
    for block in comparison.blocks:
        if any(len(points) > 1 for points in line_points(block, "nonzero").values()):
            caption = "Dotted: rows of no line; bars are intervals."
            figures.append((block.title, caption, score_lines(block)))
        if block.kind == "layers":
            caption = "Dotted: as reported."
            figures.append((block.title, caption, layer_table(block)))
    return figures


def _num_points(comparison: Comparison, key: str) -> int:
    count = 0
    for block in comparison.blocks:
        cost, score = block.column(key), block.column(block.primary or "")
        if block.kind == "rows" and cost is not None and score is not None:
            pairs = [(row.cells[cost].value, row.cells[score].value) for row in block.rows]
            count = max(count, sum(None not in pair for pair in pairs))
    return count
