"""Maximum-likelihood training of Gaussian mixtures along a fixed alignment.

Shapes: S frames, G Gaussians of one density, D features, P densities.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from speechlite.hmm.features import Floats
from speechlite.hmm.wheels import load_wheels

__all__ = ["FramesByPdf", "grow", "log_likelihoods", "posteriors", "update_mixtures"]

Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int32]
_ALL_FLAGS = 15
_BLOCK = 65536
_FEWEST_FRAMES = 20.0
"""Frames that a density needs for each of its Gaussians."""
_PERTURBATION = 0.01
"""Distance of split means from the old one, in standard deviations."""


@dataclass(frozen=True)
class FramesByPdf:
    """Hold frames sorted by the density that they are aligned to.

    Args:
        frames_SD: features.
        order_S: where each sorted frame stood before sorting.
        first_P: the first frame of each density, and the number of all frames.
    """

    frames_SD: Floats
    order_S: npt.NDArray[np.int64]
    first_P: npt.NDArray[np.int64]

    @classmethod
    def of(cls, features: Iterable[Floats], pdfs: Iterable[Ints], *, num_pdfs: int) -> FramesByPdf:
        """Sort the frames of utterances.

        Args:
            features: features (S, D) of each utterance.
            pdfs: density of each of their frames.
            num_pdfs: number of densities.

        Returns:
            The frames.
        """
        pdf_S = np.concatenate(list(pdfs))
        order_S = np.argsort(pdf_S, kind="stable")
        frames_SD = np.concatenate(list(features))[order_S]
        first_P = np.searchsorted(pdf_S[order_S], np.arange(num_pdfs + 1))
        return cls(frames_SD, order_S, first_P)

    def blocks(self, pdf: int) -> Iterator[slice]:
        """Give the frames of a density, some at a time.

        Args:
            pdf: the density.

        Yields:
            Stretches of the sorted frames.
        """
        end = int(self.first_P[pdf + 1])
        for begin in range(int(self.first_P[pdf]), end, _BLOCK):
            yield slice(begin, min(begin + _BLOCK, end))


def log_likelihoods(mixture: Any, frames_SD: Floats) -> Floats:
    """Return the weighted log-density of frames under each Gaussian of a mixture.

    Args:
        mixture: a ``kaldi_hmm_gmm.DiagGmm``.
        frames_SD: frames.

    Returns:
        (S, G).
    """
    scores_SG = frames_SD @ np.asarray(mixture.means_invvars).T
    scores_SG -= 0.5 * (np.square(frames_SD) @ np.asarray(mixture.inv_vars).T)
    return np.asarray(scores_SG + np.asarray(mixture.gconsts), np.float32)


def posteriors(mixture: Any, frames_SD: Floats) -> tuple[Floats, float]:
    """Return how likely each Gaussian made each frame.

    Args:
        mixture: a ``kaldi_hmm_gmm.DiagGmm``.
        frames_SD: frames.

    Returns:
        (S, G) posteriors, and the log-likelihood of all frames.
    """
    scores_SG = log_likelihoods(mixture, frames_SD)
    largest_S1 = scores_SG.max(1, keepdims=True)
    weights_SG = np.exp(scores_SG - largest_S1)
    totals_S1 = weights_SG.sum(1, keepdims=True)
    total = float(largest_S1.sum(dtype=np.float64) + np.log(totals_S1).sum(dtype=np.float64))
    return weights_SG / totals_S1, total


def update_mixtures(
    mixtures: Any,
    frames: FramesByPdf,
    *,
    targets_SD: Floats | None = None,
    keep_rare: bool = False,
) -> tuple[float, Doubles]:
    """Run one iteration of EM for every density.

    Args:
        mixtures: a ``kaldi_hmm_gmm.AmDiagGmm``; changed in place.
        frames: the frames; posteriors are computed from these.
        targets_SD: other features of the same frames, in the same order, which the mixtures are
            to describe from now on; None keeps the features.
        keep_rare: whether Gaussians with hardly any frames stay; else they are removed.

    Returns:
        Log-likelihood a frame before the update, and the frames (P,) of each density.
    """
    total = 0.0
    for pdf in range(mixtures.num_pdfs):
        mixture = mixtures.get_pdf(pdf)
        statistics = [np.zeros((mixture.num_gauss, n)) for n in (1, mixtures.dim, mixtures.dim)]
        for part in frames.blocks(pdf):
            weights_SG, log_likelihood = posteriors(mixture, frames.frames_SD[part])
            total += log_likelihood
            data_SD = (frames.frames_SD if targets_SD is None else targets_SD)[part]
            statistics[0] += weights_SG.sum(0, dtype=np.float64)[:, None]
            statistics[1] += weights_SG.T @ data_SD
            statistics[2] += weights_SG.T @ np.square(data_SD)
        _maximise(mixture, statistics, keep_rare=keep_rare)
    occupancy_P = np.diff(frames.first_P).astype(np.float64)
    return total / max(len(frames.frames_SD), 1), occupancy_P


def _maximise(mixture: Any, statistics: list[Doubles], *, keep_rare: bool) -> None:
    wheels = load_wheels()
    accumulator = wheels.khg.AccumDiagGmm()
    accumulator.resize(num_gauss=mixture.num_gauss, dim=statistics[1].shape[1], flags=_ALL_FLAGS)
    accumulator.occupancy = statistics[0][:, 0]
    accumulator.mean_accumulator = statistics[1]
    accumulator.variance_accumulator = statistics[2]
    wheels.khg_core.mle_diag_gmm_update(
        config=wheels.khg.MleDiagGmmOptions(remove_low_count_gaussians=not keep_rare),
        diag_gmm_acc=accumulator,
        flags=_ALL_FLAGS,
        gmm=mixture,
    )


def grow(
    mixtures: Any, occupancy_P: Doubles, num_gaussians: int, *, power: float, seed: int
) -> None:
    """Split the Gaussians of well-filled densities until there are enough.

    Kaldi's own splitting draws from a generator that cannot be seeded; this one repeats.

    Args:
        mixtures: a ``kaldi_hmm_gmm.AmDiagGmm``; changed in place.
        occupancy_P: frames of each density.
        num_gaussians: Gaussians to reach; less where densities have too few frames.
        power: a density's share of them grows with its frames to this power.
        seed: where split means go.
    """
    sizes = [mixtures.get_pdf(pdf).num_gauss for pdf in range(mixtures.num_pdfs)]
    targets = _split_targets(sizes, occupancy_P, num_gaussians, power)
    generator = np.random.default_rng([seed, num_gaussians])
    for pdf, (size, target) in enumerate(zip(sizes, targets, strict=True)):
        if target > size:
            _split(mixtures.get_pdf(pdf), target, generator)


def _split_targets(
    sizes: list[int], occupancy_P: Doubles, num_gaussians: int, power: float
) -> list[int]:
    targets = list(sizes)
    heap = [
        (-(occupancy**power) / size, pdf)
        for pdf, (occupancy, size) in enumerate(zip(occupancy_P.tolist(), sizes, strict=True))
    ]
    heapq.heapify(heap)
    missing = num_gaussians - sum(sizes)
    while missing > 0 and heap:
        _, pdf = heapq.heappop(heap)
        if occupancy_P[pdf] < _FEWEST_FRAMES * (targets[pdf] + 1):
            continue
        targets[pdf] += 1
        missing -= 1
        heapq.heappush(heap, (-(occupancy_P[pdf] ** power) / targets[pdf], pdf))
    return targets


def _split(mixture: Any, target: int, generator: np.random.Generator) -> None:
    """Split the heaviest Gaussian into two on both sides of its mean, again and again."""
    weights = np.asarray(mixture.weights).tolist()
    means, variances = list(np.asarray(mixture.means)), list(np.asarray(mixture.vars))
    while len(weights) < target:
        heaviest = int(np.argmax(weights))
        weights[heaviest] /= 2
        offset = _PERTURBATION * np.sqrt(variances[heaviest])
        offset = offset * generator.standard_normal(len(offset))
        weights.append(weights[heaviest])
        variances.append(variances[heaviest])
        means.append(means[heaviest] + offset)
        means[heaviest] = means[heaviest] - offset
    mixture.resize(target, len(means[0]))
    mixture.set_weights(np.array(weights, np.float32))
    mixture.set_invvars_and_means(
        1.0 / np.array(variances, np.float32), np.array(means, np.float32)
    )
    mixture.compute_gconsts()
