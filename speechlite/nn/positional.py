"""Sinusoidal positions, absolute and relative.

Shapes: S frames, P relative distances (2 S - 1), D model width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["absolute_positions", "relative_positions"]


def _sinusoids(positions_P: Tensor, dim: int) -> Tensor:
    rates_D2 = torch.exp(
        torch.arange(0, dim, 2, device=positions_P.device, dtype=torch.float32)
        * (-math.log(10000.0) / dim)
    )
    angles_PD2 = positions_P[:, None].float() * rates_D2
    return torch.stack([angles_PD2.sin(), angles_PD2.cos()], dim=-1).flatten(1)[:, :dim]


def absolute_positions(num_frames: int, dim: int, *, like: Tensor) -> Tensor:
    """Return the sinusoids of Vaswani et al. 2017 (arXiv 1706.03762), section 3.5.

    Args:
        num_frames: S.
        dim: D, even.
        like: tensor whose device and dtype the result takes.

    Returns:
        (S, D).
    """
    positions_S = torch.arange(num_frames, device=like.device)
    return _sinusoids(positions_S, dim).to(like.dtype)


def relative_positions(num_frames: int, dim: int, *, like: Tensor) -> Tensor:
    """Return sinusoids of the distances S-1, ..., 0, ..., -(S-1).

    Those of Dai et al. 2019 (arXiv 1901.02860).

    Args:
        num_frames: S.
        dim: D, even.
        like: tensor whose device and dtype the result takes.

    Returns:
        (2 S - 1, D); row r belongs to distance S - 1 - r, query minus key.
    """
    distances_P = torch.arange(num_frames - 1, -num_frames, -1, device=like.device)
    return _sinusoids(distances_P, dim).to(like.dtype)
