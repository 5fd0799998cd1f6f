"""The convolutions over a waveform where no gradients are recorded: part by part, in few passes.

The plain way writes and reads all channels of the longest signal of a model once for each step of
the first layer. Here its norm is folded into its weights, and all layers run over a part of the
signal while it is in the processor's cache.

Shapes: B batch, T samples, S frames, C channels, K kernel size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechlite.nn.frames_convolution import convolve_frames
from speechlite.nn.inference import is_cpu_inference
from speechlite.nn.normalization import MaskedInstanceNorm, SelectiveLayerNorm

if TYPE_CHECKING:
    from speechlite.nn.waveform import WaveformLayer

__all__ = ["fold_norm", "may_run_in_chunks", "run_in_chunks"]

_CHUNK_BYTES = 1 << 24
"""Size of the first layer's part: small enough for the cache, large enough for fast products."""
_BLOCK = 16
"""Channels that the kernels for channels-first convolutions take together."""


def may_run_in_chunks(layers: Sequence[WaveformLayer], waves_BT: Tensor, *, field: int) -> bool:
    """Return whether ``run_in_chunks`` may replace the plain way.

    Args:
        layers: the layers.
        waves_BT: their input.
        field: samples that one frame of the output sees.

    Returns:
        True in inference on the CPU, as long as the convolutions are plain ones.
    """
    is_long_enough = waves_BT.shape[1] >= field
    plain = all(type(layer.convolution) is nn.Conv1d for layer in layers)
    return is_long_enough and plain and is_cpu_inference(waves_BT)


def run_in_chunks(
    layers: Sequence[WaveformLayer], waves_BT: Tensor, valid_BS: Tensor | None, *, field: int
) -> Tensor:
    """Return the last layer's output.

    Args:
        layers: the layers, first to last.
        waves_BT: at least ``field`` samples.
        valid_BS: which frames of the first layer a norm over time counts; None for all.
        field: samples that one frame of the output sees.

    Returns:
        (B, C, S).
    """
    first = layers[0]
    stride = first.convolution.stride[0]
    weight_BCK, bias_BC1 = fold_norm(first, waves_BT, valid_BS)
    step = math.prod(layer.convolution.stride[0] for layer in layers)
    num_frames = (waves_BT.shape[1] - field) // step + 1
    frame_bytes = weight_BCK[..., 0].numel() * weight_BCK.element_size() * step // stride
    chunk = max(1, _CHUNK_BYTES // frame_bytes)
    frames_apart = _keeps_frames_apart(layers, waves_BT)
    chunks = []
    for start in range(0, num_frames, chunk):
        end = min(start + chunk, num_frames)
        part_BT = waves_BT[:, start * step : (end - 1) * step + field]
        windows_BKS = part_BT.unfold(1, weight_BCK.shape[2], stride).mT
        channels_BCS = _product(weight_BCK, windows_BKS, bias_BC1, frames_apart=frames_apart)
        channels_BCS = _finish_(first, channels_BCS)
        for layer in layers[1:]:
            convolve = convolve_frames if frames_apart else functional.conv1d
            channels_BCS = convolve(
                channels_BCS,
                layer.convolution.weight,
                layer.convolution.bias,
                stride=layer.convolution.stride[0],
            )
            channels_BCS = _finish_(layer, channels_BCS)
        chunks.append(channels_BCS)
    return torch.cat(chunks, -1)


def fold_norm(
    layer: WaveformLayer, waves_BT: Tensor, valid_BS: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return a convolution of a waveform with the norm over time that follows it.

    The windows of a waveform with mean m and covariance V give a channel of weight w the mean w m
    and the variance w V w, so that the norm's statistics need no pass over the channels.

    Args:
        layer: the first layer.
        waves_BT: samples.
        valid_BS: which frames the norm counts; None for all.

    Returns:
        weights (B, C, K) and biases (B, C, 1) for each utterance.
    """
    weight_CK, bias = layer.convolution.weight[:, 0], layer.convolution.bias
    norm = layer.norm
    if not isinstance(norm, MaskedInstanceNorm):
        bias_C = weight_CK.new_zeros(len(weight_CK)) if bias is None else bias
        return weight_CK.expand(len(waves_BT), -1, -1), bias_C[:, None].expand(len(waves_BT), -1, 1)
    windows_BSK = waves_BT.unfold(1, weight_CK.shape[1], layer.convolution.stride[0])
    # neighbouring samples are much alike: single precision would lose small variances
    exact_CK = weight_CK.double()
    mean_BK1, cov_BKK = _moments(windows_BSK.double(), valid_BS)
    var_BC1 = ((exact_CK @ cov_BKK) * exact_CK).sum(-1, keepdim=True).clamp_min(0.0)
    scale_BC1 = norm.weight[:, None] * torch.rsqrt(var_BC1 + norm.epsilon)
    shift_BC1 = norm.bias[:, None] - (exact_CK @ mean_BK1) * scale_BC1
    return (exact_CK * scale_BC1).to(weight_CK.dtype), shift_BC1.to(weight_CK.dtype)


def _moments(windows_BSK: Tensor, valid_BS: Tensor | None) -> tuple[Tensor, Tensor]:
    if valid_BS is None:
        valid_BS = windows_BSK.new_ones(windows_BSK.shape[:2], dtype=torch.bool)
    count_B11 = valid_BS.sum(1)[:, None, None].clamp_min(1)
    unknown_BS1 = ~valid_BS[..., None]
    mean_B1K = windows_BSK.masked_fill(unknown_BS1, 0.0).sum(1, keepdim=True) / count_B11
    centred_BSK = (windows_BSK - mean_B1K).masked_fill_(unknown_BS1, 0.0)
    return mean_B1K.mT, centred_BSK.mT @ centred_BSK / count_B11


def _keeps_frames_apart(layers: Sequence[WaveformLayer], waves_BT: Tensor) -> bool:
    # whether the channels of a frame stand together in memory: a norm over them wants it, and so
    # does every convolution but those in single precision over whole blocks of channels
    return waves_BT.dtype != torch.float32 or any(
        isinstance(layer.norm, SelectiveLayerNorm) or layer.convolution.out_channels % _BLOCK
        for layer in layers
    )


def _product(
    weight_BCK: Tensor, windows_BKS: Tensor, bias_BC1: Tensor, *, frames_apart: bool
) -> Tensor:
    if frames_apart:
        return torch.baddbmm(bias_BC1.mT, windows_BKS.mT, weight_BCK.mT).mT
    return torch.baddbmm(bias_BC1, weight_BCK, windows_BKS)


def _finish_(layer: WaveformLayer, channels_BCS: Tensor) -> Tensor:
    if isinstance(layer.norm, SelectiveLayerNorm):
        channels_BCS = layer.norm(channels_BCS.mT).mT
    torch.ops.aten.gelu_(channels_BCS)
    return channels_BCS if layer.gate is None else channels_BCS.mul_(layer.gate[:, None])
