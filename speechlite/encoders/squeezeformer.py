"""The Squeezeformer encoder: attention and convolution layers, half of them at half the rate.

Shapes: B batch, S frames, R = ceil(S / 2) frames at the reduced rate, P relative distances, D model
width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from speechlite.core.model import Encoder, PruneGroup
from speechlite.core.types import Hidden
from speechlite.encoders.config import SqueezeformerConfig
from speechlite.nn.attention import RelativeSelfAttention, SelfAttention, attend
from speechlite.nn.convolution import ConformerConvolution
from speechlite.nn.dropout import Dropout
from speechlite.nn.feedforward import FeedForward
from speechlite.nn.frames_convolution import convolve
from speechlite.nn.lengths import padding_mask, zero_beyond
from speechlite.nn.positional import ConvolutionalPositions, placed, relative_positions
from speechlite.nn.stack import build_layers, checked_depth, layer_groups, run_layers

__all__ = ["SqueezeformerEncoder", "SqueezeformerLayer"]


class SqueezeformerLayer(nn.Module):
    """Attend, map, convolve, map; residual, with a norm after each block.

    Kim et al. 2022 (arXiv 2206.00888), sections 3.1.2 and 3.1.3.

    Args:
        config: options of the encoder.
    """

    def __init__(self, config: SqueezeformerConfig) -> None:
        super().__init__()
        dim, dropout = config.dim, config.dropout
        attention = RelativeSelfAttention if config.positions == "relative" else SelfAttention
        self.attention = attention(dim, config.heads, dropout=config.attention_dropout)
        self.feedforward = FeedForward(dim, config.feedforward, activation="swish", dropout=dropout)
        self.convolution = ConformerConvolution(
            dim, config.kernel_size, bias=config.convolution_bias, gated=config.gated_convolution
        )
        self.second_feedforward = FeedForward(
            dim, config.feedforward, activation="swish", dropout=dropout
        )
        self.scales = nn.ModuleList(
            _Scale(dim) if config.scaling else nn.Identity() for _ in range(4)
        )
        self.convolution_norm = nn.LayerNorm(dim) if config.convolution_norm else nn.Identity()
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(4))
        self.dropout = Dropout(dropout)

    def forward(
        self, frames_BSD: Tensor, positions_PD: Tensor | None, valid_BS: Tensor | None
    ) -> Tensor:
        """Return the layer's output.

        Args:
            frames_BSD: input frames.
            positions_PD: what ``relative_positions`` gives for S frames; None without them.
            valid_BS: which frames are valid; None for all.

        Returns:
            (B, S, D).
        """
        scales, norms = self.scales, self.norms
        attended_BSD = attend(self.attention, scales[0](frames_BSD), positions_PD, valid_BS)
        frames_BSD = norms[0](frames_BSD + self.dropout(attended_BSD))
        mapped_BSD = self.feedforward(scales[1](frames_BSD))
        frames_BSD = norms[1](frames_BSD + self.dropout(mapped_BSD))
        scaled_BSD = self.convolution_norm(scales[2](frames_BSD))
        convolved_BSD = self.convolution(scaled_BSD, valid_BS)
        frames_BSD = norms[2](frames_BSD + self.dropout(convolved_BSD))
        mapped_BSD = self.second_feedforward(scales[3](frames_BSD))
        output_BSD: Tensor = norms[3](frames_BSD + self.dropout(mapped_BSD))
        return output_BSD

    def prune_groups(self) -> tuple[PruneGroup, ...]:
        """Return the heads, the inner units and their blocks; convolutions keep their width.

        Returns:
            The groups of the blocks that are left.
        """
        blocks = {
            "attention": self.attention,
            "feedforward": self.feedforward,
            "second_feedforward": self.second_feedforward,
        }
        return tuple(
            group.inside(name) for name, block in blocks.items() for group in block.prune_groups()
        )


class _Scale(nn.Module):
    # scaled post-layer norm: what a norm before the block would have learned

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, frames_BSD: Tensor) -> Tensor:
        return frames_BSD * self.weight + self.bias


class _Reduction(nn.Module):
    # halves the rate: each channel over time, then channels with each other

    def __init__(self, dim: int, kernel_size: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(
            dim, dim, kernel_size, stride=2, padding=kernel_size // 2, groups=dim
        )
        self.pointwise = nn.Linear(dim, dim)

    def forward(self, frames_BSD: Tensor) -> Tensor:
        reduced_BRD: Tensor = self.pointwise(convolve(self.depthwise, frames_BSD.mT).mT)
        return reduced_BRD


class SqueezeformerEncoder(Encoder):
    """Stack Squeezeformer layers: a temporal U-Net over frames.

    The rate is halved after some layers and brought back before the last ones, where the state
    before the reduction is added again. States at the reduced rate are repeated for ``Hidden``, so
    that all of them stand at the frames' rate.

    Args:
        config: the options.
    """

    def __init__(self, config: SqueezeformerConfig) -> None:
        super().__init__()
        self.dim: int = config.dim
        self.config = config
        self.layer_drop = config.layer_drop
        self.positions = None
        if config.positions == "convolution":
            self.positions = ConvolutionalPositions(
                config.dim, kernel_size=config.position_kernel, groups=config.position_groups
            )
        self.input_norm = nn.LayerNorm(config.dim)
        self.dropout = Dropout(config.dropout)
        is_reduced = config.reduce_after < config.recover_after
        self.reduction = _Reduction(config.dim, config.reduction_kernel) if is_reduced else None
        self.recovery = nn.Linear(config.dim, config.dim) if is_reduced else None
        self.layers = build_layers(
            lambda: SqueezeformerLayer(config),
            config.layers,
            share_parameters=config.share_parameters,
        )

    def forward(
        self, frames_BSD: Tensor, lengths_B: Tensor, *, num_layers: int | None = None
    ) -> Hidden:
        """Return the hidden states of the first ``num_layers`` layers.

        Args:
            frames_BSD: projected frames; anything may stand beyond the lengths.
            lengths_B: valid frames, int64.
            num_layers: layers to execute; None means all.

        Returns:
            ``num_layers + 1`` hidden states.
        """
        depth = checked_depth(self.layers, num_layers)
        valid_BS = padding_mask(lengths_B, frames_BSD.shape[1])
        frames_BSD, positions_PD = placed(frames_BSD, valid_BS, self.positions)
        frames_BSD = zero_beyond(self.dropout(self.input_norm(frames_BSD)), valid_BS)
        low, high = (min(depth, end) for end in self._reduced_range())
        states = self._run(frames_BSD, positions_PD, valid_BS, 0, low)
        if high > low:
            states += self._run_reduced(states[-1], lengths_B, valid_BS, low, high)
        states += self._run(states[-1], positions_PD, valid_BS, high, depth)[1:]
        return Hidden(states, lengths_B)

    def _reduced_range(self) -> tuple[int, int]:
        if self.reduction is None:
            return 0, 0
        return self.config.reduce_after, self.config.recover_after

    def _run(
        self,
        frames_BSD: Tensor,
        positions_PD: Tensor | None,
        valid_BS: Tensor | None,
        first: int,
        end: int,
    ) -> tuple[Tensor, ...]:
        return run_layers(
            self.layers[first:end],
            lambda layer, x_BSD: layer(x_BSD, positions_PD, valid_BS),
            frames_BSD,
            num_layers=None,
            final_norm=None,
            valid_BS=valid_BS,
            layer_drop=self.layer_drop if self.training else 0.0,
        )

    def _run_reduced(
        self,
        frames_BSD: Tensor,
        lengths_B: Tensor,
        valid_BS: Tensor | None,
        first: int,
        end: int,
    ) -> tuple[Tensor, ...]:
        assert self.reduction is not None
        assert self.recovery is not None
        reduced_BRD = self.reduction(frames_BSD)
        num_frames = frames_BSD.shape[1]
        lengths_B = torch.div(lengths_B + 1, 2, rounding_mode="floor")
        valid_BR = padding_mask(lengths_B, reduced_BRD.shape[1])
        positions_PD = None
        if self.positions is None:
            positions_PD = relative_positions(reduced_BRD.shape[1], self.dim, like=reduced_BRD)
        reduced_BRD = zero_beyond(reduced_BRD, valid_BR)
        states = self._run(reduced_BRD, positions_PD, valid_BR, first, end)[1:]
        # indices, since a slice would tie an exported graph to odd or even lengths
        source_S = torch.div(
            torch.arange(num_frames, device=frames_BSD.device), 2, rounding_mode="floor"
        )
        repeated = [state_BRD.index_select(1, source_S) for state_BRD in states]
        if end == self.config.recover_after:
            repeated[-1] = self.recovery(repeated[-1]) + frames_BSD
        return tuple(zero_beyond(state_BSD, valid_BS) for state_BSD in repeated)

    def prune_groups(self) -> tuple[PruneGroup, ...]:
        """Return the heads, inner units and blocks of each layer.

        Returns:
            The groups; those of a shared layer once.
        """
        return layer_groups(self.layers)
