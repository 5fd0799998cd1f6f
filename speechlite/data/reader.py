"""Utterances as batches: sound or cached features, with their labels.

Shapes: B batch, T samples, S frames, F features, L labels.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from speechlite.core.errors import DataError
from speechlite.core.types import Batch, Padded, stateless_seed
from speechlite.data.audio import read_info, read_wave
from speechlite.data.datadir import Utterance
from speechlite.data.features import FeatureStore

__all__ = ["KALDI_FRAMES", "FrameGrid", "UtteranceReader", "frame_of", "pad"]


@dataclass(frozen=True)
class FrameGrid:
    """Say how samples become frames.

    Args:
        sample_rate: samples a second.
        stride: samples from one frame to the next.
        min_samples: samples of the shortest utterance that gives a frame.
    """

    sample_rate: int
    stride: int
    min_samples: int

    def num_frames(self, num_samples: int) -> int:
        """Return the frames of an utterance.

        Args:
            num_samples: its samples.

        Returns:
            Frames; 0 where it is too short.
        """
        return max(0, 1 + (num_samples - self.min_samples) // self.stride)


KALDI_FRAMES = FrameGrid(sample_rate=16000, stride=160, min_samples=400)
"""Frames of Kaldi's features and alignments: 25 ms long, 10 ms apart."""


def _centres(grid: FrameGrid, count: int) -> np.ndarray:
    return (np.arange(count) * grid.stride + grid.min_samples / 2) / grid.sample_rate


def frame_of(
    target: FrameGrid, source: FrameGrid, *, num_target: int, num_source: int
) -> np.ndarray:
    """Return the frame of one grid that is nearest to each frame of another.

    Args:
        target: the frames to find one for each.
        source: the frames to choose from.
        num_target: number of target frames.
        num_source: number of source frames, at least 1.

    Returns:
        (num_target,) indices.
    """
    times = _centres(target, num_target) * source.sample_rate - source.min_samples / 2
    # a tie goes to the earlier frame, whatever the rounding of the division
    nearest = np.ceil(times / source.stride - 0.5 - 1e-9).astype(np.int64)
    return nearest.clip(0, num_source - 1)


def pad(sequences: Sequence[Tensor]) -> Padded:
    """Join sequences of unequal length, padded with zeros.

    Args:
        sequences: tensors (L, ...), equal in all but the first axis.

    Returns:
        Values (B, L, ...) and lengths.
    """
    lengths_B = torch.tensor([len(sequence) for sequence in sequences])
    return Padded(torch.nn.utils.rnn.pad_sequence(list(sequences), batch_first=True), lengths_B)


@dataclass
class UtteranceReader:
    """Read utterances by id.

    Args:
        utterances: all that may be asked for, by id.
        grid: the frontend's frames.
        features: cached features by utterance id; None reads sound.
        max_seconds: longer utterances are cut to this at a random place; None reads all.
        labels: label streams; each gives int64 labels by utterance id.
        frame_streams: label streams with a label for each frame, which are cut as the sound is.
    """

    utterances: Mapping[str, Utterance]
    grid: FrameGrid
    features: Sequence[FeatureStore] | None = None
    max_seconds: float | None = None
    labels: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)
    frame_streams: frozenset[str] = frozenset()

    def read(self, names: Sequence[str], *, seed: int = 0, crop_seed: int = 0) -> Batch:
        """Read one batch.

        Args:
            names: utterance ids.
            seed: what ``Batch.seed`` becomes.
            crop_seed: seed of the random cuts.

        Returns:
            The batch.
        """
        windows = [self._window(name, crop_seed) for name in names]
        pairs = list(zip(names, windows, strict=True))
        batch = replace(self.read_labels(names, windows), seed=seed)
        if self.features is not None:
            read = [self._read_features(name, *window) for name, window in pairs]
            return replace(batch, features=pad(read))
        return replace(batch, waves=pad([self._read_wave(name, *window) for name, window in pairs]))

    def read_labels(
        self, names: Sequence[str], windows: Sequence[tuple[int, int | None]] | None = None
    ) -> Batch:
        """Read a batch without its sound.

        Args:
            names: utterance ids.
            windows: first frame and number of frames of each, None for all; None for whole
                utterances.

        Returns:
            A batch of ids, speakers and labels.
        """
        whole: Sequence[tuple[int, int | None]] = [(0, None)] * len(names)
        return Batch(
            ids=tuple(names),
            speakers=tuple(self.utterances[name].speaker for name in names),
            labels={
                stream: self._labels(
                    stream, names, (windows or whole) if stream in self.frame_streams else whole
                )
                for stream in self.labels
            },
        )

    def num_samples(self, name: str) -> int:
        """Return the length of an utterance at the frontend's rate.

        Args:
            name: its id.

        Returns:
            Samples.
        """
        utterance = self.utterances[name]
        if utterance.num_samples is not None and utterance.start_seconds is None:
            return utterance.num_samples
        if utterance.duration_seconds is not None:
            return round(utterance.duration_seconds * self.grid.sample_rate)
        return read_info(utterance.audio_path).num_frames

    def _labels(
        self, stream: str, names: Sequence[str], windows: Sequence[tuple[int, int | None]]
    ) -> Padded:
        source = self.labels[stream]
        missing = [name for name in names if name not in source]
        if missing:
            raise DataError(
                f"utterance {missing[0]} has no {stream} labels",
                remedy=f"make {stream} labels for every utterance of the split",
            )
        rows = [
            source[name][start : None if count is None else start + count]
            for name, (start, count) in zip(names, windows, strict=True)
        ]
        return pad([torch.as_tensor(row, dtype=torch.int64) for row in rows])

    def _window(self, name: str, crop_seed: int) -> tuple[int, int | None]:
        # first frame and number of frames to keep; None for all
        if self.max_seconds is None:
            return 0, None
        limit = self.grid.num_frames(int(self.max_seconds * self.grid.sample_rate))
        frames = self.grid.num_frames(self.num_samples(name))
        if frames <= limit:
            return 0, None
        start = random.Random(stateless_seed(crop_seed, name)).randint(0, frames - limit)  # noqa: S311
        return start, limit

    def _read_features(self, name: str, start: int, frames: int | None) -> Tensor:
        for store in self.features or ():
            if name in store:
                return store.read(name, start, frames)
        raise DataError(f"utterance {name} has no features", remedy="run the features stage again")

    def _read_wave(self, name: str, start: int, frames: int | None) -> Tensor:
        utterance = self.utterances[name]
        grid = self.grid
        first = round((utterance.start_seconds or 0.0) * grid.sample_rate)
        count = None
        if utterance.end_seconds is not None:
            count = round(utterance.end_seconds * grid.sample_rate) - first
        if frames is not None:
            first += start * grid.stride
            count = (frames - 1) * grid.stride + grid.min_samples
        wave_T = read_wave(
            utterance.audio_path,
            sample_rate=grid.sample_rate,
            offset_frames=first,
            num_frames=count,
        )
        if len(wave_T) < grid.min_samples:
            raise DataError(
                f"utterance {name} has {len(wave_T)} samples, a frame needs {grid.min_samples}",
                remedy="leave it out, or raise data.min_seconds",
                path=utterance.audio_path,
            )
        return torch.from_numpy(wave_T)
