"""Layers over stored codes: one bit a weight in memory and in files, products by counting bits.

Codes of more than one bit stand as bit planes. One-bit layers on the CPU count bits; all others
multiply the codes as numbers, with the same sums.

Shapes: X any axes, P bit planes, K inputs, O outputs, B batch, C channels, S frames, T taps, H
heads, N and M frames.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechlite.nn import bit_products
from speechlite.nn.inference import has_kernels, version_of
from speechlite.nn.quantized import QuantizedConv1d, QuantizedLinear, QuantizedProducts
from speechlite.nn.quantizers import ActivationQuantizer, code_limits, weight_codes

__all__ = ["PackedConv1d", "PackedLinear", "PackedProducts", "packed"]

_LONGEST_TAPS = 64


class _PackedWeight(nn.Module):
    # codes of (O, K) weights as bit planes, with the scale of each output

    planes: Tensor
    scale: Tensor

    def __init__(self, outputs: int, width: int, bits: int) -> None:
        super().__init__()
        self.width, self.bits = width, bits
        self.register_buffer(
            "planes", torch.zeros(bits, outputs, -(-width // 8), dtype=torch.uint8)
        )
        self.register_buffer("scale", torch.ones(outputs))
        self._read: dict[str, tuple[tuple[int, ...], Tensor]] = {}

    @property
    def stands_for(self) -> int:
        """Number of weights that the planes hold."""
        return self.planes.shape[1] * self.width

    def fill(self, weight: Tensor) -> None:
        codes, scale_O = weight_codes(weight.detach(), self.bits)
        low = code_limits(self.bits, signed=True)[0]
        # one bit: -1 and 1 are 0 and 1; more: the distance from the lowest code
        codes_OK = codes.flatten(1)
        steps_OK = (codes_OK > 0).long() if self.bits == 1 else (codes_OK - low).round().long()
        half = torch.tensor(0.5)
        planes = [
            bit_products.store(bit_products.pack(((steps_OK >> bit) & 1).float(), half), self.width)
            for bit in range(self.bits)
        ]
        self.planes.copy_(torch.stack(planes))
        self.scale.copy_(scale_O)

    def words(self) -> Tensor:
        # (O, W): the one-bit codes as the kernels read them
        return self._cached("words", lambda: bit_products.load(self.planes[0], self.width))

    def codes(self) -> Tensor:
        # (O, K): the codes as numbers
        return self._cached("codes", self._unpacked)

    def _unpacked(self) -> Tensor:
        # by division, since ONNX shifts no signed integers
        worth_8 = 2.0 ** torch.arange(8, device=self.planes.device)
        bits = (self.planes[..., None].float() / worth_8).floor() % 2.0
        bits = bits.flatten(2)[..., : self.width]
        if self.bits == 1:
            return 2.0 * bits[0] - 1.0
        low, _ = code_limits(self.bits, signed=True)
        worth = (2.0 ** torch.arange(self.bits, device=bits.device)).view(-1, 1, 1)
        return (bits * worth).sum(0) + low

    def _cached(self, name: str, make: Callable[[], Tensor]) -> Tensor:
        if torch.compiler.is_exporting():
            # a graph has no place for what was prepared
            return make()
        # planes change when a checkpoint is loaded or the model moves
        version = version_of(self.planes)
        if version is None:
            return make()
        if name not in self._read or self._read[name][0] != version:
            # training may follow, and takes no tensor that inference mode made
            with torch.inference_mode(False):
                self._read[name] = (version, make())
        return self._read[name][1]


class PackedLinear(nn.Module):
    """A linear layer over stored codes.

    Args:
        in_features: K.
        out_features: O.
        weight_bits: 1 to 8.
        activation_bits: 1 to 8.
        signed: whether inputs may be negative.
        bias: whether a bias is added.
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
        self.weight = _PackedWeight(out_features, in_features, weight_bits)
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None
        self.input = ActivationQuantizer(activation_bits, signed=signed, channels=in_features)

    @property
    def operand_bits(self) -> tuple[int, int]:
        """Bits of a weight and of an input."""
        return self.weight.bits, self.input.bits

    @property
    def kernel(self) -> str:
        """What computes the products on the CPU, for reports."""
        return _kernel(*self.operand_bits)

    def forward(self, values_XK: Tensor) -> Tensor:
        """Return the product of codes, at its scale.

        Args:
            values_XK: inputs.

        Returns:
            (..., O).
        """
        if _counts_bits(values_XK, self.weight.bits, self.input.bits):
            words_XW = bit_products.pack(values_XK, self.input.threshold())
            sums_1NO = _product(self.input.signed)(
                words_XW.flatten(0, -2)[None],
                self.weight.words()[None],
                self.in_features,
                self.input.step() * self.weight.scale,
                None if self.bias is None else self.bias.detach(),
            )
            return sums_1NO[0].view(*values_XK.shape[:-1], self.out_features)
        codes_XK, scale = self.input(values_XK)
        codes_OK = self.weight.codes().to(codes_XK.dtype)
        sums_XO = functional.linear(codes_XK, codes_OK) * (scale * self.weight.scale)
        return sums_XO if self.bias is None else sums_XO + self.bias


class PackedConv1d(nn.Module):
    """A convolution over stored codes; inputs are padded before they are quantised.

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
        bias: whether a bias is added.
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
        self.shape = (out_channels, in_channels // groups, kernel_size)
        self.out_channels = out_channels
        self.stride, self.padding, self.groups = stride, padding, groups
        self.weight = _PackedWeight(out_channels, self.shape[1] * kernel_size, weight_bits)
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.input = ActivationQuantizer(activation_bits, signed=signed, channels=in_channels)

    @property
    def operand_bits(self) -> tuple[int, int]:
        """Bits of a weight and of an input."""
        return self.weight.bits, self.input.bits

    @property
    def kernel(self) -> str:
        """What computes the products on the CPU, for reports."""
        return _kernel(*self.operand_bits)

    def forward(self, values_BCS: Tensor) -> Tensor:
        """Return the convolved codes, at their scale.

        Args:
            values_BCS: inputs.

        Returns:
            (B, O, frames).
        """
        padded_BCS = functional.pad(values_BCS, (self.padding, self.padding))
        outputs, inputs, taps = self.shape
        counts = _counts_bits(values_BCS, self.weight.bits, self.input.bits)
        if counts and inputs == 1 and self.groups == outputs and taps <= _LONGEST_TAPS:
            return bit_products.depthwise_product(
                padded_BCS,
                self.input.threshold(),
                self.weight.words(),
                taps,
                self._scale(),
                None if self.bias is None else self.bias.detach(),
                stride=self.stride,
                unsigned=not self.input.signed,
            )
        if counts and taps == 1 and self.groups == 1:
            return self._pointwise(padded_BCS[..., :: self.stride])
        codes_BCS, scale = self.input(padded_BCS, (-1, 1))
        codes_OCT = self.weight.codes().to(codes_BCS.dtype).view(self.shape)
        sums_BOS = functional.conv1d(codes_BCS, codes_OCT, stride=self.stride, groups=self.groups)
        sums_BOS = sums_BOS * (scale * self.weight.scale)[:, None]
        return sums_BOS if self.bias is None else sums_BOS + self.bias[:, None]

    def _pointwise(self, values_BCS: Tensor) -> Tensor:
        words_BSW = bit_products.pack(values_BCS.mT.contiguous(), self.input.threshold())
        sums_BSO = _product(self.input.signed)(
            words_BSW,
            self.weight.words()[None],
            self.shape[1],
            self._scale(),
            None if self.bias is None else self.bias.detach(),
        )
        return sums_BSO.mT

    def _scale(self) -> Tensor:
        return self.input.step() * self.weight.scale


class PackedProducts(QuantizedProducts):
    """The products of attention by counting bits, where the codes have one bit.

    Args:
        num_heads: H.
        head_dim: width of a head.
        bits: 1 to 8.
    """

    def scores(self, query_XNK: Tensor, key_XMK: Tensor) -> Tensor:
        """Return how well each query fits each key.

        Args:
            query_XNK: queries (B, H, ..., N, K), not scaled.
            key_XMK: keys.

        Returns:
            (..., N, M), scaled by the root of K.
        """
        if not _counts_bits(query_XNK, self.query.bits, self.key.bits):
            return super().scores(query_XNK, key_XMK)
        scale = self.query.step() * self.key.step() * self.head_dim**-0.5
        rows, columns = self._above(query_XNK, self.query), self._above(key_XMK, self.key)
        return _bit_matmul(rows, columns, torch.zeros(()), scale, signed=True)

    def mix(self, weights_XNM: Tensor, value_XMK: Tensor) -> Tensor:
        """Return the weighted values.

        Args:
            weights_XNM: attention weights (B, H, ..., N, M).
            value_XMK: values.

        Returns:
            (..., N, K).
        """
        if not _counts_bits(weights_XNM, self.weights.bits, self.value.bits):
            return super().mix(weights_XNM, value_XMK)
        scale = self.weights.step() * self.value.step()
        columns = self._above(value_XMK, self.value).mT
        return _bit_matmul(weights_XNM, columns, self.weights.threshold()[0], scale, signed=False)

    def _above(self, values: Tensor, quantizer: ActivationQuantizer) -> Tensor:
        # not below zero where the bit is set: in floating point a difference has the right sign
        return values - quantizer.threshold().view(self._by_head(values))


def _bit_matmul(
    rows_XNK: Tensor, columns_XMK: Tensor, threshold: Tensor, scale: Tensor, *, signed: bool
) -> Tensor:
    rows = bit_products.pack(rows_XNK.contiguous(), threshold)
    columns = bit_products.pack(columns_XMK.contiguous(), torch.zeros(()))
    sums_GNM = _product(signed)(
        rows.flatten(0, -3),
        columns.flatten(0, -3),
        rows_XNK.shape[-1],
        scale.expand(columns_XMK.shape[-2]).contiguous(),
    )
    return sums_GNM.view(*rows_XNK.shape[:-1], columns_XMK.shape[-2])


def _product(signed: bool) -> Callable[..., Tensor]:
    return bit_products.signed_product if signed else bit_products.unsigned_product


def _kernel(*bits: int) -> str:
    counts = all(each == 1 for each in bits)
    return f"one bit, {bit_products.kernel_name()}" if counts else "codes as float32"


def _counts_bits(values: Tensor, *bits: int) -> bool:
    return all(each == 1 for each in bits) and has_kernels(values)


def packed(layer: nn.Module) -> nn.Module:
    """Store a trained layer's codes.

    Args:
        layer: a ``QuantizedLinear``, ``QuantizedConv1d`` or ``QuantizedProducts``.

    Returns:
        A layer that computes the same.
    """
    if isinstance(layer, QuantizedProducts):
        products = PackedProducts(layer.num_heads, layer.head_dim, bits=layer.query.bits)
        products.load_state_dict(layer.state_dict())
        return products
    assert isinstance(layer, (QuantizedLinear, QuantizedConv1d))
    result = _empty_like(layer)
    result.weight.fill(layer.latent)
    result.input.load_state_dict(layer.input.state_dict())
    if layer.bias is not None and result.bias is not None:
        result.bias = nn.Parameter(layer.bias.detach().clone())
    return result


def _empty_like(layer: QuantizedLinear | QuantizedConv1d) -> PackedLinear | PackedConv1d:
    options: dict[str, Any] = {
        "weight_bits": layer.weight_bits,
        "activation_bits": layer.input.bits,
        "signed": layer.input.signed,
        "bias": layer.bias is not None,
    }
    if isinstance(layer, QuantizedLinear):
        return PackedLinear(layer.in_features, layer.out_features, **options)
    outputs, inputs, taps = layer.latent.shape
    return PackedConv1d(
        inputs * layer.groups,
        outputs,
        taps,
        stride=layer.stride,
        padding=layer.padding,
        groups=layer.groups,
        **options,
    )
