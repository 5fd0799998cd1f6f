"""Products of one-bit matrices in plain torch: slow, but there wherever torch is.

Shapes: G groups, N rows, M columns, K bits of a row, R rows, W words of 64 bits, B batch,
C channels, S frames.

The bits become floats again. Their sums are integers below 2^24, so float32 holds them exactly in
whatever order they are added.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["TorchKernel"]

_WORD = 64


class TorchKernel:
    """Multiply one-bit matrices as matrices of floats."""

    name = "torch"
    is_sequential = False

    @torch.no_grad()
    def pack(
        self, values_RK: Tensor, thresholds: Tensor, by_column: bool, words_RW: Tensor
    ) -> None:
        """Fill words with the bits of rows of values.

        Args:
            values_RK: (R, K) float32.
            thresholds: float32; (K,) by column, else of rows in turn, R a multiple of their number.
            by_column: whether a threshold belongs to a column.
            words_RW: (R, ceil(K / 64)) int64, filled here.
        """
        num_rows, width = values_RK.shape
        if not by_column:
            thresholds = thresholds.repeat(num_rows // len(thresholds)).unsqueeze(1)
        num_words = words_RW.shape[1]
        bits_RK = functional.pad((values_RK >= thresholds).long(), (0, num_words * _WORD - width))
        # (R, 64 W) -> (R, W, 64) -> (R, W)
        torch.sum(bits_RK.view(num_rows, num_words, _WORD) << torch.arange(_WORD), 2, out=words_RW)

    @torch.no_grad()
    @torch.autocast("cpu", enabled=False)
    def product(
        self,
        a_GNW: Tensor,
        b_GMW: Tensor,
        width: int,
        unsigned: bool,
        scale_M: Tensor,
        bias_M: Tensor,
        out_GNM: Tensor,
    ) -> None:
        """Fill an output with the products of rows, scaled and shifted.

        Args:
            a_GNW: (G, N, W) int64 words.
            b_GMW: (G, M, W) int64 words of signs.
            width: number of bits of a row.
            unsigned: whether the bits of ``a_GNW`` are {0, 1} rather than signs.
            scale_M: (M,) float32.
            bias_M: (M,) float32.
            out_GNM: (G, N, M) float32, filled here.
        """
        a_GNK, b_GMK = _bits(a_GNW, width), _signs(b_GMW, width)
        if not unsigned:
            a_GNK = 2 * a_GNK - 1
        torch.matmul(a_GNK, b_GMK.transpose(1, 2), out=out_GNM)
        out_GNM.mul_(scale_M).add_(bias_M)

    @torch.no_grad()
    @torch.autocast("cpu", enabled=False)
    def windows(
        self,
        words_BCW: Tensor,
        kernel_CW: Tensor,
        width: int,
        stride: int,
        unsigned: bool,
        scale_C: Tensor,
        bias_C: Tensor,
        out_BCS: Tensor,
    ) -> None:
        """Fill an output with the products of windows of each channel, scaled and shifted.

        Args:
            words_BCW: (B, C, W) int64 words of the channels' bits along time.
            kernel_CW: (C, 1) int64 words of signs.
            width: number of taps, 1 to 64.
            stride: frames from one window to the next.
            unsigned: whether the bits of ``words_BCW`` are {0, 1} rather than signs.
            scale_C: (C,) float32.
            bias_C: (C,) float32.
            out_BCS: (B, C, S) float32, filled here.
        """
        samples = (out_BCS.shape[2] - 1) * stride + width
        inputs_BCS = _bits(words_BCW, samples) if unsigned else _signs(words_BCW, samples)
        weight_C1K = _signs(kernel_CW, width).unsqueeze(1)
        sums_BCS = functional.conv1d(inputs_BCS, weight_C1K, stride=stride, groups=len(kernel_CW))
        torch.mul(sums_BCS, scale_C.unsqueeze(1), out=out_BCS).add_(bias_C.unsqueeze(1))


def _bits(words_XW: Tensor, width: int) -> Tensor:
    """Give the first bits of the words, as float32 0 and 1."""
    bits_XW = (words_XW.unsqueeze(-1) >> torch.arange(_WORD)) & 1
    return bits_XW.flatten(-2)[..., :width].float()


def _signs(words_XW: Tensor, width: int) -> Tensor:
    return 2 * _bits(words_XW, width) - 1
