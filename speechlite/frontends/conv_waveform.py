"""The ``conv_waveform`` frontend: strided convolutions over the waveform.

Shapes: B batch, T samples, S frames, F features, D model width.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from speechlite.core.model import Frontend, PruneGroup
from speechlite.frontends.config import ConvWaveformConfig
from speechlite.nn.dropout import Dropout
from speechlite.nn.lengths import padding_mask, zero_beyond
from speechlite.nn.normalization import SelectiveLayerNorm
from speechlite.nn.waveform import WaveformStack, receptive_field

__all__ = ["ConvWaveform"]

_NORMALISATION_EPSILON = 1e-7


class ConvWaveform(Frontend):
    """Learn features from the waveform, as wav2vec 2.0, HuBERT, WavLM and SEW do.

    Baevski et al. 2020 (arXiv 2006.11477), section 2. Padding changes nothing, unless
    ``legacy_padding`` asks for the behaviour of published code.

    Args:
        config: the options.
        dim: the encoder's width, or None to leave features as they are.
    """

    def __init__(self, config: ConvWaveformConfig, *, dim: int | None) -> None:
        super().__init__()
        self.config = config
        self.sample_rate = config.sample_rate
        self.stride = math.prod(config.strides)
        self.min_samples = receptive_field(config.kernels, config.strides)
        self.stack = WaveformStack(
            config.channels,
            config.kernels,
            config.strides,
            bias=config.bias,
            norm=config.norm,
            legacy_padding=config.legacy_padding,
        )
        width = config.channels[-1]
        self.channel_scale = nn.Parameter(torch.ones(width)) if config.channel_scale else None
        if config.gradient_scale == 0:
            # zero gradients alone would leave the weights to weight decay
            for parameter in self.parameters():
                parameter.requires_grad_(False)
        self.projection = None if dim is None else _Projection(config, width, dim)

    @property
    def num_features(self) -> int:  # type: ignore[override]
        """Width F of what ``extract`` gives."""
        return self.stack.num_channels

    def extract(self, waves_BT: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output of the last convolution.

        Args:
            waves_BT: samples in [-1, 1], zero beyond the lengths.
            lengths_B: valid samples, int64.

        Returns:
            features (B, S, F) and the valid frames (B,).
        """
        if self.config.normalise:
            waves_BT = _normalised(waves_BT, lengths_B)
        features_BSF = self.stack(waves_BT, lengths_B).mT
        if self.channel_scale is not None:
            features_BSF = features_BSF * self.channel_scale
        if self.training and 0 < self.config.gradient_scale < 1 and features_BSF.requires_grad:
            features_BSF = _scale_gradient(features_BSF, self.config.gradient_scale)
        frames_B = torch.div(lengths_B - self.min_samples, self.stride, rounding_mode="floor") + 1
        frames_B = frames_B.clamp_min(0)
        valid_BS = padding_mask(frames_B, features_BSF.shape[1])
        return zero_beyond(features_BSF, valid_BS), frames_B

    def project(self, features_BSF: Tensor) -> Tensor:
        """Bring features to the encoder's width.

        Args:
            features_BSF: what ``extract`` gave, masked or not.

        Returns:
            (B, S, D).
        """
        if self.projection is None:
            return features_BSF
        projected_BSD: Tensor = self.projection(features_BSF)
        return projected_BSD

    def prune_groups(self) -> tuple[PruneGroup, ...]:
        """Return the channels of each convolution.

        Returns:
            One group a layer; the last one only where a linear projection reads it.
        """
        groups = [group.inside("stack") for group in self.stack.prune_groups()]
        if self.projection is not None and self.projection.linear is not None:
            last = self.stack.last_channels(self.projection.install).inside("stack")
            read = [f"projection.{name}" for name in self.projection.norm_names()]
            reader = "projection.linear.weight"
            slices = [*last.slices, *((name, 0, 1) for name in read), (reader, 1, 1)]
            if self.channel_scale is not None:
                slices.append(("channel_scale", 0, 1))
            groups.append(replace(last, slices=tuple(slices), absorbed_by=(reader,)))
        return tuple(groups)


class _Projection(nn.Module):
    def __init__(self, config: ConvWaveformConfig, width: int, dim: int) -> None:
        super().__init__()
        self.norm = SelectiveLayerNorm(width) if config.projection_norm else None
        is_needed = config.project_equal or width != dim
        self.linear = nn.Linear(width, dim) if is_needed else None
        self.dropout = Dropout(config.dropout)
        self.gate: Tensor | None = None

    def forward(self, features_BSF: Tensor) -> Tensor:
        if self.norm is not None:
            features_BSF = self.norm(features_BSF)
        if self.gate is not None:
            features_BSF = features_BSF * self.gate
        if self.linear is not None:
            features_BSF = self.linear(features_BSF)
        return self.dropout(features_BSF)

    def install(self, gate: Tensor | None) -> None:
        self.gate = gate
        if self.norm is not None:
            self.norm.alive = None if gate is None else gate.detach() != 0

    def norm_names(self) -> tuple[str, ...]:
        return () if self.norm is None else ("norm.weight", "norm.bias")


def _normalised(waves_BT: Tensor, lengths_B: Tensor) -> Tensor:
    valid_BT = padding_mask(lengths_B, waves_BT.shape[1])
    count_B1 = lengths_B[:, None].clamp_min(1)
    centred_BT = zero_beyond(waves_BT - waves_BT.sum(1, keepdim=True) / count_B1, valid_BT)
    var_B1 = centred_BT.square().sum(1, keepdim=True) / count_B1
    return centred_BT * torch.rsqrt(var_B1 + _NORMALISATION_EPSILON)


def _scale_gradient(values: Tensor, factor: float) -> Tensor:
    # adds zero, so that the values stay what they are in any precision
    return values.detach() + (values - values.detach()) * factor
