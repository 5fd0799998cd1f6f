"""The products of attention by counting bits, where the codes have one bit.

Shapes: X any axes, K head width, B batch, H heads, N and M frames, S frames, G groups, W words, C
numbers of differing bits.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from speechlite.nn import bit_attention, bit_products
from speechlite.nn.bit_attention import AllowedKeys
from speechlite.nn.bit_kernels import kernel_of
from speechlite.nn.inference import Prepared, counts_bits
from speechlite.nn.quantized import QuantizedProducts
from speechlite.nn.quantizers import ActivationQuantizer

__all__ = ["PackedProducts"]


class PackedProducts(QuantizedProducts):
    """The products of attention by counting bits, where the codes have one bit.

    Args:
        num_heads: H.
        head_dim: width of a head.
        bits: 1 to 8.
    """

    def __init__(self, num_heads: int, head_dim: int, *, bits: int) -> None:
        super().__init__(num_heads, head_dim, bits=bits)
        self._prepared = Prepared()

    @property
    def kernel(self) -> str:
        """What computes the products on the CPU, for reports."""
        return kernel_of(*self.operand_bits)

    def scores(self, query_XNK: Tensor, key_XMK: Tensor) -> Tensor:
        """Return how well each query fits each key.

        Args:
            query_XNK: queries (B, H, ..., N, K), not scaled.
            key_XMK: keys.

        Returns:
            (..., N, M), scaled by the root of K.
        """
        if not counts_bits(query_XNK, self.query.bits, self.key.bits):
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
        if not counts_bits(weights_XNM, self.weights.bits, self.value.bits):
            return super().mix(weights_XNM, value_XMK)
        scale = self.weights.step() * self.value.step()
        columns = self._above(value_XMK, self.value).mT
        return _bit_matmul(weights_XNM, columns, self.weights.threshold()[0], scale, signed=False)

    def attend(
        self,
        query_BHSK: Tensor,
        key_BHSK: Tensor,
        value_BHSK: Tensor,
        valid_BS: Tensor | None,
        allowed: Callable[[int], AllowedKeys],
    ) -> Tensor | None:
        """Return the attended values by counting bits in one pass.

        Args:
            query_BHSK: queries.
            key_BHSK: keys.
            value_BHSK: values.
            valid_BS: which frames may be attended to; None for all.
            allowed: gives for a number of frames which keys a query meets.

        Returns:
            (B, H, S, K); None where the kernel cannot run.
        """
        bits = (each.bits for each in (self.query, self.key, self.value, self.weights))
        if not counts_bits(query_BHSK, *bits) or not bit_attention.has_attention():
            return None
        thresholds, (worth_C, threshold, scale) = self._operands()
        query, key, value = (
            self._words(values, each)
            for values, each in zip((query_BHSK, key_BHSK, value_BHSK), thresholds, strict=True)
        )
        attended_BSHK = bit_attention.attend(
            query,
            key,
            value,
            allowed(query_BHSK.shape[2]),
            valid_BS,
            worth_C=worth_C,
            threshold=threshold,
            scale=scale,
        )
        return attended_BSHK.transpose(1, 2)

    def _operands(self) -> tuple[tuple[Tensor, ...], tuple[Tensor, float, float]]:
        # thresholds of what is packed; what counts of differing bits and sums of values are worth
        signed, weights = (self.query, self.key, self.value), self.weights

        def make() -> tuple[tuple[Tensor, ...], tuple[Tensor, float, float]]:
            step = self.query.step() * self.key.step() * self.head_dim**-0.5
            worth_C = torch.exp(-2.0 * step.double() * torch.arange(self.head_dim + 1))
            scale = (weights.step() * self.value.step()).item()
            thresholds = tuple(each.threshold() for each in signed)
            return thresholds, (worth_C, weights.threshold().item(), scale)

        sources = [part for each in (*signed, weights) for part in (each.scale, each.shift)]
        return self._prepared.get("operands", make, *sources)

    def _words(self, values_BHSK: Tensor, threshold: Tensor) -> Tensor:
        # (B, S, H, W): in the order in which the projection gave them
        values_BSHK = values_BHSK.transpose(1, 2)
        if self.head_dim % 64 == 0:
            words = bit_products.pack(values_BSHK.flatten(2), threshold)
            return words.unflatten(2, (self.num_heads, -1))
        above = values_BSHK - threshold.view(self.num_heads, -1)
        return bit_products.pack(above.contiguous(), torch.zeros(()))

    def _above(self, values: Tensor, quantizer: ActivationQuantizer) -> Tensor:
        # not below zero where the bit is set: in floating point a difference has the right sign
        return values - quantizer.threshold().view(self._by_head(values))


def _bit_matmul(
    rows_XNK: Tensor, columns_XMK: Tensor, threshold: Tensor, scale: Tensor, *, signed: bool
) -> Tensor:
    rows = bit_products.pack(rows_XNK.contiguous(), threshold)
    columns = bit_products.pack(columns_XMK.contiguous(), torch.zeros(()))
    product = bit_products.signed_product if signed else bit_products.unsigned_product
    sums_GNM = product(
        rows.flatten(0, -3),
        columns.flatten(0, -3),
        rows_XNK.shape[-1],
        scale.expand(columns_XMK.shape[-2]).contiguous(),
    )
    return sums_GNM.view(*rows_XNK.shape[:-1], columns_XMK.shape[-2])
