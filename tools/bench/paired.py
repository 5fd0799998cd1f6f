"""Time two programs against each other on a machine whose speed drifts."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable

__all__ = ["paired_ratio"]

_RESAMPLES = 2000


def paired_ratio(
    ours: Callable[[], object], peer: Callable[[], object], *, repeats: int = 11
) -> dict[str, float | int | list[float]]:
    """Measure how many times faster ours is than the peer, in alternating calls.

    Each pair of calls runs back to back, so a slow moment of the machine hits both; the order
    within a pair alternates.

    Args:
        ours: runs our program once.
        peer: runs the peer's program once, on the same work.
        repeats: number of timed pairs, at least 1; one more of each warms up.

    Returns:
        ``ratio``, the median of peer's seconds over ours; ``ratio_interval``, its 95 % bootstrap
        interval over the pairs; ``ours_seconds`` and ``peer_seconds``, medians; ``repeats``.
    """
    ours(), peer()
    pairs = [_time_pair(ours, peer, ours_first=index % 2 == 0) for index in range(repeats)]
    ratios = [peer_seconds / our_seconds for our_seconds, peer_seconds in pairs]
    return {
        "ratio": round(statistics.median(ratios), 3),
        "ratio_interval": [round(bound, 3) for bound in _median_interval(ratios)],
        "ours_seconds": statistics.median(our_seconds for our_seconds, _ in pairs),
        "peer_seconds": statistics.median(peer_seconds for _, peer_seconds in pairs),
        "repeats": repeats,
    }


def _time_pair(
    ours: Callable[[], object], peer: Callable[[], object], *, ours_first: bool
) -> tuple[float, float]:
    if ours_first:
        our_seconds = _seconds(ours)
        return our_seconds, _seconds(peer)
    peer_seconds = _seconds(peer)
    return _seconds(ours), peer_seconds


def _seconds(program: Callable[[], object]) -> float:
    start = time.perf_counter()
    program()
    return time.perf_counter() - start


def _median_interval(ratios: list[float]) -> tuple[float, float]:
    generator = random.Random(0)
    medians = sorted(
        statistics.median(generator.choices(ratios, k=len(ratios))) for _ in range(_RESAMPLES)
    )
    return medians[_RESAMPLES // 40], medians[-_RESAMPLES // 40 - 1]
