"""Fit a codebook by mini-batch k-means on frames that stay on disk.

Shapes: N frames to fit on, K frames of a mini-batch, C codewords, F features, S frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.cluster import MiniBatchKMeans, kmeans_plusplus
from threadpoolctl import threadpool_limits
from torch import Tensor

from speechlite.config.units import KMeansOptions
from speechlite.core.errors import DataError
from speechlite.core.types import stateless_seed
from speechlite.engine.progress import track

__all__ = ["Fit", "fit_codewords", "nearest_codewords"]

Frames = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Fit:
    """Hold fitted codewords and how the fitting went.

    Args:
        codewords: float32 (C, F).
        steps: mini-batches.
        distance: mean squared distance of a frame to its codeword, over the last mini-batch.
    """

    codewords: Frames
    steps: int
    distance: float


def fit_codewords(frames_NF: Frames, options: KMeansOptions, *, seed: int, threads: int) -> Fit:
    """Fit codewords to frames, of which one mini-batch is in memory at a time.

    Args:
        frames_NF: the frames, such as a memory map; at least as many as codewords.
        options: how to fit.
        seed: seed of the starts and of the mini-batches.
        threads: CPU threads; the result is the same each time for the same number.

    Returns:
        The fit.

    Raises:
        DataError: if there are fewer frames than codewords.
    """
    if len(frames_NF) < options.clusters:
        raise DataError(
            f"{len(frames_NF)} frames for {options.clusters} clusters",
            remedy="raise kmeans.fit_share or kmeans.fit_hours, or lower kmeans.clusters",
        )
    generator = np.random.default_rng(stateless_seed(seed, "kmeans"))
    with threadpool_limits(threads):
        start_CF = _best_start(frames_NF, options, generator)
        return _descend(frames_NF, start_CF, options, generator)


def _draw(frames_NF: Frames, count: int, generator: np.random.Generator) -> Frames:
    # sorted, so that a disk is read in one direction
    indices_K = np.sort(generator.integers(0, len(frames_NF), size=count))
    return np.ascontiguousarray(frames_NF[indices_K])


def _best_start(
    frames_NF: Frames, options: KMeansOptions, generator: np.random.Generator
) -> Frames:
    """Return the k-means++ start with the lowest distance on frames of its own."""
    count = max(options.batch_frames, 3 * options.clusters)
    judged_KF = torch.from_numpy(_draw(frames_NF, count, generator))
    starts = []
    for _ in range(options.starts):
        drawn_KF = _draw(frames_NF, count, generator)
        seed = int(generator.integers(2**31))
        codewords_CF, _ = kmeans_plusplus(drawn_KF, options.clusters, random_state=seed)
        _, distances_K = nearest_codewords(judged_KF, torch.from_numpy(codewords_CF))
        starts.append((float(distances_K.mean()), codewords_CF))
    best: Frames = min(starts, key=lambda start: start[0])[1]
    return best


def _descend(
    frames_NF: Frames, start_CF: Frames, options: KMeansOptions, generator: np.random.Generator
) -> Fit:
    batch_frames = max(min(options.batch_frames, len(frames_NF)), options.clusters)
    most_steps = max(1, options.max_epochs * len(frames_NF) // batch_frames)
    kmeans = MiniBatchKMeans(
        options.clusters,
        init=start_CF,
        n_init=1,
        batch_size=batch_frames,
        random_state=int(generator.integers(2**31)),
        # a codeword moved to a random frame in the last step would stay there
        reassignment_ratio=0.0,
    )
    watch = _Patience(min(1.0, 2 * batch_frames / (len(frames_NF) + 1)), options.patience)
    steps, distance = 0, float("nan")
    with track(f"{options.clusters} clusters", most_steps) as tracker:
        while steps < most_steps and not watch.is_over:
            kmeans.partial_fit(_draw(frames_NF, batch_frames, generator))
            distance = float(kmeans.inertia_) / batch_frames
            watch.note(distance)
            steps += 1
            tracker.update(steps, f"distance {distance:.4g}")
    return Fit(np.asarray(kmeans.cluster_centers_, dtype=np.float32), steps, distance)


class _Patience:
    """Tell when a smoothed value has not fallen for some time."""

    def __init__(self, weight: float, patience: int) -> None:
        self._weight = weight
        self._patience = patience
        self._smoothed: float | None = None
        self._lowest = float("inf")
        self._since = 0

    def note(self, value: float) -> None:
        old = value if self._smoothed is None else self._smoothed
        self._smoothed = old + self._weight * (value - old)
        self._since = 0 if self._smoothed < self._lowest else self._since + 1
        self._lowest = min(self._lowest, self._smoothed)

    @property
    def is_over(self) -> bool:
        return self._since >= self._patience


def nearest_codewords(frames_SF: Tensor, codewords_CF: Tensor) -> tuple[Tensor, Tensor]:
    """Return the codeword of lowest Euclidean distance for each frame.

    Args:
        frames_SF: frames.
        codewords_CF: codewords on the same device.

    Returns:
        Indices (S,), the lowest of equal ones, and squared distances (S,), float64.
    """
    # |f|^2 - 2 f.c + |c|^2 cancels; double precision leaves enough
    frames_SF, codewords_CF = frames_SF.double(), codewords_CF.double()
    scores_SC = codewords_CF.square().sum(1) - 2 * frames_SF @ codewords_CF.mT
    lowest: Any = scores_SC.min(dim=1)
    return lowest.indices, (lowest.values + frames_SF.square().sum(1)).clamp(min=0)
