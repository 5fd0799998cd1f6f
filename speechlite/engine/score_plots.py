"""Draw scores against costs as SVG text.

The same values give the same bytes: fixed identifiers, no date, text drawn as paths.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from speechlite.core.errors import DataError
from speechlite.engine.comparison import Block, Cell, Comparison
from speechlite.engine.escape import clean
from speechlite.engine.figure_canvas import (
    COLOURS,
    MARKERS,
    WIDTH,
    canvas,
    legend_below,
    line_style,
    score_label,
    svg_text,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["line_points", "pareto", "score_lines"]

_GREY = "#8c8c8c"


def pareto(comparison: Comparison, *, x: str = "bytes", y: str | None = None) -> str:
    """Draw a score against a cost, with the front through rows that no other row beats.

    Each block of rows that compare has its own panel; rows off the front are grey and hollow.
    Short bars are single seeds.

    Args:
        comparison: the comparison.
        x: key of a cost column.
        y: key of a score column; None takes each block's first choice.

    Returns:
        SVG text.

    Raises:
        DataError: if no block has a row with both numbers.
    """
    drawn = [
        (block, *found)
        for block in comparison.blocks
        if block.kind == "rows" and (found := _both(block, x, y)) is not None
    ]
    if not drawn:
        cause = f"no row has both {x!r} and a score"
        raise DataError(cause, remedy="profile and evaluate the models first")
    drawn = _without_single_points(drawn)
    with canvas((WIDTH, 4.2 * len(drawn)), rows=len(drawn)) as (figure, axes):
        for axis, (block, cost, score) in zip(axes.flat, drawn, strict=True):
            _draw_front(axis, block, cost, score)
        return svg_text(figure)


def score_lines(block: Block, *, x: str = "nonzero") -> str:
    """Draw a score against a cost, a line for the rows that the recipe calls one.

    Rows of no line, such as the model that all of them start from, are dotted levels. Bars are
    intervals.

    Args:
        block: a block of which some rows make lines.
        x: key of a cost column.

    Returns:
        SVG text.

    Raises:
        DataError: if no row of a line has both numbers.
    """
    found = _both(block, x, None)
    lines = line_points(block, x)
    if found is None or not lines:
        cause = f"no row of a line has both {x!r} and a score"
        raise DataError(cause, remedy="profile and evaluate the models first")
    cost, score = found
    with canvas((WIDTH, 5.4)) as (figure, axes):
        axis = axes.flat[0]
        for index, (name, points) in enumerate(lines.items()):
            bars = [_whiskers(cell) or [[0.0], [0.0]] for _, cell in points]
            axis.errorbar(
                [spent for spent, _ in points],
                [cell.value for _, cell in points],
                yerr=[[low for (low,), _ in bars], [high for _, (high,) in bars]],
                label=clean(name),
                capsize=3,
                elinewidth=0.7,
                **line_style(index),
            )
        levels = [row for row in block.rows if not row.line]
        for index, row in enumerate(levels, start=len(lines)):
            value = row.cells[score].value
            if value is not None:
                colour = COLOURS[index % len(COLOURS)]
                axis.axhline(value, color=colour, linestyle=":", label=clean(row.name))
        _name_axes(axis, block, cost, score)
        legend_below(figure, axis)
        return svg_text(figure)


def line_points(block: Block, x: str) -> dict[str, list[tuple[float, Cell]]]:
    """Return the points of each line of a block, by cost.

    Args:
        block: the block.
        x: key of a cost column.

    Returns:
        By the names of lines, costs with scores; rows without both are left out.
    """
    found = _both(block, x, None)
    if found is None:
        return {}
    cost, score = found
    lines: dict[str, list[tuple[float, Cell]]] = {}
    for row in block.rows:
        spent, cell = row.cells[cost].value, row.cells[score]
        if row.line and spent is not None and cell.value is not None:
            lines.setdefault(row.line, []).append((spent, cell))
    return {name: sorted(points, key=lambda point: point[0]) for name, points in lines.items()}


def _both(block: Block, x: str, y: str | None) -> tuple[int, int] | None:
    cost = block.column(x)
    score = block.column(y or block.primary or "")
    if cost is None or score is None:
        return None
    pairs = [(row.cells[cost].value, row.cells[score].value) for row in block.rows]
    return (cost, score) if any(None not in pair for pair in pairs) else None


def _without_single_points(found: Sequence[tuple[Block, int, int]]) -> list[tuple[Block, int, int]]:
    """Leave out blocks with a single point where another block has more."""
    counts = [
        sum(None not in (row.cells[x].value, row.cells[y].value) for row in block.rows)
        for block, x, y in found
    ]
    return [f for f, count in zip(found, counts, strict=True) if count > 1] or list(found)


def _draw_front(axis: Axes, block: Block, cost: int, score: int) -> None:
    sign = -1.0 if block.columns[score].higher_is_better else 1.0
    rows = [
        (clean(row.name), spent, value, row.cells[score])
        for row in block.rows
        if (spent := row.cells[cost].value) is not None
        and (value := row.cells[score].value) is not None
    ]
    points = [(spent, sign * value) for _, spent, value, _ in rows]
    on_front = []
    for index, (name, spent, value, cell) in enumerate(rows):
        is_dominated = any(
            x <= spent and y <= sign * value and (x, y) != points[index] for x, y in points
        )
        _draw_point(axis, spent, cell, index, name=name, is_dominated=is_dominated)
        if not is_dominated:
            on_front.append((spent, value))
    axis.plot(*zip(*sorted(on_front), strict=True), color=_GREY, linewidth=1, zorder=0)
    axis.margins(x=0.1, y=0.1)
    _name_axes(axis, block, cost, score)
    axis.set_title(clean(block.title), fontsize=11, loc="left")
    axis.legend(loc="upper left", bbox_to_anchor=(1.02, 1.0), fontsize=9)


def _name_axes(axis: Axes, block: Block, cost: int, score: int) -> None:
    column = block.columns[cost]
    unit = f" [{column.unit}]" if column.unit else ""
    axis.set(xlabel=column.title + unit, ylabel=score_label(block.columns[score]))


def _draw_point(
    axis: Axes, spent: float, cell: Cell, index: int, *, name: str, is_dominated: bool
) -> None:
    colour = _GREY if is_dominated else COLOURS[index % len(COLOURS)]
    axis.errorbar(
        spent,
        cell.value or 0.0,
        yerr=_whiskers(cell),
        fmt=MARKERS[index % len(MARKERS)],
        color=colour,
        markerfacecolor="white" if is_dominated else colour,
        capsize=3,
        elinewidth=0.9,
        label=textwrap.fill(name, 28),
        zorder=2 if is_dominated else 3,
    )
    values = [value for _, value in cell.by_seed if value is not None]
    for value in values if len(values) > 1 else ():
        axis.plot(spent, value, "_", color=colour, markersize=9, zorder=1)


def _whiskers(cell: Cell) -> list[list[float]] | None:
    if cell.low is None or cell.high is None or cell.value is None:
        return None
    return [[max(0.0, cell.value - cell.low)], [max(0.0, cell.high - cell.value)]]
