"""The cost columns of a comparison: what stands in them and where a record keeps it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from speechlite.core.result import Result
from speechlite.engine.comparison import Cell, Column
from speechlite.engine.grouping import Runs, text_of

__all__ = ["COSTS", "Cost", "cost_cells", "shown_costs"]


@dataclass(frozen=True)
class Cost:
    """Say where a cost stands in a record and how it is shown.

    Args:
        column: its column.
        section: the key under ``cost``.
        field: the key under the section.
        divisor: what turns the record's unit into the column's.
        reported_as: the name of the same cost in tables of reported numbers.
        optional: whether the column is left out where no record has the cost.
    """

    column: Column
    section: str
    field: str
    divisor: float
    reported_as: str = ""
    optional: bool = False


def _cost(
    key: str,
    title: str,
    unit: str,
    place: str,
    divisor: float,
    reported_as: str = "",
    *,
    optional: bool = False,
) -> Cost:
    section, field = place.split(".")
    column = Column(key=key, title=title, kind="cost", unit=unit, digits=3, metric=key)
    return Cost(column, section, field, divisor, reported_as, optional)


def _of_paper(
    key: str, title: str, unit: str, field: str, divisor: float, reported_as: str
) -> Cost:
    place = f"paper.{field}"
    return _cost(key, f"paper's {title}", unit, place, divisor, reported_as, optional=True)


COSTS = (
    _cost("params", "parameters", "M", "params.total", 1e6, "params"),
    _cost("nonzero", "non-zero", "M", "params.nonzero", 1e6),
    _cost("macs", "MACs per second of audio", "G", "macs.per_second_audio", 1e9),
    _cost("train_epoch", "training", "h / epoch", "train.seconds_per_epoch", 3600.0, "train_time"),
    _cost("train_hours", "training", "h", "train.seconds", 3600.0),
    _cost("compress_hours", "compression", "h", "compress.seconds", 3600.0, optional=True),
    _cost(
        "compress_last", "its last step", "s", "compress.last_seconds", 1.0, "time", optional=True
    ),
    _cost("rtf", "RTF", "", "rtf.p50", 1.0, "rtf"),
    _cost("decoding_rtf", "decoding RTF", "", "decoding.rtf", 1.0),
    _cost("memory", "peak memory", "MB", "peak_memory.bytes", 1e6),
    _cost("bytes", "on disk", "MB", "storage.bytes_on_disk", 1e6, "storage"),
    _cost("bops", "BOPs per second of audio", "T", "bops.per_second_audio", 1e12, optional=True),
    _of_paper("paper_storage", "storage", "MB", "storage_bytes", 1e6, "paper_storage"),
    _of_paper("paper_flop", "FLOP", "G", "flop", 1e9, "flop"),
    _of_paper("paper_bop_float", "BOP, float", "G", "bop_float", 2.0**30, "bop_nonq"),
    _of_paper("paper_bop_binary", "BOP, binary", "G", "bop_binary", 2.0**30, "bop_bq"),
    _of_paper("paper_time", "A100 time", "1e-4 s", "seconds", 1e-4, "nvda_est_time"),
)
"""Every cost that a table can show, in the order of its columns."""


_TIMED = ("rtf", "decoding_rtf")


def cost_cells(rows: Sequence[Runs], *, baseline: str | None) -> list[list[Cell]]:
    """Return the cost cells of every row of a block.

    Real-time factors are shown for one device only: the baseline's, else the commonest one.

    Args:
        rows: the rows.
        baseline: name of the baseline row.

    Returns:
        For each row one cell a cost.
    """
    device = _reference_device(rows, baseline)
    return [[_cell(row, cost, device) for cost in shown_costs(rows)] for row in rows]


def shown_costs(rows: Sequence[Runs]) -> tuple[Cost, ...]:
    """Return the costs that a block of a table shows.

    Args:
        rows: the rows.

    Returns:
        Those of ``COSTS``, without optional ones that no record of the rows has.
    """
    records = [record for row in rows for record in row.done]
    return tuple(
        cost
        for cost in COSTS
        if not cost.optional or any(_read(record, cost)[0] is not None for record in records)
    )


def _cell(row: Runs, cost: Cost, device: str | None) -> Cell:
    by_seed: dict[str, float] = {}
    whys: list[str] = []
    for record in row.done:
        value, why = _read(record, cost)
        if value is not None and cost.column.key in _TIMED and _device(record) != device:
            value, why = None, f"measured on another device ({_device(record) or 'not recorded'})"
        if value is None:
            whys += [why] if why else []
        else:
            # every task's record repeats the model's cost: the first one counts
            by_seed.setdefault(text_of(record, "seed"), value)
    if not by_seed:
        return Cell(why=whys[0] if whys else None)
    seeds = tuple((seed, float(value)) for seed, value in sorted(by_seed.items()))
    return Cell(value=math.fsum(by_seed.values()) / len(by_seed), by_seed=seeds)


def _read(record: Result, cost: Cost) -> tuple[float | None, str | None]:
    section = record.cost.get(cost.section)
    whys = record.cost.get("why")
    why = whys.get(cost.section) if isinstance(whys, Mapping) else None
    if not isinstance(section, Mapping):
        return None, None if why is None else str(why)
    value: Any = section.get(cost.field)
    if value is None:
        value = section.get(f"cpu_{cost.field}")
    why = section.get("why", why)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None, None if why is None else str(why)
    return value / cost.divisor, None


def _device(record: Result) -> str | None:
    value = record.env.get("device_fingerprint")
    return None if value is None else str(value)


def _reference_device(rows: Sequence[Runs], baseline: str | None) -> str | None:
    rtfs = [cost for cost in COSTS if cost.column.key in _TIMED]
    timed = [
        (row.name == baseline, _device(record))
        for row in rows
        for record in row.done
        if any(_read(record, rtf)[0] is not None for rtf in rtfs) and _device(record) is not None
    ]
    of_baseline = [device for is_baseline, device in timed if is_baseline]
    found = Counter(of_baseline or [device for _, device in timed])
    return min(found, key=lambda device: (-found[device], str(device))) if found else None
