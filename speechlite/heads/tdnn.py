"""The ``tdnn`` head: a time-delay network that gives every frame a class, for hybrid recognition.

Shapes: B batch, S frames, D model width, C classes.
"""

from __future__ import annotations

from torch import Tensor, nn

from speechlite.core.head import Head, Metric
from speechlite.core.types import Batch, Hidden, LabelSpace, Loss
from speechlite.heads.config import TdnnConfig
from speechlite.heads.frame_loss import best_classes, frame_cross_entropy
from speechlite.metrics.accuracy import FrameAccuracy
from speechlite.nn.layer_sum import LayerSum
from speechlite.nn.tdnn import Tdnn

__all__ = ["TdnnHead"]


class TdnnHead(Head):
    """Classify frames by a TDNN (section 3.1 of Layer Reduction: 5 layers of 1280).

    Args:
        config: the options.
        dim: width D of the hidden states.
        num_layers: hidden states given.
        labels: the classes, densities of an HMM for example; one label a frame, negative ones are
            not counted.
    """

    label_layout = "frame"

    def __init__(
        self, config: TdnnConfig, *, dim: int, num_layers: int, labels: LabelSpace
    ) -> None:
        super().__init__()
        self.labels = labels
        self.needs_all_layers = config.layer == "weighted"
        self.layer_sum = LayerSum(num_layers, config.layer)
        self.tdnn = Tdnn(dim, config.dim, strides=config.strides, dropout=config.dropout)
        self.classifier = nn.Linear(config.dim, len(labels.symbols))

    def scores(self, hidden: Hidden) -> Tensor:
        """Return the unnormalised log-probability of every class.

        Args:
            hidden: hidden states of a batch.

        Returns:
            (B, S, C); what stands beyond the lengths means nothing.
        """
        frames_BSD = self.layer_sum(hidden)
        return self.classifier(self.tdnn(frames_BSD, hidden.lengths.to(frames_BSD.device)))

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
        return frame_cross_entropy(self.scores(hidden), hidden, batch, self.labels.stream)

    def predict(self, hidden: Hidden) -> list[Tensor]:
        """Return the best class of every frame.

        Args:
            hidden: hidden states of a batch.

        Returns:
            int64 tensors (S,), one an utterance, cut to its length.
        """
        return best_classes(self.scores(hidden), hidden.lengths)

    def metric(self) -> Metric:
        """Return frame accuracy.

        Returns:
            The metric.
        """
        return FrameAccuracy(self.labels.stream)
