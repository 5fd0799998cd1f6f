"""Optimal brain surgery: prune a layer's weights and move the others to make up for it.

Shapes: G groups (1 for a linear layer), O outputs of a group, K inputs of a group.

With inputs X the layer's squared error is a quadratic form of H = 2 X X^T, the same for all
outputs. Columns go from left to right; F are those not yet passed. Eq. 1-2 of OBS (Hassibi and
Stork 1993), column-wise as in SparseGPT (Frantar and Alistarh 2023, arXiv 2301.00774): pruning
w_p costs w_p^2 / [H_F^-1]_pp and moves the rest of F by -w_p [H_F^-1]_p: / [H_F^-1]_pp.

No inverse is formed. Let H = R R^T with R upper triangular (a Cholesky factor of the reversed
matrix) and U = R^-1, so that H^-1 = U^T U: U is the upper Cholesky factor of the inverse that
SparseGPT slices. H_F is the trailing block of R times its transpose, hence [H_F^-1]_pp = U_pp^2
= 1 / R_pp^2 for the first p of F, and what looks like a squared diagonal in SparseGPT is the
plain diagonal of the inverse, the square being the factor's. Summing the moves gives
(W' - W) R = -E with one column of E for each column pruned, thus before column p is decided

    w_p = W_p - sum over i < p of (W' - W)_i R_ip / R_pp,

a triangular solve in the changes so far: one Cholesky factor, no inverse, long products.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from speechlite.core.errors import ConfigError, DataError, PlanError
from speechlite.nn.obs_factor import factor_reversed, invert_lower
from speechlite.nn.obs_patterns import (
    Pattern,
    check_pattern,
    parse_pattern,
    pattern_mask,
    prune_least,
    row_mask,
    spread,
    tiles_of,
)
from speechlite.nn.obs_window import solve_window_

__all__ = ["check_pattern", "pattern_mask", "prune_obs", "row_mask"]

_PANEL = 128
"""Columns whose share of all earlier changes is one product."""
_GROUP_VALUES = 2**25
"""Values of the Hessians that are factored at a time."""


@torch.no_grad()
def prune_obs(
    weight_GOK: Tensor,
    gram_GKK: Tensor,
    *,
    num_pruned: int | None,
    pattern: str = "unstructured",
    block: int = 32,
    damping: float = 0.01,
    first_order: bool = False,
) -> Tensor:
    """Prune weights by optimal brain surgery and update those that stay.

    Weights that are zero already stay zero and count; then those of dead inputs go (zero diagonal
    of the Gram matrix), which change no output. Unstructured, every block of columns loses the same
    share, unless more of it is zero already; of a block that goes which costs least, whatever its
    output or group.

    With ``first_order`` a weight's saliency gains abs(w G), where G is the gradient
    2 (W_now - W) X X^T. The update of the columns that are left makes the damped gradient zero, so
    G = -ridge (W_now - W), which is what is computed; without damping it changes nothing.

    Args:
        weight_GOK: (G, O, K) floating point.
        gram_GKK: (G, K, K) X X^T, symmetric; float64 makes the work float64.
        num_pruned: zeros that the result has over all groups, rounded down to whole tiles; ignored
            for n:m.
        pattern: "unstructured"; "2:4" for 2 zeros in every 4 consecutive inputs; "4x1" for tiles
            of 4 outputs by 1 input, whose saliencies are summed.
        block: columns whose weights are compared with each other.
        damping: ridge on the diagonal of H as a share of its mean; where H has no Cholesky factor
            it grows tenfold until there is one.
        first_order: whether to add the first-order saliency.

    Returns:
        float32 (G, O, K) with exactly the asked number of zeros when unstructured.

    Raises:
        PlanError: if the pattern or the number of weights does not fit the layer.
        ConfigError: if ``block`` or ``damping`` is out of range.
        DataError: if weight or Gram matrix has another shape, is not finite, or the Gram matrix is
            far from positive semi-definite.
    """
    form = _check(weight_GOK, gram_GKK, pattern, block=block, damping=damping)
    gram_GKK = gram_GKK if gram_GKK.dtype == torch.float64 else gram_GKK.float()
    # columns become rows in reverse order: a lower Cholesky factor then serves as it is
    weight_GKO = _transposed(weight_GOK.to(gram_GKK)).flip(1)
    width = _window(weight_GKO.shape[1], block, form)
    dead_GK = gram_GKK.diagonal(dim1=1, dim2=2).flip(1) == 0
    quotas_GI = _quotas(weight_GKO, dead_GK, num_pruned, form, width)
    step = max(1, _GROUP_VALUES // max(1, gram_GKK[0].numel()))
    for first in range(0, len(weight_GKO), step):
        part = slice(first, first + step)
        lower_GKK, ridge_G = factor_reversed(gram_GKK[part], damping)
        ridge = ridge_G[:, None, None] if first_order else None
        pivots_GK1 = lower_GKK.diagonal(dim1=1, dim2=2).unsqueeze(2)
        scale_GK1 = pivots_GK1.masked_fill(dead_GK[part, :, None], 0.0)
        _sweep_(weight_GKO[part], lower_GKK, scale_GK1, ridge, quotas_GI[part], form, width)
    return _transposed(weight_GKO.flip(1)).to(weight_GOK.device, torch.float32)


def _check(
    weight_GOK: Tensor, gram_GKK: Tensor, pattern: str, *, block: int, damping: float
) -> Pattern:
    if block < 1 or not 0 <= damping < float("inf"):
        raise ConfigError(
            f"block is {block} and damping {damping}, expected block >= 1 and damping >= 0",
            remedy="change the option that is out of range",
        )
    groups, outputs, inputs = weight_GOK.shape
    if gram_GKK.shape != (groups, inputs, inputs):
        raise DataError(
            f"the Gram matrix is {tuple(gram_GKK.shape)}, the weight {tuple(weight_GOK.shape)}",
            remedy=f"give a Gram matrix {(groups, inputs, inputs)}",
        )
    check_pattern(pattern, outputs, inputs)
    for name, tensor in (("weight", weight_GOK), ("Gram matrix", gram_GKK)):
        # a sum is finite only if all its terms are, or it overflows: then look at each
        if not bool(tensor.sum().isfinite()) and not bool(tensor.isfinite().all()):
            raise DataError(
                f"the {name} has values that are not finite",
                remedy="check the checkpoint and the calibration data",
            )
    return parse_pattern(pattern)


def _transposed(matrices_GXY: Tensor) -> Tensor:
    groups, rows, columns = matrices_GXY.shape
    turned_GYX = matrices_GXY.new_empty(groups, columns, rows)
    # torch has a fast copy for a transposed matrix, but not for several
    for turned_YX, matrix_XY in zip(turned_GYX, matrices_GXY, strict=True):
        turned_YX.copy_(matrix_XY.T)
    return turned_GYX


def _window(inputs: int, block: int, pattern: Pattern) -> int:
    if pattern.zeros:
        return pattern.inputs
    return min(inputs, max(1, block // pattern.inputs) * pattern.inputs)


def _quotas(
    weight_GKO: Tensor, dead_GK: Tensor, num_pruned: int | None, pattern: Pattern, width: int
) -> np.ndarray:
    """Share the tiles to prune among the windows of all groups, the last columns first."""
    groups, inputs, outputs = weight_GKO.shape
    total = tiles_of(num_pruned, weight_GKO.numel(), pattern)
    ends = [*range(inputs, 0, -width), 0]
    windows = list(zip(ends[1:], ends[:-1], strict=True))
    if pattern.zeros:
        return np.zeros((groups, len(windows)), np.int64)
    zero_GKO = weight_GKO == 0
    free_GKO = zero_GKO | dead_GK[:, :, None]
    num_zero_GI, num_free_GI = (
        np.stack([_count(mask[:, low:high], pattern) for low, high in windows], 1)
        for mask in (zero_GKO, free_GKO)
    )
    sizes_GI = np.tile(
        [(high - low) * outputs // pattern.tile_size for low, high in windows], (groups, 1)
    )
    if total < num_zero_GI.sum() and pattern.tile_size == 1:
        raise PlanError(
            f"{num_zero_GI.sum()} weights are zero already, more than the {total} to prune",
            remedy="ask for a higher sparsity than the layer has",
        )
    least_GI, most_GI = num_free_GI, sizes_GI
    if total < num_free_GI.sum():
        least_GI, most_GI = num_zero_GI, num_free_GI
    total = max(total, int(least_GI.sum()))
    shares = spread(total, sizes_GI.ravel(), least_GI.ravel(), most_GI.ravel())
    return shares.reshape(sizes_GI.shape)


def _count(mask_GKO: Tensor, pattern: Pattern) -> np.ndarray:
    """Count the tiles of each group that are wholly masked."""
    if pattern.tile_size > 1:
        tiled = mask_GKO.unflatten(2, (-1, pattern.outputs)).unflatten(1, (-1, pattern.inputs))
        mask_GKO = tiled.all(4).all(2)
    return mask_GKO.sum((1, 2)).cpu().numpy()


def _sweep_(
    weight_GKO: Tensor,
    lower_GKK: Tensor,
    scale_GK1: Tensor,
    ridge_G11: Tensor | None,
    quotas_GI: np.ndarray,
    pattern: Pattern,
    width: int,
) -> None:
    """Prune all columns, the last first; ``weight_GKO`` becomes the result."""
    inputs = weight_GKO.shape[1]
    moved_GKO = torch.empty_like(weight_GKO)
    panel = -(-_PANEL // width) * width
    index = 0
    for top in range(inputs, 0, -panel):
        bottom = max(0, top - panel)
        offset_GPO = lower_GKK[:, top:, bottom:top].mT @ moved_GKO[:, top:]
        for high in range(top, bottom, -width):
            low = max(bottom, high - width)
            offset_GWO = offset_GPO[:, low - bottom : high - bottom]
            offset_GWO += lower_GKK[:, high:top, low:high].mT @ moved_GKO[:, high:top]
            lower_GWW, start_GWO = lower_GKK[:, low:high, low:high], weight_GKO[:, low:high]
            moved_GWO = (invert_lower(lower_GWW).mT @ offset_GWO).neg_()
            saliency_GWO = _saliency(moved_GWO, start_GWO, scale_GK1[:, low:high], ridge_G11)
            pruned_GWO = _pruned(saliency_GWO, start_GWO, quotas_GI[:, index].tolist(), pattern)
            solve_window_(weight_GKO, moved_GKO, low, offset_GWO, lower_GWW, pruned_GWO)
            index += 1


def _pruned(
    saliency_GWO: Tensor, start_GWO: Tensor, num_tiles_G: list[int], pattern: Pattern
) -> Tensor:
    groups, _, outputs = saliency_GWO.shape
    # what it costs to prune a weight compares across groups, too
    pool_1WO = saliency_GWO.transpose(0, 1).reshape(1, -1, groups * outputs)
    zero_1WO = (start_GWO == 0).transpose(0, 1).reshape(pool_1WO.shape)
    # below all others; but a tile with a zero weight is worth what its other weights are
    pool_1WO = pool_1WO.masked_fill(zero_1WO, 0.0 if pattern.tile_size > 1 else -1.0)
    pruned_1WO = prune_least(pool_1WO, [sum(num_tiles_G)], pattern) | zero_1WO
    return pruned_1WO.view(-1, groups, outputs).transpose(0, 1)


def _saliency(
    moved_GWO: Tensor, start_GWO: Tensor, scale_GW1: Tensor, ridge_G11: Tensor | None
) -> Tensor:
    """Return what pruning each weight of a window would cost as the weights are now."""
    values_GWO = start_GWO + moved_GWO
    saliency_GWO = (values_GWO * scale_GW1).square_()
    if ridge_G11 is not None:
        saliency_GWO += values_GWO.mul_(moved_GWO).abs_().mul_(ridge_G11)
    return saliency_GWO
