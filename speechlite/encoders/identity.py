"""The encoder without layers: a baseline whose hidden states are the features themselves."""

from __future__ import annotations

from torch import Tensor, nn

from speechlite.core.model import Encoder
from speechlite.core.types import Hidden
from speechlite.encoders.config import IdentityConfig
from speechlite.nn.lengths import padding_mask, zero_beyond
from speechlite.nn.stack import run_layers

__all__ = ["IdentityEncoder"]


class IdentityEncoder(Encoder):
    """Pass features through, so that FBANK and MFCC are evaluated like any model.

    Args:
        config: the options; there are none.
    """

    def __init__(self, config: IdentityConfig) -> None:
        super().__init__()
        self.config = config
        self.dim = None
        self.layers = nn.ModuleList()

    def forward(
        self, frames_BSD: Tensor, lengths_B: Tensor, *, num_layers: int | None = None
    ) -> Hidden:
        """Return the frames as the only hidden state.

        Args:
            frames_BSD: features; anything may stand beyond the lengths.
            lengths_B: valid frames, int64.
            num_layers: 0 or None.

        Returns:
            One hidden state.
        """
        valid_BS = padding_mask(lengths_B, frames_BSD.shape[1])
        hidden = run_layers(
            self.layers,
            lambda layer, x_BSD: x_BSD,
            zero_beyond(frames_BSD, valid_BS),
            num_layers=num_layers,
            final_norm=None,
            valid_BS=valid_BS,
        )
        return Hidden(hidden, lengths_B)
