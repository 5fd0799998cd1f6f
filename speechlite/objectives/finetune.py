"""The ``finetune`` objective: a head's loss, through the whole model."""

from __future__ import annotations

import torch

from speechlite.core.errors import ConfigError
from speechlite.core.head import Head
from speechlite.core.model import SpeechModel
from speechlite.core.objective import Objective
from speechlite.core.types import Batch, Loss, Padded
from speechlite.objectives.config import FinetuneConfig

__all__ = ["Finetune"]


class Finetune(Objective):
    """Train model and head together on a downstream task (wav2vec 2.0, arXiv 2006.11477).

    Sparse layers keep their masks: what is pruned is no parameter.

    Args:
        config: the options.
        model: the model; with ``freeze_features`` what makes its features stops training.
        head: the head, with its own weights or fresh ones.
    """

    takes_head = True

    def __init__(self, config: FinetuneConfig, *, model: SpeechModel, head: Head) -> None:
        super().__init__()
        self.config = config
        self.head = head
        # the frontend's share gets no gradient
        self.has_idle_layers = config.freeze_features
        if next(model.parameters(), None) is None:
            raise ConfigError(
                "the model has no parameters to fine-tune",
                remedy="choose an encoder with layers, or train the head by speechlite evaluate",
            )
        if config.head_learning_rate is not None:
            # the optimiser's groups ask for it
            head.learning_rate = config.head_learning_rate  # type: ignore[assignment]

    def forward(self, model: SpeechModel, batch: Batch) -> Loss:
        """Return the head's loss.

        Args:
            model: the model.
            batch: the step's utterances with their labels.

        Returns:
            The loss as a sum and its number of units.
        """
        return self.head.loss(model.encode(self._features(model, batch)), batch)

    def _features(self, model: SpeechModel, batch: Batch) -> Padded:
        if not self.config.freeze_features:
            return model.extract(batch)
        with torch.no_grad():
            return model.extract(batch)
