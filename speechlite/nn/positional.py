"""Positions: sinusoids, absolute and relative, and a convolution.

Shapes: B batch, S frames, P relative distances (2 S - 1), D model width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["ConvolutionalPositions", "absolute_positions", "relative_positions"]


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


class ConvolutionalPositions(nn.Module):
    """Tell frames where they stand by a wide grouped convolution of their surroundings.

    Baevski et al. 2020 (wav2vec 2.0, arXiv 2006.11477), section 2, with the weight normalisation of
    Salimans and Kingma 2016 (arXiv 1602.07868) for each place of the kernel.

    Args:
        dim: D.
        kernel_size: frames of the kernel.
        groups: groups of channels, a divisor of ``dim``.
    """

    def __init__(self, dim: int, *, kernel_size: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.kernel_size = kernel_size
        direction = torch.empty(dim, dim // groups, kernel_size)
        nn.init.normal_(direction, std=math.sqrt(4.0 / (kernel_size * dim)))
        self.direction = nn.Parameter(direction)
        self.gain = nn.Parameter(direction.norm(dim=(0, 1), keepdim=True))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, frames_BSD: Tensor) -> Tensor:
        """Return what is to be added to the frames.

        Args:
            frames_BSD: zero beyond the lengths.

        Returns:
            (B, S, D).
        """
        norm = self.direction.norm(dim=(0, 1), keepdim=True)
        convolved_BDS = functional.conv1d(
            frames_BSD.mT,
            self.direction * (self.gain / norm),
            self.bias,
            padding=self.kernel_size // 2,
            groups=self.groups,
        )
        # an even kernel gives one frame too many
        return functional.gelu(convolved_BDS[..., : frames_BSD.shape[1]]).mT
