"""The damped Hessian of a layer's squared error, and its Cholesky factor.

Shapes: G groups, K inputs of a group.
"""

from __future__ import annotations

import torch
from torch import Tensor

from speechlite.core.errors import DataError

__all__ = ["factor_reversed", "invert_lower"]

_FIRST, _LAST = 1e-6, 1.0
"""Damping, if there was none, that is tried first, and the last."""
_PANEL = 256
"""Columns that are factored at a time on the CPU."""


def factor_reversed(gram_GKK: Tensor, damping: float) -> tuple[Tensor, Tensor]:
    """Factor H = 2 X X^T + damping * mean(diagonal) * I with its rows and columns reversed.

    An input whose diagonal is zero gets the mean instead: it is tied to no other, so any positive
    number serves. Where a group has no Cholesky factor its damping grows tenfold, up to 1.

    Args:
        gram_GKK: (G, K, K) X X^T, float32 or float64.
        damping: share of the mean of the diagonal of 2 X X^T.

    Returns:
        (G, K, K) factors of the reversed matrices in their lower triangles, above these anything;
        (G,) what was added to the diagonals.

    Raises:
        DataError: if a matrix is far from positive semi-definite.
    """
    diagonal_GK = 2 * gram_GKK.diagonal(dim1=1, dim2=2).flip(1)
    mean_G = diagonal_GK.mean(1)
    raised_GK = torch.where(diagonal_GK == 0, torch.where(mean_G > 0, mean_G, 1.0)[:, None], 0.0)
    ridge_G = damping * mean_G
    while True:
        hessian_GKK = gram_GKK.flip(1, 2).mul_(2)
        hessian_GKK.diagonal(dim1=1, dim2=2).add_(raised_GK + ridge_G[:, None])
        failed_G = _factor_(hessian_GKK)
        if not bool(failed_G.any()):
            return hessian_GKK, ridge_G
        damping = max(10 * damping, _FIRST)
        if damping > _LAST:
            raise DataError(
                "the Gram matrix of the inputs is far from positive semi-definite",
                remedy="sum it in float32, from more calibration data",
            )
        ridge_G = torch.where(failed_G, damping * mean_G, ridge_G)


def _factor_(hessian_GKK: Tensor) -> Tensor:
    """Put the Cholesky factors in the lower triangles; say which of them do not exist."""
    size = hessian_GKK.shape[1]
    failed_G = torch.zeros(len(hessian_GKK), dtype=torch.bool, device=hessian_GKK.device)
    # long products beside small factors spare the copies that the whole factor makes on the CPU
    step = _PANEL if hessian_GKK.is_cpu else size
    for first in range(0, size, step):
        last = min(first + step, size)
        done_GKP, panel_GKP = hessian_GKK[:, first:, :first], hessian_GKK[:, first:, first:last]
        panel_GKP.baddbmm_(done_GKP, done_GKP[:, : last - first].mT, alpha=-1)
        lower_GPP, info_G = torch.linalg.cholesky_ex(panel_GKP[:, : last - first])
        panel_GKP[:, : last - first] = lower_GPP
        failed_G |= (info_G > 0) | ~lower_GPP.diagonal(dim1=1, dim2=2).isfinite().all(1)
        # a small inverse and a product: faster than a triangular solve for many rows
        below_GKP = panel_GKP[:, last - first :]
        below_GKP.copy_(below_GKP @ invert_lower(lower_GPP).mT)
    return failed_G


def invert_lower(lower_GPP: Tensor) -> Tensor:
    """Return the inverses of small lower triangular matrices.

    Args:
        lower_GPP: (G, P, P); what stands above the diagonal is not read.

    Returns:
        (G, P, P) lower triangular.
    """
    identity_PP = torch.eye(lower_GPP.shape[1], dtype=lower_GPP.dtype, device=lower_GPP.device)
    return torch.linalg.solve_triangular(lower_GPP, identity_PP, upper=False)
