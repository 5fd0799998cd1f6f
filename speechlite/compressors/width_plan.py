"""What compressors of widths share: which groups, what a plan says, and carrying it out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from speechlite.compressors.selection import Selection, blocks_around
from speechlite.compressors.sizes import SizeFunction
from speechlite.core.errors import PlanError
from speechlite.core.model import PruneGroup, SpeechModel
from speechlite.nn.pruning import cut, indices_of, ranges_of, units_per_axis

__all__ = ["carry_out", "check_target", "chosen_groups", "described"]

_PARTS = {"channels": "convolutions", "heads": "heads", "units": "units", "block": "blocks"}


def chosen_groups(model: SpeechModel, parts: Sequence[str]) -> list[PruneGroup]:
    """Return the groups of the parts that may be pruned.

    Args:
        model: the model.
        parts: some of ``convolutions``, ``heads``, ``units`` and ``blocks``.

    Returns:
        The groups, checked against the model's tensors.

    Raises:
        PlanError: if the model declares none, or a tensor was replaced.
    """
    groups = [
        group
        for group in model.prune_groups()
        if _PARTS.get(group.name.rpartition(".")[2]) in parts
    ]
    if not any(group.size > 1 for group in groups):
        # sparse layers and those of few bits say for how many weights they stand
        changed = [name for name, part in model.named_modules() if hasattr(part, "stands_for")]
        if changed:
            raise PlanError(
                f"{changed[0]} is sparse or of few bits, and has no whole units to prune",
                remedy="prune widths first, then single weights, then quantise",
            )
        raise PlanError(
            f"the model declares no units to prune of {list(parts)}",
            remedy="choose an encoder with prune groups, such as transformer or conformer",
        )
    units_per_axis(model, groups)
    return groups


def check_target(groups: Sequence[PruneGroup], sizes: SizeFunction, target: float) -> None:
    """Refuse a target that cutting every unit would not reach.

    Args:
        groups: the groups that may be cut.
        sizes: the size as a function of what is left of them.
        target: the sparsity asked for, in (0, 1).

    Raises:
        PlanError: if so much cannot be cut.
    """
    can_vanish = {
        group.name
        for group in groups
        if group.name.endswith(".block") or blocks_around(group, groups)
    }
    least = {group.name: torch.tensor(float(group.name not in can_vanish)) for group in groups}
    most = 1.0 - float(sizes(least)) / sizes.total
    if target > most:
        raise PlanError(
            f"target={target}, but all that may be pruned is {most:.3f} of the model's size",
            remedy="lower compressor.target, or name more in compressor.prune",
        )


def described(groups: Sequence[PruneGroup], selection: Selection) -> dict[str, Any]:
    """Return the plan of a selection.

    Args:
        groups: the groups.
        selection: the units that stay.

    Returns:
        ``kept``: ranges by name of the group, for groups that lose some; ``left``: units that stay
        and units before, by name of every group but blocks; ``sparsity`` that results.

    Raises:
        PlanError: if no group loses any.
    """
    stays = {group.name: selection.kept(group.name) for group in groups}
    kept = {
        group.name: ranges_of(stays[group.name])
        for group in groups
        if len(stays[group.name]) < group.size
    }
    if not kept:
        raise PlanError("no unit would be cut", remedy="raise compressor.target")
    left = {
        group.name: [len(stays[group.name]), group.size]
        for group in groups
        if not group.name.endswith(".block")
    }
    return {"kept": kept, "left": left, "sparsity": selection.sparsity()}


def carry_out(model: SpeechModel, plan: Mapping[str, Any]) -> SpeechModel:
    """Take out the units that a plan leaves out.

    Args:
        model: changed in place.
        plan: with ranges by name of the group under ``kept``.

    Returns:
        The same model.

    Raises:
        PlanError: if the plan does not fit the model.
    """
    if not isinstance(plan.get("kept"), Mapping) or not plan["kept"]:
        raise PlanError(
            "the plan names no groups to cut", remedy="use the plan that speechlite compress wrote"
        )
    groups = {group.name: group for group in model.prune_groups()}
    kept = {
        name: indices_of(ranges, groups[name].size if name in groups else 0)
        for name, ranges in plan["kept"].items()
    }
    cut(model, list(groups.values()), kept)
    return model
