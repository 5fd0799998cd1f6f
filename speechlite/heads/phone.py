"""The ``phone`` head: linear classification of frames.

Shapes: B batch, S frames, D model width, C classes.
"""

from __future__ import annotations

from torch import Tensor, nn

from speechlite.core.head import Head, Metric
from speechlite.core.types import Batch, Hidden, LabelSpace, Loss
from speechlite.heads.config import PhoneConfig
from speechlite.heads.frame_loss import best_classes, frame_cross_entropy
from speechlite.metrics.accuracy import FrameAccuracy
from speechlite.nn.layer_sum import LayerSum

__all__ = ["PhoneHead"]


class PhoneHead(Head):
    """Classify every frame by one linear layer (van den Oord et al. 2018, arXiv 1807.03748).

    Args:
        config: the options.
        dim: width D of the hidden states.
        num_layers: hidden states given.
        labels: the phones; one label a frame, negative ones are not counted.
    """

    label_layout = "frame"

    def __init__(
        self, config: PhoneConfig, *, dim: int, num_layers: int, labels: LabelSpace
    ) -> None:
        super().__init__()
        self.labels = labels
        self.needs_all_layers = config.layer == "weighted"
        self.layer_sum = LayerSum(num_layers, config.layer)
        self.classifier = nn.Linear(dim, len(labels.symbols))

    def _scores(self, hidden: Hidden) -> Tensor:
        return self.classifier(self.layer_sum(hidden))

    def loss(self, hidden: Hidden, batch: Batch) -> Loss:
        """Return the cross-entropy over labelled frames.

        Args:
            hidden: hidden states of the batch.
            batch: its frame labels.

        Returns:
            The summed cross-entropy and the number of frames.

        Raises:
            DataError: if an utterance has more than 3 labels more or fewer than frames.
        """
        return frame_cross_entropy(self._scores(hidden), hidden, batch, self.labels.stream)

    def predict(self, hidden: Hidden) -> list[Tensor]:
        """Return the best class of every frame.

        Args:
            hidden: hidden states of a batch.

        Returns:
            int64 tensors (S,), one an utterance, cut to its length.
        """
        return best_classes(self._scores(hidden), hidden.lengths)

    def metric(self) -> Metric:
        """Return frame accuracy.

        Returns:
            The metric.
        """
        return FrameAccuracy(self.labels.stream)
