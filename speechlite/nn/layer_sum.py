"""A learned weighted sum over hidden states.

Shapes: B batch, S frames, D model width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from speechlite.core.types import Hidden

__all__ = ["LAYER_CHOICES", "LayerSum"]

LAYER_CHOICES = ("weighted", "last")
"""What a head can make of the layers."""


class LayerSum(nn.Module):
    """Weigh hidden states by a softmax that starts uniform, or take the last one.

    The featurizer of SUPERB (Yang et al. 2021, arXiv 2105.01051), section 2.3.

    Args:
        num_layers: hidden states given.
        choice: ``weighted`` or ``last``; the last one needs no parameters.
    """

    def __init__(self, num_layers: int, choice: str) -> None:
        super().__init__()
        weighted = choice == "weighted" and num_layers > 1
        self.scores = nn.Parameter(torch.zeros(num_layers)) if weighted else None

    def forward(self, hidden: Hidden) -> Tensor:
        """Return one sequence of frames.

        Args:
            hidden: as many hidden states as ``num_layers`` said.

        Returns:
            (B, S, D).
        """
        if self.scores is None:
            return hidden.layers[-1]
        weights = self.scores.softmax(0)
        weighed = [weight * layer for weight, layer in zip(weights, hidden.layers, strict=True)]
        return torch.stack(weighed).sum(0)
