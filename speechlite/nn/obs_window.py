"""The columns of one window in turn: each is set, and what it changed moves the next.

Shapes: G groups, K inputs, O outputs, W columns of a window. Columns stand in rows, the
last first.
"""

# functions of numba take and give Any
# mypy: disable-error-code="misc,no-untyped-def"

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from torch import Tensor

__all__ = ["solve_window_"]

_RUN = 512
"""Outputs of a run: a window of 32 columns of them stays in the cache."""


def solve_window_(
    weight_GKO: Tensor,
    moved_GKO: Tensor,
    low: int,
    offset_GWO: Tensor,
    lower_GWW: Tensor,
    pruned_GWO: Tensor,
) -> None:
    """Set a window's columns, the last row first, and write down how far each moved.

    Compiled by numba on the CPU where it is installed, else in torch.

    Args:
        weight_GKO: (G, K, O) contiguous; the window's rows become the result.
        moved_GKO: (G, K, O) contiguous; the window's rows are filled.
        low: the window's first row.
        offset_GWO: (G, W, O) products of the factor with what moved before the window; changed.
        lower_GWW: (G, W, W) the window's part of the factor.
        pruned_GWO: bool (G, W, O), what becomes zero.
    """
    if weight_GKO.is_cpu and _has_numba():
        tensors = (weight_GKO, moved_GKO, offset_GWO, lower_GWW, pruned_GWO)
        # of the same layout always, or numba compiles once more
        weight, moved, offset, lower, pruned = (tensor.contiguous().numpy() for tensor in tensors)
        _compiled()(weight, moved, low, offset, lower, pruned, np.finfo(weight.dtype).tiny)
        return
    tiny = torch.finfo(weight_GKO.dtype).tiny
    high = low + lower_GWW.shape[1]
    for row in range(high - low - 1, -1, -1):
        later_GWO = moved_GKO[:, low + row + 1 : high]
        offset_GO = offset_GWO[:, row] + (lower_GWW[:, None, row + 1 :, row] @ later_GWO)[:, 0]
        start_GO = weight_GKO[:, low + row].clone()
        values_GO = start_GO - offset_GO / lower_GWW[:, row, row, None]
        # a weight that stays and happens to be zero would count as pruned
        values_GO = torch.where(values_GO == 0, tiny, values_GO)
        weight_GKO[:, low + row] = values_GO.masked_fill_(pruned_GWO[:, row], 0.0)
        moved_GKO[:, low + row] = values_GO - start_GO


@cache
def _has_numba() -> bool:
    return importlib.util.find_spec("numba") is not None


@cache
def _compiled() -> Callable[..., None]:
    from numba import njit

    @njit(nogil=True, error_model="numpy", fastmath={"contract"})
    def solve(weight_GKO, moved_GKO, low, offset_GWO, lower_GWW, pruned_GWO, tiny):
        groups, width, outputs = offset_GWO.shape
        zero = tiny - tiny
        for g in range(groups):
            for first in range(0, outputs, _RUN):
                last = min(first + _RUN, outputs)
                for row in range(width - 1, -1, -1):
                    offset = offset_GWO[g, row, first:last]
                    for later in range(row + 1, width):
                        factor = lower_GWW[g, later, row]
                        later_moved = moved_GKO[g, low + later, first:last]
                        for o in range(last - first):
                            offset[o] += factor * later_moved[o]
                    pivot = lower_GWW[g, row, row]
                    pruned = pruned_GWO[g, row, first:last]
                    weight = weight_GKO[g, low + row, first:last]
                    moved = moved_GKO[g, low + row, first:last]
                    for o in range(last - first):
                        value = weight[o] - offset[o] / pivot
                        value = tiny if value == 0 else value
                        value = zero if pruned[o] else value
                        moved[o] = value - weight[o]
                        weight[o] = value

    return solve
