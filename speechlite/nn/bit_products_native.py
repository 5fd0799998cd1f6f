"""Products of one-bit matrices in C++, compiled once into the user's cache.

Shapes: G groups, N rows, M columns, K bits of a row, R rows, W words of 64 bits, B batch,
C channels, S frames.

The source is plain C functions over pointers, without headers of Python or torch: it compiles in
about a second and one library serves all their versions. The library's name holds the digest of
the source, so a new source never meets an old library. It is written under a temporary name and
renamed; of several processes that build at once the last wins, with the same content.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from speechlite.core.errors import EnvironmentProblem

__all__ = ["NativeKernel", "build", "built_library"]

_SOURCE = Path(__file__).with_name("bit_products.cpp")
# no contraction: a fused multiply-add would round once where the other kernels round twice
_FLAGS = ("-O3", "-std=c++17", "-shared", "-fPIC", "-ffp-contract=off")
_COMPILERS = ("c++", "g++", "clang++")
_TIMEOUT_SECONDS = 300
_PANEL = 32
# columns that are transposed at a time: half of a level-1 cache of 32 KiB
_BLOCK_WORDS = 2048
_NAMES = {2: "c++ avx512", 1: "c++ popcnt"}


def built_library() -> Path:
    """Return the path of the library that an earlier :func:`build` left.

    Returns:
        Path of a shared library that belongs to the user.

    Raises:
        EnvironmentProblem: if there is none, or another user owns it, or there is no source.
    """
    path = _library_path()
    if not path.is_file():
        raise EnvironmentProblem(
            "no library is built", remedy="call speechlite.nn.bit_products.build_kernel()"
        )
    if hasattr(os, "getuid") and path.stat().st_uid != os.getuid():
        raise EnvironmentProblem(
            "the library belongs to another user", remedy="remove it", path=path
        )
    return path


def build() -> Path:
    """Compile the library unless it is there.

    Returns:
        Path of the library.

    Raises:
        EnvironmentProblem: if there is no source or compiler, or it fails, or the cache cannot be
            written, or another user owns the library that is there.
    """
    path = _library_path()
    if path.exists():
        return built_library()
    compiler = _compiler()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            unfinished = Path(folder) / path.name
            _compile(compiler, unfinished)
            os.replace(unfinished, path)
    except OSError as error:
        raise EnvironmentProblem(
            f"the library cannot be written ({error})",
            remedy="set XDG_CACHE_HOME to a directory of yours",
            path=path.parent,
        ) from error
    return path


class NativeKernel:
    """Multiply one-bit matrices by a compiled library.

    Args:
        path: the library.

    Raises:
        EnvironmentProblem: if it cannot be loaded or the processor cannot run it.
    """

    is_sequential = True

    def __init__(self, path: Path) -> None:
        try:
            self._library = ctypes.CDLL(str(path))
            self._level = _level(self._library)
        except (OSError, AttributeError) as error:
            raise EnvironmentProblem(
                f"the library cannot be loaded ({error})",
                remedy="remove it and build again",
                path=path,
            ) from error
        if self._level not in _NAMES:
            raise EnvironmentProblem(
                "the processor has no popcount instruction", remedy="use the kernel numba or torch"
            )
        self.name = _NAMES[self._level]

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
        self._library.speechlite_pack(
            *_pointers(values_RK, thresholds, words_RW),
            *_integers(len(thresholds), *values_RK.shape),
            int(by_column),
            self._level,
        )

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
        groups, rows, num_words = a_GNW.shape
        block = max(_PANEL, _BLOCK_WORDS // max(1, num_words) // _PANEL * _PANEL)
        room = torch.empty(rows + num_words * block, dtype=torch.int64)
        self._library.speechlite_product(
            *_pointers(a_GNW, b_GMW, scale_M, bias_M, room, out_GNM),
            *_integers(groups, rows, b_GMW.shape[1], num_words, width, block),
            int(unsigned),
            self._level,
        )

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
        self._library.speechlite_windows(
            *_pointers(words_BCW, kernel_CW, scale_C, bias_C, out_BCS),
            *_integers(*out_BCS.shape, words_BCW.shape[2], width, stride),
            int(unsigned),
            self._level,
        )


def _library_path() -> Path:
    try:
        cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        recipe = [_SOURCE.read_text(encoding="utf-8"), *_FLAGS, sys.platform, platform.machine()]
    except (OSError, RuntimeError) as error:
        raise EnvironmentProblem(
            f"the source or the home directory cannot be found ({error})",
            remedy="install speechlite again, and set HOME or XDG_CACHE_HOME",
        ) from error
    digest = hashlib.sha256("\n".join(recipe).encode()).hexdigest()[:16]
    return Path(cache) / "speechlite" / f"bit_products-{digest}.so"


def _compiler() -> str:
    for name in (os.environ.get("CXX"), *_COMPILERS):
        found = shutil.which(name) if name else None
        if found:
            return found
    raise EnvironmentProblem(
        f"there is no C++ compiler (looked for CXX, {', '.join(_COMPILERS)})",
        remedy="install one, or leave SPEECHLITE_BIT_KERNEL unset",
    )


def _compile(compiler: str, output: Path) -> None:
    command = [compiler, *_FLAGS, str(_SOURCE), "-o", str(output)]
    try:
        done = subprocess.run(  # noqa: S603 (the user's own compiler, fixed arguments)
            command, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise EnvironmentProblem(
            f"{compiler} took more than {_TIMEOUT_SECONDS} seconds", remedy="set CXX to another"
        ) from error
    if done.returncode:
        raise EnvironmentProblem(
            f"{compiler} failed with {done.returncode} ({done.stderr.strip()[:500]})",
            remedy="set CXX to a compiler of C++17, or leave SPEECHLITE_BIT_KERNEL unset",
        )


def _level(library: ctypes.CDLL) -> int:
    return int(library.speechlite_bit_level())


def _pointers(*tensors: Tensor) -> list[ctypes.c_void_p]:
    return [ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors]


def _integers(*numbers: int) -> list[ctypes.c_int64]:
    return [ctypes.c_int64(number) for number in numbers]
