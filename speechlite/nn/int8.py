"""A linear layer of eight-bit weights, whose inputs are quantised as they come.

Shapes: X any axes, K inputs, O outputs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechlite.nn.inference import has_kernels

__all__ = ["Int8Linear"]

_HIGHEST = 127


class Int8Linear(nn.Module):
    """A linear layer by torch's dynamic int8 kernel; elsewhere by its weights in float32.

    Weights are divided by the largest magnitude of their output, evenly and symmetrically.

    Args:
        in_features: K.
        out_features: O.
        bias: whether a bias is added.
    """

    weight: Tensor
    scale: Tensor

    def __init__(self, in_features: int, out_features: int, *, bias: bool) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.register_buffer("weight", torch.zeros(out_features, in_features, dtype=torch.int8))
        self.register_buffer("scale", torch.ones(out_features))
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None
        self._prepared: tuple[tuple[int, ...], Any] | None = None

    operand_bits = (8, 8)
    """Bits of a weight and of an input."""

    @property
    def stands_for(self) -> int:
        """Number of weights that the buffers hold."""
        return self.weight.numel()

    @classmethod
    def of(cls, linear: nn.Linear) -> Int8Linear:
        """Round a layer's weights.

        Args:
            linear: a layer in full precision; not changed.

        Returns:
            The layer with eight-bit weights.
        """
        result = cls(linear.in_features, linear.out_features, bias=linear.bias is not None)
        weight = linear.weight.detach().float()
        scale_O = (weight.abs().amax(1) / _HIGHEST).clamp_min(torch.finfo(torch.float32).tiny)
        result.weight.copy_((weight / scale_O[:, None]).round().clamp(-_HIGHEST, _HIGHEST))
        result.scale.copy_(scale_O)
        if linear.bias is not None:
            result.bias = nn.Parameter(linear.bias.detach().clone())
        return result.to(linear.weight.device)

    def forward(self, values_XK: Tensor) -> Tensor:
        """Return the mapped values.

        Args:
            values_XK: inputs.

        Returns:
            (..., O).
        """
        if has_kernels(values_XK) and values_XK.numel():
            # seven bits of the inputs, so that no sum of two products overflows on older processors
            mapped_XO: Tensor = torch.ops.quantized.linear_dynamic(
                values_XK.contiguous(), self._kernel_weights(), True
            )
            return mapped_XO
        weight = self.weight.to(values_XK.dtype) * self.scale[:, None].to(values_XK.dtype)
        return functional.linear(values_XK, weight, self.bias)

    def _kernel_weights(self) -> Any:
        # weights change when a checkpoint is loaded or the model moves
        tensors = [self.weight, self.scale, *([] if self.bias is None else [self.bias])]
        version = tuple(part for t in tensors for part in (t.data_ptr(), t._version))
        if self._prepared is None or self._prepared[0] != version:
            zeros_O = torch.zeros(self.out_features, dtype=torch.int64)
            weight = torch._make_per_channel_quantized_tensor(
                self.weight, self.scale.double(), zeros_O, 0
            )
            bias = None if self.bias is None else self.bias.detach()
            self._prepared = (version, torch.ops.quantized.linear_prepack(weight, bias))
        return self._prepared[1]

    def __deepcopy__(self, memo: dict[int, Any]) -> Int8Linear:
        # what the kernel prepared cannot be copied, and is made again
        copied = Int8Linear(self.in_features, self.out_features, bias=self.bias is not None)
        memo[id(self)] = copied
        copied.to(self.weight.device).load_state_dict(self.state_dict())
        return copied.train(self.training)
