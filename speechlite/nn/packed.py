"""Layers over stored codes: one bit a weight in memory and in files, products by counting bits.

Codes of more than one bit stand as bit planes. One-bit layers on the CPU count bits; all others
multiply the codes as numbers, with the same sums.

Shapes: X any axes, P bit planes, K inputs, O outputs, B batch, C channels, S frames, T taps.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechlite.nn import bit_products
from speechlite.nn.bit_kernels import kernel_of
from speechlite.nn.inference import Prepared, counts_bits, is_faster
from speechlite.nn.packed_products import PackedProducts
from speechlite.nn.quantized import QuantizedConv1d, QuantizedLinear, QuantizedProducts
from speechlite.nn.quantizers import ActivationQuantizer, code_limits, weight_codes

__all__ = ["PackedConv1d", "PackedLinear", "packed"]

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
        self._prepared = Prepared()

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
        return self._prepared.get(
            "words", lambda: bit_products.load(self.planes[0], self.width), self.planes
        )

    def codes(self) -> Tensor:
        # (O, K): the codes as numbers
        return self._prepared.get("codes", self._unpacked, self.planes)

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
        self._prepared = Prepared()
        self._may_count = True

    @property
    def operand_bits(self) -> tuple[int, int]:
        """Bits of a weight and of an input."""
        return self.weight.bits, self.input.bits

    @property
    def kernel(self) -> str:
        """What computes the products on the CPU, for reports."""
        return kernel_of(*self.operand_bits) if self._may_count else kernel_of(32)

    def choose_kernel(self, rows: int) -> None:
        """Count bits from now on only if that is faster on this machine than multiplying codes.

        Args:
            rows: frames at a time, over all utterances of a batch.
        """
        if self.operand_bits == (1, 1) and self.weight.planes.device.type == "cpu":
            threads = torch.get_num_threads()
            self._may_count = _counting_wins(self.in_features, self.out_features, rows, threads)

    def forward(self, values_XK: Tensor) -> Tensor:
        """Return the product of codes, at its scale.

        Args:
            values_XK: inputs.

        Returns:
            (..., O).
        """
        if self._may_count and counts_bits(values_XK, *self.operand_bits):
            words_1OW, threshold_K, scale_O = self._operands()
            words_XW = bit_products.pack(values_XK, threshold_K)
            sums_1NO = _product(self.input.signed)(
                words_XW.flatten(0, -2)[None], words_1OW, self.in_features, scale_O, self.bias
            )
            return sums_1NO.view(*values_XK.shape[:-1], self.out_features)
        codes_XK, scale = self.input(values_XK)
        codes_OK = self.weight.codes().to(codes_XK.dtype)
        sums_XO = functional.linear(codes_XK, codes_OK) * (scale * self.weight.scale)
        return sums_XO if self.bias is None else sums_XO + self.bias

    def _operands(self) -> tuple[Tensor, Tensor, Tensor]:
        # what counting bits takes, beside the values
        def make() -> tuple[Tensor, Tensor, Tensor]:
            scale_O = self.input.step() * self.weight.scale
            return self.weight.words()[None], self.input.threshold(), scale_O

        return self._prepared.get(
            "operands",
            make,
            self.weight.planes,
            self.weight.scale,
            self.input.scale,
            self.input.shift,
        )


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
        return kernel_of(*self.operand_bits)

    def forward(self, values_BCS: Tensor) -> Tensor:
        """Return the convolved codes, at their scale.

        Args:
            values_BCS: inputs.

        Returns:
            (B, O, frames).
        """
        padded_BCS = functional.pad(values_BCS, (self.padding, self.padding))
        outputs, inputs, taps = self.shape
        counts = counts_bits(values_BCS, self.weight.bits, self.input.bits)
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


def _product(signed: bool) -> Callable[..., Tensor]:
    return bit_products.signed_product if signed else bit_products.unsigned_product


@lru_cache(maxsize=256)
def _counting_wins(inputs: int, outputs: int, rows: int, threads: int) -> bool:
    # measured once for all layers of a shape, with as many threads as are set
    values_NK = torch.randn(rows, inputs, generator=torch.Generator().manual_seed(0))
    counting, multiplying = (
        PackedLinear(inputs, outputs, weight_bits=1, activation_bits=1).eval() for _ in range(2)
    )
    multiplying._may_count = False
    return is_faster(lambda: counting(values_NK), lambda: multiplying(values_NK))


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
