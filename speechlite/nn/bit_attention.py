"""Attention over one-bit operands on the CPU, without a score or a weight in floating point.

Shapes: B batch, N frames, H heads, K head width, W words of 64 bits, R ranges of places, T places,
X words of places, F frames.

One-bit queries and keys give K + 1 different scores. So the softmax of a row needs only how many
keys have each of them, and a weight reaches the threshold of its quantiser where the score reaches
a cut. The kernel counts and cuts; results differ from those of separate products only where a
weight lies within rounding of the threshold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from speechlite.nn import bit_products
from speechlite.nn.bit_checks import check_tensor, check_words
from speechlite.nn.bit_kernels import chosen_kernel, num_parts, run_parts

__all__ = ["AllowedKeys", "attend", "every_key", "has_attention"]

_WORD = 64
_Range = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class AllowedKeys:
    """Say which keys each query meets, as ranges of places.

    The frames stand at the first places in their order; behind them some may stand again, in an
    order that makes ranges of what is scattered.
    """

    frames_T: Tensor
    """(T,) int64 frame at each place, -1 for none; T is a multiple of 64."""
    ranges_NR2: Tensor
    """(N, R, 2) int64 first place of each range, and its end; no key twice."""
    meets_itself: bool
    """Whether a query meets its own frame, even one that is not valid."""
    num_pairs: int
    """Pairs of frames that meet."""

    @classmethod
    def of_ranges(
        cls,
        num_frames: int,
        near: Sequence[_Range],
        again_F: Tensor | None = None,
        far: Sequence[_Range] = (),
        *,
        meets_itself: bool,
    ) -> AllowedKeys:
        """Build from ranges of frames.

        Args:
            num_frames: N.
            near: ranges, each the first frame and the end for every query (N,).
            again_F: frames in a second order; None for none.
            far: ranges of that order.
            meets_itself: whether a query meets its own frame, even one that is not valid.

        Returns:
            The places of both orders, each from a new word on.
        """
        places = [_whole_words(torch.arange(num_frames))]
        # (R, 2, N)
        ranges_R2N = torch.stack([torch.stack(ends) for ends in near])
        if again_F is not None:
            further = torch.stack([torch.stack(ends) for ends in far]) + len(places[0])
            ranges_R2N = torch.cat([ranges_R2N, further])
            places.append(_whole_words(again_F))
        ranges_NR2 = ranges_R2N.permute(2, 0, 1).contiguous()
        num_pairs = int((ranges_NR2[..., 1] - ranges_NR2[..., 0]).sum())
        return cls(torch.cat(places), ranges_NR2, meets_itself, num_pairs)


@lru_cache(maxsize=8)
def every_key(num_frames: int) -> AllowedKeys:
    """Let every query meet every key.

    Args:
        num_frames: N.

    Returns:
        One range a query.
    """
    whole = (torch.zeros(num_frames, dtype=torch.int64), torch.full((num_frames,), num_frames))
    return AllowedKeys.of_ranges(num_frames, [whole], meets_itself=False)


def has_attention() -> bool:
    """Return whether ``attend`` can run here.

    Returns:
        True with numba, unless plain torch is asked for.

    Raises:
        ConfigError: if the environment variable of the kernels names none.
        EnvironmentProblem: if the kernel that it names cannot run here.
    """
    return chosen_kernel().name != "torch" and _compiled() is not None


def attend(
    query_BNHW: Tensor,
    key_BNHW: Tensor,
    value_BNHW: Tensor,
    allowed: AllowedKeys,
    valid_BN: Tensor | None,
    *,
    worth_C: Tensor,
    threshold: float,
    scale: float,
) -> Tensor:
    """Return the attended values, where ``has_attention`` is true.

    Args:
        query_BNHW: int64 words of signs, as ``bit_products.pack`` gives them.
        key_BNHW: keys, likewise.
        value_BNHW: values, likewise.
        allowed: which keys a query meets.
        valid_BN: bool, which frames may be met; None for all.
        worth_C: (K + 1,) float64 weight of a key before the softmax divides it, by the bits in
            which it differs beyond those of the nearest key; 1 first, then falling.
        threshold: weight from which on its bit is set, above 0.
        scale: what a sum of values is worth.

    Returns:
        (B, N, H, K) float32; zeros for a query that meets no key.

    Raises:
        ConfigError: if a dtype, device or shape does not fit.
    """
    width, sizes = len(worth_C) - 1, tuple(query_BNHW.shape[:3])
    for name, words in (("query", query_BNHW), ("key", key_BNHW), ("value", value_BNHW)):
        check_words(name, words, width, (sizes[0], len(allowed.ranges_NR2), sizes[2]))
    out_BNHK = torch.empty(*sizes, width)
    compiled = _compiled()
    assert compiled is not None
    query, key, value, valid_BX = (
        words.contiguous().numpy().view("uint64")
        for words in (query_BNHW, key_BNHW, value_BNHW, _valid_words(allowed, valid_BN, sizes[0]))
    )
    keys = (allowed.frames_T.numpy(), allowed.ranges_NR2.numpy(), valid_BX, allowed.meets_itself)
    numbers, out = (worth_C.numpy(), threshold, scale), out_BNHK.numpy()

    def part(start: int, stop: int) -> None:
        compiled(query, key, value, *keys, *numbers, start, stop, out)

    groups = sizes[0] * sizes[2]
    cost = groups * allowed.num_pairs * query_BNHW.shape[3]
    if out_BNHK.numel():
        run_parts(part, groups, num_parts(chosen_kernel(), groups, cost=cost))
    return out_BNHK


def _whole_words(frames_F: Tensor) -> Tensor:
    return functional.pad(frames_F, (0, -len(frames_F) % _WORD), value=-1)


def _valid_words(allowed: AllowedKeys, valid_BN: Tensor | None, batch: int) -> Tensor:
    if valid_BN is None:
        return torch.full((batch, len(allowed.frames_T) // _WORD), -1)
    check_tensor("valid", valid_BN, torch.bool, (batch, len(allowed.ranges_NR2)))
    # a place without a frame is in no range
    return bit_products.pack(valid_BN[:, allowed.frames_T].float(), torch.tensor(0.5))


@cache
def _compiled() -> Callable[..., None] | None:
    try:
        from numba import config

        from speechlite.nn import bit_attention_numba
    except ImportError:
        return None
    is_disabled: bool = config.DISABLE_JIT  # type: ignore[attr-defined]  # made at import
    return None if is_disabled else bit_attention_numba.attend
