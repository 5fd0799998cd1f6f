"""The objective contract: a training signal from a model and a batch."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import nn

from speechlite.core.model import SpeechModel
from speechlite.core.types import Batch, Loss

__all__ = ["Objective"]


class Objective(nn.Module, ABC):
    """Compute a loss from a model and a batch.

    A subclass is built as ``Objective(config, *, model)``. Parameters of its own (a predictor, a
    head) live in it and train beside the model's; they are not part of the model's checkpoint.
    One that has ``needs`` is also given ``labels``, a LabelSpace by name of the stream; for each
    name in ``reads`` it is given the SpeechModel of that name; with ``takes_head`` also ``head``,
    which the engine stores beside the model.
    """

    needs: tuple[str, ...] = ()
    """Names of the label streams that every batch must carry; checked before any spending."""
    reads: tuple[str, ...] = ()
    """Options that name the checkpoint of a further model, such as a teacher."""
    takes_head: bool = False
    """Whether it is built with ``head``, a Head, whose labels every batch must carry."""
    has_idle_layers: bool = False
    """Whether steps execute fewer layers than the encoder draws, so that some get no gradient."""

    @abstractmethod
    def forward(self, model: SpeechModel, batch: Batch) -> Loss:
        """Return the loss of one batch.

        Args:
            model: the model to train.
            batch: the step's utterances; all randomness comes from ``batch.seed`` and torch's
                generator, which the engine seeds for each step.

        Returns:
            The loss as a sum and its number of units.
        """

    def after_step(self, model: SpeechModel, step: int) -> None:  # noqa: B027 (an optional hook)
        """Act on the model after an optimiser step; does nothing by default.

        Args:
            model: the model that was updated.
            step: optimiser steps done so far.
        """
