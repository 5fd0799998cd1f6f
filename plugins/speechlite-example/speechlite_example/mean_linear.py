"""The ``mean_linear`` head: one class an utterance, such as its speaker.

Shapes: B batch, S frames, D model width, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from speechlite.core.errors import DataError
from speechlite.core.head import Head, Metric, UtteranceScore
from speechlite.core.types import Batch, Hidden, LabelSpace, Loss
from speechlite.nn.layer_sum import LayerSum
from speechlite_example.config import MeanLinearConfig

__all__ = ["MeanLinearHead", "UtteranceAccuracy"]


class UtteranceAccuracy(Metric):
    """Count correctly classified utterances.

    Args:
        stream: label stream with one class an utterance.
    """

    name = "acc"
    higher_is_better = True
    scorer = "speechlite_example.utterance_accuracy 1"

    def __init__(self, stream: str) -> None:
        self.stream = stream

    def score(self, predictions: Sequence[int], batch: Batch) -> list[UtteranceScore]:
        """Score the predictions of one batch.

        Args:
            predictions: one class an utterance.
            batch: the batch with its labels.

        Returns:
            1 or 0 of 1 for each utterance.
        """
        references = _classes(batch, self.stream).tolist()
        return [
            UtteranceScore(id=name, speaker=speaker, numerator=float(hit), denominator=1.0)
            for name, speaker, hit in zip(
                batch.ids,
                batch.speakers,
                (p == r for p, r in zip(predictions, references, strict=True)),
                strict=True,
            )
        ]


class MeanLinearHead(Head):
    """Classify the mean of an utterance's frames by one linear layer.

    Args:
        config: the options.
        dim: width D of the hidden states.
        num_layers: hidden states given.
        labels: the classes; one label an utterance.
    """

    label_layout = "utterance"

    def __init__(
        self, config: MeanLinearConfig, *, dim: int, num_layers: int, labels: LabelSpace
    ) -> None:
        super().__init__()
        self.labels = labels
        self.needs_all_layers = config.layer == "weighted"
        self.layer_sum = LayerSum(num_layers, config.layer)
        self.classifier = nn.Linear(dim, len(labels.symbols))

    def _scores(self, hidden: Hidden) -> Tensor:
        # Hidden states are zero beyond the lengths, so a plain sum is the sum of valid frames.
        sums_BD = self.layer_sum(hidden).sum(1)
        scores_BC: Tensor = self.classifier(sums_BD / hidden.lengths.clamp(min=1)[:, None])
        return scores_BC

    def loss(self, hidden: Hidden, batch: Batch) -> Loss:
        """Return the cross-entropy of the utterances.

        Args:
            hidden: hidden states of the batch.
            batch: its labels.

        Returns:
            The summed cross-entropy and the number of utterances.

        Raises:
            DataError: if an utterance has not exactly one label.
        """
        references_B = _classes(batch, self.labels.stream).to(hidden.lengths.device)
        total = functional.cross_entropy(self._scores(hidden), references_B, reduction="sum")
        return Loss(sum=total, weight=total.new_tensor(float(len(references_B))))

    def predict(self, hidden: Hidden) -> list[int]:
        """Return the best class of every utterance.

        Args:
            hidden: hidden states of a batch.

        Returns:
            B class indices.
        """
        return [int(best) for best in self._scores(hidden).argmax(-1)]

    def metric(self) -> Metric:
        """Return accuracy over utterances.

        Returns:
            The metric.
        """
        return UtteranceAccuracy(self.labels.stream)


def _classes(batch: Batch, stream: str) -> Tensor:
    labels = batch.labels[stream]
    wrong_B = labels.lengths != 1
    if bool(wrong_B.any()):
        row = int(wrong_B.nonzero()[0])
        cause = f"{batch.ids[row]} has {int(labels.lengths[row])} {stream} labels, expected 1"
        raise DataError(f"utterance {cause}", remedy="give every utterance one label")
    return labels.values[:, 0]
