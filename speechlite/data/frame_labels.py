"""Phone labels of frames for data directories that have alignments."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from speechlite.core.errors import DataError
from speechlite.data.corpora.ctm import read_ctm
from speechlite.data.corpora.phone_labels import write_phone_labels
from speechlite.data.datadir import read_datadir
from speechlite.data.reader import KALDI_FRAMES, UtteranceReader

__all__ = ["label_frames"]

_SILENCE = "SIL"


def label_frames(directories: Sequence[Path]) -> list[Path]:
    """Write ``phone_labels`` and ``phones.txt`` from ``phones.ctm``, with one inventory for all.

    Args:
        directories: data directories; those without ``phones.ctm`` are passed over.

    Returns:
        The files of labels that were written.

    Raises:
        DataError: if a directory is missing or not valid.
    """
    for path in directories:
        if not path.is_dir():
            raise DataError("is no directory", remedy="name data directories", path=path)
    aligned = [path for path in directories if (path / "phones.ctm").is_file()]
    symbols = {
        mark.token
        for path in aligned
        for marks in read_ctm(path / "phones.ctm").values()
        for mark in marks
    } - {_SILENCE}
    phones = {symbol: number for number, symbol in enumerate([_SILENCE, *sorted(symbols)])}
    written = []
    for path in aligned:
        utterances = {item.id: item for item in read_datadir(path).utterances}
        reader = UtteranceReader(utterances, KALDI_FRAMES)
        frames = {name: KALDI_FRAMES.num_frames(reader.num_samples(name)) for name in utterances}
        out = path / "phone_labels"
        write_phone_labels(path / "phones.ctm", frames, out, phones=phones)
        written.append(out)
    return written
