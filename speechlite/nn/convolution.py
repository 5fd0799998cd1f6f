"""The convolution block of the Conformer.

Shapes: B batch, S frames, D model width, C channels of the depthwise convolution, E = 2 D.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from speechlite.nn.frames_convolution import convolve
from speechlite.nn.lengths import zero_beyond
from speechlite.nn.normalization import MaskedBatchNorm

__all__ = ["ConformerConvolution"]


class ConformerConvolution(nn.Module):
    """Gate, convolve each channel over time, normalise, mix channels.

    Gulati et al. 2020 (arXiv 2005.08100), section 2.2; without the gate, over twice the channels,
    Kim et al. 2022 (arXiv 2206.00888), section 3.1.2. Pointwise convolutions are linear layers.

    Args:
        dim: model width D.
        kernel_size: frames of the depthwise kernel; odd.
        bias: whether the three convolutions have biases.
        gated: whether half of the channels gate the others; else all pass a swish.
    """

    def __init__(
        self, dim: int, kernel_size: int, *, bias: bool = True, gated: bool = True
    ) -> None:
        super().__init__()
        self.is_gated = gated
        width = dim if gated else 2 * dim
        self.expand = nn.Linear(dim, 2 * dim, bias=bias)
        self.depthwise = nn.Conv1d(
            width, width, kernel_size, padding=kernel_size // 2, groups=width, bias=bias
        )
        self.norm = MaskedBatchNorm(width)
        self.contract = nn.Linear(width, dim, bias=bias)

    def forward(self, frames_BSD: Tensor, valid_BS: Tensor | None) -> Tensor:
        """Return the convolved frames.

        Args:
            frames_BSD: input frames.
            valid_BS: which frames are valid; None for all.

        Returns:
            (B, S, D).
        """
        expanded_BSE = self.expand(frames_BSD)
        active_BSC = (
            functional.glu(expanded_BSE) if self.is_gated else functional.silu(expanded_BSE)
        )
        # (B, S, C) -> (B, C, S) and back
        convolved_BSC = convolve(self.depthwise, zero_beyond(active_BSC, valid_BS).mT).mT
        normed_BSC = self.norm(zero_beyond(convolved_BSC, valid_BS), valid_BS)
        return self.contract(functional.silu(normed_BSC))
