"""The compressor contract: a rewrite of a model into a cheaper one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor

from speechlite.core.model import SpeechModel
from speechlite.core.types import Batch, Loss

__all__ = ["Compressor"]


class Compressor(ABC):
    """Decide how to make a model cheaper, and do it.

    A subclass is built as ``Compressor(config)``. It touches the forward, ``encoder.layers``, stock
    leaves found by ``named_modules()`` and ``prune_groups()``, and no more.
    """

    needs_batches: bool = False
    """Whether ``calibrate`` wants data; data-free compressors leave it False."""

    def prepare(self, model: SpeechModel) -> SpeechModel:
        """Return the model to train or calibrate: with gates, fake quantisers, or a student.

        A module in it may have the attribute ``learning_rate``, a float: its parameters then peak
        at that rate, without weight decay; with ``maximise`` true they climb.

        Args:
            model: the model to compress; not changed.

        Returns:
            The model itself by default.
        """
        return model

    def calibrate(  # noqa: B027 (an optional hook)
        self,
        model: SpeechModel,
        batches: Iterable[Batch],
        loss: Callable[[SpeechModel, Batch], Loss] | None = None,
    ) -> None:
        """Change the model by what it makes of data; does nothing by default.

        Args:
            model: what ``prepare`` returned, in eval mode.
            batches: batches of speech, which may be gone through more than once.
            loss: of the model on a batch, where an objective is chosen: for measuring only.
        """

    def penalty(self, model: SpeechModel, step: int) -> Tensor | None:
        """Return a term to add to the training loss.

        Args:
            model: what ``prepare`` returned.
            step: optimiser steps done so far.

        Returns:
            A scalar, or None (the default) for no term.
        """
        return None

    def after_step(self, model: SpeechModel, step: int) -> None:  # noqa: B027 (an optional hook)
        """Act on the model after an optimiser step; does nothing by default.

        Args:
            model: what ``prepare`` returned.
            step: optimiser steps done so far.
        """

    @abstractmethod
    def plan(self, model: SpeechModel) -> dict[str, Any]:
        """Decide what to do.

        Args:
            model: what ``prepare`` returned, trained or calibrated if the method asks for it.

        Returns:
            Plain JSON values; tensors by the names of stored ones only.

        Raises:
            PlanError: if the plan would change nothing, or the model lacks what it needs.
        """

    @abstractmethod
    def restructure(self, model: SpeechModel, plan: Mapping[str, Any]) -> SpeechModel:
        """Carry a plan out: static, pure, without data or randomness.

        Used again, on a freshly built model, when a checkpoint is loaded.

        Args:
            model: the model that the plan was made for; not changed.
            plan: what ``plan`` returned.

        Returns:
            The cheaper model, without the edit recorded (the engine does that).

        Raises:
            PlanError: if the plan does not fit the model.
        """
