"""The ``l0_structured`` compressor: prune widths that training chooses under a size constraint."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from speechlite.compressors.config import L0StructuredConfig
from speechlite.compressors.gated_model import GatedModel, Gates
from speechlite.compressors.selection import Selection
from speechlite.compressors.sizes import size_function
from speechlite.compressors.width_plan import (
    carry_out,
    check_target,
    chosen_groups,
    described,
)
from speechlite.core.compressor import Compressor
from speechlite.core.errors import PlanError
from speechlite.core.model import PruneGroup, SpeechModel
from speechlite.nn.pruning import absorb

__all__ = ["L0Structured"]


class _Constraint(nn.Module):
    # the multipliers of Eq. 6; they climb where the weights descend
    def __init__(self, learning_rate: float) -> None:
        super().__init__()
        self.learning_rate = learning_rate
        self.maximise = True
        self.linear = nn.Parameter(torch.zeros(()))
        self.quadratic = nn.Parameter(torch.zeros(()))

    def forward(self, excess: Tensor) -> Tensor:
        return self.linear * excess + self.quadratic * excess.square()


class L0Structured(Compressor):
    """Learn which convolution channels, heads, feed-forward units and blocks to keep.

    DPHuBERT (Peng et al. 2023, arXiv 2305.17651), section 2.2: gates on each unit (Eqs. 2-3), the
    expected size in closed form (Eq. 4), and an augmented Lagrangian that brings it to the target
    (Eqs. 5-6), which rises linearly at the start. It works on every model whose parts declare their
    groups. Train the prepared model under any objective; distillation is the paper's.

    Args:
        config: the options.
    """

    def __init__(self, config: L0StructuredConfig) -> None:
        self.config = config

    def prepare(self, model: SpeechModel) -> SpeechModel:
        """Return a copy of the model under gates.

        Args:
            model: the model to prune; not changed.

        Returns:
            The gated copy.

        Raises:
            PlanError: if no part of the model declares units of the kinds to prune, or they are
                less than the target.
        """
        config = self.config
        groups = chosen_groups(model, config.prune)
        sizes = size_function(model, groups, of=config.target_of, seconds=config.seconds)
        check_target(groups, sizes, config.target)
        gates = Gates(
            groups,
            drop_rates={group.name: self._drop_rate(group) for group in groups},
            learning_rate=config.learning_rate,
        )
        return GatedModel(model, gates, _Constraint(config.learning_rate), sizes)

    def penalty(self, model: SpeechModel, step: int) -> Tensor | None:
        """Return the Lagrangian term of the expected size (Eq. 6).

        Args:
            model: what ``prepare`` returned.
            step: optimiser steps done so far.

        Returns:
            A scalar.
        """
        gated = _gated(model)
        left = {name: gated.gates[name].probability().sum() for name in gated.gates.names}
        sparsity = 1.0 - gated.sizes(left) / gated.sizes.total
        due = self.config.target * min(1.0, (step + 1) / self.config.warmup_steps)
        penalty: Tensor = gated.constraint((sparsity - due).float())
        return penalty

    def plan(self, model: SpeechModel) -> dict[str, Any]:
        """Decide which units stay: those whose gates are open, corrected to meet the target.

        Args:
            model: what ``prepare`` returned, trained.

        Returns:
            ``kept``, ``left`` and ``sparsity`` (see :func:`~.width_plan.described`); ``corrected``:
            units that the correction took out or brought back.

        Raises:
            PlanError: if nothing would be cut.
        """
        gated = _gated(model)
        groups = chosen_groups(gated, self.config.prune)
        selection = Selection(
            groups,
            {name: gated.gates[name].log_alpha.detach() for name in gated.gates.names},
            {name: multiplier > 0 for name, multiplier in gated.multipliers().items()},
            gated.sizes,
        )
        corrected = selection.meet(self.config.target)
        return {**described(groups, selection), "corrected": corrected}

    def restructure(self, model: SpeechModel, plan: Mapping[str, Any]) -> SpeechModel:
        """Return a copy of the model without the units that the plan leaves out.

        Args:
            model: the trained gated model, whose multipliers go into the weights; or a plain one
                of the same shapes.
            plan: what ``plan`` returned.

        Returns:
            The smaller model.

        Raises:
            PlanError: if the plan does not fit the model.
        """
        if not isinstance(model, GatedModel):
            return carry_out(copy.deepcopy(model), plan)
        smaller = model.without_gates()
        opened = {name: model.gates[name].opened() for name in model.gates.names}
        absorb(smaller, smaller.prune_groups(), opened)
        return carry_out(smaller, plan)

    def _drop_rate(self, group: PruneGroup) -> float:
        of_units = group.name.endswith(".units")
        return self.config.unit_drop_rate if of_units else self.config.drop_rate


def _gated(model: SpeechModel) -> GatedModel:
    if not isinstance(model, GatedModel):
        raise PlanError(
            "l0_structured was given a model without gates",
            remedy="give penalty and plan the model that prepare returned",
        )
    return model
