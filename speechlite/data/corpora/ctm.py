"""Time-marked phones and words: lines of "utterance channel start duration token"."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from speechlite.core.errors import DataError
from speechlite.data.atomic import replace_file
from speechlite.data.tables import Table, scan_table

__all__ = ["Mark", "read_ctm", "write_ctm"]

_REMEDY = "write 'utterance channel start duration token' with times in seconds"


@dataclass(frozen=True)
class Mark:
    """Hold one phone or word in time.

    Args:
        start: seconds from the beginning of the utterance.
        duration: seconds, more than 0.
        token: the phone or word.
        line: 1-based line of the file that it was read from.
    """

    start: float
    duration: float
    token: str
    line: int

    @property
    def end(self) -> float:
        """Return where it ends, in seconds."""
        return self.start + self.duration


def read_ctm(path: Path) -> dict[str, list[Mark]]:
    """Read a CTM.

    Args:
        path: the file, sorted by utterance in C byte order and by time.

    Returns:
        The marks of each utterance in time order; they do not overlap.

    Raises:
        DataError: a line is not a mark, or comes too early, with file and line.
    """
    table, problems = scan_table(path, limit=1, unique=False)
    if table is None:
        raise problems[0].error()
    marks: dict[str, list[Mark]] = {}
    for index, utterance in enumerate(table.keys):
        mark = _mark(table, index)
        before = marks.setdefault(utterance, [])
        # Times are rounded to 0.1 ms when they are written.
        if before and mark.start < before[-1].end - 1e-4:
            raise DataError(
                f"begins at {mark.start} s, before the mark above ends",
                remedy="sort the marks by time and remove overlaps",
                path=path,
                line=mark.line,
            )
        before.append(mark)
    return marks


def write_ctm(path: Path, marks: Mapping[str, Sequence[Mark]]) -> None:
    """Write a CTM that `read_ctm` reads back.

    Args:
        path: the file to write or replace.
        marks: the marks of each utterance in time order.
    """
    lines = (
        f"{utterance} 1 {mark.start:.4f} {mark.duration:.4f} {mark.token}\n"
        for utterance in sorted(marks)
        for mark in marks[utterance]
    )
    with replace_file(path) as stream:
        stream.write("".join(lines).encode())


def _mark(table: Table, index: int) -> Mark:
    fields = table.values[index].split(" ")
    try:
        _, start, duration, token = fields
        mark = Mark(float(start), float(duration), token, index + 1)
    except ValueError:
        raise table.problem(index, "not a time-marked token", _REMEDY).error() from None
    if not (math.isfinite(mark.end) and mark.start >= 0 and mark.duration > 0):
        cause = f"start {start} and duration {duration} are not a stretch of time"
        raise table.problem(index, cause, _REMEDY).error()
    return mark
