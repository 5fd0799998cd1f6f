"""Products of one-bit matrices on the CPU: pack signs into words, multiply by counting bits.

Shapes: G groups (heads, or 1), N rows, M columns, K bits of a row, W words of 64 bits, B batch,
C channels, S frames. Bit k of a row is bit k % 64 of word k // 64; bits from K on are 0.

A product of two signs is 1 where the bits agree and -1 elsewhere, so a row of K of them sums to
K - 2 popcount(a xor b); with a of {0, 1} the sum is 2 popcount(a and b) - popcount(a). Every
kernel (:mod:`speechlite.nn.bit_kernels`) counts the same integers and applies scale and bias in
float32 in the same order, so their results are bit-equal. Nothing here has a gradient.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from speechlite.core.errors import DataError
from speechlite.nn.bit_checks import check_tensor, check_width, check_window, check_words
from speechlite.nn.bit_kernels import (
    build_kernel,
    chosen_kernel,
    kernel_name,
    kernel_note,
    num_parts,
    run_parts,
)

__all__ = [
    "build_kernel",
    "depthwise_product",
    "kernel_name",
    "kernel_note",
    "load",
    "pack",
    "signed_product",
    "store",
    "unsigned_product",
]

_WORD = 64


def pack(values_XK: Tensor, threshold_K: Tensor) -> Tensor:
    """Pack one bit a value: whether it reaches its threshold.

    Args:
        values_XK: (..., K) float32; NaN reaches no threshold.
        threshold_K: (K,) or scalar, float32.

    Returns:
        (..., ceil(K / 64)) int64 words.

    Raises:
        ConfigError: if a dtype, device or shape does not fit.
    """
    check_tensor("values", values_XK, torch.float32, (..., None))
    *others, width = values_XK.shape
    by_column = threshold_K.dim() > 0
    check_tensor("threshold", threshold_K, torch.float32, (width,) if by_column else ())
    values_RK = values_XK if len(others) == 1 else values_XK.reshape(math.prod(others), width)
    words_RW = _packed(values_RK, threshold_K, by_column=by_column)
    return words_RW if len(others) == 1 else words_RW.reshape(*others, words_RW.shape[1])


def store(words_XW: Tensor, width: int) -> Tensor:
    """Turn words into the bytes that stand in a file, one bit a weight.

    Args:
        words_XW: (..., ceil(width / 64)) int64 words from :func:`pack`.
        width: number of bits of a row.

    Returns:
        (..., ceil(width / 8)) uint8, the low bits first on every machine.

    Raises:
        ConfigError: if the words do not fit the width.
    """
    check_words("words", words_XW, width, (...,))
    shifts_8 = torch.arange(0, _WORD, 8)
    # (..., W) -> (..., W, 8) -> (..., 8 W)
    bytes_X = ((words_XW.unsqueeze(-1) >> shifts_8) & 255).to(torch.uint8).flatten(-2)
    return bytes_X[..., : -(-width // 8)].contiguous()


def load(bytes_XY: Tensor, width: int) -> Tensor:
    """Turn bytes of a file back into words: the inverse of :func:`store`.

    Args:
        bytes_XY: (..., ceil(width / 8)) uint8.
        width: number of bits of a row.

    Returns:
        (..., ceil(width / 64)) int64 words.

    Raises:
        ConfigError: if the bytes do not fit the width.
        DataError: if bits beyond the width are set.
    """
    check_width(width)
    num_bytes = -(-width // 8)
    check_tensor("bytes", bytes_XY, torch.uint8, (..., num_bytes))
    if width % 8 and bool((bytes_XY[..., -1] >> (width % 8)).any()):
        raise DataError(
            f"packed bits are set beyond the width of {width}",
            remedy="store the weights again; the file is damaged or of another width",
        )
    num_words = -(-width // _WORD)
    padded_XWY = torch.zeros(*bytes_XY.shape[:-1], num_words * 8, dtype=torch.int64)
    padded_XWY[..., :num_bytes] = bytes_XY
    # (..., 8 W) -> (..., W, 8) -> (..., W)
    return (padded_XWY.unflatten(-1, (num_words, 8)) << torch.arange(0, _WORD, 8)).sum(-1)


def signed_product(
    a_GNW: Tensor,
    b_GMW: Tensor,
    width: int,
    scale_M: Tensor | None = None,
    bias_M: Tensor | None = None,
) -> Tensor:
    """Multiply rows of signs by rows of signs, then scale and shift.

    Args:
        a_GNW: (G, N, W) int64 words; bit 1 is +1, bit 0 is -1.
        b_GMW: (G, M, W) or (1, M, W) int64 words, shared by all groups; likewise.
        width: number of bits of a row, K; at most 2^24.
        scale_M: (M,) float32 factors of the sums; ones by default.
        bias_M: (M,) float32 added last; zeros by default.

    Returns:
        (G, N, M) float32.

    Raises:
        ConfigError: if a dtype, device or shape does not fit.
    """
    return _product(a_GNW, b_GMW, width, scale_M, bias_M, unsigned=False)


def unsigned_product(
    a_GNW: Tensor,
    b_GMW: Tensor,
    width: int,
    scale_M: Tensor | None = None,
    bias_M: Tensor | None = None,
) -> Tensor:
    """Multiply rows of zeros and ones by rows of signs, then scale and shift.

    Args:
        a_GNW: (G, N, W) int64 words; bit 1 is 1, bit 0 is 0.
        b_GMW: (G, M, W) or (1, M, W) int64 words, shared by all groups; bit 1 is +1, bit 0 is -1.
        width: number of bits of a row, K; at most 2^24.
        scale_M: (M,) float32 factors of the sums; ones by default.
        bias_M: (M,) float32 added last; zeros by default.

    Returns:
        (G, N, M) float32.

    Raises:
        ConfigError: if a dtype, device or shape does not fit.
    """
    return _product(a_GNW, b_GMW, width, scale_M, bias_M, unsigned=True)


def depthwise_product(
    values_BCS: Tensor,
    threshold_C: Tensor,
    kernel_CW: Tensor,
    width: int,
    scale_C: Tensor | None = None,
    bias_C: Tensor | None = None,
    *,
    stride: int = 1,
    unsigned: bool = False,
) -> Tensor:
    """Slide each channel's kernel of signs over the channel's bits, then scale and shift.

    The values come padded. A one-bit sign has no zero: a padded place counts as +1 or -1 like any
    other, or as nothing when the values are unsigned and the padding lies below the threshold.

    Args:
        values_BCS: (B, C, S) float32, padded, S at least ``width``.
        threshold_C: (C,) or scalar float32; a value's bit is whether it reaches it.
        kernel_CW: (C, 1) int64 words of the kernels' signs, tap 0 the lowest bit.
        width: number of taps, 1 to 64.
        scale_C: (C,) float32 factors of the sums; ones by default.
        bias_C: (C,) float32 added last; zeros by default.
        stride: frames from one window to the next, at least 1.
        unsigned: whether a value's bits are {0, 1} rather than {-1, +1}.

    Returns:
        (B, C, (S - width) // stride + 1) float32.

    Raises:
        ConfigError: if a dtype, device, shape or number does not fit.
    """
    check_tensor("values", values_BCS, torch.float32, (None, None, None))
    batch, channels, samples = values_BCS.shape
    check_window(width, stride, samples)
    check_words("kernel", kernel_CW, width, (channels,))
    thresholds = threshold_C.expand(channels) if threshold_C.dim() == 0 else threshold_C
    check_tensor("threshold", thresholds, torch.float32, (channels,))
    scale_C, bias_C = _scale_and_bias(scale_C, bias_C, channels)
    values_RS = values_BCS.reshape(batch * channels, samples)
    words_RW = _packed(values_RS, thresholds, by_column=False)
    words_BCW = words_RW.reshape(batch, channels, words_RW.shape[1])
    out_BCS = torch.empty(batch, channels, (samples - width) // stride + 1, dtype=torch.float32)
    if not out_BCS.numel():
        return out_BCS
    kernel, signs_CW = chosen_kernel(), kernel_CW.contiguous()

    def slide(start: int, stop: int) -> None:
        words, out = words_BCW[start:stop], out_BCS[start:stop]
        kernel.windows(words, signs_CW, width, stride, unsigned, scale_C, bias_C, out)

    run_parts(slide, batch, num_parts(kernel, batch, cost=out_BCS.numel()))
    return out_BCS


def _packed(values_RK: Tensor, thresholds: Tensor, *, by_column: bool) -> Tensor:
    """Pack rows; a threshold a column, or one a row, taken in turn."""
    num_rows, width = values_RK.shape
    words_RW = torch.empty(num_rows, -(-width // _WORD), dtype=torch.int64)
    if words_RW.numel():
        thresholds = _plain(thresholds) if thresholds.dim() else _plain(thresholds).view(1)
        chosen_kernel().pack(_plain(values_RK), thresholds, by_column, words_RW)
    return words_RW


def _product(
    a_GNW: Tensor,
    b_GMW: Tensor,
    width: int,
    scale_M: Tensor | None,
    bias_M: Tensor | None,
    *,
    unsigned: bool,
) -> Tensor:
    check_words("a", a_GNW, width, (None, None))
    check_words("b", b_GMW, width, (None if b_GMW.shape[:1] == (1,) else a_GNW.shape[0], None))
    groups, rows, num_words = a_GNW.shape
    columns = b_GMW.shape[1]
    scale_M, bias_M = _scale_and_bias(scale_M, bias_M, columns)
    out_GNM = torch.empty(groups, rows, columns, dtype=torch.float32)
    if not out_GNM.numel():
        return out_GNM
    a_GNW, b_GMW, flat_GNM = a_GNW.contiguous(), b_GMW.contiguous(), out_GNM
    if groups > 1 and len(b_GMW) == 1:
        # (G, N, W) -> (1, G * N, W): with shared columns all rows are one group
        a_GNW = a_GNW.reshape(1, groups * rows, num_words)
        flat_GNM = out_GNM.view(1, groups * rows, columns)
    _multiply(a_GNW, b_GMW, width, unsigned, scale_M, bias_M, flat_GNM)
    return out_GNM


def _multiply(
    a_GNW: Tensor,
    b_GMW: Tensor,
    width: int,
    unsigned: bool,
    scale_M: Tensor,
    bias_M: Tensor,
    out_GNM: Tensor,
) -> None:
    """Fill the output; where that pays, threads share its groups or its only group's rows."""
    kernel, by_row = chosen_kernel(), len(a_GNW) == 1
    size = a_GNW.shape[1] if by_row else len(a_GNW)
    parts = num_parts(kernel, size, cost=out_GNM.numel() * a_GNW.shape[2])
    if parts == 1:
        kernel.product(a_GNW, b_GMW, width, unsigned, scale_M, bias_M, out_GNM)
        return

    def multiply(start: int, stop: int) -> None:
        here = slice(start, stop)
        a, out = (t[:, here] if by_row else t[here] for t in (a_GNW, out_GNM))
        b = b_GMW if by_row else b_GMW[here]
        kernel.product(a, b, width, unsigned, scale_M, bias_M, out)

    run_parts(multiply, size, parts)


def _scale_and_bias(
    scale_M: Tensor | None, bias_M: Tensor | None, size: int
) -> tuple[Tensor, Tensor]:
    if scale_M is None:
        scale_M = torch.ones(size, dtype=torch.float32)
    if bias_M is None:
        bias_M = torch.zeros(size, dtype=torch.float32)
    check_tensor("scale", scale_M, torch.float32, (size,))
    check_tensor("bias", bias_M, torch.float32, (size,))
    return _plain(scale_M), _plain(bias_M)


def _plain(tensor: Tensor) -> Tensor:
    """Give the numbers alone, in a row, in few calls: they count where frames are few."""
    if tensor.requires_grad:
        tensor = tensor.detach()
    return tensor.contiguous()
