"""What all frame-wise heads share: cross-entropy over labelled frames, and the best classes.

Shapes: B batch, S frames, C classes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from speechlite.core.types import Batch, Hidden, Loss
from speechlite.metrics.accuracy import check_label_rate

__all__ = ["best_classes", "frame_cross_entropy"]


def best_classes(scores_BSC: Tensor, lengths_B: Tensor) -> list[Tensor]:
    """Return the best class of every frame.

    Args:
        scores_BSC: unnormalised log-probabilities.
        lengths_B: valid frames.

    Returns:
        int64 tensors (S,), one an utterance, cut to its length.
    """
    best_BS = scores_BSC.argmax(-1)
    return [best_S[:length] for best_S, length in zip(best_BS, lengths_B.tolist(), strict=True)]


def frame_cross_entropy(scores_BSC: Tensor, hidden: Hidden, batch: Batch, stream: str) -> Loss:
    """Return the cross-entropy over labelled frames.

    Args:
        scores_BSC: unnormalised log-probabilities.
        hidden: the hidden states that they were computed from.
        batch: the frame labels; negative ones are not counted.
        stream: name of the label stream.

    Returns:
        The summed cross-entropy and the number of frames.

    Raises:
        DataError: if an utterance has more than 3 labels more or fewer than frames.
    """
    labels = batch.labels[stream]
    lengths = zip(labels.lengths.tolist(), hidden.lengths.tolist(), strict=True)
    for name, (count, length) in zip(batch.ids, lengths, strict=True):
        check_label_rate(name, stream, labels=count, frames=length)
    frames = min(scores_BSC.shape[1], labels.values.shape[1])
    reference_BS = labels.values[:, :frames].clone()
    valid = torch.minimum(labels.lengths, hidden.lengths.to(labels.lengths.device))
    positions_S = torch.arange(frames, device=valid.device)
    reference_BS[positions_S >= valid[:, None]] = -1
    counted_BS = reference_BS >= 0
    total = functional.cross_entropy(
        scores_BSC[:, :frames][counted_BS], reference_BS[counted_BS], reduction="sum"
    )
    return Loss(sum=total, weight=counted_BS.sum().float())
