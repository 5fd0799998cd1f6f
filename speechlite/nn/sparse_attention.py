"""Attention over a fixed pattern of pairs, which spends no work on the others.

Shapes: B batch, H heads, S frames, K head width; N blocks of W frames, C = W + 2 * reach keys near
a block, G keys far from it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from speechlite.nn.attention_core import AttentionCore, Products
from speechlite.nn.attention_pattern import (
    allowed_among,
    allowed_pairs,
    keys_of_pattern,
    remembered_among,
)
from speechlite.nn.bit_attention import AllowedKeys

__all__ = ["SparseAttentionCore"]

_DENSE_FRAMES = 600
_SMALLEST_BLOCK = 64
_CACHED_SCORES = 1 << 18


class SparseAttentionCore(AttentionCore):
    """Attend over a pattern of pairs, block by block.

    Time and memory grow with the pairs of the pattern: linearly for ``window``, with S * S / stride
    for the far frames of ``strided`` and with S * S * expressivity / stride for those of ``fixed``.
    Utterances shorter than 600 frames take the dense kernel under a mask, which is faster there.

    Args:
        pattern: see ``allowed_pairs``.
        stride: length of the pattern in frames.
        expressivity: frames that summarise a block of ``fixed``, at most ``stride``.
        dropout: probability of dropping an attention weight.
    """

    def __init__(self, *, pattern: str, stride: int, expressivity: int, dropout: float) -> None:
        super().__init__(dropout=dropout)
        self.pattern = pattern
        self.stride = stride
        self.expressivity = expressivity

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
        num_frames = query_BHSK.shape[2]
        # an exported graph holds for every length
        if torch.compiler.is_exporting() or num_frames < _DENSE_FRAMES or bias_BHSS is not None:
            allowed = self._allowed(num_frames, valid_BS, query_BHSK.device)
            return self.attend(query_BHSK, key_BHSK, value_BHSK, allowed, bias_BHSS)
        is_dropping = self.training and self.dropout > 0
        if query_BHSK.is_cuda and type(self.products) is Products and not is_dropping:
            return self.flex(query_BHSK, key_BHSK, value_BHSK, valid_BS)
        return self._by_blocks(query_BHSK, key_BHSK, value_BHSK, valid_BS)

    def allowed_keys(self, num_frames: int) -> AllowedKeys:
        """Return which keys each query meets.

        Args:
            num_frames: S.

        Returns:
            Ranges of keys.
        """
        return keys_of_pattern(num_frames, self.pattern, self.stride, self.expressivity)

    def _allowed(self, num_frames: int, valid_BS: Tensor | None, device: torch.device) -> Tensor:
        rule = (self.pattern, self.stride, self.expressivity)
        if torch.compiler.is_exporting():
            allowed_SS = allowed_among(num_frames, *rule, device)
        else:
            allowed_SS = remembered_among(num_frames, *rule, device)
        if valid_BS is None:
            return allowed_SS[None, None]
        # a frame beyond the length attends to itself, so that nothing becomes infinite
        itself_SS = torch.eye(num_frames, dtype=torch.bool, device=device)
        return (allowed_SS & (valid_BS[:, None] | itself_SS))[:, None]

    def _pairs_of(self, query_N: Tensor, key_M: Tensor) -> Tensor:
        return allowed_pairs(
            query_N,
            key_M,
            pattern=self.pattern,
            stride=self.stride,
            expressivity=self.expressivity,
        )

    @property
    def _block(self) -> int:
        # a window slides freely, the other patterns are made of blocks of the stride
        return max(self.stride, _SMALLEST_BLOCK) if self.pattern == "window" else self.stride

    @property
    def _reach(self) -> int:
        return {"window": self.stride, "strided": self.stride - 1, "fixed": 0}[self.pattern]

    def _by_blocks(
        self, query_BHSK: Tensor, key_BHSK: Tensor, value_BHSK: Tensor, valid_BS: Tensor | None
    ) -> Tensor:
        num_frames, block, reach = query_BHSK.shape[2], self._block, self._reach
        padding = -num_frames % block
        query_BHNWK, key_BHTK, value_BHTK = (
            functional.pad(values, (0, 0, 0, padding))
            for values in (query_BHSK, key_BHSK, value_BHSK)
        )
        query_BHNWK = query_BHNWK.unflatten(2, (-1, block))
        if valid_BS is None:
            valid_BS = query_BHSK.new_ones((1, num_frames), dtype=torch.bool)
        valid_BT = functional.pad(valid_BS, (0, padding))
        near = (
            _windows(key_BHTK, block, reach),
            _windows(value_BHTK, block, reach),
            self._near(query_BHNWK, valid_BT),
        )
        if self.pattern == "window":
            attended = self._attend(query_BHNWK, *near)
        else:
            attended = self._attend_to_both(
                query_BHNWK, near, self._far(key_BHTK, value_BHTK, valid_BT)
            )
        return attended.flatten(2, 3)[:, :, :num_frames]

    def _near(self, query_BHNWK: Tensor, valid_BT: Tensor) -> Tensor:
        # which of the near keys each query of a block attends to
        block, reach = self._block, self._reach
        device = query_BHNWK.device
        places_W1 = torch.arange(block, device=device)[:, None] + reach
        places_C = torch.arange(block + 2 * reach, device=device)
        distance_WC = (places_W1 - places_C).abs()
        in_reach_WC = distance_WC <= reach if self.pattern != "fixed" else distance_WC >= 0
        valid_BNC = functional.pad(valid_BT, (reach, reach)).unfold(1, block + 2 * reach, block)
        # a frame beyond the length attends to itself, so that nothing becomes infinite
        reachable = (valid_BNC[:, :, None] | (distance_WC == 0)) & in_reach_WC
        return reachable[:, None]

    def _attend(
        self, query_BHNWK: Tensor, key_BHNCK: Tensor, value_BHNCK: Tensor, allowed: Tensor
    ) -> Tensor:
        if self.must_be_plain(query_BHNWK, None):
            scores_BHNWC = self.products.scores(query_BHNWK, key_BHNCK)
            return self.products.mix(self.weigh(scores_BHNWC, allowed), value_BHNCK)
        # the fused kernel takes one batch axis and one of heads
        size = query_BHNWK.shape[:3]
        allowed = allowed.expand(*size, *allowed.shape[3:]).flatten(0, 1)
        attended = functional.scaled_dot_product_attention(
            query_BHNWK.flatten(0, 1), key_BHNCK.flatten(0, 1), value_BHNCK.flatten(0, 1), allowed
        )
        return attended.unflatten(0, size[:2])

    def _far(
        self, key_BHTK: Tensor, value_BHTK: Tensor, valid_BT: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        # keys and values beyond the blocks, and which of them exist: frames at the same place of
        # each block (B, H, W, N, K), or the last ones of all blocks (B, H, 1, N * expressivity, K)
        block = self.stride
        keys, values = (v.unflatten(2, (-1, block)) for v in (key_BHTK, value_BHTK))
        valid_BNW = valid_BT.unflatten(1, (-1, block))
        if self.pattern == "strided":
            valid_B1W1N = valid_BNW.transpose(1, 2)[:, None, :, None]
            keys, values = (v.transpose(2, 3).contiguous() for v in (keys, values))
            return keys, values, valid_B1W1N
        last = slice(block - self.expressivity, None)
        keys, values = (v[:, :, :, last].flatten(2, 3)[:, :, None] for v in (keys, values))
        return keys, values, valid_BNW[:, :, last].flatten(1)[:, None, None, None]

    def _attend_to_both(
        self,
        query_BHNWK: Tensor,
        near: tuple[Tensor, Tensor, Tensor],
        far: tuple[Tensor, Tensor, Tensor],
    ) -> Tensor:
        # some blocks at a time, so that scores stay in the cache
        heads, num_blocks, block = query_BHNWK.shape[1:4]
        scores_of_block = heads * block * (near[0].shape[3] + far[0].shape[3])
        some = max(1, _CACHED_SCORES // scores_of_block)
        parts = []
        for start in range(0, num_blocks, some):
            blocks = slice(start, min(start + some, num_blocks))
            parts.append(
                self._attend_from_blocks(
                    query_BHNWK[:, :, blocks],
                    tuple(part[:, :, blocks] for part in near),
                    far,
                    first_block=start,
                )
            )
        return torch.cat(parts, dim=2)

    def _attend_from_blocks(
        self,
        query_BHNWK: Tensor,
        near: tuple[Tensor, ...],
        far: tuple[Tensor, Tensor, Tensor],
        *,
        first_block: int,
    ) -> Tensor:
        near_keys, near_values, near_allowed = near
        far_keys, far_values, far_valid = far
        near_scores = self.products.scores(query_BHNWK, near_keys)
        far_scores = self._to_blocks(
            self.products.scores(self._to_places(query_BHNWK), far_keys), query_BHNWK
        )
        # the keys of a query's own block are near it
        blocks_N = torch.arange(query_BHNWK.shape[2], device=query_BHNWK.device) + first_block
        owners_G = torch.arange(far_scores.shape[-1], device=query_BHNWK.device)
        if self.pattern == "fixed":
            owners_G = owners_G // self.expressivity
        other_N1G = (blocks_N[:, None] != owners_G)[:, None]
        # (B, 1, W or 1, 1, G) -> (B, 1, 1, W or 1, G)
        far_allowed = far_valid.transpose(2, 3) & other_N1G
        scores = torch.cat([near_scores, far_scores], dim=-1)
        allowed = [
            part.expand(part.shape[0], 1, *scores.shape[2:4], part.shape[-1])
            for part in (near_allowed, far_allowed)
        ]
        weights = self.weigh(scores, torch.cat(allowed, dim=-1))
        near_weights, far_weights = weights.split([near_scores.shape[-1], far_scores.shape[-1]], -1)
        further = self.products.mix(self._to_places(far_weights), far_values)
        return self.products.mix(near_weights, near_values) + self._to_blocks(further, query_BHNWK)

    def _to_places(self, values_BHNWX: Tensor) -> Tensor:
        # the shape in which queries meet the far keys
        if self.pattern == "strided":
            return values_BHNWX.transpose(2, 3)
        return values_BHNWX.flatten(2, 3)[:, :, None]

    def _to_blocks(self, values: Tensor, like_BHNWK: Tensor) -> Tensor:
        if self.pattern == "strided":
            return values.transpose(2, 3)
        return values[:, :, 0].unflatten(2, like_BHNWK.shape[2:4])

    def flex(
        self, query_BHSK: Tensor, key_BHSK: Tensor, value_BHSK: Tensor, valid_BS: Tensor | None
    ) -> Tensor:
        """Attend by torch's block-sparse kernel, which accelerators have.

        Args:
            query_BHSK: queries.
            key_BHSK: keys.
            value_BHSK: values.
            valid_BS: which frames may be attended to; None for all.

        Returns:
            (B, H, S, K).
        """
        from torch.nn.attention.flex_attention import create_block_mask, flex_attention

        def of_pattern(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            allowed = self._pairs_of(query, key)
            return allowed if valid_BS is None else allowed & valid_BS[batch, key]

        batch, _, num_frames, _ = query_BHSK.shape
        batches = None if valid_BS is None else batch
        mask = create_block_mask(
            of_pattern, batches, None, num_frames, num_frames, device=query_BHSK.device.type
        )
        attend = torch.compile(flex_attention) if query_BHSK.is_cuda else flex_attention
        attended = attend(query_BHSK, key_BHSK, value_BHSK, block_mask=mask)
        assert isinstance(attended, Tensor)
        return attended

    def pairs(self, num_frames: int) -> int:
        """Return for how many pairs of frames scores are computed.

        Args:
            num_frames: S.

        Returns:
            A number of pairs.
        """
        if num_frames < _DENSE_FRAMES:
            return num_frames * num_frames
        num_blocks = -(-num_frames // self._block)
        near = self._block + 2 * self._reach
        far = {"window": 0, "strided": 1, "fixed": self.expressivity}[self.pattern] * num_blocks
        return num_blocks * self._block * (near + far)


def _windows(values_BHTK: Tensor, block: int, reach: int) -> Tensor:
    # (B, H, T, K) -> (B, H, N, block + 2 * reach, K): what lies near each block
    padded = functional.pad(values_BHTK, (0, 0, reach, reach))
    return padded.unfold(2, block + 2 * reach, block).mT
