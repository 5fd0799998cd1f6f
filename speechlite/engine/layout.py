"""Lay a block out as tables of plain text, which every format then writes in its own way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from speechlite.engine.comparison import Block, Cell, Column, Comparison, Difference, Row

__all__ = ["Grid", "GridCell", "block_lines", "grids", "legend", "number"]

_ABSENT = "-"


@dataclass(frozen=True)
class GridCell:
    """Hold the text of one cell.

    Args:
        lines: its lines: the value, then its interval, then its seeds.
        kind: ``name``, ``value``, ``reported`` or ``difference``.
        marks: marks of the cell, as in ``comparison.Cell``.
        notes: numbers of footnotes.
    """

    lines: tuple[str, ...]
    kind: str = "value"
    marks: tuple[str, ...] = ()
    notes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Grid:
    """Hold one table as text.

    Args:
        title: heading.
        header: one cell a column.
        rows: one line a row.
        notes: the footnotes, numbered from 1.
    """

    title: str
    header: tuple[GridCell, ...]
    rows: tuple[tuple[GridCell, ...], ...]
    notes: tuple[str, ...] = ()


@dataclass
class _Footnotes:
    texts: list[str] = field(default_factory=list)

    def number(self, text: str) -> int:
        if text not in self.texts:
            self.texts.append(text)
        return self.texts.index(text) + 1


def grids(block: Block) -> list[Grid]:
    """Lay a block out: one table of scores, one of costs.

    Args:
        block: the block.

    Returns:
        The tables that have at least one column.
    """
    tables = []
    for kind, title in (("score", "scores"), ("cost", "costs")):
        if any(column.kind == kind for column in block.columns):
            suffix = "" if block.kind == "layers" else f": {title}"
            tables.append(_grid(block, kind, block.title + suffix))
    return tables


def number(value: float | None, column: Column, *, signed: bool = False) -> str:
    """Return a number as the column shows it.

    Args:
        value: the number.
        column: its column; scores have a fixed number of digits after the point, costs a number
            of significant digits.
        signed: write a plus sign too.

    Returns:
        The text; a hyphen where there is no number.
    """
    if value is None:
        return _ABSENT
    if column.kind == "score":
        return f"{value:+.{column.digits}f}" if signed else f"{value:.{column.digits}f}"
    if value == 0:
        return "0"
    magnitude = math.floor(math.log10(abs(value)))
    if magnitude >= 7 or magnitude < -5:
        return f"{value:.{column.digits - 1}e}"
    return f"{value:.{max(0, column.digits - 1 - magnitude)}f}"


def legend(comparison: Comparison) -> list[str]:
    """Say what the marks, the intervals and the differences in the tables mean.

    Args:
        comparison: the comparison.

    Returns:
        One sentence a line, for the marks that occur.
    """
    cells = [cell for _, _, _, cell in comparison.cells()]
    marks = {mark for cell in cells for mark in cell.marks}
    percent = f"{100 * comparison.level:g} %"
    lines = [
        f"Brackets hold {percent} intervals from {comparison.resamples} bootstrap resamples of "
        "speakers, and of seeds first where a row has several; the value is the mean over seeds, "
        "whose own values follow it.",
    ]
    if any(cell.difference for cell in cells):
        lines.append(
            "Differences are paired, row minus baseline, over the same utterances and seeds. "
            "P(better) is the probability that the row is better; p is two-sided, adjusted by "
            "Holm's method over the rows of the column."
        )
    if any(cell.reported is not None for cell in cells):
        lines.append(
            "Reported columns repeat what a paper prints; they enter no statistics, and data, "
            "scorer and device are the paper's own."
        )
    if "best" in marks:
        lines.append("Bold: best of its column among rows that may be compared.")
    if "tied" in marks:
        lines.append(f"Dagger: not significantly different from the best (level {percent}, Holm).")
    if "front" in marks:
        lines.append("Diamond: no row has both a better first-choice score and a lower cost.")
    if any(row.is_single_seed for block in comparison.blocks for row in block.rows):
        lines.append("Asterisk: one seed only; the interval holds no spread over seeds.")
    return lines


def _grid(block: Block, kind: str, title: str) -> Grid:
    notes = _Footnotes()
    kept = [i for i, column in enumerate(block.columns) if column.kind == kind]
    header = [GridCell(("system",), "name"), GridCell(("seeds",), "name")]
    for index in kept:
        header += _header(block, block.columns[index])
    rows = []
    for row in block.rows:
        line = [_name(row, block, notes), GridCell((_seeds(row),), "name")]
        for index in kept:
            line += _cells(block, block.columns[index], row, row.cells[index], notes)
        rows.append(tuple(line))
    return Grid(title, tuple(header), tuple(rows), tuple(notes.texts))


def _has_differences(block: Block, column: Column) -> bool:
    position = block.column(column.key)
    return position is not None and any(row.cells[position].difference for row in block.rows)


def _header(block: Block, column: Column) -> list[GridCell]:
    unit = f" [{column.unit}]" if column.unit else ""
    cells = [GridCell((column.title + unit,))]
    if _has_differences(block, column):
        cells.append(GridCell((f"difference to {block.baseline}",), "difference"))
    if column.reported_title is not None:
        cells.append(GridCell((column.reported_title,), "reported"))
    return cells


def _name(row: Row, block: Block, notes: _Footnotes) -> GridCell:
    star = " *" if row.is_single_seed and row.status == "done" else ""
    told = (
        "" if row.status == "done" else f" ({'not run' if row.status == 'missing' else row.status})"
    )
    base = " (baseline)" if row.name == block.baseline else ""
    numbers = tuple(notes.number(note) for note in row.notes)
    return GridCell((row.name + base + told + star,), "name", (), numbers)


def _seeds(row: Row) -> str:
    return ", ".join(row.seeds) or _ABSENT


def _cells(block: Block, column: Column, row: Row, cell: Cell, notes: _Footnotes) -> list[GridCell]:
    numbers = (notes.number(cell.why),) if cell.why else ()
    cells = [GridCell(_value_lines(cell, column), "value", cell.marks, numbers)]
    if _has_differences(block, column):
        cells.append(GridCell(_difference_lines(cell.difference, column, row, block), "difference"))
    if column.reported_title is not None:
        numbers = (notes.number(cell.reported_why),) if cell.reported_why else ()
        text = number(cell.reported, column) if column.kind == "score" else _printed(cell.reported)
        cells.append(GridCell((text,), "reported", (), numbers))
    return cells


def _printed(value: float | None) -> str:
    return _ABSENT if value is None else f"{value:g}"


def _value_lines(cell: Cell, column: Column) -> tuple[str, ...]:
    lines = [number(cell.value, column)]
    if cell.low is not None and cell.high is not None:
        lines.append(f"[{number(cell.low, column)}, {number(cell.high, column)}]")
    if column.kind == "score" and len(cell.by_seed) > 1:
        lines.append(" / ".join(number(value, column) for _, value in cell.by_seed))
    return tuple(lines)


def _difference_lines(
    difference: Difference | None, column: Column, row: Row, block: Block
) -> tuple[str, ...]:
    if difference is None:
        return ("baseline" if row.name == block.baseline else _ABSENT,)
    lines = [number(difference.delta, column, signed=True)]
    if difference.low is not None and difference.high is not None:
        low, high = (number(v, column, signed=True) for v in (difference.low, difference.high))
        lines.append(f"[{low}, {high}]")
    lines.append(f"P(better) {difference.probability_of_improvement:.2f}")
    lines.append(f"p {_p(difference.p_holm)}")
    baseline = {seed for r in block.rows if r.name == block.baseline for seed in r.seeds}
    if set(difference.seeds) != baseline | set(row.seeds):
        lines.append(f"on seed {', '.join(difference.seeds)}")
    return tuple(lines)


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def block_lines(block: Block) -> Sequence[str]:
    """Return the sentences that stand above a block's tables.

    Args:
        block: the block.

    Returns:
        Why it stands apart, and its notes.
    """
    lines = list(block.notes)
    if block.separate_because:
        lines.insert(0, f"Not comparable with the rows before: {block.separate_because}.")
    return lines
