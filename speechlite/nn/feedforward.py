"""The position-wise feed-forward block.

Shapes: B batch, S frames, D model width, M inner width.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from speechlite.core.model import PruneGroup
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
        self.unit_gate: Tensor | None = None
        self.block_gate: Tensor | None = None

    def forward(self, frames_BSD: Tensor) -> Tensor:
        """Return the mapped frames.

        Args:
            frames_BSD: input frames.

        Returns:
            (B, S, D).
        """
        inner_BSM = self.expand(frames_BSD)
        if inner_BSM.shape[-1] == 0:
            # without units the bias is left, without the block nothing is
            bias = self.contract.bias
            return torch.zeros_like(frames_BSD) + (bias if len(bias) else 0.0)
        inner_BSM = self.dropout(self.activation(inner_BSM))
        if self.unit_gate is not None:
            inner_BSM = inner_BSM * self.unit_gate
        output_BSD: Tensor = self.contract(inner_BSM)
        return output_BSD if self.block_gate is None else output_BSD * self.block_gate

    def prune_groups(self) -> tuple[PruneGroup, ...]:
        """Return the inner units, and the block as a whole.

        Returns:
            Two groups; none where no unit is left, or where a compressor replaced the layers.
        """
        if not isinstance(self.contract, nn.Linear) or self.contract.in_features == 0:
            return ()
        dim, inner_dim = self.contract.weight.shape
        slices = ("expand.weight", 0), ("expand.bias", 0), ("contract.weight", 1)
        units = PruneGroup(
            name="units",
            size=inner_dim,
            gate=partial(setattr, self, "unit_gate"),
            slices=tuple((name, axis, 1) for name, axis in slices),
            absorbed_by=("contract.weight",),
        )
        block = PruneGroup(
            name="block",
            size=1,
            gate=partial(setattr, self, "block_gate"),
            slices=(
                *((name, axis, inner_dim) for name, axis in slices),
                ("contract.bias", 0, dim),
            ),
            absorbed_by=("contract.weight", "contract.bias"),
        )
        return units, block
