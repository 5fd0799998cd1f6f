"""The head contract: hidden states to the predictions of one downstream task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from speechlite.core.types import Batch, Hidden, Loss

__all__ = ["Head", "Metric", "Search", "UtteranceScore"]


@dataclass(frozen=True)
class UtteranceScore:
    """Hold what one utterance adds to a metric.

    Args:
        id: utterance id.
        speaker: speaker id, the unit of resampling.
        numerator: correct frames, or word errors.
        denominator: all frames, or reference words.
        detail: counts and texts worth keeping: sub, del, ins, reference, hypothesis.
    """

    id: str
    speaker: str
    numerator: float
    denominator: float
    detail: Mapping[str, Any] = field(default_factory=dict)


class Metric(ABC):
    """Score predictions, utterance by utterance; the value is a ratio of two sums."""

    name: str
    """``wer``, ``cer``, ``acc`` ..."""
    unit: str = "%"
    higher_is_better: bool
    scorer: str
    """Name and version of what counts, e.g. ``kaldialign 0.9``."""

    @abstractmethod
    def score(self, predictions: Sequence[Any], batch: Batch) -> list[UtteranceScore]:
        """Score the predictions of one batch.

        Args:
            predictions: what ``Head.predict`` returned, one item an utterance.
            batch: the batch with its reference labels.

        Returns:
            One score an utterance.
        """


@dataclass(frozen=True)
class Search:
    """Hold one way from hidden states to predictions.

    Args:
        predict: gives one prediction an utterance, of the type that the metric takes.
        facts: what tells it from the others, as plain JSON values for records.
    """

    predict: Callable[[Hidden], list[Any]]
    facts: Mapping[str, Any] = field(default_factory=dict)


class Head(nn.Module, ABC):
    """Predict one task's labels from hidden states.

    A subclass is built as ``Head(config, *, dim, num_layers, labels)``: the width of the hidden
    states, how many of them it is given, and the ``LabelSpace``. It weighs the layers itself.
    """

    needs_all_layers: bool = True
    """False where the last hidden state is all it looks at; only that one is then kept."""
    label_layout: str = "sequence"
    """What its labels belong to: ``frame``, ``sequence`` (shorter than the frames, in order) or
    ``utterance`` (one label each)."""

    @abstractmethod
    def loss(self, hidden: Hidden, batch: Batch) -> Loss:
        """Return the training loss of one batch.

        Args:
            hidden: hidden states of the batch.
            batch: its labels.

        Returns:
            The loss as a sum and its number of units.

        Raises:
            DataError: if labels and hidden states cannot belong together.
        """

    @abstractmethod
    def predict(self, hidden: Hidden) -> list[Any]:
        """Return one prediction an utterance.

        Args:
            hidden: hidden states of a batch.

        Returns:
            B predictions, of the type that the metric takes.
        """

    @abstractmethod
    def metric(self) -> Metric:
        """Return the metric that scores this head's predictions.

        Returns:
            A fresh metric.
        """

    def searches(self) -> tuple[Search, ...]:
        """Return the ways to predict with chosen weights; the best one on dev scores test.

        Weights are chosen by ``predict``, which should be quick. A head whose final predictions
        cost more, or have weights of their own, gives them here, and reads their files: the call
        comes before training, so that a wrong file costs none.

        Returns:
            One or more searches; ``predict`` alone unless a head says otherwise.
        """
        return (Search(self.predict),)
