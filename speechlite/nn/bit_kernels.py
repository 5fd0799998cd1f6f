"""Choose the program that multiplies one-bit matrices, and share its work among threads.

Three are there: C++ (AVX-512 VPOPCNTDQ, else 64-bit popcount), numba (LLVM's vector popcount) and
plain torch. Unless ``SPEECHLITE_BIT_KERNEL`` names one, the first of these that can run is taken:
C++ with AVX-512 where :func:`build_kernel` was called before, numba, C++ with 64-bit popcount,
torch. No compiler runs unless it is asked for: by :func:`build_kernel`, whose library stays in the
user's cache for later processes, or by ``SPEECHLITE_BIT_KERNEL=c++``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Protocol

import torch
from torch import Tensor

from speechlite.core.errors import ConfigError, EnvironmentProblem
from speechlite.nn import bit_products_native, bit_products_torch

__all__ = [
    "BitKernel",
    "build_kernel",
    "chosen_kernel",
    "kernel_name",
    "kernel_note",
    "kernel_of",
    "num_parts",
    "run_parts",
]

_VARIABLE = "SPEECHLITE_BIT_KERNEL"
_NAMES = ("c++", "numba", "torch")
_WORTH_THREADS = 2**25
"""Word operations, a few milliseconds on one core, from which it pays to wait for other threads."""


class BitKernel(Protocol):
    """Say what a program offers; all tensors are contiguous, on the CPU, and not empty."""

    name: str
    is_sequential: bool
    """Whether one call uses one thread, so that several may share the work."""

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


def chosen_kernel() -> BitKernel:
    """Return the program that runs, chosen at the first call.

    Returns:
        The program; the same one until the environment variable changes or one is built.

    Raises:
        ConfigError: if the environment variable names no program.
        EnvironmentProblem: if the program that it names cannot run here.
    """
    return _choose(os.environ.get(_VARIABLE, ""))[0]


def kernel_name() -> str:
    """Return the name of the program that runs, for reports.

    Returns:
        "c++ avx512", "c++ popcnt", "numba" or "torch".

    Raises:
        ConfigError: if the environment variable names no program.
        EnvironmentProblem: if the program that it names cannot run here.
    """
    return chosen_kernel().name


def kernel_note() -> str:
    """Say why the programs that come before the one that runs do not.

    Returns:
        One line, or nothing where the first choice or the one that was asked for runs.

    Raises:
        ConfigError: if the environment variable names no program.
        EnvironmentProblem: if the program that it names cannot run here.
    """
    return _choose(os.environ.get(_VARIABLE, ""))[1]


def kernel_of(*bits: int) -> str:
    """Say what multiplies codes on the CPU, for reports.

    Args:
        bits: bits of each operand.

    Returns:
        The program's name, or that the codes are multiplied as numbers.

    Raises:
        ConfigError: if the environment variable names no program.
        EnvironmentProblem: if the program that it names cannot run here.
    """
    counts = all(each == 1 for each in bits)
    return f"one bit, {kernel_name()}" if counts else "codes as float32"


def build_kernel() -> str:
    """Compile the C++ program into the user's cache, a matter of seconds, unless it is there.

    Returns:
        The name of the program that runs from now on.

    Raises:
        EnvironmentProblem: if there is no compiler, or it fails, or the cache cannot be written.
        ConfigError: if the environment variable names no program.
    """
    bit_products_native.build()
    _choose.cache_clear()
    return kernel_name()


def num_parts(kernel: BitKernel, size: int, *, cost: int) -> int:
    """Return into how many parts to split a range, one a thread of torch where that pays.

    Args:
        kernel: the program that works on a part.
        size: number of items of the range.
        cost: word operations of the whole range.

    Returns:
        At least 1.
    """
    if not kernel.is_sequential or cost < _WORTH_THREADS:
        return 1
    return max(1, min(torch.get_num_threads(), size))


def run_parts(part: Callable[[int, int], None], size: int, parts: int) -> None:
    """Run a function over a range, the parts of it at the same time.

    Args:
        part: works on [start, stop) alone, and releases Python's lock meanwhile.
        size: end of the range, which starts at 0.
        parts: number of parts, 1 to ``size``.
    """
    if parts == 1:
        part(0, size)
        return
    bounds = [size * index // parts for index in range(parts + 1)]
    with ThreadPoolExecutor(parts) as pool:
        # the list waits for all, and raises what a part raised
        list(pool.map(part, bounds[:-1], bounds[1:]))


@cache
def _choose(asked: str) -> tuple[BitKernel, str]:
    """Return the program to run and why those before it do not."""
    if asked and asked not in _NAMES:
        raise ConfigError(
            f"{_VARIABLE} is {asked!r}, expected one of {', '.join(_NAMES)}",
            remedy=f"set {_VARIABLE} to one of them or unset it",
        )
    if asked == "torch":
        return bit_products_torch.TorchKernel(), ""
    if asked == "numba":
        return _numba_kernel(), ""
    if asked == "c++":
        return bit_products_native.NativeKernel(bit_products_native.build()), ""
    return _best()


def _best() -> tuple[BitKernel, str]:
    notes = []
    native: BitKernel | None = None
    try:
        native = bit_products_native.NativeKernel(bit_products_native.built_library())
        if native.name == "c++ avx512":
            return native, ""
        notes.append("c++: no AVX-512 VPOPCNTDQ")
    except EnvironmentProblem as problem:
        notes.append(f"c++: {problem.cause}")
    try:
        return _numba_kernel(), "; ".join(notes)
    except EnvironmentProblem as problem:
        notes.append(f"numba: {problem.cause}")
    return native or bit_products_torch.TorchKernel(), "; ".join(notes)


def _numba_kernel() -> BitKernel:
    try:
        from speechlite.nn.bit_products_numba import NumbaKernel
    except ImportError as error:
        raise EnvironmentProblem(
            f"numba cannot be imported ({error})",
            remedy="install the extra fast of speechlite, or unset " + _VARIABLE,
        ) from error
    return NumbaKernel()
