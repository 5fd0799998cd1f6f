"""The canvas that all figures are drawn on: settings, colours, and SVG that is always the same.

Colours are those of Okabe and Ito, which colour-blind readers tell apart; lines differ in their
markers too.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from speechlite.engine.comparison import Column
from speechlite.engine.escape import clean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "COLOURS",
    "MARKERS",
    "WIDTH",
    "canvas",
    "legend_below",
    "line_style",
    "score_label",
    "svg_text",
]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8A7A00")
"""Line colours that the colour-blind can tell apart."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
"""Line markers, in the order of the colours."""
_SETTINGS: Mapping[str, Any] = MappingProxyType(
    {
        "axes.grid": True,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "figure.dpi": 72.0,
        "font.family": ["DejaVu Sans"],
        "font.size": 11.0,
        "grid.alpha": 0.3,
        "grid.linewidth": 0.6,
        "legend.frameon": False,
        "svg.fonttype": "path",
        "svg.hashsalt": "speechlite",
        "text.parse_math": False,
    }
)
WIDTH = 8.0
"""Width of a figure in inches."""


def line_style(index: int) -> dict[str, Any]:
    """Return how the line of one model looks in every figure.

    Args:
        index: position of the model, from 0.

    Returns:
        Keyword arguments of matplotlib's ``plot``.
    """
    return {
        "color": COLOURS[index % len(COLOURS)],
        "marker": MARKERS[index % len(MARKERS)],
        "markersize": 5,
        "linewidth": 1.6,
        "linestyle": "-" if index < len(COLOURS) else "--",
    }


@contextmanager
def canvas(
    size: tuple[float, float], *, rows: int = 1, columns: int = 1
) -> Iterator[tuple[Figure, Any]]:
    """Give a figure with its panels, under settings that do not depend on the user's own.

    Args:
        size: width and height in inches.
        rows: rows of panels.
        columns: columns of panels.

    Yields:
        The figure and its axes, (rows, columns).
    """
    # imported here so that tables without figures start fast
    import matplotlib
    from matplotlib.figure import Figure as NewFigure

    with matplotlib.rc_context(), warnings.catch_warnings():
        # a script that the font lacks is drawn as boxes; that is no fault of the caller's
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        matplotlib.rcdefaults()
        settings: Any = matplotlib.rcParams
        settings.update(_SETTINGS)
        figure = NewFigure(figsize=size, layout="constrained")
        yield figure, figure.subplots(rows, columns, squeeze=False)


def svg_text(figure: Figure) -> str:
    """Return a figure as SVG without a date, inside ``canvas``.

    Args:
        figure: the figure.

    Returns:
        SVG text, the same for the same figure.
    """
    output = io.BytesIO()
    save: Callable[..., None] = figure.savefig
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    save(output, format="svg", metadata=nothing)
    lines = output.getvalue().decode("utf-8").splitlines()
    return "\n".join(line.rstrip() for line in lines) + "\n"


def score_label(column: Column) -> str:
    """Return what an axis of scores is called.

    Args:
        column: the column that is drawn.

    Returns:
        Its title and unit, and which direction is better.
    """
    direction = "higher" if column.higher_is_better else "lower"
    unit = f" [{column.unit}]" if column.unit else ""
    title = column.title
    if title.startswith("layer "):
        title = f"{column.metric}, {column.split}"
    return clean(f"{title}{unit}, {direction} is better")


def legend_below(figure: Figure, axis: Axes) -> None:
    """Name the lines of a panel below all panels.

    Args:
        figure: the figure.
        axis: the panel.
    """
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=9)
