"""Take parts of data directories: the utterances of some speakers, or a share of the speech."""

from __future__ import annotations

import bisect
import itertools
import math
import random
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from speechlite.core.errors import DataError, UsageError
from speechlite.data.corpora.ctm import read_ctm, write_ctm
from speechlite.data.corpora.directory import replace_datadir
from speechlite.data.tables import read_table, write_table

__all__ = ["draw_part", "split_by_speaker"]


def split_by_speaker(
    data_dir: Path,
    out_dir: Path,
    *,
    test_speakers: Sequence[str],
    dev_speakers: Sequence[str],
) -> list[Path]:
    """Split a data directory into train, dev and test directories that share no speaker.

    Args:
        data_dir: the directory to split.
        out_dir: where to write ``train``, ``dev`` and ``test``.
        test_speakers: speakers of the test set.
        dev_speakers: speakers of the development set; empty for no such set.

    Returns:
        The directories: train, dev if any, test.

    Raises:
        UsageError: a part would take the place of ``data_dir``.
        DataError: a speaker is unknown or stands in both sets, a set would be empty, or a table
            is neither by utterance nor by speaker nor by recording.
        EnvironmentProblem: ``out_dir`` cannot be written.
    """
    data_dir = Path(data_dir)
    speaker_of = read_table(data_dir / "utt2spk")
    groups = _groups(data_dir, speaker_of, test=test_speakers, dev=dev_speakers)
    written = []
    for name, speakers in groups.items():
        directory = Path(out_dir) / name
        _refuse_same(data_dir, directory)
        utterances = {utt for utt, speaker in speaker_of.items() if speaker in speakers}
        with replace_datadir(directory) as folder:
            _write_part(data_dir, folder, utterances=utterances, speakers=speakers)
        written.append(directory)
    return written


def draw_part(data_dir: Path, out_dir: Path, *, share: float, seed: int = 1) -> int:
    """Draw utterances until they hold a share of the speech.

    A smaller share of the same directory and seed is a part of a larger one.

    Args:
        data_dir: the directory to draw from.
        out_dir: the directory to write.
        share: of the seconds of speech, to the utterance that reaches it; above 0, at most 1.
        seed: of the order.

    Returns:
        The number of utterances.

    Raises:
        UsageError: there is no such share, or ``out_dir`` is the directory to draw from.
        DataError: a length is missing or no number, or a table is neither by utterance nor by
            speaker nor by recording.
        EnvironmentProblem: ``out_dir`` cannot be written.
    """
    if not 0 < share <= 1:
        raise UsageError(f"share is {share:g}", remedy="choose a share above 0 and at most 1")
    data_dir = Path(data_dir)
    _refuse_same(data_dir, Path(out_dir))
    speaker_of = read_table(data_dir / "utt2spk")
    order = sorted(speaker_of)
    seconds = _seconds(data_dir / "utt2dur", order)
    random.Random(seed).shuffle(order)  # noqa: S311 (no secret)
    held = list(itertools.accumulate(seconds[key] for key in order))
    count = bisect.bisect_left(held, share * held[-1]) + 1
    chosen = set(order[:count])
    speakers = {speaker_of[key] for key in chosen}
    with replace_datadir(Path(out_dir)) as folder:
        _write_part(data_dir, folder, utterances=chosen, speakers=speakers)
    return count


def _refuse_same(data_dir: Path, directory: Path) -> None:
    if data_dir.resolve() == directory.resolve():
        raise UsageError(
            f"{directory} would take the place of the directory that it is a part of",
            remedy="write to another directory",
        )


def _seconds(path: Path, utterances: Sequence[str]) -> dict[str, float]:
    lengths = read_table(path)
    seconds: dict[str, float] = {}
    for key in utterances:
        try:
            seconds[key] = float(lengths[key])
        except (KeyError, ValueError):
            seconds[key] = math.nan
        if not 0 < seconds[key] < math.inf:
            raise DataError(
                f"utterance {key} has the length {lengths.get(key)!r}, expected seconds",
                remedy="prepare the directory again: speechlite data prepare --corpus kaldi",
                path=path,
            )
    return seconds


def _groups(
    data_dir: Path, speaker_of: Mapping[str, str], *, test: Sequence[str], dev: Sequence[str]
) -> dict[str, set[str]]:
    path = data_dir / "utt2spk"
    everyone = set(speaker_of.values())
    for speaker in (*test, *dev):
        if speaker not in everyone:
            remedy = f"choose among {', '.join(sorted(everyone)[:20])}"
            raise DataError(f"there is no speaker {speaker!r}", remedy=remedy, path=path)
    both = sorted(set(test) & set(dev))
    if both:
        cause = f"speaker {both[0]!r} is in both the test and the development set"
        raise DataError(cause, remedy="name each speaker once", path=path)
    groups = {"train": everyone - set(test) - set(dev), "dev": set(dev), "test": set(test)}
    if not groups["train"] or not groups["test"]:
        empty = "training" if not groups["train"] else "test"
        remedy = "leave at least one speaker for training and one for the test"
        raise DataError(f"the {empty} set would be empty", remedy=remedy, path=path)
    return {name: speakers for name, speakers in groups.items() if speakers}


def _write_part(data_dir: Path, folder: Path, *, utterances: set[str], speakers: set[str]) -> None:
    keys = utterances | speakers | _recordings(data_dir, utterances)
    known = _all_keys(data_dir)
    for path in sorted(data_dir.iterdir()):
        if not path.is_file() or path.name.startswith((".", "README")):
            continue
        if path.name == "phones.txt":
            # symbols of phone_labels, which stands beside it
            shutil.copyfile(path, folder / path.name)
            continue
        if path.suffix == ".ctm":
            marks = read_ctm(path)
            write_ctm(folder / path.name, {key: marks[key] for key in marks if key in keys})
            continue
        rows = read_table(path)
        strange = sorted(set(rows) - known)
        if strange:
            raise DataError(
                f"{strange[0]!r} is neither an utterance nor a speaker nor a recording",
                remedy="remove the file before splitting",
                path=path,
            )
        rows = {key: row for key, row in rows.items() if key in keys}
        if path.name == "spk2utt":
            rows = {key: _words_in(row, utterances) for key, row in rows.items()}
        if rows:
            write_table(folder / path.name, rows)


def _words_in(row: str, allowed: set[str]) -> str:
    return " ".join(word for word in row.split() if word in allowed)


def _recordings(data_dir: Path, utterances: set[str]) -> set[str]:
    segments = data_dir / "segments"
    if not segments.exists():
        return set()
    return {row.split()[0] for key, row in read_table(segments).items() if key in utterances}


def _all_keys(data_dir: Path) -> set[str]:
    speaker_of = read_table(data_dir / "utt2spk")
    return set(speaker_of) | set(speaker_of.values()) | set(read_table(data_dir / "wav.scp"))
