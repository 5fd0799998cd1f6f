"""Multi-head self-attention, plain and with relative positions.

Shapes: B batch, S frames, P relative distances (2 S - 1), D model width, H heads, K head width.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from speechlite.core.model import PruneGroup
from speechlite.nn.attention_core import AttentionCore
from speechlite.nn.relative_bias import BiasGate

__all__ = ["RelativeSelfAttention", "SelfAttention", "attend", "shift_relative"]


def _split_heads(values_BSD: Tensor, head_dim: int) -> Tensor:
    # (B, S, H * K) -> (B, H, S, K); pruning may have left fewer heads than fill the width
    return values_BSD.unflatten(-1, (-1, head_dim)).transpose(1, 2)


def _merge_heads(values_BHSK: Tensor) -> Tensor:
    # (B, H, S, K) -> (B, S, H * K)
    return values_BHSK.transpose(1, 2).flatten(2)


class _Attention(nn.Module):
    # what both kinds share: projections, gates, and how heads are pruned

    _products_of_a_pair = 2  # of widths K: scores, and weighted values

    def __init__(self, dim: int, num_heads: int, *, core: AttentionCore) -> None:
        super().__init__()
        self.head_dim = dim // num_heads
        self.core = core
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.output = nn.Linear(dim, dim)
        self.head_gate: Tensor | None = None
        self.block_gate: Tensor | None = None

    def _project(self, frames_BSD: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
        # query, key and value (B, H, S, K); None where no head is left
        query_BSE = self.query(frames_BSD)
        if query_BSE.shape[-1] == 0:
            return None
        key_BSE, value_BSE = self.key(frames_BSD), self.value(frames_BSD)
        query, key, value = (
            _split_heads(values, self.head_dim) for values in (query_BSE, key_BSE, value_BSE)
        )
        return query, key, value

    def _emit(self, attended_BHSK: Tensor) -> Tensor:
        if self.head_gate is not None:
            attended_BHSK = attended_BHSK * self.head_gate[:, None, None]
        output_BSD: Tensor = self.output(_merge_heads(attended_BHSK))
        return output_BSD if self.block_gate is None else output_BSD * self.block_gate

    def _absent(self, frames_BSD: Tensor) -> Tensor:
        # without heads the output's bias is left, without the block nothing is
        bias = self.output.bias
        return torch.zeros_like(frames_BSD) + (bias if len(bias) else 0.0)

    def _head_slices(self) -> tuple[tuple[str, int, int], ...]:
        # of what a head owns beside the four projections: (name, axis, width)
        return ()

    def _block_slices(self) -> tuple[tuple[str, int, int], ...]:
        # of what belongs to no head, but goes with the block
        return ()

    def prune_groups(self) -> tuple[PruneGroup, ...]:
        """Return the heads, and the block as a whole.

        Returns:
            Two groups; none where no head is left, or where a compressor replaced the projections.
        """
        if not isinstance(self.output, nn.Linear) or self.output.in_features == 0:
            return ()
        dim, width = self.output.weight.shape
        projections = [
            (f"{name}.{part}", 0)
            for name in ("query", "key", "value")
            for part in ("weight", "bias")
        ]
        heads = PruneGroup(
            name="heads",
            size=width // self.head_dim,
            gate=partial(setattr, self, "head_gate"),
            slices=(
                *((name, axis, self.head_dim) for name, axis in projections),
                ("output.weight", 1, self.head_dim),
                *self._head_slices(),
            ),
            absorbed_by=("output.weight",),
            pair_macs=self._products_of_a_pair * self.head_dim,
            pairs=self.core.pairs,
        )
        of_heads = ((name, axis, each * heads.size) for name, axis, each in heads.slices)
        block = PruneGroup(
            name="block",
            size=1,
            gate=partial(setattr, self, "block_gate"),
            slices=(*of_heads, ("output.bias", 0, dim), *self._block_slices()),
            absorbed_by=("output.weight", "output.bias"),
        )
        return heads, block


class SelfAttention(_Attention):
    """Attend from every frame to every valid frame (Vaswani et al. 2017, section 3.2).

    Args:
        dim: model width D.
        num_heads: H, a divisor of ``dim``.
        dropout: probability of dropping an attention weight.
        gated_bias: whether every frame weighs a position bias for itself, as in WavLM.
        core: which frames attend to which; None for all to all.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        dropout: float,
        gated_bias: bool = False,
        core: AttentionCore | None = None,
    ) -> None:
        super().__init__(dim, num_heads, core=core or AttentionCore(dropout=dropout))
        self.bias_gate = BiasGate(num_heads, self.head_dim) if gated_bias else None

    def forward(
        self, frames_BSD: Tensor, valid_BS: Tensor | None, bias_HSS: Tensor | None = None
    ) -> Tensor:
        """Return the attended frames.

        Args:
            frames_BSD: input frames.
            valid_BS: which frames may be attended to; None for all.
            bias_HSS: a score for each pair of positions, for all heads of the unpruned block; None
                without ``gated_bias``.

        Returns:
            (B, S, D).
        """
        projected = self._project(frames_BSD)
        if projected is None:
            return self._absent(frames_BSD)
        bias_BHSS = None
        if self.bias_gate is not None and bias_HSS is not None:
            bias_BHSS = self.bias_gate(frames_BSD, bias_HSS)
        return self._emit(self.core(*projected, valid_BS, bias_BHSS))

    def _head_slices(self) -> tuple[tuple[str, int, int], ...]:
        if self.bias_gate is None:
            return ()
        return ("bias_gate.scale", 0, 1), ("bias_gate.heads", 0, 1)

    def _block_slices(self) -> tuple[tuple[str, int, int], ...]:
        if self.bias_gate is None:
            return ()
        width = self.bias_gate.linear.out_features
        return ("bias_gate.linear.weight", 0, width), ("bias_gate.linear.bias", 0, width)


class RelativeSelfAttention(_Attention):
    """Attend with relative positions (Dai et al. 2019, arXiv 1901.02860, section 3.3).

    Args:
        dim: model width D.
        num_heads: H, a divisor of ``dim``.
        dropout: probability of dropping an attention weight.
    """

    _products_of_a_pair = 4  # there are about two distances for each key, scored beside the keys

    def __init__(self, dim: int, num_heads: int, *, dropout: float) -> None:
        super().__init__(dim, num_heads, core=AttentionCore(dropout=dropout))
        self.position = nn.Linear(dim, dim, bias=False)
        self.content_bias = nn.Parameter(torch.empty(num_heads, self.head_dim))
        self.position_bias = nn.Parameter(torch.empty(num_heads, self.head_dim))
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
        projected = self._project(frames_BSD)
        if projected is None:
            return self._absent(frames_BSD)
        query, key, value = projected
        attended_BHSK = self.core(
            query + self.content_bias[:, None].to(query.dtype),
            key,
            value,
            valid_BS,
            self._position_scores(query, positions_PD),
        )
        return self._emit(attended_BHSK)

    def _position_scores(self, query_BHSK: Tensor, positions_PD: Tensor) -> Tensor:
        # scaled here, because the fused kernel scales the content scores only
        positions_HKP = _split_heads(self.position(positions_PD)[None], self.head_dim)[0].mT
        scale = query_BHSK.shape[-1] ** -0.5
        biased_BHSK = (query_BHSK + self.position_bias[:, None].to(query_BHSK.dtype)) * scale
        return shift_relative(biased_BHSK @ positions_HKP)

    def _head_slices(self) -> tuple[tuple[str, int, int], ...]:
        return (
            ("position.weight", 0, self.head_dim),
            ("content_bias", 0, 1),
            ("position_bias", 0, 1),
        )


def attend(
    attention: nn.Module, frames_BSD: Tensor, positions_PD: Tensor | None, valid_BS: Tensor | None
) -> Tensor:
    """Run a block of either kind.

    Args:
        attention: a ``SelfAttention`` or a ``RelativeSelfAttention``.
        frames_BSD: input frames.
        positions_PD: what ``relative_positions`` gives for S frames; None for the plain kind.
        valid_BS: which frames may be attended to; None for all.

    Returns:
        (B, S, D).
    """
    if positions_PD is None:
        plain_BSD: Tensor = attention(frames_BSD, valid_BS)
        return plain_BSD
    relative_BSD: Tensor = attention(frames_BSD, positions_PD, valid_BS)
    return relative_BSD


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
