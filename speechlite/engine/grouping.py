"""Sort records into tables, rows and blocks: what is one row, and which rows may be compared."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from speechlite.core.result import Result, incomparable_because

__all__ = [
    "Placed",
    "Runs",
    "Section",
    "describe_status",
    "group",
    "natural_order",
    "place",
    "row_name",
    "text_of",
]

_PIVOT_TABLE = "Table 2"


@dataclass(frozen=True)
class Runs:
    """Hold the records that make one row: all its tasks and seeds.

    Args:
        name: name of the row.
        records: its records, finished or not; one for each task and seed.
        layer: the inference layer, where the row has one line a layer.
        notes: what was left out.
    """

    name: str
    records: tuple[Result, ...]
    layer: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def done(self) -> tuple[Result, ...]:
        """Return the finished records.

        Returns:
            The records whose status is ``done``.
        """
        return tuple(r for r in self.records if r.identity.get("status") == "done")

    def of_task(self, task: str) -> tuple[Result, ...]:
        """Return the finished records of one task, by seed.

        Args:
            task: the task.

        Returns:
            Its records in the order of their seeds.
        """
        records = [r for r in self.done if text_of(r, "task") == task]
        return tuple(sorted(records, key=lambda r: natural_order(text_of(r, "seed"))))


@dataclass(frozen=True)
class Section:
    """Hold the rows of one table of one recipe.

    Args:
        recipe: the recipe; empty where rows of several stand together.
        table: the table; empty where the records name none.
        rows: its rows.
        is_pivot: whether inference layers are columns.
    """

    recipe: str
    table: str
    rows: tuple[Runs, ...]
    is_pivot: bool


@dataclass(frozen=True)
class Placed:
    """Hold rows that compare with each other.

    Args:
        rows: the rows.
        separate_because: what keeps them from the blocks before; None for the first block.
    """

    rows: tuple[Runs, ...]
    separate_because: str | None


def text_of(record: Result, key: str) -> str:
    """Return a field of a record's identity as text.

    Args:
        record: the record.
        key: the field.

    Returns:
        The text; empty where it is absent.
    """
    value = record.identity.get(key)
    return "" if value is None else str(value)


def natural_order(text: str) -> tuple[tuple[int, int, str], ...]:
    """Return a sort key that puts ``Exp.2`` before ``Exp.10``.

    Args:
        text: the text to be sorted.

    Returns:
        A key to sort by.
    """
    parts = re.split(r"([0-9]{1,18})", text)
    return tuple((0, int(p), "") if i % 2 else (1, 0, p) for i, p in enumerate(parts) if p)


def group(records: Iterable[Result], *, joined: bool = False) -> list[Section]:
    """Sort measured records into sections and rows.

    Args:
        records: measured records.
        joined: put the rows of all tables into one section.

    Returns:
        The sections in natural order, each with its rows in natural order.
    """
    sections: dict[tuple[str, str], list[Result]] = {}
    for record in records:
        key = ("", "")
        if text_of(record, "table") and not joined:
            key = (text_of(record, "recipe"), text_of(record, "table"))
        sections.setdefault(key, []).append(record)
    ordered = sorted(sections, key=lambda key: [natural_order(part) for part in key])
    return [_section(key, sections[key]) for key in ordered]


def place(rows: Sequence[Runs], *, first: str | None = None) -> list[Placed]:
    """Part rows into blocks, so that all rows of a block may be compared.

    Args:
        rows: the rows of a section.
        first: name of the row that the first block is built around.

    Returns:
        The blocks; rows without a finished run stand in the first one.
    """
    ordered = sorted(rows, key=lambda row: row.name != first) if first else list(rows)
    blocks: list[list[Runs]] = []
    reasons: list[str | None] = []
    for row in (row for row in ordered if row.done):
        because = None
        for block in blocks:
            obstacle = _obstacle(block, row)
            if obstacle is None:
                block.append(row)
                break
            because = because or obstacle
        else:
            blocks.append([row])
            reasons.append(because)
    unfinished = [row for row in ordered if not row.done]
    if unfinished and not blocks:
        return [Placed(tuple(unfinished), None)]
    if unfinished:
        blocks[0] += unfinished
    position = {id(row): index for index, row in enumerate(rows)}
    return [
        Placed(tuple(sorted(block, key=lambda row: position[id(row)])), because)
        for block, because in zip(blocks, reasons, strict=True)
    ]


def _section(key: tuple[str, str], records: Sequence[Result]) -> Section:
    layers = [text_of(record, "layer") for record in records]
    is_pivot = key[1] == _PIVOT_TABLE and all(layer.isdecimal() for layer in layers)
    named: dict[tuple[str, str], list[Result]] = {}
    for record in records:
        recipe = "" if key[1] else text_of(record, "recipe")
        named.setdefault((recipe, row_name(record)), []).append(record)
    shared = {name for _, name in named if sum(name == other for _, other in named) > 1}
    rows: list[Runs] = []
    for recipe, name in sorted(named, key=lambda k: (natural_order(k[1]), k[0])):
        shown = f"{name} ({recipe})" if name in shared and recipe else name
        rows += _rows_of(shown, named[recipe, name], split_layers=is_pivot)
    return Section(*key, rows=tuple(rows), is_pivot=is_pivot)


def row_name(record: Result) -> str:
    """Return the name of the row that a record belongs to.

    Args:
        record: the record.

    Returns:
        Its ``row``, or its model and chain where it names none.
    """
    parts = [text_of(record, key) for key in ("model", "chain")]
    return text_of(record, "row") or " / ".join(part for part in parts if part) or "unnamed"


def _rows_of(name: str, records: Sequence[Result], *, split_layers: bool) -> list[Runs]:
    by_layer: dict[str, list[Result]] = {}
    for record in records:
        by_layer.setdefault(text_of(record, "layer"), []).append(record)
    if not split_layers and not _has_two_layers_of_a_task(records):
        by_layer = {"": list(records)}
    rows = []
    for layer in sorted(by_layer, key=natural_order):
        suffix = f", layer {layer}" if layer and not split_layers else ""
        for variant in _variants(by_layer[layer]):
            kept, notes = _latest(variant)
            rows.append(Runs(name + suffix, kept, layer or None, notes))
    return rows


def _has_two_layers_of_a_task(records: Sequence[Result]) -> bool:
    layers: dict[str, set[str]] = {}
    for record in records:
        layers.setdefault(text_of(record, "task"), set()).add(text_of(record, "layer"))
    return any(len(found) > 1 for found in layers.values())


def _variants(records: Sequence[Result]) -> list[list[Result]]:
    """Part the records of one name where their data, scorer or task differ."""
    ordered = sorted(records, key=lambda r: (r.identity.get("status") != "done", _run_order(r)))
    variants: list[list[Result]] = []
    for record in ordered:
        for variant in variants:
            if all(_difference(other, record) is None for other in variant):
                variant.append(record)
                break
        else:
            variants.append([record])
    return variants


def _run_order(record: Result) -> tuple[str, ...]:
    return tuple(text_of(record, key) for key in ("task", "seed", "ended", "run_id"))


def _latest(records: Sequence[Result]) -> tuple[tuple[Result, ...], tuple[str, ...]]:
    """Keep one record for each task and seed: a finished one, and of these the last."""
    kept: dict[tuple[str, str], Result] = {}
    for record in sorted(records, key=_preference):
        kept[text_of(record, "task"), text_of(record, "seed")] = record
    dropped = len(records) - len(kept)
    notes = [f"{dropped} earlier run(s) of the same task and seed left out"] if dropped else []
    finished = [r for r in kept.values() if r.identity.get("status") == "done"]
    for record in kept.values():
        if finished and record.identity.get("status") != "done":
            what = f"{text_of(record, 'task')}, seed {text_of(record, 'seed')}"
            notes.append(f"{what}: {describe_status(record)}")
    ordered = sorted(kept.values(), key=_run_order)
    return tuple(ordered), tuple(notes)


def _preference(record: Result) -> tuple[bool | str, ...]:
    is_done = record.identity.get("status") == "done"
    return (is_done, *(text_of(record, key) for key in ("ended", "started", "run_id")))


def describe_status(record: Result) -> str:
    """Say how a run that did not finish ended.

    Args:
        record: its record.

    Returns:
        Its status, with the reason where the record gives one.
    """
    status = text_of(record, "status") or "no status"
    why = text_of(record, "why") or record.notes
    return f"{status}: {why}" if why else status


def _obstacle(block: Sequence[Runs], row: Runs) -> str | None:
    for other in block:
        for first in other.done:
            for second in row.done:
                because = _difference(first, second)
                if because is not None:
                    return f"{row.name} and {other.name}, {text_of(first, 'task')}: {because}"
    return None


def _difference(first: Result, second: Result) -> str | None:
    if text_of(first, "task") != text_of(second, "task"):
        return None
    for measure in first.metrics:
        if second.measure(measure.name, measure.split) is None:
            continue
        because = incomparable_because(first, second, measure.name, measure.split)
        if because is not None:
            return because
    return None
