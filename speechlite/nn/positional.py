"""Positions: sinusoids, absolute and relative, and a convolution.

Shapes: B batch, S frames, P relative distances (2 S - 1), D model width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechlite.nn.frames_convolution import convolve, convolve_frames
from speechlite.nn.lengths import zero_beyond

__all__ = [
    "ConvolutionalPositions",
    "FoldedPositions",
    "absolute_positions",
    "placed",
    "relative_positions",
]


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
        convolved_BDS = convolve_frames(
            frames_BSD.mT,
            self._weight(),
            self.bias,
            padding=self.kernel_size // 2,
            groups=self.groups,
        )
        return _activated(convolved_BDS, frames_BSD)

    def folded(self) -> FoldedPositions:
        """Return the same with the norm in the weights.

        Returns:
            A copy around a stock convolution.
        """
        dim = len(self.bias)
        convolution = nn.Conv1d(
            dim, dim, self.kernel_size, padding=self.kernel_size // 2, groups=self.groups
        ).to(self.bias)
        with torch.no_grad():
            convolution.weight.copy_(self._weight())
            convolution.bias.copy_(self.bias)  # type: ignore[union-attr]
        return FoldedPositions(convolution)

    def _weight(self) -> Tensor:
        # no norm(): it is slow where the last axis stays
        norm_11K = self.direction.square().sum((0, 1), keepdim=True).sqrt()
        return self.direction * (self.gain / norm_11K)


class FoldedPositions(nn.Module):
    """Convolutional positions without the norm of weights, so that single weights may go.

    Args:
        convolution: a convolution of D channels whose padding is half of its kernel.
    """

    def __init__(self, convolution: nn.Module) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(self, frames_BSD: Tensor) -> Tensor:
        """Return what is to be added to the frames.

        Args:
            frames_BSD: zero beyond the lengths.

        Returns:
            (B, S, D).
        """
        return _activated(convolve(self.convolution, frames_BSD.mT), frames_BSD)

    def normed(self) -> ConvolutionalPositions:
        """Return the same with a norm of weights, as other programs have it.

        Returns:
            A copy; the convolution must be a stock one.
        """
        convolution = self.convolution
        assert isinstance(convolution, nn.Conv1d)
        made = ConvolutionalPositions(
            convolution.out_channels,
            kernel_size=convolution.kernel_size[0],
            groups=convolution.groups,
        ).to(convolution.weight)
        with torch.no_grad():
            norm_11K = convolution.weight.norm(dim=(0, 1), keepdim=True)
            # a direction of no length would give no weight at all
            made.direction.copy_(torch.where(norm_11K > 0, convolution.weight, 1.0))
            made.gain.copy_(norm_11K)
            if convolution.bias is not None:
                made.bias.copy_(convolution.bias)
        return made


def _activated(convolved_BDS: Tensor, frames_BSD: Tensor) -> Tensor:
    # an even kernel gives one frame too many
    return functional.gelu(convolved_BDS[..., : frames_BSD.shape[1]]).mT


def placed(
    frames_BSD: Tensor, valid_BS: Tensor | None, positions: ConvolutionalPositions | None
) -> tuple[Tensor, Tensor | None]:
    """Tell frames where they stand, or return what tells attention.

    Args:
        frames_BSD: frames; anything may stand beyond the lengths.
        valid_BS: which frames are valid; None for all.
        positions: the convolution of the frames' surroundings; None for relative positions.

    Returns:
        The frames, with the convolution added, and the relative positions (P, D), or None where
        there is a convolution; the frames are zero beyond the lengths, or hold what the convolution
        carries there.
    """
    frames_BSD = zero_beyond(frames_BSD, valid_BS)
    if positions is None:
        num_frames, dim = frames_BSD.shape[1:]
        return frames_BSD, relative_positions(num_frames, dim, like=frames_BSD)
    return frames_BSD + positions(frames_BSD), None
