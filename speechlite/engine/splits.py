"""Data directories as the utterances that a run uses, and what identifies them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from speechlite.core.errors import DataError
from speechlite.core.model import Frontend
from speechlite.data.datadir import Utterance, read_datadir, read_table
from speechlite.data.features import FeatureStore
from speechlite.data.reader import FrameGrid, UtteranceReader
from speechlite.engine.progress import say

__all__ = ["Split", "check_features", "describe", "frame_grid", "open_features", "read_split"]


@dataclass(frozen=True)
class Split:
    """Hold the usable utterances of some data directories.

    Args:
        name: name of the directories, joined by ``+``.
        utterances: by id.
        durations: seconds by id.
        directories: where they came from.
    """

    name: str
    utterances: Mapping[str, Utterance]
    durations: Mapping[str, float]
    directories: tuple[Path, ...]


def frame_grid(frontend: Frontend) -> FrameGrid:
    """Return how a frontend turns samples into frames.

    Args:
        frontend: the frontend.

    Returns:
        Its grid.
    """
    return FrameGrid(frontend.sample_rate, frontend.stride, frontend.min_samples)


def read_split(
    directories: Sequence[str],
    grid: FrameGrid,
    *,
    min_seconds: float = 0.0,
    max_seconds: float | None = None,
    need_text: bool = False,
) -> Split:
    """Read data directories and leave out what is too short or too long, saying how many.

    Args:
        directories: Kaldi-style directories.
        grid: the frontend's frames; shorter utterances than a frame are left out.
        min_seconds: shortest utterance to keep.
        max_seconds: longest one; None keeps all.
        need_text: whether transcripts must be there.

    Returns:
        The split.

    Raises:
        DataError: if a directory is not valid, two share an utterance, or nothing is left.
    """
    utterances: dict[str, Utterance] = {}
    for directory in directories:
        for utterance in _with_readers(Path(directory), need_text=need_text):
            if utterance.id in utterances:
                raise DataError(
                    f"utterance {utterance.id} is in two directories of one split",
                    remedy="name each directory once",
                    path=directory,
                )
            utterances[utterance.id] = utterance
    reader = UtteranceReader(utterances, grid)
    samples = {name: reader.num_samples(name) for name in utterances}
    shortest = max(grid.min_samples, round(min_seconds * grid.sample_rate))
    longest = float("inf") if max_seconds is None else round(max_seconds * grid.sample_rate)
    kept = {name for name, count in samples.items() if shortest <= count <= longest}
    name = "+".join(Path(directory).name for directory in directories)
    if len(kept) < len(utterances):
        bounds = f"below {shortest} samples" + (f" or above {longest}" if max_seconds else "")
        say(f"{name}: left out {len(utterances) - len(kept)} utterances {bounds}")
    if not kept:
        raise DataError(
            f"no utterance of {list(directories)} is of a usable length",
            remedy="name directories that hold speech, or change data.min_seconds and max_seconds",
        )
    return Split(
        name=name,
        utterances={name: utterance for name, utterance in utterances.items() if name in kept},
        durations={name: samples[name] / grid.sample_rate for name in utterances if name in kept},
        directories=tuple(Path(directory) for directory in directories),
    )


def _with_readers(directory: Path, *, need_text: bool) -> Iterator[Utterance]:
    # LibriSpeech directories call a chapter a speaker; statistics need the person
    readers = {}
    if (directory / "chap2reader").is_file():
        readers = read_table(directory / "chap2reader")
    for utterance in read_datadir(directory, need_text=need_text).utterances:
        yield replace(utterance, speaker=readers.get(utterance.speaker, utterance.speaker))


def open_features(root: Path | None, split: Split) -> list[FeatureStore] | None:
    """Open the cached features of a split.

    Args:
        root: directory with one store a data directory; None for no cache.
        split: the split.

    Returns:
        The stores, or None.
    """
    if root is None:
        return None
    return [FeatureStore(root / directory.name) for directory in split.directories]


def check_features(stores: Sequence[FeatureStore], frontend: Mapping[str, Any]) -> None:
    """Refuse features that another frontend made.

    Args:
        stores: opened stores.
        frontend: the frontend's name and options, as plain values.

    Raises:
        DataError: if they differ.
    """
    for store in stores:
        if store.facts.get("frontend") != dict(frontend):
            raise DataError(
                f"the features were made by {store.facts.get('frontend')}, the model has "
                f"{dict(frontend)}",
                remedy="run the features stage again: ./run.sh --stage features",
                path=store.directory,
            )


def describe(split: Split) -> dict[str, Any]:
    """Return what identifies a split in a record.

    Args:
        split: the split.

    Returns:
        Counts, hours and a fingerprint over ids, lengths and texts.
    """
    digest = hashlib.sha256()
    for name in sorted(split.utterances):
        row = (name, round(split.durations[name], 4), split.utterances[name].text)
        digest.update(repr(row).encode())
    speakers = {utterance.speaker for utterance in split.utterances.values()}
    return {
        "fingerprint": digest.hexdigest(),
        "num_utterances": len(split.utterances),
        "num_speakers": len(speakers),
        "hours": sum(split.durations.values()) / 3600,
    }
