"""Draw layers, and the course of training, as SVG text.

The same values give the same bytes: fixed identifiers, no date, text drawn as paths.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechlite.core.errors import DataError
from speechlite.engine.comparison import Block, Cell
from speechlite.engine.escape import clean
from speechlite.engine.figure_canvas import (
    WIDTH,
    canvas,
    legend_below,
    line_style,
    score_label,
    svg_text,
)

__all__ = ["layer_embedding", "layer_table", "layer_transitions", "training_curves"]


def layer_transitions(curves: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """Draw how far consecutive layers lie apart, one line a model.

    This is Fig. 3 of the Layer Reduction paper: L2 distance and cosine similarity of the hidden
    states of layer l and layer l + 1.

    Args:
        curves: by model, ``l2`` and ``cosine``: one mean a transition, from layer 1 to 2 on.

    Returns:
        SVG text.

    Raises:
        DataError: if there is no model or a model lacks one of the two curves.
    """
    _check_any(curves)
    for model, of_model in curves.items():
        if set(of_model) != {"l2", "cosine"}:
            cause = f"{model} has the curves {sorted(of_model)}, expected cosine and l2"
            raise DataError(cause, remedy="compute both for each model")
    with canvas((WIDTH, 3.9), columns=2) as (figure, axes):
        titles = (("l2", "L2 distance"), ("cosine", "cosine similarity"))
        for axis, (kind, title) in zip(axes.flat, titles, strict=True):
            for index, (model, of_model) in enumerate(curves.items()):
                steps = np.arange(1, len(of_model[kind]) + 1)
                axis.plot(steps, of_model[kind], label=clean(model), **line_style(index))
            longest = max(len(of_model[kind]) for of_model in curves.values())
            axis.set_xticks(range(1, longest + 1), [f"{n}-{n + 1}" for n in range(1, longest + 1)])
            axis.set(xlabel="consecutive layers", ylabel=title)
        legend_below(figure, axes.flat[0])
        return svg_text(figure)


def layer_embedding(points: Mapping[str, NDArray[np.floating[Any]]]) -> str:
    """Draw where each layer puts the same frames, one small panel a model.

    This is Fig. 2 of the Layer Reduction paper: an embedding such as t-SNE, computed before, of
    the hidden states of some frames in every layer.

    Args:
        points: by model, (L, S, 2): layers, frames, coordinates.

    Returns:
        SVG text.

    Raises:
        DataError: if there is no model or an array has another shape.
    """
    from matplotlib.colors import BoundaryNorm

    _check_any(points)
    for model, points_LS2 in points.items():
        if np.ndim(points_LS2) != 3 or np.shape(points_LS2)[2] != 2:
            cause = f"{model} has points of shape {np.shape(points_LS2)}, expected (L, S, 2)"
            raise DataError(cause, remedy="embed the frames of all layers in two dimensions")
    columns = min(2, len(points))
    rows = -(-len(points) // columns)
    with canvas((WIDTH, 3.6 * rows), rows=rows, columns=columns) as (figure, axes):
        scatter = None
        deepest = max(len(points_LS2) for points_LS2 in points.values())
        norm = BoundaryNorm(np.arange(0.5, deepest + 1.0), ncolors=256)
        for axis, (model, points_LS2) in zip(axes.flat, points.items(), strict=False):
            layers = np.repeat(np.arange(1, len(points_LS2) + 1), np.shape(points_LS2)[1])
            x, y = np.reshape(points_LS2, (-1, 2)).T
            scatter = axis.scatter(x, y, c=layers, cmap="viridis", norm=norm, s=9)
            axis.set_title(clean(model), fontsize=11)
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(True)
        for axis in axes.flat[len(points) :]:
            axis.set_visible(False)
        if scatter is not None:
            bar = figure.colorbar(scatter, ax=axes.ravel().tolist(), label="layer", shrink=0.8)
            bar.set_ticks(range(1, deepest + 1), labels=[str(n) for n in range(1, deepest + 1)])
        return svg_text(figure)


def layer_table(block: Block) -> str:
    """Draw a score against the inference layer, one line a model, reported values dashed.

    Args:
        block: a block of kind ``layers``.

    Returns:
        SVG text.

    Raises:
        DataError: if the block has no layers.
    """
    if block.kind != "layers" or not block.columns:
        raise DataError(f"{block.title} has no inference layers", remedy="pass a layer block")
    layers = [column.title.removeprefix("layer ") for column in block.columns]
    with canvas((WIDTH, 4.2)) as (figure, axes):
        axis = axes.flat[0]
        for index, row in enumerate(block.rows):
            line = line_style(index)
            axis.plot(layers, _values(row.cells, "value"), label=clean(row.name), **line)
            reported = _values(row.cells, "reported")
            if np.isfinite(reported).any():
                dashed = {**line, "linestyle": ":", "markersize": 3, "alpha": 0.6}
                axis.plot(layers, reported, label=f"{clean(row.name)}, reported", **dashed)
        axis.set(xlabel="inference layer", ylabel=score_label(block.columns[0]))
        legend_below(figure, axis)
        return svg_text(figure)


def training_curves(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    x_label: str = "step",
    y_label: str = "loss",
) -> str:
    """Draw losses or scores over the course of training, one line a model.

    Args:
        curves: by model, positions and values of equal length.
        x_label: label of the positions.
        y_label: label of the values.

    Returns:
        SVG text.

    Raises:
        DataError: if there is no model or the lengths differ.
    """
    _check_any(curves)
    for model, (positions, values) in curves.items():
        if len(positions) != len(values):
            cause = f"{model} has {len(positions)} positions and {len(values)} values"
            raise DataError(cause, remedy="pass one value a position")
    with canvas((WIDTH, 4.2)) as (figure, axes):
        axis = axes.flat[0]
        for index, (model, (positions, values)) in enumerate(curves.items()):
            axis.plot(
                positions, values, label=clean(model), **{**line_style(index), "marker": None}
            )
        axis.set(xlabel=clean(x_label), ylabel=clean(y_label))
        legend_below(figure, axis)
        return svg_text(figure)


def _check_any(curves: Mapping[str, Any]) -> None:
    if not curves:
        raise DataError("there is nothing to draw", remedy="pass at least one model")


def _values(cells: Sequence[Cell], name: str) -> list[float]:
    values = [getattr(cell, name) for cell in cells]
    return [float("nan") if value is None else value for value in values]
