"""The ``gru`` encoder: a stack of bidirectional GRU layers (Cho et al. 2014, arXiv 1406.1078).

Shapes: B batch, S frames, D model width.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from speechlite.core.model import Encoder
from speechlite.core.types import Hidden
from speechlite.nn.lengths import padding_mask, zero_beyond
from speechlite.nn.stack import build_layers, run_layers
from speechlite_example.config import GruConfig

__all__ = ["GruEncoder", "GruLayer"]


class GruLayer(nn.Module):
    """Read frames in both directions; residual and pre-norm, so the shape stays.

    Args:
        dim: model width D; even, each direction has half of it.
        dropout: dropout of the output.
    """

    def __init__(self, dim: int, *, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.recurrent = nn.GRU(dim, dim // 2, batch_first=True, bidirectional=True)
        self.project = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, frames_BSD: Tensor, lengths_B: Tensor) -> Tensor:
        """Return the layer's output.

        Args:
            frames_BSD: input frames.
            lengths_B: valid frames, int64.

        Returns:
            (B, S, D).
        """
        # The backward direction must start at each utterance's own end, not in its padding. An
        # empty utterance cannot be packed; its one frame is zeroed by the encoder.
        packed = pack_padded_sequence(
            self.norm(frames_BSD),
            lengths_B.clamp(min=1).cpu(),
            batch_first=True,
            enforce_sorted=False,
        )
        read_BSD, _ = pad_packed_sequence(
            self.recurrent(packed)[0], batch_first=True, total_length=frames_BSD.shape[1]
        )
        added_BSD: Tensor = self.dropout(self.project(read_BSD))
        return frames_BSD + added_BSD


class GruEncoder(Encoder):
    """Stack GRU layers.

    Args:
        config: the options.
    """

    def __init__(self, config: GruConfig) -> None:
        super().__init__()
        self.dim: int = config.dim
        self.layers = build_layers(
            lambda: GruLayer(config.dim, dropout=config.dropout),
            config.layers,
            share_parameters=False,
        )
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
        hidden = run_layers(
            self.layers,
            lambda layer, x_BSD: layer(x_BSD, lengths_B),
            zero_beyond(frames_BSD, valid_BS),
            num_layers=num_layers,
            final_norm=self.final_norm,
            valid_BS=valid_BS,
        )
        return Hidden(hidden, lengths_B)
