"""Frame-wise phone labels: from time-marked phones, and as published for LibriSpeech.

A file holds one utterance a line, ``utterance id id id ...``, one id for each frame. The phone
alignments that come with the CPC split of LibriSpeech (Oord et al. 2018, arXiv 1807.03748) have
this form, at 10 ms a frame.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from speechlite.core.errors import DataError
from speechlite.data.atomic import replace_file
from speechlite.data.corpora.ctm import Mark, read_ctm
from speechlite.data.tables import read_table, write_table

__all__ = [
    "SILENCE",
    "read_phone_labels",
    "read_phones",
    "read_utterance_list",
    "write_phone_labels",
]

SILENCE = "SIL"
"""Symbol of frames that belong to no phone."""
_SAMPLE_RATE = 16000
_FRAME_SHIFT = 160
_FRAME_LENGTH = 400
_LARGEST_ID = np.iinfo(np.int16).max
_LABELS = re.compile(r"[0-9]+(?: [0-9]+)*")

Labels = npt.NDArray[np.int16]


def write_phone_labels(
    ctm: Path,
    num_frames: Mapping[str, int],
    out: Path,
    *,
    phones: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """Write the phone at the centre of every frame, and ``phones.txt`` beside.

    Frames are 25 ms long and 10 ms apart: the centre of frame n is at (160 n + 200) / 16000 s.
    A frame without a phone is silence.

    Args:
        ctm: time-marked phones.
        num_frames: number of frames of each utterance to write.
        out: the file of labels to write; ``phones.txt`` stands in the same directory.
        phones: id of each phone, silence being 0; None to number those of ``ctm`` by name.

    Returns:
        The id of each phone.

    Raises:
        DataError: an utterance has no phones, or a phone no id; with file and line.
        EnvironmentProblem: the files cannot be written.
    """
    marks = read_ctm(ctm)
    absent = sorted(set(num_frames) - set(marks))
    if absent:
        raise DataError(
            f"utterance {absent[0]} has no phones",
            remedy="use the alignment of this audio, or leave the utterance out",
            path=ctm,
        )
    ids = _number(marks) if phones is None else dict(phones)
    wanted = {utterance: marks[utterance] for utterance in sorted(num_frames)}
    _check_known(wanted, ids, path=ctm)
    with replace_file(out) as stream:
        for utterance, items in wanted.items():
            labels = _labels(items, ids, num_frames[utterance])
            stream.write(f"{utterance} {' '.join(map(str, labels))}\n".encode())
    write_table(out.with_name("phones.txt"), {name: str(ids[name]) for name in ids})
    return ids


def read_phones(path: Path) -> dict[str, int]:
    """Read the ids of the phones.

    Args:
        path: a file of lines ``symbol id``.

    Returns:
        The id of each phone.

    Raises:
        DataError: an id is not a number, or stands twice.
    """
    ids: dict[str, int] = {}
    for line, (symbol, value) in enumerate(read_table(path).items(), start=1):
        if not value.isdecimal() or int(value) in ids.values():
            raise DataError(
                f"{value!r} is not an id of its own",
                remedy="number the phones 0, 1, 2, ...",
                path=path,
                line=line,
            )
        ids[symbol] = int(value)
    return ids


def read_phone_labels(path: Path) -> dict[str, Labels]:
    """Read frame-wise labels.

    Args:
        path: a file of lines ``utterance id id id ...``, in any order.

    Returns:
        The int16 ids of each utterance, one for each frame.

    Raises:
        DataError: the file is missing or empty, a line holds anything else, or an utterance
            stands twice; with file and line.
    """
    labels: dict[str, Labels] = {}
    for number, line in _lines(path):
        utterance, _, text = line.partition(" ")
        if _LABELS.fullmatch(text) is None:
            raise DataError(
                f"not 'utterance id id id ...': {line[:60]!r}",
                remedy="write whole numbers with one space between",
                path=path,
                line=number,
            )
        if utterance in labels:
            raise DataError(
                f"utterance {utterance} stands twice", remedy="keep one", path=path, line=number
            )
        labels[utterance] = _parse(text, path=path, line=number)
    return labels


def read_utterance_list(path: Path) -> list[str]:
    """Read a list of utterances, such as the CPC split's ``train_split.txt``.

    Args:
        path: a file with one utterance id a line.

    Returns:
        The ids in the order of the file.

    Raises:
        DataError: the file is missing or empty, a line is not one id, or an id stands twice; with
            file and line.
    """
    found: dict[str, int] = {}
    for number, line in _lines(path):
        if len(line.split()) != 1 or line in found:
            raise DataError(
                f"not an utterance id of its own: {line[:60]!r}",
                remedy="write each id once, one a line",
                path=path,
                line=number,
            )
        found[line] = number
    return list(found)


def _lines(path: Path) -> list[tuple[int, str]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        remedy = "name a text file of labels"
        raise DataError(f"cannot be read ({error})", remedy=remedy, path=path) from error
    lines = text.splitlines()
    if not lines:
        raise DataError("is empty", remedy="make the file again", path=path)
    return list(enumerate(lines, start=1))


def _parse(text: str, *, path: Path, line: int) -> Labels:
    ids = np.fromstring(text, dtype=np.int64, sep=" ")
    if ids.max() > _LARGEST_ID:
        raise DataError(
            f"id {ids.max()} is out of range",
            remedy=f"number the phones from 0 to at most {_LARGEST_ID}",
            path=path,
            line=line,
        )
    return ids.astype(np.int16)


def _number(marks: Mapping[str, Sequence[Mark]]) -> dict[str, int]:
    names = {mark.token for items in marks.values() for mark in items} - {SILENCE}
    return {name: number for number, name in enumerate([SILENCE, *sorted(names)])}


def _check_known(
    marks: Mapping[str, Sequence[Mark]], ids: Mapping[str, int], *, path: Path
) -> None:
    for items in marks.values():
        for mark in items:
            if mark.token not in ids:
                raise DataError(
                    f"phone {mark.token!r} has no id",
                    remedy="number the phones of all sets together",
                    path=path,
                    line=mark.line,
                )


def _labels(items: Sequence[Mark], ids: Mapping[str, int], num_frames: int) -> Labels:
    centres = (np.arange(num_frames) * _FRAME_SHIFT + _FRAME_LENGTH // 2) / _SAMPLE_RATE
    starts = np.array([mark.start for mark in items])
    ends = np.array([mark.end for mark in items])
    numbers = np.array([ids[mark.token] for mark in items], dtype=np.int16)
    places = np.searchsorted(starts, centres, side="right") - 1
    inside = (places >= 0) & (centres < ends[np.maximum(places, 0)])
    return np.where(inside, numbers[np.maximum(places, 0)], ids.get(SILENCE, 0)).astype(np.int16)
