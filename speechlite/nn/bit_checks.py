"""Refuse tensors and numbers that do not fit a product of one-bit matrices."""

from __future__ import annotations

from types import EllipsisType

import torch
from torch import Tensor

from speechlite.core.errors import ConfigError

__all__ = ["check_tensor", "check_width", "check_window", "check_words"]

_WORD = 64
_MAX_WIDTH = 2**24
Sizes = tuple["int | None | EllipsisType", ...]


def check_tensor(name: str, tensor: Tensor, dtype: torch.dtype, sizes: Sizes) -> None:
    """Refuse a tensor of another dtype, device or shape.

    Args:
        name: what to call the tensor in the message.
        tensor: any shape.
        dtype: the dtype that it must have.
        sizes: the sizes that it must have; ``None`` allows any, a leading ``...`` any number of
            further dimensions.

    Raises:
        ConfigError: if something differs.
    """
    if tensor.dtype == dtype and tensor.is_cpu and _fits(tensor.shape, sizes):
        return
    if tensor.dtype != dtype:
        raise ConfigError(
            f"{name} is {_short(tensor.dtype)}, expected {_short(dtype)}",
            remedy=f"convert it with .to(torch.{_short(dtype)})",
        )
    if not tensor.is_cpu:
        raise ConfigError(
            f"{name} is on {tensor.device.type}, expected cpu",
            remedy="move it with .cpu(); one-bit products run on the CPU alone",
        )
    raise ConfigError(
        f"{name} has shape {_written(tuple(tensor.shape))}, expected {_written(sizes)}",
        remedy="give tensors that belong together",
    )


def check_words(name: str, words: Tensor, width: int, sizes: Sizes) -> None:
    """Refuse words that cannot hold rows of the given width.

    Args:
        name: what to call the words in the message.
        words: (..., ceil(width / 64)) int64.
        width: number of bits of a row.
        sizes: the sizes before the last, as in :func:`check_tensor`.

    Raises:
        ConfigError: if the width is out of range or something of the words differs.
    """
    check_width(width)
    check_tensor(name, words, torch.int64, (*sizes, -(-width // _WORD)))


def check_width(width: int) -> None:
    """Refuse a number of bits whose sums float32 cannot hold.

    Args:
        width: number of bits of a row, 0 to 2^24.

    Raises:
        ConfigError: if it is out of range.
    """
    if not 0 <= width <= _MAX_WIDTH:
        raise ConfigError(
            f"width is {width}, expected 0 to {_MAX_WIDTH}",
            remedy="give the number of values that a row had before packing",
        )


def check_window(width: int, stride: int, samples: int) -> None:
    """Refuse a window that is longer than a word or than the signal, or that does not advance.

    Args:
        width: number of taps, 1 to 64.
        stride: frames from one window to the next, at least 1.
        samples: number of frames, at least ``width``.

    Raises:
        ConfigError: if one of them is out of range.
    """
    if not 1 <= width <= _WORD:
        raise ConfigError(
            f"width is {width} taps, expected 1 to {_WORD}", remedy="use a shorter kernel"
        )
    if stride < 1:
        raise ConfigError(f"stride is {stride}, expected at least 1", remedy="use 1 or more")
    if samples < width:
        raise ConfigError(
            f"values have {samples} frames, expected at least the width of {width}",
            remedy="pad the values first",
        )


def _fits(shape: tuple[int, ...], sizes: Sizes) -> bool:
    if sizes and sizes[0] is ...:
        sizes = sizes[1:]
        shape = shape[max(0, len(shape) - len(sizes)) :]
    if len(shape) != len(sizes):
        return False
    # a plain loop: this stands before every product, and a generator costs a microsecond
    for size, wanted in zip(shape, sizes, strict=True):  # noqa: SIM110
        if wanted is not None and wanted != size:
            return False
    return True


def _written(sizes: Sizes) -> str:
    words: dict[object, str] = {None: "any", ...: "..."}
    return "(" + ", ".join(words.get(size, str(size)) for size in sizes) + ")"


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
