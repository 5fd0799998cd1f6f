"""The ``magnitude`` and ``parp`` compressors: the smallest weights go."""

from __future__ import annotations

import torch

from speechlite.compressors.pruning_config import MagnitudeConfig, ParpConfig
from speechlite.compressors.unstructured import Unstructured, smallest_pruned
from speechlite.core.model import SpeechModel

__all__ = ["Magnitude", "Parp"]


class Magnitude(Unstructured):
    """Prune the smallest weights of every layer at once (Han et al. 2015, arXiv 1506.02626).

    Under an objective, the dense model trains first. A chain of prunings and trainings in turn is
    the iterative form.

    Args:
        config: the options.
    """

    def __init__(self, config: MagnitudeConfig) -> None:
        super().__init__(config)


class Parp(Unstructured):
    """Prune, adjust, re-prune (Lai et al. 2021, arXiv 2106.05933): train it under an objective.

    The smallest weights are set to zero, but train on; every so many steps those that are smallest
    by then go, and with the last step for good.

    Args:
        config: the options.
    """

    def __init__(self, config: ParpConfig) -> None:
        super().__init__(config)
        self.every_steps = config.every_steps

    def prepare(self, model: SpeechModel) -> SpeechModel:
        """Return a copy with the smallest weights at zero.

        Args:
            model: the model; not changed.

        Returns:
            A model to train.

        Raises:
            PlanError: if there is nothing to prune.
        """
        prepared = super().prepare(model)
        self._prune(prepared)
        return prepared

    def after_step(self, model: SpeechModel, step: int) -> None:
        """Set the smallest weights to zero where it is time for that, and old zeros always.

        Args:
            model: what ``prepare`` returned.
            step: optimiser steps done so far.
        """
        super().after_step(model, step)
        if step % self.every_steps == 0:
            self._prune(model)

    def _prune(self, model: SpeechModel) -> None:
        leaves = self.leaves(model)
        counts = self.counts(leaves)
        for name, leaf in leaves.items():
            kept = smallest_pruned(leaf.weight, counts[name], self.config.pattern)
            with torch.no_grad():
                leaf.weight.mul_(kept)
