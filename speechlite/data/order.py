"""The order of batches as a pure function of seed and position, by lhotse's bucketing sampler."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from lhotse import CutSet, MonoCut
from lhotse.dataset import DynamicBucketingSampler

from speechlite.core.errors import DataError

__all__ = ["BatchOrder", "Position"]


@dataclass(frozen=True)
class Position:
    """Name a batch of an endless stream of epochs.

    Args:
        epoch: from 0.
        batch: from 0 within the epoch.
    """

    epoch: int
    batch: int


class BatchOrder:
    """Cut utterances into batches of similar duration, in an order given by a seed.

    Args:
        durations: seconds of every utterance, by id.
        batch_seconds: most audio of a batch.
        num_buckets: duration buckets; fewer where there are few utterances.
        seed: seed of the order; the order of an epoch depends on it and the epoch alone.
        shuffle: whether to shuffle at all.
    """

    def __init__(
        self,
        durations: Mapping[str, float],
        *,
        batch_seconds: float,
        num_buckets: int,
        seed: int,
        shuffle: bool = True,
    ) -> None:
        if not durations:
            raise DataError(
                "there is no utterance to make batches of",
                remedy="check the data directories and data.min_seconds",
            )
        longest = max(durations.values())
        if longest > batch_seconds:
            raise DataError(
                f"an utterance of {longest:.2f} s does not fit into batches of {batch_seconds} s",
                remedy="raise batch_seconds, or lower max_seconds",
            )
        self.durations = dict(durations)
        self.batch_seconds = batch_seconds
        self.bins = _bins(durations, num_buckets)
        self.seed = seed
        self.shuffle = shuffle

    def epoch(self, epoch: int) -> Iterator[tuple[str, ...]]:
        """Return the batches of one epoch.

        Args:
            epoch: its number, from 0.

        Yields:
            Utterance ids of a batch.
        """
        cuts = CutSet.from_cuts(
            MonoCut(id=name, start=0.0, duration=round(seconds, 6), channel=0)
            for name, seconds in self.durations.items()
        )
        with warnings.catch_warnings():
            # it advises lazy reading, which is for manifests that do not fit into memory
            warnings.filterwarnings("ignore", message=".*eagerly read CutSet.*")
            sampler = DynamicBucketingSampler(
                cuts,
                max_duration=self.batch_seconds,
                num_buckets=len(self.bins) + 1,
                duration_bins=self.bins,
                shuffle=self.shuffle,
                seed=self.seed,
                world_size=1,
                rank=0,
            )
        sampler.set_epoch(epoch)
        for batch in sampler:
            yield tuple(cut.id for cut in batch)

    def stream(self, start: Position) -> Iterator[tuple[Position, tuple[str, ...]]]:
        """Return batches for ever, from a position on.

        Args:
            start: the first position to return.

        Yields:
            Positions with their utterance ids.
        """
        epoch = start.epoch
        while True:
            skip = start.batch if epoch == start.epoch else 0
            for number, names in enumerate(self.epoch(epoch)):
                if number >= skip:
                    yield Position(epoch, number), names
            epoch += 1


def _bins(durations: Mapping[str, float], num_buckets: int) -> list[float]:
    # edges of buckets with equal amounts of audio; lhotse's own estimate needs many durations
    ordered = np.sort(np.fromiter(durations.values(), dtype=float))
    share = np.cumsum(ordered) / ordered.sum()
    wanted = np.arange(1, num_buckets) / num_buckets
    edges = ordered[np.searchsorted(share, wanted).clip(max=len(ordered) - 1)]
    return sorted({float(edge) for edge in edges if edge < ordered[-1]}) or [float(ordered[-1])]
