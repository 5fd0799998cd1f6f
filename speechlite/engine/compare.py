"""Compare result records: rows over seeds, differences to a baseline, reported values beside."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from speechlite.core.errors import DataError
from speechlite.core.result import Result
from speechlite.engine.comparison import Block, Cell, Column, Comparison, Row
from speechlite.engine.cost_columns import cost_cells, shown_costs
from speechlite.engine.grouping import (
    Placed,
    Runs,
    Section,
    describe_status,
    group,
    natural_order,
    place,
    text_of,
)
from speechlite.engine.layer_blocks import layer_blocks
from speechlite.engine.record_files import load_records, load_reported
from speechlite.engine.reported import Reported
from speechlite.engine.score_columns import Settings, score_cells, score_columns, worst_examples

__all__ = ["Comparison", "compare", "front", "load_records", "load_reported", "title_of"]

_FRONT_COSTS = ("macs", "rtf", "bytes")


def compare(
    records: Iterable[Result],
    *,
    reported: Iterable[Result] = (),
    baseline: str | None = None,
    metrics: Sequence[str] | None = None,
    joined: bool = False,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Comparison:
    """Compare measured records row by row, with reported values beside them.

    Only measured records enter intervals, differences and marks. Rows that do not compare stand
    in separate blocks, each of which says what differs.

    Args:
        records: measured records, as ``load_records`` returns them.
        reported: records of kind ``reported``, as ``load_reported`` returns them.
        baseline: name of the row that differences refer to; None takes each table's first row.
        metrics: names of the metrics to show; None shows all.
        joined: put the rows of all tables into one table.
        level: level of the intervals, in (0, 1).
        resamples: bootstrap replicates of each interval.
        seed: seed of the resampling.

    Returns:
        The comparison.

    Raises:
        DataError: if there is no measured record, no row is called ``baseline``, no record has one
            of ``metrics``, or per-utterance scores are malformed.
    """
    measured = [record for record in records if record.kind == "measured"]
    if not measured:
        raise DataError("no measured record was given", remedy="name an experiment with results")
    sections = group(measured, joined=joined)
    _check_names(measured, sections, baseline, metrics)
    settings = Settings(level=level, resamples=resamples, seed=seed)
    printed = Reported(tuple(record for record in reported if record.kind == "reported"))
    blocks: list[Block] = []
    for section in sections:
        build = layer_blocks if section.is_pivot else _row_blocks
        blocks += build(section, printed.of_section(section), baseline, metrics, settings)
    return Comparison(tuple(blocks), _facts(measured), level=level, resamples=resamples)


def _check_names(
    records: Sequence[Result],
    sections: Sequence[Section],
    baseline: str | None,
    metrics: Sequence[str] | None,
) -> None:
    names = sorted({row.name for section in sections for row in section.rows}, key=natural_order)
    if baseline is not None and baseline not in names:
        remedy = "name one of: " + ", ".join(repr(name) for name in names)
        raise DataError(f"no row is called {baseline!r}", remedy=remedy)
    known = sorted({measure.name for record in records for measure in record.metrics})
    for metric in metrics or ():
        if metric not in known:
            cause = f"no record has the metric {metric!r}"
            raise DataError(cause, remedy=f"name one of: {', '.join(known)}")


def _row_blocks(
    section: Section,
    reported: Reported,
    baseline: str | None,
    metrics: Sequence[str] | None,
    settings: Settings,
) -> list[Block]:
    blocks: list[Block] = []
    for index, placed in enumerate(place(section.rows, first=baseline)):
        of_first = placed.rows[0].name if index == 0 and placed.rows[0].done else None
        reference = of_first if baseline is None else baseline
        block = _block(section, placed, reported, reference, metrics, settings)
        blocks.append(_with_missing(block, section, reported) if index == 0 else block)
    return blocks


def _block(
    section: Section,
    placed: Placed,
    reported: Reported,
    baseline: str | None,
    metrics: Sequence[str] | None,
    settings: Settings,
) -> Block:
    scores = score_columns(placed.rows, metrics=metrics)
    by_column = [
        score_cells(placed.rows, column, baseline=baseline, settings=settings) for column in scores
    ]
    costs = cost_cells(placed.rows, baseline=baseline)
    shown = (*scores, *(cost.column for cost in shown_costs(placed.rows)))
    columns = [reported.titled(column) for column in shown]
    rows = []
    for index, runs in enumerate(placed.rows):
        cells = [cells[index] for cells in by_column] + costs[index]
        beside = [
            reported.beside(cell, runs.name, column)
            for cell, column in zip(cells, columns, strict=True)
        ]
        rows.append(_row(runs, beside, scores))
    has_baseline = any(row.name == baseline for row in placed.rows)
    block = Block(
        title=title_of(section),
        kind="rows",
        columns=tuple(columns),
        rows=tuple(rows),
        baseline=baseline if has_baseline else None,
        separate_because=placed.separate_because,
        primary=_primary(scores),
    )
    return _with_front(block)


def title_of(section: Section) -> str:
    """Return the heading of a section.

    Args:
        section: the section.

    Returns:
        Its recipe and table, or a general heading.
    """
    return ", ".join(part for part in (section.recipe, section.table) if part) or "Results"


def _row(runs: Runs, cells: Sequence[Cell], scores: Sequence[Column]) -> Row:
    examples, examples_of = worst_examples(runs, scores)
    counted = runs.done or runs.records
    seeds = sorted({text_of(record, "seed") or "-" for record in counted}, key=natural_order)
    status = "done" if runs.done else describe_status(runs.records[0])
    return Row(
        name=runs.name,
        status=status,
        seeds=tuple(seeds),
        cells=tuple(cells),
        notes=runs.notes,
        examples=examples,
        examples_of=examples_of,
        line=text_of(counted[0], "line"),
    )


def _with_missing(block: Block, section: Section, reported: Reported) -> Block:
    """Add a row for each system of the table that was not run, in the table's order."""
    order = {name: index for index, name in enumerate(reported.systems())}
    present = {row.name for row in section.rows}
    rows = list(block.rows)
    for system in order:
        if system not in present:
            cells = tuple(reported.beside(Cell(), system, column) for column in block.columns)
            rows.append(Row(name=system, status="missing", seeds=(), cells=cells))
    rows.sort(key=lambda row: order.get(row.name, len(order)))
    return replace(block, rows=tuple(rows))


def _primary(scores: Sequence[Column]) -> str | None:
    ordered = sorted(scores, key=lambda column: column.metric != "wer")
    return ordered[0].key if ordered else None


def _with_front(block: Block) -> Block:
    """Mark the rows that no other row beats in score and in a cost at once."""
    if block.primary is None:
        return block
    position = block.column(block.primary)
    rows = list(block.rows)
    for key in _FRONT_COSTS:
        cost = block.column(key)
        if position is None or cost is None:
            continue
        sign = -1.0 if block.columns[position].higher_is_better else 1.0
        points = {
            index: (sign * value, spent)
            for index, row in enumerate(rows)
            if (value := row.cells[position].value) is not None
            and (spent := row.cells[cost].value) is not None
        }
        for index in front(points) if len(points) > 1 else ():
            cells = list(rows[index].cells)
            cells[cost] = replace(cells[cost], marks=(*cells[cost].marks, "front"))
            rows[index] = replace(rows[index], cells=tuple(cells))
    return replace(block, rows=tuple(rows))


def front(points: dict[int, tuple[float, float]]) -> list[int]:
    """Return the points that no other point dominates.

    Args:
        points: by key, two numbers that should both be small.

    Returns:
        The keys of the points for which no other one is as small in both and smaller in one.
    """
    return [
        key
        for key, (x, y) in points.items()
        if not any(a <= x and b <= y and (a < x or b < y) for a, b in points.values())
    ]


def _facts(records: Sequence[Result]) -> tuple[tuple[str, str], ...]:
    def joined(texts: Iterable[object]) -> str:
        return ", ".join(sorted({str(text) for text in texts if text not in (None, "")}))

    started = sorted(text_of(record, "started") for record in records if text_of(record, "started"))
    ended = sorted(text_of(record, "ended") for record in records if text_of(record, "ended"))
    commits = (
        f"{r.code['git_commit']}{' (dirty)' if r.code.get('dirty') else ''}"
        for r in records
        if r.code.get("git_commit")
    )
    unfinished = sum(record.identity.get("status") != "done" for record in records)
    facts = (
        ("records", f"{len(records)}" + (f", {unfinished} unfinished" if unfinished else "")),
        ("recipes", joined(r.identity.get("recipe") for r in records)),
        ("first run started", started[0] if started else ""),
        ("last run ended", ended[-1] if ended else ""),
        ("speechlite", joined(r.code.get("version") for r in records)),
        ("commit", joined(commits)),
        ("torch", joined(r.env.get("torch") for r in records)),
        ("Python", joined(r.env.get("python") for r in records)),
        ("CPU", joined(r.env.get("cpu") for r in records)),
        ("device", joined(r.env.get("device_fingerprint") for r in records)),
        ("seeds", joined(r.identity.get("seed") for r in records)),
    )
    return tuple(fact for fact in facts if fact[1])
