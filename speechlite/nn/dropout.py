"""Dropout with cheap random bits."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Dropout", "drop"]

_STEPS = 1 << 16


def drop(values: Tensor, probability: float) -> Tensor:
    """Set values to zero at random and scale up the others (Srivastava et al. 2014).

    On the CPU torch draws one 64-bit number a value, which takes half of a small model's step;
    here one draw decides for four values. The probability is rounded to 1/65536.

    Args:
        values: any floating tensor.
        probability: probability of dropping a value, in [0, 1).

    Returns:
        A tensor of the same shape; its mean is that of ``values``.
    """
    if values.device.type != "cpu":
        return functional.dropout(values, probability, training=True)
    dropped = min(round(probability * _STEPS), _STEPS - 1)
    bits = torch.empty((values.numel() + 3) // 4, dtype=torch.int64).random_(-(1 << 63), None)
    bits_N = bits.view(torch.int16)[: values.numel()]
    kept = (bits_N >= dropped - _STEPS // 2).view(values.shape)
    return values * kept.to(values.dtype).mul_(_STEPS / (_STEPS - dropped))


class Dropout(nn.Module):
    """Drop values in training mode only.

    Args:
        probability: probability of dropping a value, in [0, 1).
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, values: Tensor) -> Tensor:
        """Return the values, some of them dropped in training mode.

        Args:
            values: any floating tensor.

        Returns:
            A tensor of the same shape.
        """
        if not self.training or self.probability == 0.0:
            return values
        return drop(values, self.probability)
