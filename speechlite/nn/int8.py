"""A linear layer of eight-bit weights, whose inputs are quantised as they come.

Shapes: X any axes, K inputs, O outputs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechlite.nn.inference import has_kernels
from speechlite.nn.sparse import SparseLinear, SparseWeight

__all__ = ["Int8Linear"]

_HIGHEST = 127


class Int8Linear(nn.Module):
    """A linear layer over eight-bit codes of weights and inputs.

    Weights have a scale for each output and inputs one for each frame, so that padding and other
    utterances change nothing. On the CPU, without gradients, torch's integer product multiplies the
    codes; elsewhere they are multiplied as numbers.

    Args:
        in_features: K.
        out_features: O.
        bias: whether a bias is added.
        nonzeros: weights that are kept, and alone stored; None stores all.
    """

    scale: Tensor
    operand_bits = (8, 8)
    """Bits of a weight and of an input."""
    kernel = "int8, torch"
    """What computes the products on the CPU, for reports."""

    def __init__(
        self, in_features: int, out_features: int, *, bias: bool, nonzeros: int | None = None
    ) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.weight: SparseWeight | Tensor
        shape = (out_features, in_features)
        if nonzeros is not None:
            self.weight = SparseWeight(shape, nonzeros, dtype=torch.int8)
        else:
            self.register_buffer("weight", torch.zeros(shape, dtype=torch.int8))
        self.register_buffer("scale", torch.ones(out_features))
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None

    @property
    def stands_for(self) -> int:
        """Number of weights that the buffers hold."""
        if isinstance(self.weight, SparseWeight):
            return self.weight.nonzeros
        return self.in_features * self.out_features

    @classmethod
    def of(cls, linear: nn.Linear | SparseLinear) -> Int8Linear:
        """Round a layer's weights.

        Args:
            linear: a layer in full precision; not changed.

        Returns:
            The layer with eight-bit weights; of a sparse one those that it has.
        """
        sparse = linear.weight if isinstance(linear.weight, SparseWeight) else None
        result = cls(
            linear.in_features,
            linear.out_features,
            bias=linear.bias is not None,
            nonzeros=None if sparse is None else sparse.nonzeros,
        )
        dense = linear.weight if isinstance(linear.weight, Tensor) else linear.weight.dense()
        weight = dense.detach().float()
        result.to(weight.device)
        scale_O1 = _scale(weight)
        codes = (weight / scale_O1).round().clamp(-_HIGHEST, _HIGHEST).to(torch.int8)
        if isinstance(result.weight, SparseWeight):
            assert sparse is not None
            result.weight.fill(codes, sparse.kept())
        else:
            result.weight.copy_(codes)
        result.scale.copy_(scale_O1[:, 0])
        if linear.bias is not None:
            result.bias = nn.Parameter(linear.bias.detach().clone())
        return result

    def codes(self) -> Tensor:
        """Return the codes of all weights.

        Returns:
            int8 (O, K).
        """
        if isinstance(self.weight, SparseWeight):
            return self.weight.dense()
        assert isinstance(self.weight, Tensor)
        return self.weight

    def forward(self, values_XK: Tensor) -> Tensor:
        """Return the mapped values.

        Args:
            values_XK: inputs.

        Returns:
            (..., O).
        """
        scale_X1 = _scale(values_XK.detach())
        relative_XK = values_XK / scale_X1
        codes_XK = relative_XK.detach().round()
        # over a single input torch's product returns memory that nothing has written
        if has_kernels(values_XK) and values_XK.numel() and self.in_features > 1:
            codes_NK = codes_XK.flatten(0, -2).to(torch.int8)
            sums_NO = torch._int_mm(codes_NK, self.codes().t()).to(values_XK.dtype)
            sums_XO = sums_NO.view(*values_XK.shape[:-1], self.out_features)
        else:
            # the whole number, with the gradient of the value
            codes_XK = codes_XK + (relative_XK - relative_XK.detach())
            sums_XO = functional.linear(codes_XK, self.codes().to(values_XK.dtype))
        mapped_XO = sums_XO * scale_X1 * self.scale.to(values_XK.dtype)
        return mapped_XO if self.bias is None else mapped_XO + self.bias


def _scale(values_XK: Tensor) -> Tensor:
    # (..., 1): what the highest code stands for 127 of
    largest_X1 = values_XK.abs().amax(-1, keepdim=True)
    return (largest_X1 / _HIGHEST).clamp_min(torch.finfo(values_XK.dtype).tiny)
