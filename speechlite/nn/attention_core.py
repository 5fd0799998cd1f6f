"""What happens between the projections of an attention block: scores, weights, weighted values.

Shapes: B batch, H heads, S frames, K head width.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional

from speechlite.nn.bit_attention import AllowedKeys, every_key
from speechlite.nn.dropout import drop

__all__ = ["AttentionCore", "Products"]


class Products(nn.Module):
    """The two matrix products of attention, in the precision of their operands.

    A compressor that changes their precision puts another one in its place.
    """

    operand_bits = (32, 32)
    """Bits of the two operands of each product."""

    def scores(self, query_XNK: Tensor, key_XMK: Tensor) -> Tensor:
        """Return how well each query fits each key.

        Args:
            query_XNK: queries, not scaled.
            key_XMK: keys.

        Returns:
            (..., N, M), scaled by the root of K.
        """
        return (query_XNK * query_XNK.shape[-1] ** -0.5) @ key_XMK.mT

    def mix(self, weights_XNM: Tensor, value_XMK: Tensor) -> Tensor:
        """Return the weighted values.

        Args:
            weights_XNM: attention weights.
            value_XMK: values.

        Returns:
            (..., N, K).
        """
        return weights_XNM @ value_XMK

    def attend(
        self,
        query_BHSK: Tensor,
        key_BHSK: Tensor,
        value_BHSK: Tensor,
        valid_BS: Tensor | None,
        allowed: Callable[[int], AllowedKeys],
    ) -> Tensor | None:
        """Return the attended values where one pass over the operands gives them.

        Args:
            query_BHSK: queries.
            key_BHSK: keys.
            value_BHSK: values.
            valid_BS: which frames may be attended to; None for all.
            allowed: gives for a number of frames which keys a query meets.

        Returns:
            (B, H, S, K), or None where scores, weights and values are to be computed in turn.
        """
        return None


class AttentionCore(nn.Module):
    """Attend from every frame to every valid frame (Vaswani et al. 2017, section 3.2).

    Args:
        dropout: probability of dropping an attention weight.
    """

    def __init__(self, *, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.products = Products()

    @property
    def operand_bits(self) -> tuple[int, int]:
        """Bits of the two operands of each product."""
        return self.products.operand_bits

    def forward(
        self,
        query_BHSK: Tensor,
        key_BHSK: Tensor,
        value_BHSK: Tensor,
        valid_BS: Tensor | None,
        bias_BHSS: Tensor | None = None,
    ) -> Tensor:
        """Return the attended values.

        Args:
            query_BHSK: queries.
            key_BHSK: keys.
            value_BHSK: values.
            valid_BS: which frames may be attended to; None for all.
            bias_BHSS: added to the scores; None for nothing.

        Returns:
            (B, H, S, K).
        """
        attended_BHSK = self.in_one_pass(query_BHSK, key_BHSK, value_BHSK, valid_BS, bias_BHSS)
        if attended_BHSK is not None:
            return attended_BHSK
        allowed = None if valid_BS is None else valid_BS[:, None, None, :]
        return self.attend(query_BHSK, key_BHSK, value_BHSK, allowed, bias_BHSS)

    def in_one_pass(
        self,
        query_BHSK: Tensor,
        key_BHSK: Tensor,
        value_BHSK: Tensor,
        valid_BS: Tensor | None,
        bias_BHSS: Tensor | None,
    ) -> Tensor | None:
        """Return the attended values where the products have a way of their own to them.

        Args:
            query_BHSK: queries.
            key_BHSK: keys.
            value_BHSK: values.
            valid_BS: which frames may be attended to; None for all.
            bias_BHSS: added to the scores; None for nothing.

        Returns:
            (B, H, S, K), or None.
        """
        if bias_BHSS is not None or (self.training and self.dropout > 0):
            return None
        return self.products.attend(query_BHSK, key_BHSK, value_BHSK, valid_BS, self.allowed_keys)

    def allowed_keys(self, num_frames: int) -> AllowedKeys:
        """Return which keys each query meets.

        Args:
            num_frames: S.

        Returns:
            Ranges of keys.
        """
        return every_key(num_frames)

    def attend(
        self,
        query_BHSK: Tensor,
        key_BHSK: Tensor,
        value_BHSK: Tensor,
        allowed: Tensor | None,
        bias_BHSS: Tensor | None = None,
    ) -> Tensor:
        """Return the values attended to over all pairs of frames.

        Args:
            query_BHSK: queries.
            key_BHSK: keys.
            value_BHSK: values.
            allowed: which frames may attend to which, of a shape that broadcasts; None for all.
            bias_BHSS: added to the scores; None for nothing.

        Returns:
            (B, H, S, K).
        """
        if self.must_be_plain(query_BHSK, bias_BHSS):
            scores_BHSS = self.products.scores(query_BHSK, key_BHSK)
            if bias_BHSS is not None:
                scores_BHSS = scores_BHSS + bias_BHSS
            return self.products.mix(self.weigh(scores_BHSS, allowed), value_BHSK)
        if bias_BHSS is not None:
            allowed = bias_BHSS if allowed is None else bias_BHSS.masked_fill(~allowed, -math.inf)
        return functional.scaled_dot_product_attention(
            query_BHSK,
            key_BHSK,
            value_BHSK,
            attn_mask=allowed,
            dropout_p=self.dropout if self.training else 0.0,
        )

    def must_be_plain(self, query_BHSK: Tensor, bias_BHSS: Tensor | None) -> bool:
        """Return whether no fused kernel does what is asked.

        Args:
            query_BHSK: queries.
            bias_BHSS: added to the scores; None for nothing.

        Returns:
            True for products of another precision; on the CPU also for dropout and for a trained
            bias, where torch's own fallback is slower than these lines.
        """
        if type(self.products) is not Products:
            return True
        is_dropping = self.training and self.dropout > 0
        trained_bias = bias_BHSS is not None and bias_BHSS.requires_grad
        return query_BHSK.device.type == "cpu" and (is_dropping or trained_bias)

    def weigh(self, scores_XNM: Tensor, allowed: Tensor | None) -> Tensor:
        """Turn scores into attention weights.

        Args:
            scores_XNM: scores of each query, over all of its keys.
            allowed: which may be attended to, of a shape that broadcasts; None for all.

        Returns:
            (..., N, M), some of them dropped in training mode.
        """
        if allowed is not None:
            scores_XNM = scores_XNM.masked_fill(~allowed, -math.inf)
        weights_XNM = scores_XNM.softmax(-1)
        if self.training and self.dropout > 0:
            weights_XNM = drop(weights_XNM, self.dropout)
        return weights_XNM

    def pairs(self, num_frames: int) -> int:
        """Return for how many pairs of frames scores are computed.

        Args:
            num_frames: S.

        Returns:
            A number of pairs.
        """
        return num_frames * num_frames
