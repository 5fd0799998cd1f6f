"""Gaussian statistics of triphone states, from which trees are grown.

Shapes: S frames, D features, K triphone states.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from speechlite.hmm.acoustic_model import HmmTables
from speechlite.hmm.alignment import phone_segments
from speechlite.hmm.features import Floats

__all__ = ["TriphoneStats", "collect_stats", "log_likelihood_gain", "pooled_log_likelihood"]

Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int32]
_VARIANCE_FLOOR = 0.01


@dataclass(frozen=True)
class TriphoneStats:
    """Hold how often each state of a phone in context occurred, and with which features.

    Args:
        contexts_K4: left phone, phone, right phone, pdf-class; phone 0 is the utterance's edge.
            Silence phones have no context: 0 on both sides.
        counts_K: frames.
        sums_KD: sum of features.
        squares_KD: sum of squared features.
    """

    contexts_K4: Ints
    counts_K: Doubles
    sums_KD: Doubles
    squares_KD: Doubles

    def part(self, rows: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> TriphoneStats:
        """Return some of the states.

        Args:
            rows: which.

        Returns:
            Their statistics.
        """
        return TriphoneStats(
            self.contexts_K4[rows], self.counts_K[rows], self.sums_KD[rows], self.squares_KD[rows]
        )


def collect_stats(
    utterances: Iterable[tuple[Ints, Floats]], tables: HmmTables, *, context_free: Collection[int]
) -> TriphoneStats:
    """Collect statistics of aligned utterances.

    Args:
        utterances: transition ids (S,) and features (S, D) of each.
        tables: the meaning of transition ids.
        context_free: ids of phones that have no context.

    Returns:
        The statistics, each triphone state once, in lexicographic order.
    """
    found: dict[tuple[int, ...], list[Doubles | float]] = {}
    free = np.zeros(int(tables.phone_T.max()) + 1, bool)
    free[list(context_free)] = True
    for transitions_S, features_SD in utterances:
        contexts_S4 = _contexts(transitions_S, tables, free)
        keys_K4, inverse_S = np.unique(contexts_S4, axis=0, return_inverse=True)
        order = np.argsort(inverse_S, kind="stable")
        first = np.searchsorted(inverse_S[order], np.arange(len(keys_K4)))
        values_SD = features_SD[order].astype(np.float64)
        sums = np.add.reduceat(values_SD, first)
        squares = np.add.reduceat(np.square(values_SD), first)
        counts = np.diff([*first, len(order)])
        for key, count, row, square in zip(keys_K4.tolist(), counts, sums, squares, strict=True):
            entry = found.setdefault(tuple(key), [0.0, 0.0, 0.0])
            for place, value in enumerate((float(count), row, square)):
                entry[place] = entry[place] + value
    keys = sorted(found)
    return TriphoneStats(
        np.array(keys, np.int32),
        np.array([found[key][0] for key in keys]),
        np.array([found[key][1] for key in keys]),
        np.array([found[key][2] for key in keys]),
    )


def _contexts(
    transitions_S: Ints, tables: HmmTables, free: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int32]:
    segments = phone_segments(transitions_S, tables)
    phones = np.array([0, *(segment.phone for segment in segments), 0], np.int32)
    triples = np.stack([phones[:-2], phones[1:-1], phones[2:]], axis=1)
    triples[free[triples[:, 1]]] *= np.array([0, 1, 0], np.int32)
    lengths = [segment.end - segment.start for segment in segments]
    classes_S = tables.pdf_class_T[transitions_S]
    return np.concatenate([np.repeat(triples, lengths, axis=0), classes_S[:, None]], axis=1)


def pooled_log_likelihood(counts: Doubles, sums: Doubles, squares: Doubles) -> Doubles:
    """Return the log-likelihood of frames under the Gaussian that fits them best.

    Args:
        counts: frames (...).
        sums: sum of features (..., D).
        squares: sum of squared features (..., D).

    Returns:
        (...); 0 where there is no frame.
    """
    safe = np.maximum(counts, 1e-10)[..., None]
    means = sums / safe
    variances = np.maximum(squares / safe - np.square(means), _VARIANCE_FLOOR)
    # with a floored variance the quadratic term is not one half a frame
    spread = squares / safe - np.square(means)
    inner = np.log(2 * np.pi) + np.log(variances) + spread / variances
    return np.asarray(np.where(counts > 0, -0.5 * counts * inner.sum(-1), 0.0))


def log_likelihood_gain(stats: TriphoneStats, yes_QK: Doubles) -> tuple[Doubles, Doubles]:
    """Return what splitting states by questions gains.

    Args:
        stats: the states of one leaf.
        yes_QK: for each question 1 where a state answers yes, else 0.

    Returns:
        Gain in log-likelihood of each question (Q,), and the frames of its smaller half (Q,).
    """
    yes = [yes_QK @ stats.counts_K, yes_QK @ stats.sums_KD, yes_QK @ stats.squares_KD]
    whole = [stats.counts_K.sum(), stats.sums_KD.sum(0), stats.squares_KD.sum(0)]
    no = [total - part for total, part in zip(whole, yes, strict=True)]
    before = pooled_log_likelihood(np.array(whole[0]), whole[1], whole[2])
    after = pooled_log_likelihood(*yes) + pooled_log_likelihood(*no)
    return after - before, np.minimum(yes[0], no[0])
