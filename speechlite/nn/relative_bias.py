"""WavLM's gated relative position bias.

Shapes: B batch, S frames, D model width, H heads, K head width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["BiasGate", "RelativeBias", "distance_buckets"]

_GATES = 2
_ROWS_OF_A_GATE = 4


def distance_buckets(
    num_frames: int, *, num_buckets: int, max_distance: int, device: torch.device
) -> Tensor:
    """Return the bucket of the distance of each pair of frames (Raffel et al. 2020, section 2.1).

    Half of the buckets are for keys after the query. In each half, near distances have a bucket
    of their own, farther ones share buckets that widen by a constant factor.

    Args:
        num_frames: S.
        num_buckets: how many there are.
        max_distance: from here on all distances share the last bucket.
        device: where the result is put.

    Returns:
        int64 (S, S), query by key.
    """
    positions_S = torch.arange(num_frames, device=device)
    distance_SS = positions_S[None, :] - positions_S[:, None]
    half = num_buckets // 2
    exact = half // 2
    size_SS = distance_SS.abs()
    steps_SS = torch.log(size_SS.clamp(min=1).float() / exact) / math.log(max_distance / exact)
    far_SS = (exact + (steps_SS * (half - exact)).long()).clamp(max=half - 1)
    return torch.where(size_SS < exact, size_SS, far_SS) + half * (distance_SS > 0)


class RelativeBias(nn.Module):
    """Learn a score of each head for each distance, shared by all layers.

    Args:
        num_heads: H.
        num_buckets: distances that are told apart.
        max_distance: distance from which on all are one.
    """

    def __init__(self, num_heads: int, *, num_buckets: int, max_distance: int) -> None:
        super().__init__()
        self.num_buckets = num_buckets
        self.max_distance = max_distance
        self.embedding = nn.Embedding(num_buckets, num_heads)

    def forward(self, num_frames: int) -> Tensor:
        """Return the scores of all pairs of frames.

        Args:
            num_frames: S.

        Returns:
            (H, S, S).
        """
        buckets_SS = distance_buckets(
            num_frames,
            num_buckets=self.num_buckets,
            max_distance=self.max_distance,
            device=self.embedding.weight.device,
        )
        scores_SSH: Tensor = self.embedding(buckets_SS)
        return scores_SSH.permute(2, 0, 1)


class BiasGate(nn.Module):
    """Let each query frame weigh the position bias (Chen et al. 2022, arXiv 2110.13900, Eqs. 3-6).

    Args:
        num_heads: H.
        head_dim: K; a head reads its own part of the frame.
    """

    heads: Tensor

    def __init__(self, num_heads: int, head_dim: int) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.linear = nn.Linear(head_dim, _GATES * _ROWS_OF_A_GATE)
        self.scale = nn.Parameter(torch.ones(num_heads))
        # pruned heads go, those that stay read the part of the frame that was theirs
        self.register_buffer("heads", torch.arange(num_heads))

    def forward(self, frames_BSD: Tensor, bias_HSS: Tensor) -> Tensor:
        """Return the weighed bias of the heads that are left.

        Args:
            frames_BSD: the block's input.
            bias_HSS: scores of all heads of the unpruned block.

        Returns:
            (B, heads left, S, S).
        """
        parts_BHSK = frames_BSD.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)[:, self.heads]
        rows_BHSGR = self.linear(parts_BHSK).unflatten(-1, (_GATES, _ROWS_OF_A_GATE))
        update_BHS1, reset_BHS1 = rows_BHSGR.sum(-1).sigmoid().split(1, dim=-1)
        weight_BHS1 = update_BHS1 * (reset_BHS1 * self.scale[:, None, None] - 1.0) + 2.0
        return weight_BHS1 * bias_HSS[self.heads]
