"""Time-delay neural network: convolutions over time with growing dilation.

Shapes: B batch, S frames, D width.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from speechlite.nn.lengths import padding_mask, zero_beyond
from speechlite.nn.normalization import MaskedBatchNorm

__all__ = ["Tdnn"]


class Tdnn(nn.Module):
    """Stack layers that each look at a frame and one on each side (Peddinti et al. 2015).

    A layer is a convolution of three frames, ReLU and batch norm, as in Kaldi's
    ``relu-batchnorm-layer``; what lies beyond an utterance counts as zero.

    Args:
        input_dim: width of the input.
        hidden_dim: width of every layer.
        strides: distance in frames to the neighbours that each layer looks at.
        dropout: after each layer.
    """

    def __init__(
        self, input_dim: int, hidden_dim: int, *, strides: Sequence[int], dropout: float = 0.0
    ) -> None:
        super().__init__()
        widths = [input_dim] + [hidden_dim] * (len(strides) - 1)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(width, hidden_dim, 3, padding=stride, dilation=stride)
            for width, stride in zip(widths, strides, strict=True)
        )
        self.norms = nn.ModuleList(MaskedBatchNorm(hidden_dim) for _ in strides)
        self.dropout = nn.Dropout(dropout)

    def forward(self, frames_BSD: Tensor, lengths_B: Tensor) -> Tensor:
        """Return the last layer's frames.

        Args:
            frames_BSD: input.
            lengths_B: valid frames, int64.

        Returns:
            (B, S, hidden_dim), zero beyond the lengths.
        """
        valid_BS = padding_mask(lengths_B, frames_BSD.shape[1])
        frames_BSD = zero_beyond(frames_BSD, valid_BS)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            moved_BSD = convolution(frames_BSD.transpose(1, 2)).transpose(1, 2).relu()
            normed_BSD = norm(zero_beyond(moved_BSD, valid_BS), valid_BS)
            frames_BSD = zero_beyond(self.dropout(normed_BSD), valid_BS)
        return frames_BSD
