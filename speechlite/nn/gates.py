"""Hard-concrete gates: random multipliers that are often exactly 0 or 1.

Louizos et al. 2018 (arXiv 1712.01312), section 2. Shapes: U units.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["HardConcrete"]

_TEMPERATURE = 2.0 / 3.0
_LOW, _HIGH = -0.1, 1.1
_SHIFT = _TEMPERATURE * math.log(-_LOW / _HIGH)
_INITIAL_SPREAD = 0.01
# the expectation of the stretched sigmoid, approximated as in Wang et al. 2020 (arXiv 1910.04732)
_EVAL_SLOPE = 0.8 / _TEMPERATURE
_UNIFORM_EDGE = 1e-6


class HardConcrete(nn.Module):
    """Draw a multiplier for each unit in training; give its typical value in eval mode.

    Args:
        size: U.
        drop_rate: probability, in (0, 1), that a multiplier drawn at the start is below one half.
    """

    def __init__(self, size: int, *, drop_rate: float) -> None:
        super().__init__()
        start = math.log(1.0 - drop_rate) - math.log(drop_rate)
        self.log_alpha = nn.Parameter(torch.empty(size).normal_(start, _INITIAL_SPREAD))

    def probability(self) -> Tensor:
        """Return the probability that each unit is on (Eq. 12).

        Returns:
            (U,), in (0, 1).
        """
        return torch.sigmoid(self.log_alpha - _SHIFT)

    def forward(self) -> Tensor:
        """Return a multiplier for each unit.

        Returns:
            (U,), in [0, 1]; drawn in training mode (Eqs. 10 and 11). In eval mode as many units as
            are expected to be off are 0, those with the smallest parameters.
        """
        if not self.training:
            return self._typical()
        uniform_U = torch.rand_like(self.log_alpha).clamp(_UNIFORM_EDGE, 1.0 - _UNIFORM_EDGE)
        concrete_U = torch.sigmoid((uniform_U.logit() + self.log_alpha) / _TEMPERATURE)
        return (concrete_U * (_HIGH - _LOW) + _LOW).clamp(0.0, 1.0)

    def opened(self) -> Tensor:
        """Return the multiplier that each unit has in eval mode where it stays on.

        Returns:
            (U,), above 0, without a gradient.
        """
        return torch.sigmoid(self.log_alpha.detach() * _EVAL_SLOPE)

    def _typical(self) -> Tensor:
        num_off = round(len(self.log_alpha) - float(self.probability().detach().sum()))
        off = self.log_alpha.detach().argsort(stable=True)[:num_off]
        return self.opened().index_fill(0, off, 0.0)
