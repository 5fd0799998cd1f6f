"""What each table of a data directory may say, one line at a time and without opening sound."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping

from speechlite.data.problems import Problem, more, shown
from speechlite.data.tables import Table

__all__ = [
    "MAX_SECONDS",
    "SECONDS_TOLERANCE",
    "check_durations",
    "check_segments",
    "check_single_words",
    "check_speakers",
    "check_times",
]

MAX_SECONDS = 36_000.0
"""Longest recording that is accepted."""
SECONDS_TOLERANCE = 0.02
"""Most that two durations may differ: tables are rounded to two decimals at the coarsest."""
# Aligners work in frames, whose last one may reach past the sound.
_ALIGNMENT_TOLERANCE = 0.05
_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,12})?")
_COUNT = re.compile(r"[1-9][0-9]{0,11}")
_HASH = re.compile(r"[0-9a-f]{64}")


def check_single_words(table: Table, pattern: str) -> Iterator[Problem]:
    """Find the values that do not have the form of their table.

    Args:
        table: a table whose values are one word each.
        pattern: ``gender``, ``hash``, ``count``, ``seconds`` or ``name``.

    Yields:
        One problem an entry.
    """
    form, expected, remedy = {
        "gender": (re.compile("[mf]"), "m or f", "write m or f"),
        "hash": (_HASH, "64 lower-case hexadecimal digits", "make the file again"),
        "count": (_COUNT, "a whole number of samples above 0", "count them from the header"),
        "seconds": (_NUMBER, "seconds above 0 such as 12.5", "compute them from the header"),
        "name": (re.compile("[^ ]+"), "one word", "write one word"),
    }[pattern]
    for index, value in enumerate(table.values):
        if form.fullmatch(value) is None:
            cause = f"value {shown(value)} of {shown(table.keys[index])}, {expected} expected"
            yield table.problem(index, cause, remedy)
        elif pattern == "seconds" and not 0.0 < float(value) <= MAX_SECONDS:
            cause = f"duration of {value} s, above 0 and at most {MAX_SECONDS:.0f} s expected"
            yield table.problem(index, cause, "correct the duration or remove the utterance")


def check_speakers(utt2spk: Table, spk2utt: Table | None) -> Iterator[Problem]:
    """Find where utt2spk and spk2utt are not sorted alike or not inverses of each other.

    Args:
        utt2spk: speaker by utterance, one word each.
        spk2utt: utterances by speaker, if it could be read.

    Yields:
        One problem for the order, and one for each kind of disagreement.
    """
    speakers = utt2spk.values
    for index in range(1, len(speakers)):
        if speakers[index] < speakers[index - 1]:
            cause = (
                f"speaker {shown(speakers[index])} comes after {shown(speakers[index - 1])}: "
                "sorting by utterance does not sort by speaker"
            )
            yield utt2spk.problem(index, cause, "begin each utterance's id with its speaker's")
            break
    if spk2utt is not None:
        yield from _inverse_problems(utt2spk, spk2utt)


def _inverse_problems(utt2spk: Table, spk2utt: Table) -> Iterator[Problem]:
    speaker_of = dict(zip(utt2spk.keys, utt2spk.values, strict=True))
    line_of: dict[str, int] = {}
    remedy = "make spk2utt from utt2spk again"
    for index, (speaker, value) in enumerate(zip(spk2utt.keys, spk2utt.values, strict=True)):
        for utterance in value.split(" "):
            if not utterance:
                cause = "more than one space between utterances"
            elif utterance not in speaker_of:
                cause = f"utterance {shown(utterance)} is not in utt2spk"
            elif speaker_of[utterance] != speaker:
                cause = (
                    f"utterance {shown(utterance)} of speaker {shown(speaker)} has speaker "
                    f"{shown(speaker_of[utterance])} in utt2spk"
                )
            elif utterance in line_of:
                cause = f"utterance {shown(utterance)} is already on line {line_of[utterance]}"
            else:
                line_of[utterance] = index + 1
                continue
            line_of.setdefault(utterance, index + 1)
            yield spk2utt.problem(index, cause, remedy)
    missing = [i for i, utterance in enumerate(utt2spk.keys) if utterance not in line_of]
    if missing:
        cause = f"utterance {shown(utt2spk.keys[missing[0]])} is not in spk2utt"
        yield utt2spk.problem(missing[0], cause + more(len(missing)), remedy)


def check_segments(
    segments: Table, recordings: Table | None, seconds: Mapping[str, float]
) -> Iterator[Problem]:
    """Find the segments that are malformed, outside their recording or of an unknown one.

    Args:
        segments: lines of ``utterance recording start end``.
        recordings: wav.scp, if it could be read.
        seconds: length of the recordings as far as it is known.

    Yields:
        One problem a malformed segment, and one a recording that does not fit.
    """
    used: Counter[str] = Counter()
    first: dict[str, int] = {}
    for index, value in enumerate(segments.values):
        fields = value.split(" ")
        cause = _segment_fault(fields, seconds)
        if cause is not None:
            yield segments.problem(index, cause, "correct or remove the segment")
        used[fields[0]] += 1
        first.setdefault(fields[0], index)
    if recordings is None:
        return
    known = set(recordings.keys)
    for name in sorted(used.keys() - known):
        cause = f"recording {shown(name)} is not in wav.scp{more(used[name])}"
        yield segments.problem(first[name], cause, "add the recording or remove its segments")
    unused = [index for index, name in enumerate(recordings.keys) if name not in used]
    if unused:
        cause = f"recording {shown(recordings.keys[unused[0]])} has no segment"
        remedy = "remove the recording or add its segments"
        yield recordings.problem(unused[0], cause + more(len(unused)), remedy)


def _segment_fault(fields: list[str], seconds: Mapping[str, float]) -> str | None:
    if len(fields) != 3:
        return f"{len(fields) + 1} fields, 'utterance recording start end' expected"
    name, start, end = fields
    for number in (start, end):
        if _NUMBER.fullmatch(number) is None:
            return f"time {shown(number)}, seconds of at least 0 such as 12.5 expected"
    if float(end) <= float(start):
        return f"end {end} s is not after start {start} s"
    if float(end) > seconds.get(name, MAX_SECONDS) + SECONDS_TOLERANCE:
        return f"end {end} s is beyond the recording's {seconds.get(name, MAX_SECONDS):g} s"
    return None


def check_durations(table: Table, others: Mapping[str, Mapping[str, float]]) -> Iterator[Problem]:
    """Find the durations that other tables of the directory contradict.

    Args:
        table: utt2dur, its values valid.
        others: by the name of a file, its durations in seconds by key.

    Yields:
        One problem an entry that differs by more than rounding explains.
    """
    for index, (key, value) in enumerate(zip(table.keys, table.values, strict=True)):
        for name, seconds in others.items():
            other = seconds.get(key)
            if other is None or abs(other - float(value)) <= SECONDS_TOLERANCE + 0.001 * other:
                continue
            cause = f"{shown(key)} lasts {value} s here but {other:.6g} s by {name}"
            yield table.problem(index, cause, "compute both files from the audio again")


def check_times(
    table: Table, utterances: Table | None, seconds: Mapping[str, float]
) -> Iterator[Problem]:
    """Find the lines of a CTM that are malformed, out of order or outside their utterance.

    Args:
        table: lines of ``utterance channel start duration token``.
        utterances: utt2spk, if it could be read.
        seconds: length of the utterances as far as it is known.

    Yields:
        One problem a line; lines of unknown utterances share one.
    """
    known = None if utterances is None else set(utterances.keys)
    unknown = []
    last_key, last_start = "", 0.0
    for index, (key, value) in enumerate(zip(table.keys, table.values, strict=True)):
        if known is not None and key not in known:
            unknown.append(index)
        fields = value.split(" ")
        cause = _time_fault(fields, seconds.get(key, MAX_SECONDS))
        if cause is None:
            start = float(fields[1])
            if key == last_key and start < last_start:
                cause = f"start {fields[1]} s is before the start of the line above"
            last_key, last_start = key, start
        if cause is not None:
            yield table.problem(index, cause, "make the alignment again")
    if unknown:
        cause = f"utterance {shown(table.keys[unknown[0]])} is not in utt2spk"
        remedy = "remove its lines from the alignment"
        yield table.problem(unknown[0], cause + more(len(unknown)), remedy)


def _time_fault(fields: list[str], seconds: float) -> str | None:
    if len(fields) not in (4, 5) or "" in fields:
        return f"{len(fields) + 1} fields, 'utterance channel start duration token' expected"
    for number in fields[1:3]:
        if _NUMBER.fullmatch(number) is None:
            return f"time {shown(number)}, seconds of at least 0 such as 12.5 expected"
    end = float(fields[1]) + float(fields[2])
    if end > seconds + _ALIGNMENT_TOLERANCE:
        return f"end {end:.6g} s is beyond the utterance's {seconds:.6g} s"
    return None
