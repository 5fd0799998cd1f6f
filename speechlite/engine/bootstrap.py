"""Resample sums over speakers: the draws behind intervals and differences of ratio metrics.

Shapes: R resamples, P speakers, K seeds or systems, C = 2K columns of sums.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from speechlite.core.errors import DataError

__all__ = [
    "Floats",
    "Scores",
    "limits",
    "mean_over_drawn_seeds",
    "p_value",
    "ratios",
    "read_scores",
    "resampled_ratios",
    "speaker_sums",
]

_CHUNK_DRAWS = 2_000_000
_REMEDY = "score both models again on the same split with the same scorer"

Floats = NDArray[np.float64]
"""Array of double precision."""
Scores = Mapping[str, tuple[str, float, float]]
"""``(speaker, numerator, denominator)`` by utterance id."""


def read_scores(scores: Iterable[Any]) -> Scores:
    """Return the scores of one system by utterance.

    Args:
        scores: one item an utterance: a mapping or an object with ``id``, ``speaker``,
            ``numerator`` and ``denominator``, or a tuple of these four.

    Returns:
        By utterance id: speaker, numerator, denominator.

    Raises:
        DataError: if a score is malformed or given twice, or nothing was counted.
    """
    table: dict[str, tuple[str, float, float]] = {}
    for score in scores:
        name, speaker, numerator, denominator = _fields(score)
        if name in table:
            raise DataError(f"utterance {name!r} is scored twice", remedy=_REMEDY)
        if not (math.isfinite(numerator) and math.isfinite(denominator) and denominator >= 0):
            cause = f"utterance {name!r} counts {numerator} of {denominator}"
            raise DataError(cause + ", expected finite numbers", remedy=_REMEDY)
        table[name] = (speaker, numerator, denominator)
    if not table or math.fsum(row[2] for row in table.values()) <= 0:
        raise DataError("no units were counted, expected at least one", remedy=_REMEDY)
    return table


def _fields(score: Any) -> tuple[str, str, float, float]:
    names = ("id", "speaker", "numerator", "denominator")
    try:
        if hasattr(score, "numerator") and hasattr(score, "speaker"):
            values = tuple(getattr(score, name) for name in names)
        elif isinstance(score, Mapping):
            values = tuple(score[name] for name in names)
        else:
            values = tuple(score)[:4]
        return str(values[0]), str(values[1]), float(values[2]), float(values[3])
    except (KeyError, AttributeError, TypeError, ValueError, IndexError):
        cause = "a score lacks one of id, speaker, numerator, denominator"
        raise DataError(cause, remedy=_REMEDY) from None


def speaker_sums(tables: Sequence[Scores]) -> tuple[Floats, list[str]]:
    """Sum numerators and denominators by speaker.

    Args:
        tables: what ``read_scores`` returned, of the same utterances.

    Returns:
        (P, C) sums with the columns n0, d0, n1, d1, ..., and the sorted utterance ids.

    Raises:
        DataError: if there is no table, or utterances or their speakers differ.
    """
    if not tables:
        raise DataError("no scores were given, expected at least one seed", remedy=_REMEDY)
    for other in tables[1:]:
        _check_same_utterances(tables[0], other)
    ids = sorted(tables[0])
    speakers = sorted({tables[0][name][0] for name in ids})
    position = {speaker: index for index, speaker in enumerate(speakers)}
    rows = np.array([position[tables[0][name][0]] for name in ids])
    columns = []
    for table in tables:
        for field in (1, 2):
            values = np.array([table[name][field] for name in ids], dtype=np.float64)
            columns.append(np.bincount(rows, weights=values, minlength=len(speakers)))
    return np.stack(columns, axis=1), ids


def _check_same_utterances(first: Scores, second: Scores) -> None:
    unpaired = sorted(set(first) ^ set(second))
    if unpaired:
        some = ", ".join(repr(name) for name in unpaired[:3])
        cause = f"{len(unpaired)} utterances are scored in one and not in the other: {some}"
        raise DataError(cause, remedy=_REMEDY)
    for name, row in first.items():
        if row[0] != second[name][0]:
            cause = f"utterance {name!r} has speaker {row[0]!r} in one and {second[name][0]!r}"
            raise DataError(cause + " in the other", remedy=_REMEDY)


def ratios(sums_RC: Floats) -> Floats:
    """Divide numerators by denominators.

    Args:
        sums_RC: numerators and denominators by turns.

    Returns:
        (R, K) ratios; not finite where a denominator is zero.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        divided: Floats = sums_RC[:, 0::2] / sums_RC[:, 1::2]
    return divided


def resampled_ratios(sums_PC: Floats, resamples: int, seed: int) -> Floats:
    """Return the ratios in each resample of the speakers.

    Args:
        sums_PC: sums of each speaker, numerators and denominators by turns.
        resamples: number of resamples.
        seed: seed of the draws.

    Returns:
        (R, K) ratios; not finite where a resample counts no unit.

    Raises:
        DataError: if ``resamples`` is not positive.
    """
    if resamples < 1:
        raise DataError(f"resamples is {resamples}, expected >= 1", remedy="ask for 1000 or more")
    num_speakers = len(sums_PC)
    generator = np.random.default_rng(seed)
    rows = max(1, _CHUNK_DRAWS // num_speakers)
    parts = []
    for start in range(0, resamples, rows):
        count = min(rows, resamples - start)
        drawn_RP = generator.integers(num_speakers, size=(count, num_speakers))
        # (R, P) speaker numbers -> (R * P,) numbers that are distinct between replicates
        drawn_RP += np.arange(count)[:, None] * num_speakers
        weights = np.bincount(drawn_RP.ravel(), minlength=count * num_speakers)
        weights_RP = weights.reshape(count, num_speakers).astype(np.float64)
        parts.append(ratios(weights_RP @ sums_PC))
    return np.concatenate(parts)


def mean_over_drawn_seeds(values_RK: Floats, seed: int) -> Floats:
    """Return the mean over K seeds drawn with replacement in each resample.

    Args:
        values_RK: the value of each seed in each resample.
        seed: seed of the draws.

    Returns:
        (R,) means.
    """
    num_replicates, num_seeds = values_RK.shape
    if num_seeds == 1:
        return values_RK[:, 0]
    # another stream than the speakers', so that one seed more leaves the speakers as they were
    generator = np.random.default_rng([seed, num_seeds])
    counts_RK = generator.multinomial(num_seeds, [1 / num_seeds] * num_seeds, size=num_replicates)
    means_R: Floats = (values_RK * counts_RK).sum(axis=1) / num_seeds
    return means_R


def limits(draws_R: Floats, num_speakers: int, level: float) -> dict[str, Any]:
    """Return the limits between which a share of the resamples lies, moved out for few speakers.

    Args:
        draws_R: the statistic in each resample.
        num_speakers: number of speakers that were resampled.
        level: probability that the interval should cover the true value, in (0, 1).

    Returns:
        ``method``, ``level``, ``low`` and ``high``, the last two None for one speaker.

    Raises:
        DataError: if ``level`` is out of range.
    """
    if not 0.0 < level < 1.0:
        raise DataError(
            f"level is {level}, expected a number in (0, 1)", remedy="correct the level"
        )
    found: dict[str, Any] = {"method": "expanded percentile bootstrap", "level": level}
    finite_R = draws_R[np.isfinite(draws_R)]
    if num_speakers < 2 or not len(finite_R):
        return {**found, "low": None, "high": None, "why": "one speaker: nothing to resample"}
    tail = _expanded_tail((1.0 - level) / 2.0, num_speakers)
    low, high = np.quantile(finite_R, [tail, 1.0 - tail])
    return {**found, "low": float(low), "high": float(high)}


def _expanded_tail(tail: float, num_blocks: int) -> float:
    """Return the tail probability at which the percentile is read, for few blocks."""
    quantile = -float(stdtrit(num_blocks - 1, tail))
    return NormalDist().cdf(-quantile * math.sqrt(num_blocks / (num_blocks - 1)))


def p_value(draws_R: Floats, num_blocks: int) -> float:
    """Return the level at which the two-sided interval just excludes zero.

    Where no resample lies beyond zero, that level is below what the number of resamples can tell;
    it is then Student's, with the resamples' spread as standard error.

    Args:
        draws_R: a difference in each resample.
        num_blocks: number of speakers that were resampled.

    Returns:
        A two-sided p value in [0, 1].
    """
    if num_blocks < 2:
        return 1.0
    count = min(int(np.sum(draws_R <= 0)), int(np.sum(draws_R >= 0)))
    tail = min(0.5, (count + 1) / (len(draws_R) + 1))
    shrink = math.sqrt((num_blocks - 1) / num_blocks)
    quantile = -NormalDist().inv_cdf(tail) * shrink
    if count == 0 and (spread := float(np.std(draws_R))) > 0:
        quantile = max(quantile, abs(float(np.mean(draws_R))) / spread * shrink)
    return min(1.0, 2 * float(stdtr(num_blocks - 1, -quantile)))
