"""Quantisers with learned scales and shifts, as codes: small integers that carry gradients.

Liu et al. 2022 (BiT, arXiv 2205.13016), sections 2.1 and 2.2, for one bit and for more. A value is
read as shift + scale * code. Codes and scales travel apart, so that products of codes are exact
integers in float32 and the same ones that counting bits gives.

Shapes: X any axes, C channels, O outputs, K inputs of an output.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, distributed, nn

__all__ = ["ActivationQuantizer", "SMALLEST", "code_limits", "one_bit_threshold", "weight_codes"]

SMALLEST = torch.finfo(torch.float32).tiny
"""The least value that an unsigned one-bit quantiser may take for a one: zeros stay zeros."""
_LEAST_SCALE = 1e-6


def code_limits(bits: int, *, signed: bool) -> tuple[int, int]:
    """Return the lowest and the highest code.

    Args:
        bits: 1 to 8.
        signed: whether codes are on both sides of zero; one signed bit has no zero.

    Returns:
        Two integers.
    """
    if not signed:
        return 0, 2**bits - 1
    if bits == 1:
        return -1, 1
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


def one_bit_threshold(scale: Tensor, shift: Tensor, *, signed: bool) -> Tensor:
    """Return from which value on a bit is set.

    Args:
        scale: scale of the quantiser.
        shift: its shift, a scalar or one a channel.
        signed: whether the two codes are -1 and 1, or 0 and 1.

    Returns:
        Thresholds of the shape of ``shift``.
    """
    return shift if signed else (shift + 0.5 * scale).clamp_min(SMALLEST)


class ActivationQuantizer(nn.Module):
    """Turn activations into codes by an elastic function (BiT, section 2.2, Eqs. 5 to 9).

    The scale starts from the mean of the first batch that is seen in training: twice of it for
    signed codes, four times for unsigned ones, over the root of the highest code.

    Args:
        bits: 1 to 8.
        signed: False for values that are never negative, whose zeros then stay zero.
        channels: how many shifts are learned; 1 for one that all channels share.
    """

    started: Tensor

    def __init__(self, bits: int, *, signed: bool, channels: int = 1) -> None:
        super().__init__()
        self.bits = bits
        self.signed = signed
        self.scale = nn.Parameter(torch.ones(()))
        self.shift = nn.Parameter(torch.zeros(channels))
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))

    def forward(self, values_X: Tensor, shape: tuple[int, ...] = (-1,)) -> tuple[Tensor, Tensor]:
        """Return the codes, and what one of them is worth.

        Args:
            values_X: activations.
            shape: shape of the shifts that broadcasts with the values; the last axis by default.

        Returns:
            Codes of the values' shape, whole numbers with straight-through gradients, and the
            scale.
        """
        if self.training and not bool(self.started):
            self._start(values_X.detach())
        _, highest = code_limits(self.bits, signed=self.signed)
        rate = 1.0 / math.sqrt(max(values_X.numel(), 1) * highest)
        # the published code slows the scale down by the number of values that share it
        slow = self.scale * rate
        scale = (self.scale.detach() + (slow - slow.detach())).clamp_min(_LEAST_SCALE)
        shift = self.shift.view(shape) if self.shift.numel() > 1 else self.shift
        return self._codes(values_X, scale, shift), scale

    def threshold(self) -> Tensor:
        """Return from which value on a bit is set, for one-bit codes.

        Returns:
            (channels,) without a gradient.
        """
        scale = self.scale.detach().clamp_min(_LEAST_SCALE)
        return one_bit_threshold(scale, self.shift.detach(), signed=self.signed)

    def step(self) -> Tensor:
        """Return what a code is worth.

        Returns:
            A scalar without a gradient.
        """
        return self.scale.detach().clamp_min(_LEAST_SCALE)

    def _codes(self, values_X: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        low, high = code_limits(self.bits, signed=self.signed)
        if self.signed and self.bits == 1:
            # the sign has no gradient for the scale, which its product has
            relative_X = ((values_X - shift) / scale.detach()).clamp(-1.0, 1.0)
            hard_X = torch.where(values_X >= shift, 1.0, -1.0)
        else:
            relative_X = ((values_X - shift) / scale).clamp(low, high)
            hard_X = relative_X.detach().round()
            if self.bits == 1:
                threshold = one_bit_threshold(scale, shift, signed=False)
                hard_X = torch.where(values_X >= threshold, 1.0, 0.0)
            elif not self.signed:
                hard_X = hard_X.masked_fill(values_X == 0, 0.0)
        # exactly the whole number, with the gradient of the clipped value
        return hard_X.to(values_X.dtype) + (relative_X - relative_X.detach())

    def _start(self, values_X: Tensor) -> None:
        # padding is zero and does not count
        total = values_X.abs().double().sum()
        count = values_X.count_nonzero().double()
        if distributed.is_available() and distributed.is_initialized():
            both = torch.stack([total, count])
            distributed.all_reduce(both)
            total, count = both.unbind()
        if count == 0:
            return
        _, highest = code_limits(self.bits, signed=self.signed)
        factor = 2.0 if self.signed else 4.0
        with torch.no_grad():
            self.scale.copy_(factor * (total / count) / math.sqrt(highest))
            self.started.fill_(True)


def weight_codes(weight: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Return a weight's codes and what one of them is worth, for each output.

    One bit is the sign of the centred weight (BiT, section 2.1), read as its mean magnitude; more
    bits divide the range of the largest magnitude evenly.

    Args:
        weight: (O, ...), the weights of each output.
        bits: 1 to 8.

    Returns:
        Codes of the weight's shape with straight-through gradients, and scales (O,) without one.
    """
    flat_OK = weight.flatten(1)
    if bits == 1:
        centred_OK = flat_OK - flat_OK.mean(1, keepdim=True)
        scale_O = centred_OK.detach().abs().mean(1).clamp_min(_LEAST_SCALE)
        clipped_OK = centred_OK.clamp(-1.0, 1.0)
        hard_OK = torch.where(centred_OK.detach() >= 0, 1.0, -1.0)
    else:
        _, high = code_limits(bits, signed=True)
        scale_O = (flat_OK.detach().abs().amax(1) / high).clamp_min(_LEAST_SCALE)
        clipped_OK = flat_OK
        hard_OK = (flat_OK.detach() / scale_O[:, None]).round().clamp(-high, high)
    # the gradient of a weight is that of its value, which is code times scale
    relative_OK = clipped_OK / scale_O[:, None]
    codes_OK = hard_OK.to(weight.dtype) + (relative_OK - relative_OK.detach())
    return codes_OK.view_as(weight), scale_O
