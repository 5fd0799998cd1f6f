"""Check a Kaldi-style data directory as a whole: all problems with file and line, none repeated.

Two levels: the tables alone, which takes seconds for a whole corpus, and the audio files too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from statistics import median

from speechlite.core.errors import UsageError
from speechlite.data.problems import Problem, more, shown
from speechlite.data.recording_paths import check_recording_paths
from speechlite.data.table_checks import (
    check_durations,
    check_segments,
    check_single_words,
    check_speakers,
    check_times,
)
from speechlite.data.tables import MAX_LINE_BYTES, Table, scan_table

__all__ = ["Problem", "check_datadir", "load_tables"]

_REQUIRED = ("wav.scp", "utt2spk", "spk2utt")
_OPTIONAL = (
    "text",
    "segments",
    "reco2dur",
    "utt2dur",
    "utt2num_samples",
    "spk2gender",
    "chap2reader",
    "wav.sha256",
    "phones.ctm",
    "words.ctm",
)
_FORMS = {
    "utt2spk": "name",
    "reco2dur": "seconds",
    "utt2dur": "seconds",
    "utt2num_samples": "count",
    "spk2gender": "gender",
    "chap2reader": "name",
    "wav.sha256": "hash",
}
_TEXT_MODES = ("auto", "required", "none")
# A corpus of one speaker is one line of spk2utt.
_MAX_SPEAKER_LINE_BYTES = 64 * MAX_LINE_BYTES


def check_datadir(
    path: str | Path,
    *,
    audio: bool = False,
    hash: bool = False,
    text: str = "auto",
    limit: int = 50,
) -> list[Problem]:
    """Return everything that is wrong with a data directory; nothing if it can be used.

    Args:
        path: the directory with wav.scp, utt2spk and spk2utt.
        audio: whether to open every recording and compare its header with the tables.
        hash: whether to compare every recording's content with wav.sha256 too.
        text: ``auto`` checks the transcripts if there are any, ``required`` wants them, ``none``
            leaves them out.
        limit: the most problems to collect; at least 1.

    Returns:
        Problems in the order of the files, at most ``limit``.

    Raises:
        UsageError: ``text`` or ``limit`` is none of these.
    """
    tables, problems = load_tables(path, text=text, limit=limit)
    trusted = _trusted(tables, problems)
    if "wav.scp" not in trusted or not (audio or hash):
        return problems
    # Imported here: a check of the tables alone needs no decoder.
    from speechlite.data.audio_checks import check_audio

    compare = hash and not any(problem.path.name == "wav.sha256" for problem in problems)
    problems += islice(check_audio(Path(path), trusted, hash=compare), limit)
    return problems[:limit]


def _trusted(tables: dict[str, Table], problems: list[Problem]) -> dict[str, Table]:
    """Leave out the tables with problems, and the lengths that faulty segments would explain."""
    faulty = {problem.path.name for problem in problems}
    if "segments" in faulty:
        faulty |= {"utt2dur", "utt2num_samples"}
    return {name: table for name, table in tables.items() if name not in faulty}


def load_tables(
    path: str | Path, *, text: str = "auto", limit: int = 50
) -> tuple[dict[str, Table], list[Problem]]:
    """Read the tables of a data directory and check them without opening sound.

    Args:
        path: the directory.
        text: as for `check_datadir`.
        limit: the most problems to collect; at least 1.

    Returns:
        The tables that could be read, by file name, and the problems.

    Raises:
        UsageError: ``text`` or ``limit`` is not allowed.
    """
    if text not in _TEXT_MODES:
        remedy = f"choose one of {', '.join(_TEXT_MODES)}"
        raise UsageError(f"text mode {text!r} is unknown", remedy=remedy)
    if limit < 1:
        raise UsageError(f"limit of {limit} problems", remedy="choose at least 1")
    directory = Path(path)
    if not directory.is_dir():
        cause = "is not a directory" if directory.exists() else "does not exist"
        remedy = "name a directory that holds wav.scp, utt2spk and spk2utt"
        return {}, [Problem(directory, None, cause, remedy)]
    tables: dict[str, Table] = {}
    problems: list[Problem] = []
    required = (*_REQUIRED, "text") if text == "required" else _REQUIRED
    for name in (*_REQUIRED, *_OPTIONAL):
        file = directory / name
        if name == "text" and text == "none":
            continue
        # A broken link is a file that somebody meant to be there.
        if file.exists() or file.is_symlink():
            problems += _load(tables, file, limit)
        elif name in required:
            problems.append(Problem(file, None, "does not exist", "prepare the data again"))
    problems += islice(_cross_problems(directory, tables), limit)
    return tables, problems[:limit]


def _load(tables: dict[str, Table], file: Path, limit: int) -> list[Problem]:
    """Read one table; it joins ``tables`` only if every one of its lines can be trusted."""
    name = file.name
    table, problems = scan_table(
        file,
        limit=limit,
        unique=not name.endswith(".ctm"),
        max_line_bytes=_MAX_SPEAKER_LINE_BYTES if name == "spk2utt" else MAX_LINE_BYTES,
    )
    if table is None:
        return problems
    if name == "wav.scp":
        problems = list(islice(check_recording_paths(table), limit))
    elif name in _FORMS:
        problems = list(islice(check_single_words(table, _FORMS[name]), limit))
    if not problems:
        tables[name] = table
    return problems


def _cross_problems(directory: Path, tables: dict[str, Table]) -> Iterator[Problem]:
    """Compare the tables with each other; one that has faults is left out, or it would repeat."""
    utt2spk = tables.get("utt2spk")
    has_segments = (directory / "segments").exists()
    if utt2spk is not None:
        yield from _id_problems(utt2spk)
        yield from check_speakers(utt2spk, tables.get("spk2utt"))
        owner = "segments" if has_segments else "wav.scp"
        by_utterance = (owner, "text", "utt2dur", "utt2num_samples")
        yield from _key_problems(utt2spk, utt2spk.keys, "utterance", tables, by_utterance)
        by_speaker = ("spk2gender", "chap2reader")
        yield from _key_problems(utt2spk, utt2spk.values, "speaker", tables, by_speaker)
    yield from _time_problems(tables)
    if "wav.scp" in tables:
        scp = tables["wav.scp"]
        by_recording = ("reco2dur", "wav.sha256")
        yield from _key_problems(scp, scp.keys, "recording", tables, by_recording)


def _id_problems(utt2spk: Table) -> Iterator[Problem]:
    """Refuse ids that would leave their directory where they become file names."""
    for index, (utterance, speaker) in enumerate(zip(utt2spk.keys, utt2spk.values, strict=True)):
        for name in (utterance, speaker):
            if "/" in name or name in (".", ".."):
                cause = f"id {shown(name)} cannot be a file name"
                yield utt2spk.problem(index, cause, "rename it without '/'")


def _key_problems(
    reference: Table, keys: list[str], noun: str, tables: dict[str, Table], names: tuple[str, ...]
) -> Iterator[Problem]:
    """Compare the keys of some tables with those that ``reference`` names.

    The same keys missing from (or too many in) several tables are one problem, not several.
    """
    missing: defaultdict[tuple[int, ...], list[str]] = defaultdict(list)
    extra: defaultdict[tuple[str, ...], list[Table]] = defaultdict(list)
    first = {key: index for index, key in reversed(list(enumerate(keys)))}
    for name in names:
        table = tables.get(name)
        if table is None or table.keys == keys:
            continue
        absent = first.keys() - set(table.keys)
        if absent:
            missing[tuple(sorted(first[key] for key in absent))].append(name)
        surplus = [key for key in table.keys if key not in first]
        if surplus:
            extra[tuple(surplus)].append(table)
    for indices, absent_from in missing.items():
        where = ", ".join(absent_from)
        cause = f"{noun} {shown(keys[indices[0]])} is not in {where}{more(len(indices))}"
        yield reference.problem(indices[0], cause, f"add it to {where} or remove it everywhere")
    for names_found, found_in in extra.items():
        table = found_in[0]
        also = ", ".join(other.path.name for other in found_in[1:])
        cause = f"{noun} {shown(names_found[0])} is not in {reference.path.name}"
        cause += f" (also here: {also})" if also else ""
        remedy = f"add it to {reference.path.name} or remove it everywhere"
        index = table.keys.index(names_found[0])
        yield table.problem(index, cause + more(len(names_found)), remedy)


def _time_problems(tables: dict[str, Table]) -> Iterator[Problem]:
    """Compare everything that is measured in seconds or samples."""
    segments = tables.get("segments")
    if segments is not None:
        yield from check_segments(segments, tables.get("wav.scp"), _seconds(tables, "reco2dur"))
    if "utt2dur" in tables:
        others = {
            "segments": _segment_seconds(segments),
            "utt2num_samples": _sample_seconds(tables),
        }
        yield from check_durations(tables["utt2dur"], others)
    for name in ("phones.ctm", "words.ctm"):
        if name in tables:
            seconds = _seconds(tables, "utt2dur")
            yield from check_times(tables[name], tables.get("utt2spk"), seconds)


def _seconds(tables: dict[str, Table], name: str) -> dict[str, float]:
    table = tables.get(name)
    if table is None:
        return {}
    return dict(zip(table.keys, map(float, table.values), strict=True))


def _segment_seconds(segments: Table | None) -> dict[str, float]:
    seconds = {}
    for key, value in () if segments is None else zip(segments.keys, segments.values, strict=True):
        try:
            _, start, end = value.split(" ")
            seconds[key] = float(end) - float(start)
        except ValueError:
            # The segment itself is reported; its length is simply not known.
            continue
    return seconds


def _sample_seconds(tables: dict[str, Table]) -> dict[str, float]:
    """Return durations by the sample counts, at the rate that most of them imply."""
    seconds = _seconds(tables, "utt2dur")
    counts = _seconds(tables, "utt2num_samples")
    shared = [key for key in counts if key in seconds]
    if not shared:
        return {}
    rate_hz = median(counts[key] / seconds[key] for key in shared)
    return {key: counts[key] / rate_hz for key in shared}
