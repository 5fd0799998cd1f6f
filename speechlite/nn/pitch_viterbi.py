"""The best path through a grid of log-spaced states, for a batch of utterances.

Shapes: B batch, S frames, L states.

The transition cost is quadratic in the number of states that are jumped over, as in Ghahremani et
al. 2014. Every jump is tried, so the path is the exact optimum. The forward pass keeps the
minima alone; the states that they came from are found again on the way back, for the one path that
is needed.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["best_paths"]


def best_paths(costs_BSL: Tensor, lengths_B: Tensor, *, jump_cost: float) -> Tensor:
    """Find for each utterance the cheapest sequence of states.

    Args:
        costs_BSL: (B, S, L) float cost of each state in each frame; finite.
        lengths_B: (B,) numbers of frames, at most S.
        jump_cost: cost of a jump by one state; a jump by k states costs k^2 times as much. At least
            0.

    Returns:
        (B, S) int64 states; of equally cheap sequences, one. Beyond the lengths the state is 0.
    """
    states_L = torch.arange(costs_BSL.shape[2], device=costs_BSL.device)
    jumps_LL = jump_cost * (states_L.unsqueeze(1) - states_L).square().to(costs_BSL.dtype)
    # Longest first: the utterances that are still running are then always the first rows.
    order_B = torch.argsort(lengths_B, descending=True, stable=True).to(costs_BSL.device)
    lengths = lengths_B.to(costs_BSL.device)[order_B].tolist()
    totals_BSL = costs_BSL[order_B]
    _accumulate_(totals_BSL, lengths, jumps_LL)
    paths_BS = _trace_back(totals_BSL, lengths, jumps_LL)
    return torch.empty_like(paths_BS).index_copy_(0, order_B, paths_BS)


def _accumulate_(totals_BSL: Tensor, lengths: list[int], jumps_LL: Tensor) -> None:
    """Turn costs of states into costs of the best way to each, less the frame's minimum."""
    workspace = totals_BSL.new_empty(len(lengths), *jumps_LL.shape)
    running = len(lengths)
    for frame in range(1, lengths[0] if lengths else 0):
        running = _num_running(lengths, frame, running)
        arrivals_BLL = workspace[:running]
        before_BL = totals_BSL[:running, frame - 1]
        torch.add(before_BL.unsqueeze(1), jumps_LL, out=arrivals_BLL)
        now_BL = totals_BSL[:running, frame]
        now_BL += arrivals_BLL.amin(2)
        # Totals would grow with the length and lose their last digits.
        now_BL -= now_BL.amin(1, keepdim=True)


def _trace_back(totals_BSL: Tensor, lengths: list[int], jumps_LL: Tensor) -> Tensor:
    paths_BS = torch.zeros(totals_BSL.shape[:2], dtype=torch.int64, device=totals_BSL.device)
    running = 0
    for frame in range(lengths[0] - 1 if lengths else -1, -1, -1):
        arrivals_BL = totals_BSL[:, frame]
        if running:
            chosen_BL = jumps_LL[paths_BS[:running, frame + 1]]
            paths_BS[:running, frame] = (arrivals_BL[:running] + chosen_BL).argmin(1)
        ended = running
        running = sum(1 for length in lengths[ended:] if length > frame) + ended
        if running > ended:
            paths_BS[ended:running, frame] = arrivals_BL[ended:running].argmin(1)
    return paths_BS


def _num_running(lengths: list[int], frame: int, at_most: int) -> int:
    while at_most and lengths[at_most - 1] <= frame:
        at_most -= 1
    return at_most
