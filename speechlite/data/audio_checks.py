"""Compare the recordings of a data directory with its tables: headers, lengths, content hashes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from speechlite.core.errors import DataError
from speechlite.data.audio import AudioInfo, read_info, read_wave
from speechlite.data.problems import Problem, more, shown
from speechlite.data.recording_paths import resolve
from speechlite.data.table_checks import SECONDS_TOLERANCE
from speechlite.data.tables import Table, write_table
from speechlite.data.validation import load_tables

__all__ = ["check_audio", "write_hashes"]

_AGAIN = "compute the file from the audio again"


def check_audio(
    directory: Path, tables: dict[str, Table], *, hash: bool = False
) -> Iterator[Problem]:
    """Find the recordings that are absent, damaged or not what the tables say.

    Args:
        directory: the data directory.
        tables: its tables, without faults of their own.
        hash: whether to compare the content with wav.sha256, which finds a changed sample too.

    Yields:
        One problem a damaged recording, and one for all that are absent or of another rate.
    """
    scp = tables["wav.scp"]
    infos: dict[str, AudioInfo] = {}
    hashes = _expected_hashes(tables) if hash else {}
    if hash and not hashes:
        remedy = "write it with write_hashes while the audio is known to be good"
        yield Problem(directory / "wav.sha256", None, "does not exist", remedy)
    absent = []
    for index, (key, value) in enumerate(zip(scp.keys, scp.values, strict=True)):
        path = resolve(directory, value)
        if not os.path.exists(path):
            absent.append(index)
            continue
        problem = _recording_problem(path, infos, key, hashes.get(key))
        if problem is not None:
            yield problem
    if absent:
        cause = f"recording {shown(scp.values[absent[0]])} does not exist{more(len(absent))}"
        yield scp.problem(absent[0], cause, "restore the file or prepare the data again")
    yield from _rate_problems(scp, infos)
    yield from _length_problems(tables, infos)


def write_hashes(path: str | Path) -> Path:
    """Write wav.sha256, by which later checks notice any change in a recording.

    Args:
        path: a data directory without problems.

    Returns:
        The file written.

    Raises:
        DataError: the directory has a problem or a recording cannot be read.
        EnvironmentProblem: the file cannot be written.
    """
    directory = Path(path)
    tables, problems = load_tables(directory, limit=1)
    # The old hashes are about to be replaced: their faults do not matter.
    problems = [problem for problem in problems if problem.path.name != "wav.sha256"]
    problems = problems or list(check_audio(directory, tables))
    if problems:
        raise problems[0].error()
    scp = tables["wav.scp"]
    pairs = zip(scp.keys, scp.values, strict=True)
    rows = {key: _sha256(resolve(directory, value)) for key, value in pairs}
    write_table(directory / "wav.sha256", rows)
    return directory / "wav.sha256"


def _expected_hashes(tables: dict[str, Table]) -> dict[str, str]:
    table = tables.get("wav.sha256")
    return {} if table is None else dict(zip(table.keys, table.values, strict=True))


def _recording_problem(
    path: Path, infos: dict[str, AudioInfo], key: str, expected_hash: str | None
) -> Problem | None:
    """Return what is wrong with one recording, or note its header under ``key``."""
    changed = False
    try:
        info = read_info(path)
        # Floating point is rare in corpora and can hide a NaN, so it is read whole.
        if info.subtype in ("FLOAT", "DOUBLE"):
            read_wave(path)
        if expected_hash is not None:
            changed = _sha256(path) != expected_hash
    except DataError as error:
        return Problem(path, None, error.cause, error.remedy)
    if changed:
        cause = "content differs from its hash in wav.sha256"
        return Problem(path, None, cause, "copy or download the file again")
    infos[key] = info
    return None


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            digest = hashlib.sha256()
            while block := stream.read(1 << 20):
                digest.update(block)
            return digest.hexdigest()
    except OSError as error:
        cause = f"cannot be read: {error.strerror or error}"
        raise DataError(cause, remedy="check the disk and its permissions", path=path) from error


def _rate_problems(scp: Table, infos: dict[str, AudioInfo]) -> Iterator[Problem]:
    if not infos:
        return
    rate_hz = next(iter(infos.values())).sample_rate
    others = [
        index
        for index, key in enumerate(scp.keys)
        if key in infos and infos[key].sample_rate != rate_hz
    ]
    if others:
        found = infos[scp.keys[others[0]]]
        cause = f"{found.path.name} has {found.sample_rate} Hz, the first recording {rate_hz} Hz"
        remedy = "resample the corpus to one rate when preparing"
        yield scp.problem(others[0], cause + more(len(others)), remedy)


def _length_problems(tables: dict[str, Table], infos: dict[str, AudioInfo]) -> Iterator[Problem]:
    """Compare segments and the tables of lengths with the headers."""
    spans: dict[str, tuple[float, int]] = {}
    segments = tables.get("segments")
    if segments is None:
        spans = {key: (info.duration_seconds, info.sample_rate) for key, info in infos.items()}
    else:
        yield from _segment_problems(segments, infos, spans)
    yield from _seconds_problems(tables.get("reco2dur"), _recording_spans(infos))
    yield from _seconds_problems(tables.get("utt2dur"), spans)
    counts = tables.get("utt2num_samples")
    if counts is not None:
        yield from _count_problems(counts, spans, is_exact=segments is None)


def _recording_spans(infos: dict[str, AudioInfo]) -> dict[str, tuple[float, int]]:
    return {key: (info.duration_seconds, info.sample_rate) for key, info in infos.items()}


def _segment_problems(
    segments: Table, infos: dict[str, AudioInfo], spans: dict[str, tuple[float, int]]
) -> Iterator[Problem]:
    """Yield the segments outside their recording; note (seconds, rate) of the others."""
    for index, (key, value) in enumerate(zip(segments.keys, segments.values, strict=True)):
        name, start, end = value.split(" ")
        info = infos.get(name)
        if info is None:
            continue
        if float(end) > info.duration_seconds + SECONDS_TOLERANCE:
            cause = f"end {end} s is beyond the recording's {info.duration_seconds:.6g} s"
            yield segments.problem(index, cause, "correct or remove the segment")
        else:
            spans[key] = (float(end) - float(start), info.sample_rate)


def _seconds_problems(
    table: Table | None, spans: dict[str, tuple[float, int]]
) -> Iterator[Problem]:
    if table is None:
        return
    for index, (key, value) in enumerate(zip(table.keys, table.values, strict=True)):
        if key in spans and abs(spans[key][0] - float(value)) > SECONDS_TOLERANCE:
            cause = f"{shown(key)} lasts {value} s here but {spans[key][0]:.6g} s by its header"
            yield table.problem(index, cause, _AGAIN)


def _count_problems(
    table: Table, spans: dict[str, tuple[float, int]], *, is_exact: bool
) -> Iterator[Problem]:
    for index, (key, value) in enumerate(zip(table.keys, table.values, strict=True)):
        if key not in spans:
            continue
        seconds, rate_hz = spans[key]
        count = round(seconds * rate_hz)
        # Where a segment is cut, its two ends may each be rounded either way.
        slack = 0 if is_exact else SECONDS_TOLERANCE * rate_hz
        if abs(count - int(value)) > slack:
            cause = f"{shown(key)} has {value} samples here but {count} by its header"
            yield table.problem(index, cause, _AGAIN)
