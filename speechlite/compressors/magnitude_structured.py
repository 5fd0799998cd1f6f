"""The ``magnitude_structured`` compressor: prune the widths whose weights are smallest."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from speechlite.compressors.config import MagnitudeStructuredConfig
from speechlite.compressors.selection import Selection, blocks_around
from speechlite.compressors.sizes import size_function
from speechlite.compressors.width_plan import (
    carry_out,
    check_target,
    chosen_groups,
    described,
)
from speechlite.core.compressor import Compressor
from speechlite.core.model import PruneGroup, SpeechModel

__all__ = ["MagnitudeStructured", "unit_magnitudes"]


class MagnitudeStructured(Compressor):
    """Keep the channels, heads and feed-forward units of the largest weights, without training.

    The neighbour that learned structure is compared with: the same units, the same rule about
    blocks and the same size, chosen by the root mean square of the weights that a unit owns (Li et
    al. 2017, arXiv 1608.08710, rank by such norms), relative to its group's.

    Args:
        config: the options.
    """

    def __init__(self, config: MagnitudeStructuredConfig) -> None:
        self.config = config

    def plan(self, model: SpeechModel) -> dict[str, Any]:
        """Decide which units stay.

        Args:
            model: the model to prune.

        Returns:
            ``kept``, ``left`` and ``sparsity``; see :func:`~.width_plan.described`.

        Raises:
            PlanError: if the model declares no such units, nothing would be cut, or the target is
                more than can be.
        """
        config = self.config
        groups = _with_their_blocks(chosen_groups(model, (*config.prune, "blocks")))
        sizes = size_function(model, groups, of=config.target_of, seconds=config.seconds)
        check_target(groups, sizes, config.target)
        scores = unit_magnitudes(model, groups)
        everything = {group.name: torch.ones(group.size, dtype=torch.bool) for group in groups}
        selection = Selection(groups, scores, everything, sizes)
        selection.meet(config.target)
        return described(groups, selection)

    def restructure(self, model: SpeechModel, plan: Mapping[str, Any]) -> SpeechModel:
        """Return a copy of the model without the units that the plan leaves out.

        Args:
            model: the model that the plan was made for; not changed.
            plan: what ``plan`` returned.

        Returns:
            The smaller model.

        Raises:
            PlanError: if the plan does not fit the model.
        """
        return carry_out(copy.deepcopy(model), plan)


def unit_magnitudes(model: SpeechModel, groups: Sequence[PruneGroup]) -> dict[str, Tensor]:
    """Return how large the weights of each unit are, relative to those of its group.

    Args:
        model: the model.
        groups: its groups.

    Returns:
        (U,) by name of the group: root mean square of a unit's weights over that of all.
    """
    parameters = dict(model.named_parameters())
    found = {}
    for group in groups:
        squares, count = torch.zeros(group.size, dtype=torch.float64), 0
        for name, axis, _ in group.slices:
            if name in parameters:
                weight = parameters[name].detach().double().cpu()
                rows = weight.movedim(axis, 0).reshape(group.size, -1)
                squares += rows.square().sum(1)
                count += rows.shape[1]
        magnitude_U = (squares / max(count, 1)).sqrt()
        found[group.name] = magnitude_U / magnitude_U.mean().clamp(min=1e-12)
    return found


def _with_their_blocks(groups: Sequence[PruneGroup]) -> list[PruneGroup]:
    # a block whose units may not be pruned has nothing to go with
    held = {block for group in groups for block in blocks_around(group, groups)}
    return [group for group in groups if group.name in held or not group.name.endswith(".block")]
