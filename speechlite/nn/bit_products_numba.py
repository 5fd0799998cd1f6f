"""Products of one-bit matrices compiled by numba, a second or two at the first call.

Shapes: G groups, N rows, M columns, K bits of a row, R rows, W words of 64 bits, B batch,
C channels, S frames.

The inner steps are LLVM vectors (:mod:`speechlite.nn.bit_vectors`). The columns of a tile are
transposed once for all rows. Compiled code is not kept on the disk.
"""

# functions of numba take and give Any
# mypy: disable-error-code="attr-defined,misc,no-untyped-def"

from __future__ import annotations

from functools import cache

import numpy as np
from numba import config, njit
from torch import Tensor

from speechlite.core.errors import EnvironmentProblem
from speechlite.nn.bit_vectors import COLUMNS, ROWS, WORD, compare_word, make_tile, popcount

__all__ = ["NumbaKernel"]

# columns that are transposed at a time: half of a level-1 cache of 32 KiB
_BLOCK_WORDS = 2048


@njit(nogil=True)
def _pack(values_RK, thresholds, by_column, words_RW):
    num_rows, width = values_RK.shape
    one_row = np.empty(WORD, np.float32)
    for row in range(num_rows):
        if not by_column:
            one_row[:] = thresholds[row % len(thresholds)]
        for index in range(width // WORD):
            start = index * WORD
            if by_column:
                word = compare_word(values_RK, row * width + start, thresholds, start)
            else:
                word = compare_word(values_RK, row * width + start, one_row, 0)
            words_RW[row, index] = word
        start = width // WORD * WORD
        if start < width:
            word = np.uint64(0)
            for k in range(start, width):
                threshold = thresholds[k] if by_column else one_row[0]
                word |= np.uint64(values_RK[row, k] >= threshold) << np.uint64(k - start)
            words_RW[row, start // WORD] = word


@njit(nogil=True)
def _fill_panels(b_MW, panels_PWM):
    for column in range(len(b_MW)):
        for w in range(b_MW.shape[1]):
            panels_PWM[column // COLUMNS, w, column % COLUMNS] = b_MW[column, w]
    # the last panel may end in what it held before: its columns are counted but not kept


@njit(nogil=True)
def _row_offsets(a_NW, width, unsigned):
    """Give what a row's sums are before its counts: the width, or minus its own ones."""
    offsets_N = np.full(len(a_NW), width, np.int32)
    if unsigned:
        for n in range(len(a_NW)):
            ones = np.uint64(0)
            for word in a_NW[n]:
                ones += popcount(word)
            offsets_N[n] = -np.int32(ones)
    return offsets_N


@cache
def _make_product(*, unsigned):
    tile = make_tile(num_rows=ROWS, unsigned=unsigned)
    single = make_tile(num_rows=1, unsigned=unsigned)
    factor = np.int32(2 if unsigned else -2)

    @njit(nogil=True)
    def product(a_NW, b_MW, width, scale_M, bias_M, out_NM):
        num_rows, num_words = a_NW.shape
        num_panels = max(1, _BLOCK_WORDS // COLUMNS // max(1, num_words))
        panels_PWM = np.empty((num_panels, num_words, COLUMNS), np.uint64)
        counts_RM = np.empty((ROWS, COLUMNS), np.int64)
        offsets_N = _row_offsets(a_NW, width, unsigned)
        for first in range(0, len(b_MW), num_panels * COLUMNS):
            last = min(first + num_panels * COLUMNS, len(b_MW))
            _fill_panels(b_MW[first:last], panels_PWM)
            row = 0
            # rows outside, so that an output's rows are written in long runs
            while row < num_rows:
                height = ROWS if row + ROWS <= num_rows else 1
                for column in range(first, last, COLUMNS):
                    panel_WM = panels_PWM[(column - first) // COLUMNS]
                    if height == ROWS:
                        tile(a_NW, row, panel_WM, num_words, counts_RM)
                    else:
                        single(a_NW, row, panel_WM, num_words, counts_RM)
                    stop = min(column + COLUMNS, last)
                    scale, bias = scale_M[column:stop], bias_M[column:stop]
                    for r in range(height):
                        offset = offsets_N[row + r]
                        out = out_NM[row + r, column:stop]
                        for j in range(stop - column):
                            total = offset + factor * np.int32(counts_RM[r, j])
                            out[j] = np.float32(total) * scale[j] + bias[j]
                row += height

    @njit(nogil=True)
    def product_of_groups(a_GNW, b_GMW, width, scale_M, bias_M, out_GNM):
        for g in range(len(a_GNW)):
            product(a_GNW[g], b_GMW[g], width, scale_M, bias_M, out_GNM[g])

    return product_of_groups


@cache
def _make_slide(*, unsigned):
    @njit(nogil=True)
    def slide(low, high, start, stride, signs, width, scale, bias, out_S):
        """Fill the windows that start in one word; the loop is one that LLVM makes vectors of."""
        mask = ~np.uint64(0) >> np.uint64(WORD - width)
        for index in range(len(out_S)):
            shift = np.uint64(start + index * stride)
            # two steps: a shift by 64 would mean nothing
            bits = low >> shift | (high << np.uint64(1)) << (np.uint64(WORD - 1) - shift)
            bits &= mask
            if unsigned:
                total = 2 * np.int32(popcount(bits & signs)) - np.int32(popcount(bits))
            else:
                total = np.int32(width) - 2 * np.int32(popcount(bits ^ signs))
            out_S[index] = np.float32(total) * scale + bias

    @njit(nogil=True)
    def windows(words_BCW, kernel_CW, width, stride, scale_C, bias_C, out_BCS):
        batch, channels, num_words = words_BCW.shape
        for b in range(batch):
            for c in range(channels):
                words_W, signs, scale, bias = (
                    words_BCW[b, c],
                    kernel_CW[c, 0],
                    scale_C[c],
                    bias_C[c],
                )
                for w in range(num_words):
                    high = words_W[w + 1] if w + 1 < num_words else np.uint64(0)
                    first, last = -(-w * WORD // stride), -(-(w + 1) * WORD // stride)
                    start, out_S = first * stride - w * WORD, out_BCS[b, c, first:last]
                    slide(words_W[w], high, start, stride, signs, width, scale, bias, out_S)

    return windows


class NumbaKernel:
    """Multiply one-bit matrices by loops that numba compiles.

    Raises:
        EnvironmentProblem: if numba is told not to compile.
    """

    name = "numba"
    is_sequential = True

    def __init__(self) -> None:
        if config.DISABLE_JIT:
            raise EnvironmentProblem(
                "numba is told not to compile", remedy="unset NUMBA_DISABLE_JIT"
            )
        self._products = [_make_product(unsigned=unsigned) for unsigned in (False, True)]
        self._windows = [_make_slide(unsigned=unsigned) for unsigned in (False, True)]

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
        _pack(values_RK.numpy(), thresholds.numpy(), by_column, _words(words_RW))

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
        product, a, b = self._products[unsigned], _words(a_GNW), _words(b_GMW)
        product(a, b, width, scale_M.numpy(), bias_M.numpy(), out_GNM.numpy())

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
        scale, bias, out = scale_C.numpy(), bias_C.numpy(), out_BCS.numpy()
        windows, words, signs = self._windows[unsigned], _words(words_BCW), _words(kernel_CW)
        windows(words, signs, width, stride, scale, bias, out)


def _words(words: Tensor) -> np.ndarray:
    return words.numpy().view(np.uint64)
