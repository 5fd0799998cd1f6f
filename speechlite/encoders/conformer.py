"""The Conformer encoder, with and without the macaron feed-forward.

Shapes: B batch, S frames, P relative distances, D model width.
"""

from __future__ import annotations

from torch import Tensor, nn

from speechlite.core.model import Encoder, PruneGroup
from speechlite.core.types import Hidden
from speechlite.encoders.config import ConformerConfig
from speechlite.nn.attention import RelativeSelfAttention, SelfAttention, attend
from speechlite.nn.convolution import ConformerConvolution
from speechlite.nn.dropout import Dropout
from speechlite.nn.feedforward import FeedForward
from speechlite.nn.lengths import padding_mask, zero_beyond
from speechlite.nn.positional import ConvolutionalPositions, placed
from speechlite.nn.stack import build_layers, draw_depth, layer_groups, run_layers

__all__ = ["ConformerEncoder", "ConformerLayer"]


class ConformerLayer(nn.Module):
    """Attend, convolve, map each frame; residual and pre-norm, with a norm at the end.

    Gulati et al. 2020 (arXiv 2005.08100), Eq. 1; without ``macaron`` the first half-step
    feed-forward is left out and the second counts fully, which gives the 4.2 M parameters a layer
    of Layer Reduction.

    Args:
        dim: model width D.
        num_heads: attention heads.
        inner_dim: inner width of the feed-forward.
        kernel_size: frames of the depthwise kernel.
        macaron: whether a half-step feed-forward stands first as well.
        convolution_bias: whether convolutions have biases.
        relative: whether attention sees relative positions.
        dropout: dropout of block outputs and inner activations.
        attention_dropout: dropout of attention weights.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        inner_dim: int,
        kernel_size: int,
        macaron: bool,
        convolution_bias: bool,
        relative: bool,
        dropout: float,
        attention_dropout: float,
    ) -> None:
        super().__init__()
        self.feedforward_scale = 0.5 if macaron else 1.0
        self.macaron_norm = nn.LayerNorm(dim) if macaron else None
        self.macaron = (
            FeedForward(dim, inner_dim, activation="swish", dropout=dropout) if macaron else None
        )
        self.attention_norm = nn.LayerNorm(dim)
        attention = RelativeSelfAttention if relative else SelfAttention
        self.attention = attention(dim, num_heads, dropout=attention_dropout)
        self.convolution_norm = nn.LayerNorm(dim)
        self.convolution = ConformerConvolution(dim, kernel_size, bias=convolution_bias)
        self.feedforward_norm = nn.LayerNorm(dim)
        self.feedforward = FeedForward(dim, inner_dim, activation="swish", dropout=dropout)
        self.final_norm = nn.LayerNorm(dim)
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
        if self.macaron is not None and self.macaron_norm is not None:
            mapped_BSD = self.macaron(self.macaron_norm(frames_BSD))
            frames_BSD = frames_BSD + self.feedforward_scale * self.dropout(mapped_BSD)
        normed_BSD = self.attention_norm(frames_BSD)
        attended_BSD = attend(self.attention, normed_BSD, positions_PD, valid_BS)
        frames_BSD = frames_BSD + self.dropout(attended_BSD)
        convolved_BSD = self.convolution(self.convolution_norm(frames_BSD), valid_BS)
        frames_BSD = frames_BSD + self.dropout(convolved_BSD)
        mapped_BSD = self.dropout(self.feedforward(self.feedforward_norm(frames_BSD)))
        return self.final_norm(frames_BSD + self.feedforward_scale * mapped_BSD)

    def prune_groups(self) -> tuple[PruneGroup, ...]:
        """Return the heads, the inner units and their blocks; convolutions keep their width.

        Returns:
            The groups of the blocks that are left.
        """
        blocks = {"macaron": self.macaron, "attention": self.attention}
        blocks["feedforward"] = self.feedforward
        return tuple(
            group.inside(name)
            for name, block in blocks.items()
            if block is not None
            for group in block.prune_groups()
        )


class ConformerEncoder(Encoder):
    """Stack Conformer layers over frames.

    Args:
        config: the options.
    """

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        self.dim: int = config.dim
        self.config = config
        self.layers = build_layers(
            lambda: ConformerLayer(
                config.dim,
                config.heads,
                inner_dim=config.feedforward,
                kernel_size=config.kernel_size,
                macaron=config.macaron,
                convolution_bias=config.convolution_bias,
                relative=config.positions == "relative",
                dropout=config.dropout,
                attention_dropout=config.attention_dropout,
            ),
            config.layers,
            share_parameters=config.share_parameters,
        )
        self.positions = None
        if config.positions == "convolution":
            self.positions = ConvolutionalPositions(
                config.dim, kernel_size=config.position_kernel, groups=config.position_groups
            )
        self.dropout = Dropout(config.dropout)
        self.final_norm = nn.LayerNorm(config.dim)

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
        frames_BSD, positions_PD = placed(frames_BSD, valid_BS, self.positions)
        frames_BSD = zero_beyond(self.dropout(frames_BSD), valid_BS)
        hidden = run_layers(
            self.layers,
            lambda layer, x_BSD: layer(x_BSD, positions_PD, valid_BS),
            frames_BSD,
            num_layers=num_layers,
            final_norm=self.final_norm,
            valid_BS=valid_BS,
        )
        return Hidden(hidden, lengths_B)

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
