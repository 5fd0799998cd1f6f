"""The convolution block of the Conformer.

Shapes: B batch, S frames, D model width.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from speechlite.nn.lengths import zero_beyond
from speechlite.nn.normalization import MaskedBatchNorm

__all__ = ["ConformerConvolution"]


class ConformerConvolution(nn.Module):
    """Gate, convolve each channel over time, normalise, mix channels.

    Gulati et al. 2020 (arXiv 2005.08100), section 2.2. Pointwise convolutions are linear layers.

    Args:
        dim: model width D.
        kernel_size: frames of the depthwise kernel; odd.
        bias: whether the three convolutions have biases.
    """

    def __init__(self, dim: int, kernel_size: int, *, bias: bool = True) -> None:
        super().__init__()
        self.expand = nn.Linear(dim, 2 * dim, bias=bias)
        self.depthwise = nn.Conv1d(
            dim, dim, kernel_size, padding=kernel_size // 2, groups=dim, bias=bias
        )
        self.norm = MaskedBatchNorm(dim)
        self.contract = nn.Linear(dim, dim, bias=bias)

    def forward(self, frames_BSD: Tensor, valid_BS: Tensor | None) -> Tensor:
        """Return the convolved frames.

        Args:
            frames_BSD: input frames.
            valid_BS: which frames are valid; None for all.

        Returns:
            (B, S, D).
        """
        gated_BSD = zero_beyond(functional.glu(self.expand(frames_BSD), dim=-1), valid_BS)
        # (B, S, D) -> (B, D, S) and back
        convolved_BSD = self.depthwise(gated_BSD.mT).mT
        normed_BSD = self.norm(zero_beyond(convolved_BSD, valid_BS), valid_BS)
        return self.contract(functional.silu(normed_BSD))
