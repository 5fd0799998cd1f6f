"""The pre-norm Transformer encoder with absolute positions.

Shapes: B batch, S frames, D model width.
"""

from __future__ import annotations

from torch import Tensor, nn

from speechlite.core.model import Encoder
from speechlite.core.types import Hidden
from speechlite.encoders.config import TransformerConfig
from speechlite.nn.attention import SelfAttention
from speechlite.nn.dropout import Dropout
from speechlite.nn.feedforward import FeedForward
from speechlite.nn.lengths import padding_mask, zero_beyond
from speechlite.nn.positional import absolute_positions
from speechlite.nn.stack import build_layers, draw_depth, run_layers

__all__ = ["TransformerEncoder", "TransformerLayer"]


class TransformerLayer(nn.Module):
    """Attend and map each frame; residual and pre-norm (Xiong et al. 2020, arXiv 2002.04745).

    Args:
        dim: model width D.
        num_heads: attention heads.
        inner_dim: inner width of the feed-forward.
        activation: relu, gelu or swish.
        dropout: dropout of block outputs and inner activations.
        attention_dropout: dropout of attention weights.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        inner_dim: int,
        activation: str,
        dropout: float,
        attention_dropout: float,
    ) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = SelfAttention(dim, num_heads, dropout=attention_dropout)
        self.feedforward_norm = nn.LayerNorm(dim)
        self.feedforward = FeedForward(dim, inner_dim, activation=activation, dropout=dropout)
        self.dropout = Dropout(dropout)

    def forward(self, frames_BSD: Tensor, valid_BS: Tensor | None) -> Tensor:
        """Return the layer's output.

        Args:
            frames_BSD: input frames.
            valid_BS: which frames are valid; None for all.

        Returns:
            (B, S, D).
        """
        attended_BSD = self.attention(self.attention_norm(frames_BSD), valid_BS)
        frames_BSD = frames_BSD + self.dropout(attended_BSD)
        mapped_BSD = self.feedforward(self.feedforward_norm(frames_BSD))
        return frames_BSD + self.dropout(mapped_BSD)


class TransformerEncoder(Encoder):
    """Stack Transformer layers over frames with sinusoidal positions.

    Args:
        config: the options.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.dim: int = config.dim
        self.random_depth = config.random_depth
        self.layers = build_layers(
            lambda: TransformerLayer(
                config.dim,
                config.heads,
                inner_dim=config.feedforward,
                activation=config.activation,
                dropout=config.dropout,
                attention_dropout=config.attention_dropout,
            ),
            config.layers,
            share_parameters=config.share_parameters,
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
        positions_SD = absolute_positions(frames_BSD.shape[1], self.dim, like=frames_BSD)
        frames_BSD = zero_beyond(self.dropout(frames_BSD + positions_SD), valid_BS)
        hidden = run_layers(
            self.layers,
            lambda layer, x_BSD: layer(x_BSD, valid_BS),
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
        return draw_depth(seed, self.random_depth, len(self.layers))
