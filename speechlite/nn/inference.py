"""When layers may take the ways that compute the same faster."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["is_cpu_inference"]


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
