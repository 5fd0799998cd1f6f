"""The values of a comparison: blocks of rows that may be compared, their columns and cells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

__all__ = ["Block", "Cell", "Column", "Comparison", "Difference", "Example", "Row"]


@dataclass(frozen=True)
class Difference:
    """Hold how far a row lies from the baseline row, in the column's unit.

    Args:
        delta: the row's value minus the baseline's, over the seeds that both have.
        low: lower limit; None where there is nothing to resample.
        high: upper limit.
        probability_of_improvement: share of replicates in which the row is better, in [0, 1].
        p_value: two-sided, of this test alone.
        p_holm: adjusted for the column's tests in the block.
        num_utterances: utterances compared.
        num_speakers: speakers resampled.
        seeds: the seeds compared.
    """

    delta: float
    low: float | None
    high: float | None
    probability_of_improvement: float
    p_value: float
    p_holm: float
    num_utterances: int
    num_speakers: int
    seeds: tuple[str, ...]


@dataclass(frozen=True)
class Cell:
    """Hold one number of a row and what is known of it.

    Args:
        value: mean over the seeds, in the column's unit; None where it is missing.
        low: lower limit of the interval.
        high: upper limit of the interval.
        by_seed: each seed with its value.
        reported: the value that a paper prints for this row.
        reported_why: the note on the reported value.
        difference: the difference to the baseline row.
        marks: ``best``, ``tied`` (not significantly different from the best), ``front`` (no row
            has both a better score and a lower cost).
        why: why the value or the interval is missing.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    by_seed: tuple[tuple[str, float | None], ...] = ()
    reported: float | None = None
    reported_why: str | None = None
    difference: Difference | None = None
    marks: tuple[str, ...] = ()
    why: str | None = None


@dataclass(frozen=True)
class Column:
    """Describe a column.

    Args:
        key: the name that conditions and files use, such as ``ctc/wer/test_clean`` or ``rtf``.
        title: what the reader sees.
        kind: ``score`` or ``cost``.
        unit: ``%``, ``M``, ``MB`` ...; may be empty.
        digits: digits after the point for scores, significant digits for costs.
        higher_is_better: the direction of improvement.
        metric: name of the metric or of the cost.
        task: the task of a score; may be empty.
        split: the split of a score; may be empty.
        reported_title: heading of the reported values; None where there are none.
    """

    key: str
    title: str
    kind: str
    unit: str = ""
    digits: int = 2
    higher_is_better: bool = False
    metric: str = ""
    task: str = ""
    split: str = ""
    reported_title: str | None = None


@dataclass(frozen=True)
class Example:
    """Hold one utterance on which a row did badly.

    Args:
        id: utterance id.
        speaker: speaker id.
        numerator: errors, or correct units.
        denominator: units in the reference.
        detail: counts and texts.
    """

    id: str
    speaker: str
    numerator: float
    denominator: float
    detail: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True)
class Row:
    """Hold one row of a table.

    Args:
        name: name of the row.
        status: ``done``, ``missing``, or the status of a run that did not finish.
        seeds: the seeds that were run.
        cells: one cell a column of the block.
        notes: what the reader must know about the row.
        examples: the worst utterances, worst first.
        examples_of: title of the column that ``examples`` belong to.
        line: the line of a figure that the row is a point of; empty for none.
    """

    name: str
    status: str
    seeds: tuple[str, ...]
    cells: tuple[Cell, ...]
    notes: tuple[str, ...] = ()
    examples: tuple[Example, ...] = ()
    examples_of: str = ""
    line: str = ""

    @property
    def is_single_seed(self) -> bool:
        """Tell whether the row rests on one seed only.

        Returns:
            True for one seed.
        """
        return len(self.seeds) == 1


@dataclass(frozen=True)
class Block:
    """Hold rows whose numbers may be compared with each other.

    Args:
        title: heading.
        kind: ``rows`` or ``layers`` (one column an inference layer).
        columns: the columns.
        rows: the rows.
        baseline: name of the row that differences refer to.
        separate_because: the field in which this block differs from the ones before it.
        primary: key of the score that the front of score and cost is drawn by.
        notes: what the reader must know about the block.
    """

    title: str
    kind: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    baseline: str | None = None
    separate_because: str | None = None
    primary: str | None = None
    notes: tuple[str, ...] = ()

    def column(self, key: str) -> int | None:
        """Return where a column stands.

        Args:
            key: the column's key.

        Returns:
            Its position, or None where the block has no such column.
        """
        for position, column in enumerate(self.columns):
            if column.key == key:
                return position
        return None


@dataclass(frozen=True)
class Comparison:
    """Hold everything that a comparison shows.

    Args:
        blocks: tables, in the order in which they are shown.
        facts: pairs of a label and a text from the records: versions, commits, dates, devices.
        level: level of the intervals.
        resamples: bootstrap replicates of each interval.
    """

    blocks: tuple[Block, ...]
    facts: tuple[tuple[str, str], ...]
    level: float = 0.95
    resamples: int = 10_000

    def cells(self) -> Iterator[tuple[Block, Row, Column, Cell]]:
        """Give every cell with its block, row and column.

        Yields:
            A cell with its place, block by block and row by row.
        """
        for block in self.blocks:
            for row in block.rows:
                for column, cell in zip(block.columns, row.cells, strict=True):
                    yield block, row, column, cell
