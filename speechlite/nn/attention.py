"""Multi-head self-attention, plain and with relative positions.

Shapes: B batch, S frames, P relative distances (2 S - 1), D model width, H heads, K head width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechlite.nn.dropout import drop

__all__ = ["RelativeSelfAttention", "SelfAttention", "shift_relative"]


def _split_heads(values_BSD: Tensor, num_heads: int) -> Tensor:
    # (B, S, H * K) -> (B, H, S, K)
    return values_BSD.unflatten(-1, (num_heads, -1)).transpose(1, 2)


def _merge_heads(values_BHSK: Tensor) -> Tensor:
    # (B, H, S, K) -> (B, S, H * K)
    return values_BHSK.transpose(1, 2).flatten(2)


def _attend(
    query_BHSK: Tensor,
    key_BHSK: Tensor,
    value_BHSK: Tensor,
    bias_BHSS: Tensor | None,
    valid_BS: Tensor | None,
    *,
    dropout: float,
) -> Tensor:
    mask_B11S = None if valid_BS is None else valid_BS[:, None, None, :]
    trained_bias = bias_BHSS is not None and bias_BHSS.requires_grad
    if query_BHSK.device.type == "cpu" and (dropout or trained_bias):
        # the fused kernel does neither; torch's own fallback is slower than these lines
        scores_BHSS = (query_BHSK * query_BHSK.shape[-1] ** -0.5) @ key_BHSK.mT
        if bias_BHSS is not None:
            scores_BHSS = scores_BHSS + bias_BHSS
        if mask_B11S is not None:
            scores_BHSS = scores_BHSS.masked_fill(~mask_B11S, -math.inf)
        weights_BHSS = scores_BHSS.softmax(-1)
        return (drop(weights_BHSS, dropout) if dropout else weights_BHSS) @ value_BHSK
    if bias_BHSS is not None:
        if mask_B11S is not None:
            bias_BHSS = bias_BHSS.masked_fill(~mask_B11S, -math.inf)
        mask_B11S = bias_BHSS
    return functional.scaled_dot_product_attention(
        query_BHSK, key_BHSK, value_BHSK, attn_mask=mask_B11S, dropout_p=dropout
    )


class SelfAttention(nn.Module):
    """Attend from every frame to every valid frame (Vaswani et al. 2017, section 3.2).

    Args:
        dim: model width D.
        num_heads: H, a divisor of ``dim``.
        dropout: probability of dropping an attention weight.
    """

    def __init__(self, dim: int, num_heads: int, *, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.dropout = dropout
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.output = nn.Linear(dim, dim)

    def forward(self, frames_BSD: Tensor, valid_BS: Tensor | None) -> Tensor:
        """Return the attended frames.

        Args:
            frames_BSD: input frames.
            valid_BS: which frames may be attended to; None for all.

        Returns:
            (B, S, D).
        """
        query, key, value = (
            _split_heads(linear(frames_BSD), self.num_heads)
            for linear in (self.query, self.key, self.value)
        )
        attended_BHSK = _attend(
            query, key, value, None, valid_BS, dropout=self.dropout if self.training else 0.0
        )
        return self.output(_merge_heads(attended_BHSK))


class RelativeSelfAttention(nn.Module):
    """Attend with relative positions (Dai et al. 2019, arXiv 1901.02860, section 3.3).

    Args:
        dim: model width D.
        num_heads: H, a divisor of ``dim``.
        dropout: probability of dropping an attention weight.
    """

    def __init__(self, dim: int, num_heads: int, *, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.dropout = dropout
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.output = nn.Linear(dim, dim)
        self.position = nn.Linear(dim, dim, bias=False)
        self.content_bias = nn.Parameter(torch.empty(num_heads, dim // num_heads))
        self.position_bias = nn.Parameter(torch.empty(num_heads, dim // num_heads))
        nn.init.xavier_uniform_(self.content_bias)
        nn.init.xavier_uniform_(self.position_bias)

    def forward(self, frames_BSD: Tensor, positions_PD: Tensor, valid_BS: Tensor | None) -> Tensor:
        """Return the attended frames.

        Args:
            frames_BSD: input frames.
            positions_PD: what ``relative_positions`` gives for S frames.
            valid_BS: which frames may be attended to; None for all.

        Returns:
            (B, S, D).
        """
        query, key, value = (
            _split_heads(linear(frames_BSD), self.num_heads)
            for linear in (self.query, self.key, self.value)
        )
        attended_BHSK = _attend(
            query + self.content_bias[:, None].to(query.dtype),
            key,
            value,
            self._position_scores(query, positions_PD),
            valid_BS,
            dropout=self.dropout if self.training else 0.0,
        )
        return self.output(_merge_heads(attended_BHSK))

    def _position_scores(self, query_BHSK: Tensor, positions_PD: Tensor) -> Tensor:
        # scaled here, because the fused kernel scales the content scores only
        positions_HKP = _split_heads(self.position(positions_PD)[None], self.num_heads)[0].mT
        scale = query_BHSK.shape[-1] ** -0.5
        biased_BHSK = (query_BHSK + self.position_bias[:, None].to(query_BHSK.dtype)) * scale
        return shift_relative(biased_BHSK @ positions_HKP)


def shift_relative(scores_BHSP: Tensor) -> Tensor:
    """Turn scores by relative distance into scores by key, without a copy.

    Args:
        scores_BHSP: scores of query i at distance S - 1 - p.

    Returns:
        (B, H, S, S) view whose entry (i, j) is the score at distance i - j.
    """
    scores_BHSP = scores_BHSP.contiguous()
    batch, heads, frames, distances = scores_BHSP.shape
    # entry (i, j) is column S - 1 - i + j of row i: one column earlier for each further row
    return scores_BHSP.as_strided(
        (batch, heads, frames, frames),
        (heads * frames * distances, frames * distances, distances - 1, 1),
        scores_BHSP.storage_offset() + frames - 1,
    )
