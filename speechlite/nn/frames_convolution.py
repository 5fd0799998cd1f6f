"""Convolutions over frames whose channels stand together in memory, as linear layers leave them.

Shapes: B batch, C channels, G groups, K frames of a kernel, S frames, O outputs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechlite.core.operations import are_plain

__all__ = ["convolve", "convolve_frames"]


def convolve(layer: nn.Module, values_BCS: Tensor) -> Tensor:
    """Apply a convolution to frames whose channels stand together.

    Args:
        layer: a convolution, stock or not.
        values_BCS: its input, a transposed (B, S, C).

    Returns:
        What the layer returns, but for rounding.
    """
    is_stock = type(layer) is nn.Conv1d and layer.padding_mode == "zeros"
    if not is_stock or layer._forward_hooks or layer._forward_pre_hooks:
        made: Tensor = layer(values_BCS)
        return made
    assert isinstance(layer, nn.Conv1d)
    assert not isinstance(layer.padding, str)
    return convolve_frames(
        values_BCS,
        layer.weight,
        layer.bias,
        stride=layer.stride[0],
        padding=layer.padding[0],
        dilation=layer.dilation[0],
        groups=layer.groups,
    )


def convolve_frames(
    values_BCS: Tensor,
    weight_OGK: Tensor,
    bias_O: Tensor | None,
    *,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
) -> Tensor:
    """Convolve over time; on the CPU as an image of one line, for which channels may stay together.

    conv1d would first put the frames of each channel together, and takes 15 to 40 times as long
    for depthwise kernels.

    Args:
        values_BCS: frames, a transposed (B, S, C).
        weight_OGK: weights, as those of conv1d.
        bias_O: biases; None for none.
        stride: frames from one output to the next.
        padding: zeros on both sides.
        dilation: frames from one tap to the next.
        groups: groups of channels.

    Returns:
        (B, O, frames), again a transposed tensor on the CPU.
    """
    by_line = values_BCS.device.type == "cpu" and not torch.compiler.is_exporting()
    # what would be gained is lost where most of a kernel lies on padding
    if not by_line or are_plain() or values_BCS.shape[2] <= weight_OGK.shape[2]:
        return functional.conv1d(values_BCS, weight_OGK, bias_O, stride, padding, dilation, groups)
    return functional.conv2d(
        values_BCS[:, :, None],
        weight_OGK[:, :, None],
        bias_O,
        (1, stride),
        (0, padding),
        (1, dilation),
        groups,
    )[:, :, 0]
