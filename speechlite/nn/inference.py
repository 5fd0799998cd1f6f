"""When layers may take the ways that compute the same faster, or in another precision."""

from __future__ import annotations

import torch
from torch import Tensor

from speechlite.core.operations import are_plain

__all__ = ["has_kernels", "is_cpu_inference", "version_of"]


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


def has_kernels(values: Tensor) -> bool:
    """Return whether a layer may call a kernel without gradients, of float32 on the CPU.

    Args:
        values: the layer's input.

    Returns:
        False where gradients, an exported graph or ``plain_operations`` are asked for.
    """
    return (
        values.device.type == "cpu"
        and values.dtype == torch.float32
        and not torch.is_grad_enabled()
        and not torch.compiler.is_exporting()
        and not are_plain()
    )


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
