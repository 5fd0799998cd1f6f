"""The Transformer encoder: pre-norm or post-norm, with one of three kinds of positions.

Shapes: B batch, S frames, D model width, H heads.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechlite.core.model import Encoder, PruneGroup
from speechlite.core.types import Hidden
from speechlite.encoders.config import TransformerConfig
from speechlite.nn.attention import SelfAttention
from speechlite.nn.attention_core import AttentionCore
from speechlite.nn.dropout import Dropout
from speechlite.nn.feedforward import FeedForward
from speechlite.nn.lengths import padding_mask, zero_beyond
from speechlite.nn.positional import ConvolutionalPositions, absolute_positions
from speechlite.nn.relative_bias import RelativeBias
from speechlite.nn.stack import build_layers, draw_depth, layer_groups, run_layers

__all__ = ["TransformerEncoder", "TransformerLayer"]


class TransformerLayer(nn.Module):
    """Attend and map each frame; residual, with norms before the blocks or after the sums.

    Post-norm is Vaswani et al. 2017 (arXiv 1706.03762), pre-norm Xiong et al. 2020 (arXiv
    2002.04745).

    Args:
        config: options of the encoder.
        core: which frames attend to which; None for all to all.
    """

    def __init__(self, config: TransformerConfig, *, core: AttentionCore | None = None) -> None:
        super().__init__()
        self.is_pre_norm = config.norm == "pre"
        self.attention_norm = nn.LayerNorm(config.dim)
        self.attention = SelfAttention(
            config.dim,
            config.heads,
            dropout=config.attention_dropout,
            gated_bias=config.relative_bias,
            core=core,
        )
        self.feedforward_norm = nn.LayerNorm(config.dim)
        self.feedforward = FeedForward(
            config.dim, config.feedforward, activation=config.activation, dropout=config.dropout
        )
        self.dropout = Dropout(config.dropout)

    def forward(
        self, frames_BSD: Tensor, valid_BS: Tensor | None, bias_HSS: Tensor | None = None
    ) -> Tensor:
        """Return the layer's output.

        Args:
            frames_BSD: input frames.
            valid_BS: which frames are valid; None for all.
            bias_HSS: scores of the relative bias; None without one.

        Returns:
            (B, S, D).
        """
        if self.is_pre_norm:
            attended_BSD = self.attention(self.attention_norm(frames_BSD), valid_BS, bias_HSS)
            frames_BSD = frames_BSD + self.dropout(attended_BSD)
            mapped_BSD = self.feedforward(self.feedforward_norm(frames_BSD))
            return frames_BSD + self.dropout(mapped_BSD)
        attended_BSD = self.attention(frames_BSD, valid_BS, bias_HSS)
        frames_BSD = self.attention_norm(frames_BSD + self.dropout(attended_BSD))
        mapped_BSD = self.feedforward(frames_BSD)
        normed_BSD: Tensor = self.feedforward_norm(frames_BSD + self.dropout(mapped_BSD))
        return normed_BSD

    def prune_groups(self) -> tuple[PruneGroup, ...]:
        """Return the heads, the inner units and both blocks.

        Returns:
            The groups of the blocks that are left.
        """
        return (
            *(group.inside("attention") for group in self.attention.prune_groups()),
            *(group.inside("feedforward") for group in self.feedforward.prune_groups()),
        )


class TransformerEncoder(Encoder):
    """Stack Transformer layers over frames.

    Pre-norm over convolutional positions is wav2vec 2.0 and HuBERT large, post-norm their base
    size; WavLM adds ``relative_bias``. With ``time_reduction`` the layers run at a lower rate
    (FitHuBERT, arXiv 2207.00555): each of their states stands for several frames, and a transposed
    convolution brings the last one back to the frames' rate.

    Args:
        config: the options.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.dim: int = config.dim
        self.layer_drop = config.layer_drop
        self.positions = None
        if config.positions == "convolution":
            self.positions = ConvolutionalPositions(
                config.dim, kernel_size=config.position_kernel, groups=config.position_groups
            )
        self.relative_bias = None
        if config.relative_bias:
            self.relative_bias = RelativeBias(
                config.heads, num_buckets=config.bias_buckets, max_distance=config.bias_distance
            )
        rate = config.time_reduction
        self.reduction = nn.Conv1d(config.dim, config.dim, rate, rate) if rate > 1 else None
        self.restoration = (
            nn.ConvTranspose1d(config.dim, config.dim, rate, rate) if rate > 1 else None
        )
        self.layers = build_layers(
            self.make_layer,
            config.layers,
            share_parameters=config.share_parameters,
        )
        self.dropout = Dropout(config.dropout)
        is_pre_norm = config.norm == "pre"
        self.input_norm = None if is_pre_norm else nn.LayerNorm(config.dim)
        self.final_norm = nn.LayerNorm(config.dim) if is_pre_norm else None

    def make_layer(self) -> TransformerLayer:
        """Build one layer.

        Returns:
            A layer with fresh weights.
        """
        return TransformerLayer(self.config)

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
        valid_BS = padding_mask(lengths_B, frames_BSD.shape[1])
        input_BSD = self._input(zero_beyond(frames_BSD, valid_BS), valid_BS)
        reduced_BSD, reduced_BS = self._reduce(input_BSD, lengths_B, valid_BS)
        bias_HSS = None
        if self.relative_bias is not None:
            bias_HSS = self.relative_bias(reduced_BSD.shape[1])
        hidden = run_layers(
            self.layers,
            lambda layer, x_BSD: layer(x_BSD, reduced_BS, bias_HSS),
            reduced_BSD,
            num_layers=num_layers,
            final_norm=self.final_norm,
            valid_BS=reduced_BS,
            layer_drop=self.layer_drop if self.training else 0.0,
        )
        return Hidden(self._restore(hidden, valid_BS, frames_BSD.shape[1]), lengths_B)

    def _input(self, frames_BSD: Tensor, valid_BS: Tensor | None) -> Tensor:
        if self.positions is not None:
            frames_BSD = frames_BSD + self.positions(frames_BSD)
        else:
            positions_SD = absolute_positions(frames_BSD.shape[1], self.dim, like=frames_BSD)
            frames_BSD = frames_BSD + positions_SD
        if self.input_norm is not None:
            frames_BSD = self.input_norm(frames_BSD)
        return zero_beyond(self.dropout(frames_BSD), valid_BS)

    def _reduce(
        self, frames_BSD: Tensor, lengths_B: Tensor, valid_BS: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        if self.reduction is None:
            return frames_BSD, valid_BS
        rate = self.config.time_reduction
        padded_BSD = functional.pad(frames_BSD, (0, 0, 0, -frames_BSD.shape[1] % rate))
        reduced_BSD = self.reduction(padded_BSD.mT).mT
        lengths_B = torch.div(lengths_B + rate - 1, rate, rounding_mode="floor")
        reduced_BS = padding_mask(lengths_B, reduced_BSD.shape[1])
        return zero_beyond(reduced_BSD, reduced_BS), reduced_BS

    def _restore(
        self, hidden: tuple[Tensor, ...], valid_BS: Tensor | None, num_frames: int
    ) -> tuple[Tensor, ...]:
        if self.restoration is None:
            return hidden
        # indices, since a slice would tie an exported graph to odd or even lengths
        frames_S = torch.arange(num_frames, device=hidden[0].device)
        source_S = torch.div(frames_S, self.config.time_reduction, rounding_mode="floor")
        states = [state_BSD.index_select(1, source_S) for state_BSD in hidden[:-1]]
        states.append(self.restoration(hidden[-1].mT).mT.index_select(1, frames_S))
        return tuple(zero_beyond(state_BSD, valid_BS) for state_BSD in states)

    def draw_depth(self, seed: int) -> int | None:
        """Draw how many layers a training step executes.

        Args:
            seed: the step's seed.

        Returns:
            A depth within ``random_depth``, or None for all layers.
        """
        return draw_depth(seed, self.config.random_depth, len(self.layers))

    def prune_groups(self) -> tuple[PruneGroup, ...]:
        """Return the heads, inner units and blocks of each layer.

        Returns:
            The groups; those of a shared layer once.
        """
        return layer_groups(self.layers)
