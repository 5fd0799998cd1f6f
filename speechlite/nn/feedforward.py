"""The position-wise feed-forward block.

Shapes: B batch, S frames, D model width, M inner width.
"""

from __future__ import annotations

from torch import Tensor, nn

from speechlite.nn.dropout import Dropout

__all__ = ["ACTIVATIONS", "FeedForward"]

ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "swish": nn.SiLU}
"""Activation modules by the name that configurations use."""


class FeedForward(nn.Module):
    """Map each frame through one wide layer (Vaswani et al. 2017, section 3.3).

    Args:
        dim: model width D.
        inner_dim: inner width M.
        activation: a key of ``ACTIVATIONS``.
        dropout: probability of dropping an inner activation.
    """

    def __init__(self, dim: int, inner_dim: int, *, activation: str, dropout: float) -> None:
        super().__init__()
        self.expand = nn.Linear(dim, inner_dim)
        self.activation = ACTIVATIONS[activation]()
        self.dropout = Dropout(dropout)
        self.contract = nn.Linear(inner_dim, dim)

    def forward(self, frames_BSD: Tensor) -> Tensor:
        """Return the mapped frames.

        Args:
            frames_BSD: input frames.

        Returns:
            (B, S, D).
        """
        return self.contract(self.dropout(self.activation(self.expand(frames_BSD))))
