"""Read result records, their per-utterance scores and the numbers that papers report."""

from __future__ import annotations

import csv
import glob
import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from speechlite.core.errors import DataError
from speechlite.core.result import Measure, Result

__all__ = ["Score", "load_records", "load_reported", "read_scores"]

_REMEDY = "evaluate the model again, or remove the record"
_COLUMNS = ("paper", "table", "system", "metric", "task", "value", "unit", "note")
_TABLE_REMEDY = f"write a CSV table with the columns {','.join(_COLUMNS)}"
_UPWARD = frozenset({"acc", "f1", "mtwv", "speedup"})
_MAX_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True)
class Score:
    """Hold what one utterance added to a metric, as it was written beside its record.

    Args:
        id: utterance id.
        speaker: speaker id.
        numerator: correct frames, or word errors.
        denominator: all frames, or reference words.
        detail: counts and texts: reference, hypothesis, sub, del, ins.
    """

    id: str
    speaker: str
    numerator: float
    denominator: float
    detail: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


def load_records(paths: Iterable[str | Path]) -> list[Result]:
    """Read every record under the given places, with its per-utterance files checked.

    Args:
        paths: experiment directories (searched for ``**/results/*.json``), record files, or
            patterns of either.

    Returns:
        The records in the order of their paths; ``per_utterance`` of each measure is the file's
        full path.

    Raises:
        DataError: if a place does not exist or holds no record, or a record is damaged.
    """
    files: dict[Path, None] = {}
    for given in paths:
        for found in _expand(str(given)):
            files[found.resolve()] = None
    return [_load_record(path) for path in sorted(files)]


def load_reported(path: str | Path) -> list[Result]:
    """Read numbers printed in papers from a CSV table.

    Args:
        path: a table with the columns paper, table, system, metric, task, value, unit, note.

    Returns:
        One record of kind ``reported`` for each paper, table and system, in the file's order; the
        task of each number stands as its measure's ``split``.

    Raises:
        DataError: if the file cannot be read or lacks a column.
    """
    lines = _read_text(Path(path)).splitlines(keepends=True)
    reader = csv.DictReader(lines, strict=True)
    if tuple(reader.fieldnames or ()) != _COLUMNS:
        cause = f"columns are {reader.fieldnames}, expected {','.join(_COLUMNS)}"
        raise DataError(cause, remedy=_TABLE_REMEDY, path=path, line=1)
    systems: dict[tuple[str, str, str], list[Measure]] = {}
    try:
        for row in reader:
            if None in row or None in row.values():
                cause = f"expected {len(_COLUMNS)} fields"
                raise DataError(cause, remedy=_TABLE_REMEDY, path=path, line=reader.line_num)
            key = (row["paper"], row["table"], row["system"])
            systems.setdefault(key, []).append(_reported_measure(row))
    except csv.Error as error:
        cause = f"not CSV: {error}"
        raise DataError(cause, remedy=_TABLE_REMEDY, path=path, line=reader.line_num) from None
    return [_reported_record(key, measures) for key, measures in systems.items()]


def read_scores(measure: Measure) -> tuple[Score, ...]:
    """Read the per-utterance scores of a measure.

    Args:
        measure: a measure of a record that ``load_records`` returned.

    Returns:
        The scores in the file's order; none where the measure has no file.

    Raises:
        DataError: if the file is missing, is not what the record hashed, or has a malformed line.
    """
    if measure.per_utterance is None:
        return ()
    path = Path(measure.per_utterance)
    content = _read_bytes(path)
    if hashlib.sha256(content).hexdigest() != measure.per_utterance_sha256:
        cause = "the SHA-256 of the per-utterance scores is not the one in the record"
        raise DataError(cause, remedy=_REMEDY, path=path)
    lines = _decode(content, path).split("\n")
    return tuple(
        _read_score(line, path, number) for number, line in enumerate(lines, start=1) if line
    )


def _expand(given: str) -> list[Path]:
    places = [Path(given)] if Path(given).exists() else [Path(p) for p in glob.glob(given)]
    if not places:
        raise DataError("no such file or directory", remedy="name an experiment", path=given)
    found: list[Path] = []
    for place in places:
        inside = place.glob("**/results/**/*.json") if place.is_dir() else [place]
        found += [path for path in inside if path.name != "stamp.json"]
    if not found:
        cause = "holds no results/*.json"
        raise DataError(cause, remedy="run the evaluate stage first", path=given)
    return found


def _load_record(path: Path) -> Result:
    record = Result.from_json(_read_text(path), path=str(path))
    _check_types(record, path)
    measures = []
    for measure in record.metrics:
        if measure.per_utterance is not None:
            beside = _beside(path, measure.per_utterance)
            measure = replace(measure, per_utterance=str(beside))
            read_scores(measure)
        measures.append(measure)
    return replace(record, metrics=tuple(measures))


def _beside(record_path: Path, name: str) -> Path:
    folder = record_path.parent.resolve()
    path = (folder / name).resolve()
    if not path.is_relative_to(folder):
        cause = f"per_utterance is {name!r}, expected a file beside the record"
        raise DataError(cause, remedy=_REMEDY, path=record_path)
    return path


def _check_types(record: Result, path: Path) -> None:
    sections = ("identity", "config", "code", "data", "seeds", "env", "cost", "provenance")
    for name in sections:
        if not isinstance(getattr(record, name), Mapping):
            raise DataError(f"{name} is not a mapping", remedy=_REMEDY, path=path)
    for name, content in record.data.items():
        if not isinstance(content, Mapping):
            raise DataError(f"data.{name} is not a mapping", remedy=_REMEDY, path=path)
    for key, value in record.identity.items():
        if not (value is None or isinstance(value, str | int | float)):
            raise DataError(
                f"identity.{key} is {value!r}, expected text", remedy=_REMEDY, path=path
            )
    for measure in record.metrics:
        _check_measure(measure, path)


def _check_measure(measure: Measure, path: Path) -> None:
    texts = (measure.name, measure.split, measure.unit)
    hashes = (measure.per_utterance, measure.per_utterance_sha256, measure.why)
    if not all(isinstance(text, str) for text in texts):
        raise DataError("a metric's name, split or unit is not text", remedy=_REMEDY, path=path)
    if not all(text is None or isinstance(text, str) for text in hashes):
        raise DataError(f"{measure.name}: a file name is not text", remedy=_REMEDY, path=path)
    value = measure.value
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is not None and not (is_number and math.isfinite(value)):
        cause = f"{measure.name} on {measure.split} is {value!r}, expected a finite number or null"
        raise DataError(cause, remedy=_REMEDY, path=path)
    if not (measure.ci is None or isinstance(measure.ci, Mapping)):
        raise DataError(f"{measure.name}: ci is not a mapping", remedy=_REMEDY, path=path)


def _read_score(line: str, path: Path, number: int) -> Score:
    try:
        content = json.loads(line)
        score = Score(
            id=str(content["id"]),
            speaker=str(content["speaker"]),
            numerator=float(content["numerator"]),
            denominator=float(content["denominator"]),
            detail=MappingProxyType(dict(content.get("detail") or {})),
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        cause = f"malformed score: {type(error).__name__}: {error}"
        raise DataError(cause, remedy=_REMEDY, path=path, line=number) from None
    if not (math.isfinite(score.numerator) and math.isfinite(score.denominator)):
        cause = f"utterance {score.id!r} has a count that is not finite"
        raise DataError(cause, remedy=_REMEDY, path=path, line=number)
    return score


def _reported_measure(row: Mapping[str, str]) -> Measure:
    note = row["note"].strip() or None
    value: float | None = None
    why = note or "not stated in the paper"
    try:
        value = float(row["value"])
    except ValueError:
        if row["value"].strip():
            why = f"printed as {row['value'].strip()}"
    if value is not None and not math.isfinite(value):
        value = None
    return Measure(
        name=row["metric"],
        split=row["task"],
        value=value,
        unit=row["unit"],
        higher_is_better=row["metric"] in _UPWARD,
        why=note if value is not None else why,
    )


def _reported_record(key: tuple[str, str, str], measures: list[Measure]) -> Result:
    paper, table, system = key
    identity = {
        "citation": paper,
        "experiment": paper,
        "row": system,
        "status": "done",
        "table": table,
    }
    return Result(kind="reported", identity=identity, metrics=tuple(measures))


def _read_bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > _MAX_BYTES:
            cause = f"larger than {_MAX_BYTES} bytes"
            raise DataError(cause, remedy=_REMEDY, path=path)
        return path.read_bytes()
    except OSError as error:
        cause = f"cannot be read: {error.strerror}"
        raise DataError(cause, remedy="check the path and its permissions", path=path) from None


def _read_text(path: Path) -> str:
    return _decode(_read_bytes(path), path)


def _decode(content: bytes, path: Path) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise DataError("not UTF-8 text", remedy="write it as UTF-8", path=path) from None
