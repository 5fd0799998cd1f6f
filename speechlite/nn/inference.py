"""When layers may take the ways that compute the same faster, or in another precision."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any, TypeVar

import torch
from torch import Tensor

from speechlite.core.operations import are_plain

__all__ = ["Prepared", "counts_bits", "has_kernels", "is_cpu_inference", "is_faster", "version_of"]

_T = TypeVar("_T")

_MEASUREMENTS = 7


def is_cpu_inference(values: Tensor) -> bool:
    """Return whether a layer may overwrite and cut up its values on the CPU.

    Args:
        values: the layer's input.

    Returns:
        True on the CPU in ``torch.inference_mode``. Elsewhere layers do one operation after the
        other, so that gradients, hooks, counters and exported graphs have what they expect.
    """
    return (
        torch.is_inference_mode_enabled()
        and not torch.compiler.is_exporting()
        and values.device.type == "cpu"
    )


def has_kernels(values: Tensor, *dtypes: torch.dtype) -> bool:
    """Return whether a layer may call a kernel without gradients on the CPU.

    Args:
        values: the layer's input.
        dtypes: types of input that the kernel is for; float32 where none is named.

    Returns:
        False where gradients, an exported graph or ``plain_operations`` are asked for.
    """
    return (
        values.device.type == "cpu"
        and values.dtype in (dtypes or (torch.float32,))
        and not torch.is_grad_enabled()
        and not torch.compiler.is_exporting()
        and not are_plain()
    )


def counts_bits(values: Tensor, *bits: int) -> bool:
    """Return whether a layer may multiply codes by counting their bits.

    Args:
        values: the layer's input.
        bits: bits of each operand.

    Returns:
        True for one bit each, where ``has_kernels`` is true.
    """
    return all(each == 1 for each in bits) and has_kernels(values)


def is_faster(first: Callable[[], object], second: Callable[[], object]) -> bool:
    """Measure on this machine which of two computations is faster.

    Both run in turn, with as many threads as torch is set to use, once before the clock starts; the
    medians count.

    Args:
        first: a computation.
        second: another.

    Returns:
        Whether the first one is faster.
    """
    taken: tuple[list[float], list[float]] = ([], [])
    with torch.inference_mode(False), torch.no_grad():
        for number in range(_MEASUREMENTS + 1):
            for compute, seconds in zip((first, second), taken, strict=True):
                started = time.perf_counter()
                compute()
                # the first call compiles and prepares
                seconds += [time.perf_counter() - started] if number else []
    return median(taken[0]) < median(taken[1])


def version_of(*tensors: Tensor) -> tuple[int, ...] | None:
    """Return numbers that change when tensors are replaced or change in place.

    Args:
        tensors: what something was prepared from.

    Returns:
        Their versions; None where one was made in ``torch.inference_mode``, which counts none, so
        that nothing prepared may be kept.
    """
    if any(tensor.is_inference() for tensor in tensors):
        return None
    return tuple(part for tensor in tensors for part in (tensor.data_ptr(), tensor._version))


class Prepared:
    """Keep what a layer makes of its tensors, until these are replaced or change in place."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[tuple[int, ...], Any]] = {}

    def get(self, name: str, make: Callable[[], _T], *sources: Tensor) -> _T:
        """Return what was made, or make it.

        Args:
            name: what to keep it under.
            make: makes it.
            sources: the tensors that it is made of.

        Returns:
            What ``make`` returned for these tensors as they are.
        """
        # a graph has no place for what was prepared
        version = None if torch.compiler.is_exporting() else version_of(*sources)
        if version is None:
            return make()
        kept = self._kept.get(name)
        if kept is None or kept[0] != version:
            # training may follow, and takes no tensor that inference mode made
            with torch.inference_mode(False), torch.no_grad():
                kept = self._kept[name] = (version, make())
        made: _T = kept[1]
        return made
