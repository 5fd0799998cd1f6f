"""Scores of all densities of a GMM-HMM at once, for decoding.

Shapes: S frames, D features, G Gaussians, P densities.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from speechlite.hmm.acoustic_model import gaussians_of

__all__ = ["GmmScorer"]

Floats = npt.NDArray[np.float32]


class GmmScorer:
    """Compute log-likelihoods of all densities.

    Args:
        mixtures: a ``kaldi_hmm_gmm.AmDiagGmm``; copied.
    """

    def __init__(self, mixtures: Any) -> None:
        gaussians = gaussians_of(mixtures)
        inverse = 1.0 / gaussians.variances_GD
        dim = inverse.shape[1]
        self._linear_DG = (gaussians.means_GD * inverse).T.copy()
        self._square_DG = (-0.5 * inverse).T.copy()
        self._constant_G = (
            np.log(gaussians.weights_G)
            - 0.5 * (dim * np.log(2 * np.pi) + np.log(gaussians.variances_GD).sum(1))
            - 0.5 * (np.square(gaussians.means_GD) * inverse).sum(1)
        ).astype(np.float32)
        self._first_P = np.searchsorted(gaussians.pdf_G, np.arange(gaussians.pdf_G[-1] + 1))

    def __call__(self, frames_SD: Floats) -> Floats:
        """Return the log-likelihood of every frame under every density.

        Args:
            frames_SD: features.

        Returns:
            (S, P).
        """
        scores_SG = frames_SD @ self._linear_DG
        scores_SG += np.square(frames_SD) @ self._square_DG
        scores_SG += self._constant_G
        largest_SP = np.maximum.reduceat(scores_SG, self._first_P, axis=1)
        counts = np.diff([*self._first_P, scores_SG.shape[1]])
        scores_SG -= np.repeat(largest_SP, counts, axis=1)
        sums_SP = np.add.reduceat(np.exp(scores_SG), self._first_P, axis=1)
        return np.asarray(np.log(sums_SP) + largest_SP, np.float32)
