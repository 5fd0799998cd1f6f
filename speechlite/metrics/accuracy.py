"""Frame accuracy."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from speechlite.core.errors import DataError
from speechlite.core.head import Metric, UtteranceScore
from speechlite.core.types import Batch

__all__ = ["FrameAccuracy", "check_label_rate"]

_LARGEST_MISFIT = 3


def check_label_rate(utterance: str, stream: str, *, labels: int, frames: int) -> None:
    """Refuse labels that cannot belong to an utterance's frames.

    Args:
        utterance: its id.
        stream: the label stream.
        labels: its labels.
        frames: its frames.

    Raises:
        DataError: if the two differ by more than 3.
    """
    if abs(labels - frames) > _LARGEST_MISFIT:
        raise DataError(
            f"utterance {utterance} has {labels} {stream} labels for {frames} frames",
            remedy="make labels at the frontend's frame rate",
        )


class FrameAccuracy(Metric):
    """Count correctly classified frames.

    Args:
        stream: label stream with one class a frame; negative labels are not counted.
    """

    name = "acc"
    higher_is_better = True
    scorer = "speechlite.frame_accuracy 1"

    def __init__(self, stream: str) -> None:
        self.stream = stream

    def score(self, predictions: Sequence[Tensor], batch: Batch) -> list[UtteranceScore]:
        """Score the predictions of one batch.

        Args:
            predictions: int64 tensors (S,), one an utterance.
            batch: the batch with its frame labels.

        Returns:
            Correct and counted frames of each utterance; frames without a label are not counted.

        Raises:
            DataError: if an utterance has more than 3 labels more or fewer than predictions.
        """
        labels = batch.labels[self.stream]
        scores = []
        for row, (predicted_S, length) in enumerate(
            zip(predictions, labels.lengths.tolist(), strict=True)
        ):
            check_label_rate(batch.ids[row], self.stream, labels=length, frames=len(predicted_S))
            frames = min(len(predicted_S), length)
            reference_S = labels.values[row, :frames].to(predicted_S.device)
            counted_S = reference_S >= 0
            correct = torch.logical_and(predicted_S[:frames] == reference_S, counted_S).sum()
            scores.append(
                UtteranceScore(
                    id=batch.ids[row],
                    speaker=batch.speakers[row],
                    numerator=float(correct),
                    denominator=float(counted_S.sum()),
                )
            )
        return scores
