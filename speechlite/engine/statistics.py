"""Intervals and differences of ratio metrics, resampled over speakers and seeds.

A metric here is a ratio of two sums over utterances: word errors over reference words, correct
frames over all frames. Utterances of one speaker are not independent, so the bootstrap draws
speakers (Bisani and Ney 2004; Liu and Peng 2019, arXiv 1912.09508). Where a result has several
seeds, a replicate draws seeds first and then one set of speakers for all of them, because every
seed is scored on the same speakers.

Percentile limits are too narrow for few speakers. The levels are therefore moved outwards as in
Hesterberg 2015 (arXiv 1411.5279, the expanded percentile interval), which matters below about 40
speakers and vanishes for many.

Shapes: R resamples, P speakers, K seeds, C columns of sums.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from speechlite.core.errors import DataError
from speechlite.engine.bootstrap import (
    Floats,
    limits,
    mean_over_drawn_seeds,
    p_value,
    ratios,
    read_scores,
    resampled_ratios,
    speaker_sums,
)

__all__ = [
    "holm",
    "is_non_inferior",
    "nested_difference",
    "nested_interval",
    "paired_difference",
    "ratio_interval",
]


def ratio_interval(
    scores: Iterable[Any], *, level: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> dict[str, Any]:
    """Return a ratio with its confidence interval over speakers.

    Args:
        scores: one item an utterance: a mapping or an object with ``id``, ``speaker``,
            ``numerator`` and ``denominator``, or a tuple of these four.
        level: probability that the interval should cover the true ratio, in (0, 1).
        resamples: number of bootstrap replicates.
        seed: seed of the resampling.

    Returns:
        ``value``, ``low`` and ``high`` as fractions (``low`` and ``high`` are None for one
        speaker, with the reason under ``why``), and ``method``, ``level``, ``n``,
        ``num_blocks``, ``num_seeds``, ``unit_resampled``, ``resamples`` and ``seed``.

    Raises:
        DataError: if a score is malformed, nothing was counted, or ``level`` or ``resamples`` is
            out of range.
    """
    return nested_interval([scores], level=level, resamples=resamples, seed=seed)


def nested_interval(
    scores_by_seed: Sequence[Iterable[Any]],
    *,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> dict[str, Any]:
    """Return the mean ratio of several seeds with its interval over seeds and speakers.

    Args:
        scores_by_seed: the scores of each seed, as in ``ratio_interval``, of the same utterances.
        level: probability that the interval should cover the true mean, in (0, 1).
        resamples: number of bootstrap replicates.
        seed: seed of the resampling.

    Returns:
        The same keys as ``ratio_interval``.

    Raises:
        DataError: if the seeds were scored on different utterances, a score is malformed or
            nothing was counted.
    """
    tables = [read_scores(scores) for scores in scores_by_seed]
    sums_PC, ids = speaker_sums(tables)
    values_RK = resampled_ratios(sums_PC, resamples, seed)
    draws_R = mean_over_drawn_seeds(values_RK, seed)
    value = float(ratios(sums_PC.sum(axis=0)[None])[0].mean())
    interval = limits(draws_R, len(sums_PC), level)
    described = _describe(len(ids), len(sums_PC), len(tables), resamples, seed)
    return {"value": value, **interval, **described}


def paired_difference(
    first: Iterable[Any],
    second: Iterable[Any],
    *,
    higher_is_better: bool = False,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> dict[str, Any]:
    """Return how far the first system's ratio lies above the second's, over speakers.

    Args:
        first: scores of one system, as in ``ratio_interval``.
        second: scores of the other system, of the same utterances.
        higher_is_better: the metric's direction.
        level: probability that the interval should cover the true difference, in (0, 1).
        resamples: number of bootstrap replicates.
        seed: seed of the resampling.

    Returns:
        ``delta`` (first minus second), ``low`` and ``high`` as fractions,
        ``probability_of_improvement`` (that the first is better), a two-sided ``p_value``, and
        the other keys of ``ratio_interval``.

    Raises:
        DataError: if the utterances or their speakers differ, or a score is malformed.
    """
    return nested_difference(
        [(first, second)],
        higher_is_better=higher_is_better,
        level=level,
        resamples=resamples,
        seed=seed,
    )


def nested_difference(
    pairs_by_seed: Sequence[tuple[Iterable[Any], Iterable[Any]]],
    *,
    higher_is_better: bool = False,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> dict[str, Any]:
    """Return the mean difference of two systems over seeds and speakers.

    Args:
        pairs_by_seed: for each seed the scores of the first and of the second system.
        higher_is_better: the metric's direction.
        level: probability that the interval should cover the true difference, in (0, 1).
        resamples: number of bootstrap replicates.
        seed: seed of the resampling.

    Returns:
        The same keys as ``paired_difference``.

    Raises:
        DataError: if the utterances or their speakers differ, or a score is malformed.
    """
    tables = [read_scores(scores) for pair in pairs_by_seed for scores in pair]
    sums_PC, ids = speaker_sums(tables)
    values_RK = resampled_ratios(sums_PC, resamples, seed)
    draws_R = mean_over_drawn_seeds(values_RK[:, 0::2] - values_RK[:, 1::2], seed)
    totals_K = ratios(sums_PC.sum(axis=0)[None])[0]
    finite_R = draws_R[np.isfinite(draws_R)]
    return {
        "delta": float((totals_K[0::2] - totals_K[1::2]).mean()),
        "probability_of_improvement": _improvement(finite_R, higher_is_better),
        "p_value": p_value(finite_R, len(sums_PC)),
        **limits(draws_R, len(sums_PC), level),
        **_describe(len(ids), len(sums_PC), len(pairs_by_seed), resamples, seed),
    }


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust the p values of one family of tests by Holm's step-down method.

    Args:
        p_values: one p value a test, each in [0, 1].

    Returns:
        The adjusted values in the same order, each in [0, 1].

    Raises:
        DataError: if a value is not a probability.
    """
    for value in p_values:
        if not 0.0 <= value <= 1.0:
            raise DataError(
                f"p value {value} is outside [0, 1]", remedy="pass probabilities to holm"
            )
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def is_non_inferior(
    difference: Mapping[str, Any], *, margin: float, higher_is_better: bool = False
) -> bool:
    """Decide whether a system is worse than its reference by less than a margin.

    The decision is taken by the limit of the interval on the worse side, not by the point.

    Args:
        difference: what ``paired_difference`` or ``nested_difference`` returned.
        margin: the largest loss to be tolerated, positive, in the difference's unit.
        higher_is_better: the metric's direction.

    Returns:
        True where the whole interval lies on the good side of the margin.

    Raises:
        DataError: if the margin is not positive or the difference has no interval.
    """
    if not margin > 0:
        raise DataError(f"margin is {margin}, expected > 0", remedy="fix the margin in the recipe")
    limit = difference["low"] if higher_is_better else difference["high"]
    if limit is None:
        raise DataError("the difference has no interval", remedy="score more than one speaker")
    return bool(-limit < margin if higher_is_better else limit < margin)


def _describe(
    num_utterances: int, num_speakers: int, num_seeds: int, resamples: int, seed: int
) -> dict[str, Any]:
    return {
        "n": num_utterances,
        "num_blocks": num_speakers,
        "num_seeds": num_seeds,
        "unit_resampled": "speaker" if num_seeds == 1 else "seed, speaker",
        "resamples": resamples,
        "seed": seed,
    }


def _improvement(draws_R: Floats, higher_is_better: bool) -> float:
    better = draws_R > 0 if higher_is_better else draws_R < 0
    return float(np.mean(better) + 0.5 * np.mean(draws_R == 0))
