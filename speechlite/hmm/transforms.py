"""Linear transforms of features: LDA, MLLT and fMLLR.

Shapes: S frames, C spliced features, D features, P densities, G Gaussians.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.linalg import eigh

from speechlite.core.errors import DataError
from speechlite.hmm.features import Floats
from speechlite.hmm.mixtures import FramesByPdf, posteriors

__all__ = ["estimate_fmllr", "estimate_lda", "estimate_mllt", "transform_means"]

Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int32]
_LEAST_SPREAD = 1e-10
"""What is smaller relative to the largest counts as rounding."""


def estimate_lda(utterances: Iterable[tuple[Ints, Floats]], *, num_pdfs: int, dim: int) -> Floats:
    """Estimate linear discriminant analysis with densities as classes.

    The projection makes the covariance within classes the identity, and keeps the directions in
    which class means differ most (Haeb-Umbach and Ney 1992).

    Args:
        utterances: density (S,) and spliced features (S, C) of the frames of each.
        num_pdfs: number of densities.
        dim: features to keep.

    Returns:
        (D, C).

    Raises:
        DataError: if there are fewer frames than features, fewer features than are to be kept, or
            the features do not vary.
    """
    counts_P = np.zeros(num_pdfs)
    sums_PC: Doubles | None = None
    second_CC: Doubles | None = None
    for pdf_S, frames_SC in utterances:
        frames = frames_SC.astype(np.float64)
        if sums_PC is None or second_CC is None:
            sums_PC = np.zeros((num_pdfs, frames.shape[1]))
            second_CC = np.zeros((frames.shape[1], frames.shape[1]))
        counts_P += np.bincount(pdf_S, minlength=num_pdfs)
        np.add.at(sums_PC, pdf_S, frames)
        second_CC += frames.T @ frames
    total = counts_P.sum()
    if sums_PC is None or second_CC is None or total <= len(second_CC):
        raise DataError(
            f"{int(total)} frames are too few to estimate LDA from",
            remedy="align more speech, or leave out the stages tri2b and tri3b",
        )
    if dim > len(second_CC):
        raise DataError(
            f"{dim} features cannot be taken from {len(second_CC)}",
            remedy="lower dim, or raise context",
        )
    means_PC = sums_PC / np.maximum(counts_P, 1.0)[:, None]
    mean_C = sums_PC.sum(0) / total
    between_CC = (means_PC * counts_P[:, None]).T @ means_PC / total - np.outer(mean_C, mean_C)
    within_CC = second_CC / total - np.outer(mean_C, mean_C) - between_CC
    spread = np.trace(within_CC) / len(within_CC)
    if not spread > _LEAST_SPREAD * np.trace(second_CC) / total:
        raise DataError(
            f"{int(total)} frames do not vary within densities",
            remedy="check that the audio is speech, not digital silence",
        )
    within_CC += np.eye(len(within_CC)) * 1e-6 * spread
    _, vectors_CC = eigh(between_CC, within_CC)
    return np.asarray(vectors_CC[:, ::-1][:, :dim].T, np.float32)


def estimate_mllt(mixtures: Any, frames: FramesByPdf, *, num_iterations: int = 200) -> Floats:
    """Estimate the transform that makes diagonal covariances fit best (Gales 1999, STC).

    Args:
        mixtures: a ``kaldi_hmm_gmm.AmDiagGmm`` of the features as they are.
        frames: the frames.
        num_iterations: passes over the rows.

    Returns:
        A square transform (D, D) to apply after the present one; means go with it.
    """
    dim = mixtures.dim
    scatter_DDD = np.zeros((dim, dim, dim))
    total = 0.0
    for pdf in range(mixtures.num_pdfs):
        mixture = mixtures.get_pdf(pdf)
        means_GD, inverse_GD = np.asarray(mixture.means), np.asarray(mixture.inv_vars)
        for part in frames.blocks(pdf):
            data_SD = frames.frames_SD[part]
            weights_SG, _ = posteriors(mixture, data_SD)
            total += len(data_SD)
            for weight_S, mean_D, inverse_D in zip(weights_SG.T, means_GD, inverse_GD, strict=True):
                centred_SD = data_SD - mean_D
                covariance_DD = (centred_SD * weight_S[:, None]).T @ centred_SD
                scatter_DDD += inverse_D[:, None, None].astype(np.float64) * covariance_DD
    return np.asarray(_solve_rows(scatter_DDD, total, num_iterations), np.float32)


def _solve_rows(scatter_DDD: Doubles, total: float, num_iterations: int) -> Doubles:
    """Maximise total * log|det A| - 1/2 sum_i a_i G_i a_i^T, row by row (Gales 1999, Eq. 22)."""
    transform_DD = np.eye(len(scatter_DDD))
    inverse_DDD = np.linalg.inv(scatter_DDD)
    for _ in range(num_iterations):
        before = transform_DD.copy()
        cofactors = np.linalg.inv(transform_DD).astype(np.float64)
        for row in range(len(transform_DD)):
            # a column of the inverse is the row of cofactors up to its length
            cofactor_D = cofactors[:, row].copy()
            solved_D = inverse_DDD[row] @ cofactor_D
            changed_D = solved_D * np.sqrt(total / (cofactor_D @ solved_D))
            _replace_row(cofactors, row, changed_D - transform_DD[row])
            transform_DD[row] = changed_D
        if np.abs(transform_DD - before).max() < 1e-6:
            break
    return transform_DD


def _replace_row(inverse_DD: Doubles, row: int, change_D: Doubles) -> None:
    """Update an inverse in place when a row of its matrix changes (Sherman and Morrison 1950)."""
    column_D = inverse_DD[:, row].copy()
    inverse_DD -= np.outer(column_D, change_D @ inverse_DD) / (1.0 + change_D @ column_D)


def transform_means(mixtures: Any, transform_DD: Floats) -> None:
    """Move the means of all Gaussians into transformed features.

    Args:
        mixtures: a ``kaldi_hmm_gmm.AmDiagGmm``; changed in place.
        transform_DD: the transform.
    """
    for pdf in range(mixtures.num_pdfs):
        mixture = mixtures.get_pdf(pdf)
        mixture.set_means(np.asarray(mixture.means) @ transform_DD.T)
        mixture.compute_gconsts()


def estimate_fmllr(
    mixtures: Any,
    utterances: Iterable[tuple[Ints, Floats, Floats]],
    *,
    weights_P: Floats,
    posterior_mixtures: Any | None = None,
    min_count: float = 500.0,
    num_iterations: int = 40,
) -> Floats | None:
    """Estimate a speaker's affine transform of features (Gales 1998, section 3.2; CMLLR).

    Args:
        mixtures: the ``kaldi_hmm_gmm.AmDiagGmm`` that features are to fit.
        utterances: of one speaker: density (S,) of each frame, the features (S, D) to transform,
            and the features that posteriors are computed from.
        weights_P: weight of each density's frames; 0 leaves silence out.
        posterior_mixtures: mixtures for the posteriors, Gaussian by Gaussian those of
            ``mixtures``; None takes ``mixtures``.
        min_count: fewest frames; with less there is no transform.
        num_iterations: passes over the rows.

    Returns:
        (D, D + 1), or None; also where the features do not vary, as in digital silence.
    """
    judging = mixtures if posterior_mixtures is None else posterior_mixtures
    dim = mixtures.dim
    linear_DE = np.zeros((dim, dim + 1))
    square_DEE = np.zeros((dim, dim + 1, dim + 1))
    total = 0.0
    for pdf_S, frames_SD, judged_SD in utterances:
        extended_SE = np.concatenate([frames_SD, np.ones((len(frames_SD), 1))], axis=1)
        means_SD, inverse_SD = np.zeros(frames_SD.shape), np.zeros(frames_SD.shape)
        for pdf in np.unique(pdf_S):
            inside = pdf_S == pdf
            weights_SG, _ = posteriors(judging.get_pdf(pdf), judged_SD[inside])
            weights_SG = weights_SG * weights_P[pdf]
            mixture = mixtures.get_pdf(pdf)
            inverse_SD[inside] = weights_SG @ np.asarray(mixture.inv_vars)
            means_SD[inside] = weights_SG @ np.asarray(mixture.means_invvars)
        total += float(weights_P[pdf_S].sum())
        linear_DE += means_SD.T @ extended_SE
        for row in range(dim):
            square_DEE[row] += (extended_SE * inverse_SD[:, row : row + 1]).T @ extended_SE
    if total < min_count or _is_singular(square_DEE):
        return None
    return np.asarray(_solve_affine(linear_DE, square_DEE, total, num_iterations), np.float32)


def _is_singular(square_DEE: Doubles) -> bool:
    values_DE = np.linalg.eigvalsh(square_DEE)
    return bool((values_DE[:, 0] <= _LEAST_SPREAD * values_DE[:, -1]).any())


def _solve_affine(
    linear_DE: Doubles, square_DEE: Doubles, total: float, num_iterations: int
) -> Doubles:
    """Maximise total * log|det A| + sum_i (w_i k_i - 1/2 w_i G_i w_i), row by row."""
    dim = len(linear_DE)
    affine_DE = np.concatenate([np.eye(dim), np.zeros((dim, 1))], axis=1)
    inverse_DEE = np.linalg.inv(square_DEE)
    for _ in range(num_iterations):
        before = affine_DE.copy()
        cofactors = np.linalg.inv(affine_DE[:, :-1]).astype(np.float64)
        for row in range(dim):
            # cofactors up to a factor, which the quadratic below absorbs
            cofactor_E = np.append(cofactors[:, row], 0.0)
            changed_E = _best_row(cofactor_E, linear_DE[row], inverse_DEE[row], total)
            _replace_row(cofactors, row, (changed_E - affine_DE[row])[:-1])
            affine_DE[row] = changed_E
        if np.abs(affine_DE - before).max() < 1e-4:
            break
    return affine_DE


def _best_row(cofactor_E: Doubles, linear_E: Doubles, inverse_EE: Doubles, total: float) -> Doubles:
    # w = (alpha p + k) G^-1, where alpha solves a quadratic; the better root stays
    a = cofactor_E @ inverse_EE @ cofactor_E
    b = cofactor_E @ inverse_EE @ linear_E
    root = np.sqrt(b * b + 4 * a * total)
    candidates = [(-b + root) / (2 * a), (-b - root) / (2 * a)]
    values = [total * np.log(abs(alpha * a + b)) - 0.5 * alpha**2 * a for alpha in candidates]
    best = candidates[int(np.argmax(values))]
    return np.asarray((best * cofactor_E + linear_E) @ inverse_EE)
