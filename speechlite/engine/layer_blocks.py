"""Tables of a score against the inference layer: one row a model, one column a layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from speechlite.engine.comparison import Block, Cell, Column, Row
from speechlite.engine.grouping import Placed, Runs, Section, natural_order, place, text_of
from speechlite.engine.reported import Reported
from speechlite.engine.score_columns import Settings, score_cells, score_columns

__all__ = ["layer_blocks"]


def layer_blocks(
    section: Section,
    reported: Reported,
    baseline: str | None,
    metrics: Sequence[str] | None,
    settings: Settings,
) -> list[Block]:
    """Return one block for each metric of a section whose rows differ in the inference layer.

    Args:
        section: rows with an inference layer each.
        reported: the numbers that papers print for this table.
        baseline: name of the model that differences refer to, layer by layer; None for none.
        metrics: names of the metrics to show; None shows all.
        settings: settings of the intervals.

    Returns:
        The blocks.
    """
    blocks = []
    for placed in place(section.rows, first=baseline):
        for score in score_columns(placed.rows, metrics=metrics):
            blocks.append(_block(section, placed, reported, score, baseline, settings))
    return blocks


def _block(
    section: Section,
    placed: Placed,
    reported: Reported,
    score: Column,
    baseline: str | None,
    settings: Settings,
) -> Block:
    layers = sorted({row.layer or "" for row in placed.rows}, key=natural_order)
    models = _models(placed.rows, reported)
    columns, by_model = [], {model: list[Cell]() for model in models}
    for layer in layers:
        of_layer = {row.name: row for row in placed.rows if row.layer == layer}
        runs = list(of_layer.values())
        cells = dict(
            zip(
                of_layer,
                score_cells(runs, score, baseline=baseline, settings=settings),
                strict=True,
            )
        )
        column = replace(score, key=f"{score.key}/{layer}", title=f"layer {layer}")
        has_reported = reported.titled(column).reported_title is not None
        columns.append(replace(column, reported_title="reported" if has_reported else None))
        for model in models:
            system = f"{model} SLI({layer})"
            beside = reported.beside(cells.get(model, Cell()), system, column)
            by_model[model].append(replace(beside, reported_why=_qualified(beside.reported_why)))
    rows = tuple(_row(model, placed.rows, by_model[model]) for model in models)
    parts = (section.recipe, section.table, f"{score.title} by inference layer")
    return Block(
        title=", ".join(part for part in parts if part),
        kind="layers",
        columns=tuple(columns),
        rows=rows,
        baseline=baseline if baseline in models else None,
        separate_because=placed.separate_because,
    )


def _models(rows: Sequence[Runs], reported: Reported) -> list[str]:
    """Return the models in the paper's order, then in their own."""
    names = list(dict.fromkeys(row.name for row in rows))
    systems = reported.systems()
    order = {
        name: min((i for i, s in enumerate(systems) if s.startswith(f"{name} SLI(")), default=None)
        for name in names
    }
    return sorted(names, key=lambda name: (order[name] is None, order[name] or 0))


def _qualified(note: str | None) -> str | None:
    """Return the parts of a note that say more than the row and the column do."""
    parts = [part.strip() for part in (note or "").split(";")]
    told = [part for part in parts if len(part.split()) > 3]
    return "; ".join(told) or None


def _row(model: str, rows: Sequence[Runs], cells: Sequence[Cell]) -> Row:
    own = [row for row in rows if row.name == model]
    records = [record for row in own for record in (row.done or row.records)]
    seeds = sorted({text_of(record, "seed") or "-" for record in records}, key=natural_order)
    is_done = any(row.done for row in own)
    return Row(
        name=model,
        status="done" if is_done else text_of(records[0], "status"),
        seeds=tuple(seeds),
        cells=tuple(cells),
        notes=tuple(dict.fromkeys(note for row in own for note in row.notes)),
    )
