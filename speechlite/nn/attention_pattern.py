"""Patterns of sparse attention, as rules for pairs of frames and as ranges of keys.

Shapes: S frames, N queries, M keys, F frames of a second order.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from speechlite.nn.bit_attention import AllowedKeys

__all__ = ["PATTERNS", "allowed_among", "allowed_pairs", "keys_of_pattern", "remembered_among"]

PATTERNS = ("window", "strided", "fixed")
"""Patterns by the names that configurations use."""


def allowed_pairs(
    query_N: Tensor, key_M: Tensor, *, pattern: str, stride: int, expressivity: int
) -> Tensor:
    """Return which frames attend to which, in both directions of time.

    Child et al. 2019 (arXiv 1904.10509), section 4.3, without its causal mask.

    Args:
        query_N: places of queries.
        key_M: places of keys; broadcasts with ``query_N``.
        pattern: ``window``: the frames at most ``stride`` away; ``strided``: those less than
            ``stride`` away, and every ``stride``-th one; ``fixed``: those of the same block of
            ``stride`` frames, and the last ``expressivity`` ones of every block.
        stride: length of the pattern in frames.
        expressivity: frames that summarise a block of ``fixed``.

    Returns:
        bool, of the shape that both broadcast to.
    """
    if pattern == "window":
        return (query_N - key_M).abs() <= stride
    if pattern == "strided":
        distance = (query_N - key_M).abs()
        return (distance < stride) | (distance % stride == 0)
    same_block = query_N // stride == key_M // stride
    return same_block | (key_M % stride >= stride - expressivity)


def allowed_among(
    num_frames: int, pattern: str, stride: int, expressivity: int, device: torch.device
) -> Tensor:
    """Return which of the frames of an utterance attend to which.

    Args:
        num_frames: S.
        pattern: see ``allowed_pairs``.
        stride: length of the pattern in frames.
        expressivity: frames that summarise a block of ``fixed``.
        device: where the result lies.

    Returns:
        bool (S, S).
    """
    places_S = torch.arange(num_frames, device=device)
    return allowed_pairs(
        places_S[:, None], places_S, pattern=pattern, stride=stride, expressivity=expressivity
    )


@lru_cache(maxsize=8)
def remembered_among(
    num_frames: int, pattern: str, stride: int, expressivity: int, device: torch.device
) -> Tensor:
    """Return what ``allowed_among`` does, the same tensor for the same arguments.

    Args:
        num_frames: S.
        pattern: see ``allowed_pairs``.
        stride: length of the pattern in frames.
        expressivity: frames that summarise a block of ``fixed``.
        device: where the result lies.

    Returns:
        bool (S, S), not to be changed.
    """
    # the layers of a forward ask for the same; training may follow, so this is no inference tensor
    with torch.inference_mode(False):
        return allowed_among(num_frames, pattern, stride, expressivity, device)


@lru_cache(maxsize=8)
def keys_of_pattern(num_frames: int, pattern: str, stride: int, expressivity: int) -> AllowedKeys:
    """Let queries meet the keys of a pattern, as ``allowed_pairs`` defines them.

    Args:
        num_frames: N.
        pattern: see ``allowed_pairs``.
        stride: length of the pattern in frames.
        expressivity: frames that summarise a block of ``fixed``.

    Returns:
        A range of near keys for each query, and two of the far ones before and behind them.
    """
    frames_N = torch.arange(num_frames)
    blocks_N, offsets_N = frames_N // stride, frames_N % stride
    if pattern == "window":
        near = _within(num_frames, frames_N - stride, frames_N + stride + 1)
        return AllowedKeys.of_ranges(num_frames, [near], meets_itself=True)
    if pattern == "strided":
        near = _within(num_frames, frames_N - stride + 1, frames_N + stride)
        # frames at the same place of each block stand together; only the query's own is near
        again_F = (offsets_N * num_frames + blocks_N).argsort()
        starts_N = torch.searchsorted(offsets_N[again_F], offsets_N)
        ends_N = torch.searchsorted(offsets_N[again_F], offsets_N, right=True)
        own = (starts_N + blocks_N, starts_N + blocks_N + 1)
    else:
        near = _within(num_frames, blocks_N * stride, (blocks_N + 1) * stride)
        again_F = (offsets_N >= stride - expressivity).nonzero().flatten()
        starts_N, ends_N = torch.zeros_like(frames_N), torch.full_like(frames_N, len(again_F))
        own = _within(len(again_F), blocks_N * expressivity, (blocks_N + 1) * expressivity)
    far = [(starts_N, own[0]), (own[1], ends_N)]
    return AllowedKeys.of_ranges(num_frames, [near], again_F, far, meets_itself=True)


def _within(end: int, starts_N: Tensor, ends_N: Tensor) -> tuple[Tensor, Tensor]:
    return starts_N.clamp(0, end), ends_N.clamp(0, end)
