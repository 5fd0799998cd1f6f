"""Masking of frames, utterance by utterance, as a pure function of a seed.

Shapes: B batch, S frames, F features.
"""

from __future__ import annotations

import torch
from torch import Tensor

from speechlite.core.types import stateless_seed

__all__ = ["alter_time", "choose_blocks", "choose_spans"]


def choose_blocks(
    num_frames: int, *, ratio: float, block_frames: int, generator: torch.Generator
) -> Tensor:
    """Choose blocks of consecutive frames that together make up about ``ratio`` of an utterance.

    Blocks start at distinct frames and may overlap; at least one is chosen.

    Args:
        num_frames: S, at least 1.
        ratio: part of the frames to choose, in (0, 1].
        block_frames: frames of a block; shorter utterances take one block of their own length.
        generator: source of randomness.

    Returns:
        bool (S,), True where chosen.
    """
    block = min(block_frames, num_frames)
    num_starts = num_frames - block + 1
    num_blocks = min(max(round(ratio * num_frames / block), 1), num_starts)
    starts = torch.randperm(num_starts, generator=generator)[:num_blocks]
    chosen_S = torch.zeros(num_frames, dtype=torch.bool)
    chosen_S[(starts[:, None] + torch.arange(block)).flatten()] = True
    return chosen_S


def alter_time(
    features_BSF: Tensor,
    lengths_B: Tensor,
    ids: tuple[str, ...],
    *,
    seed: int,
    ratio: float,
    block_frames: int,
    zero_probability: float,
    replace_probability: float,
) -> tuple[Tensor, Tensor]:
    """Alter blocks of frames as TERA does (Liu et al. 2021, arXiv 2007.06028, section III-B1).

    For each utterance all chosen blocks are set to zero, replaced by frames from elsewhere in
    the utterance, or kept, by the given probabilities. What happens to an utterance depends on
    the seed and its id only, not on its batch.

    Args:
        features_BSF: features; not changed.
        lengths_B: valid frames, int64.
        ids: utterance ids, B of them.
        seed: the step's seed.
        ratio: part of the frames to alter.
        block_frames: frames of a block.
        zero_probability: probability of zeroing an utterance's blocks.
        replace_probability: probability of replacing them; they are kept with what remains.

    Returns:
        Altered features (B, S, F) and bool (B, S), True where a frame was chosen.
    """
    altered_BSF = features_BSF.clone()
    chosen_BS = torch.zeros(features_BSF.shape[:2], dtype=torch.bool)
    for row, (name, length) in enumerate(zip(ids, lengths_B.tolist(), strict=True)):
        if length == 0:
            continue
        generator = torch.Generator().manual_seed(stateless_seed(seed, name))
        chosen_S = choose_blocks(
            length, ratio=ratio, block_frames=block_frames, generator=generator
        )
        chosen_BS[row, :length] = chosen_S
        frames = chosen_S.nonzero()[:, 0].to(features_BSF.device)
        dice = torch.rand((), generator=generator).item()
        if dice < zero_probability:
            altered_BSF[row, frames] = 0.0
        elif dice < zero_probability + replace_probability:
            shift = int(torch.randint(length, (), generator=generator))
            altered_BSF[row, frames] = features_BSF[row, (frames + shift) % length]
    return altered_BSF, chosen_BS.to(features_BSF.device)


def choose_spans(
    lengths_B: Tensor,
    num_frames: int,
    ids: tuple[str, ...],
    *,
    seed: int,
    probability: float,
    span_frames: int,
    min_spans: int,
) -> Tensor:
    """Choose the frames that wav2vec 2.0 masks (arXiv 2006.11477, section 3.1).

    Spans of equal length start at distinct frames and may overlap; their number is ``probability``
    times the frames, rounded up or down at random. What happens to an utterance depends on the
    seed and its id only, not on its batch.

    Args:
        lengths_B: valid frames, int64.
        num_frames: S.
        ids: utterance ids, B of them.
        seed: the step's seed.
        probability: of a frame to begin a span.
        span_frames: frames of a span; a shorter utterance takes one span of half its length.
        min_spans: fewest spans where there are as many places to begin.

    Returns:
        bool (B, S), True where masked.
    """
    chosen_BS = torch.zeros(len(ids), num_frames, dtype=torch.bool)
    for row, (name, length) in enumerate(zip(ids, lengths_B.tolist(), strict=True)):
        generator = torch.Generator().manual_seed(stateless_seed(seed, name, "spans"))
        span = min(span_frames, max(length // 2, 1))
        num_starts = length - span + 1
        if num_starts < 1:
            continue
        num_spans = int(probability * length + torch.rand((), generator=generator).item())
        num_spans = min(max(num_spans, min_spans, 1), num_starts)
        starts = torch.randperm(num_starts, generator=generator)[:num_spans]
        chosen_BS[row, (starts[:, None] + torch.arange(span)).flatten()] = True
    return chosen_BS.to(lengths_B.device)
