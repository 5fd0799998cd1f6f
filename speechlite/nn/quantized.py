"""Layers that train under quantisation: weights, activations and the products of attention.

Shapes: X any axes, K inputs, O outputs, B batch, C channels, S frames, H heads, N and M frames.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechlite.nn.attention_core import Products
from speechlite.nn.quantizers import ActivationQuantizer, weight_codes

__all__ = ["QuantizedConv1d", "QuantizedLinear", "QuantizedProducts"]


class QuantizedLinear(nn.Module):
    """A linear layer whose weights and inputs are codes; the latent weights train.

    Args:
        in_features: K.
        out_features: O.
        weight_bits: 1 to 8.
        activation_bits: 1 to 8.
        signed: whether inputs may be negative.
        bias: whether a bias is added, in full precision.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        weight_bits: int,
        activation_bits: int,
        signed: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.weight_bits = weight_bits
        self.latent = nn.Parameter(torch.zeros(out_features, in_features))
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None
        self.input = ActivationQuantizer(activation_bits, signed=signed, channels=in_features)

    @property
    def operand_bits(self) -> tuple[int, int]:
        """Bits of a weight and of an input."""
        return self.weight_bits, self.input.bits

    def forward(self, values_XK: Tensor) -> Tensor:
        """Return the product of codes, at its scale.

        Args:
            values_XK: inputs.

        Returns:
            (..., O).
        """
        codes_XK, scale = self.input(values_XK)
        codes_OK, scale_O = weight_codes(self.latent, self.weight_bits)
        sums_XO = functional.linear(codes_XK, codes_OK) * (scale * scale_O)
        return sums_XO if self.bias is None else sums_XO + self.bias


class QuantizedConv1d(nn.Module):
    """A convolution whose weights and inputs are codes.

    Inputs are padded before they are quantised: a single signed bit has no zero.

    Args:
        in_channels: channels read.
        out_channels: channels written, O.
        kernel_size: frames of the kernel.
        stride: frames from one output to the next.
        padding: zeros on both sides.
        groups: groups of channels.
        weight_bits: 1 to 8.
        activation_bits: 1 to 8.
        signed: whether inputs may be negative.
        bias: whether a bias is added, in full precision.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int,
        padding: int,
        groups: int,
        weight_bits: int,
        activation_bits: int,
        signed: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.stride, self.padding, self.groups = stride, padding, groups
        self.weight_bits = weight_bits
        self.latent = nn.Parameter(torch.zeros(out_channels, in_channels // groups, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.input = ActivationQuantizer(activation_bits, signed=signed, channels=in_channels)

    @property
    def operand_bits(self) -> tuple[int, int]:
        """Bits of a weight and of an input."""
        return self.weight_bits, self.input.bits

    def forward(self, values_BCS: Tensor) -> Tensor:
        """Return the convolved codes, at their scale.

        Args:
            values_BCS: inputs.

        Returns:
            (B, O, frames).
        """
        padded_BCS = functional.pad(values_BCS, (self.padding, self.padding))
        codes_BCS, scale = self.input(padded_BCS, (-1, 1))
        codes_OCK, scale_O = weight_codes(self.latent, self.weight_bits)
        sums_BOS = functional.conv1d(codes_BCS, codes_OCK, stride=self.stride, groups=self.groups)
        sums_BOS = sums_BOS * (scale * scale_O)[:, None]
        return sums_BOS if self.bias is None else sums_BOS + self.bias[:, None]


class QuantizedProducts(Products):
    """The products of attention over codes (BiT, section 2.2).

    Queries, keys and values are signed, with a shift for each channel; weights are unsigned, so
    that a frame that may not be attended to counts for nothing.

    Args:
        num_heads: H.
        head_dim: width of a head.
        bits: 1 to 8.
    """

    def __init__(self, num_heads: int, head_dim: int, *, bits: int) -> None:
        super().__init__()
        self.num_heads, self.head_dim = num_heads, head_dim
        channels = num_heads * head_dim
        self.query = ActivationQuantizer(bits, signed=True, channels=channels)
        self.key = ActivationQuantizer(bits, signed=True, channels=channels)
        self.value = ActivationQuantizer(bits, signed=True, channels=channels)
        self.weights = ActivationQuantizer(bits, signed=False)
        self.operand_bits = (bits, bits)

    def scores(self, query_XNK: Tensor, key_XMK: Tensor) -> Tensor:
        """Return how well each query fits each key.

        Args:
            query_XNK: queries (B, H, ..., N, K), not scaled.
            key_XMK: keys.

        Returns:
            (..., N, M), scaled by the root of K.
        """
        query_codes, query_scale = self.query(query_XNK, self._by_head(query_XNK))
        key_codes, key_scale = self.key(key_XMK, self._by_head(key_XMK))
        return query_codes @ key_codes.mT * (query_scale * key_scale * self.head_dim**-0.5)

    def mix(self, weights_XNM: Tensor, value_XMK: Tensor) -> Tensor:
        """Return the weighted values.

        Args:
            weights_XNM: attention weights (B, H, ..., N, M).
            value_XMK: values.

        Returns:
            (..., N, K).
        """
        weight_codes_XNM, weight_scale = self.weights(weights_XNM)
        value_codes, value_scale = self.value(value_XMK, self._by_head(value_XMK))
        return weight_codes_XNM @ value_codes * (weight_scale * value_scale)

    def _by_head(self, values: Tensor) -> tuple[int, ...]:
        return (self.num_heads, *(1,) * (values.dim() - 3), self.head_dim)
