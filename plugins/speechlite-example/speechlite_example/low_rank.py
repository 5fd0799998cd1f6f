"""The ``low_rank`` compressor: a linear layer as two thin ones, by singular values.

By the theorem of Eckart and Young (1936), cutting the singular value decomposition gives the
nearest matrix of a rank. Shapes: I inputs, O outputs, R rank.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from speechlite.core.compressor import Compressor
from speechlite.core.errors import PlanError
from speechlite.core.model import SpeechModel
from speechlite_example.config import LowRankConfig

__all__ = ["LowRank", "factorised", "rank_for"]


class LowRank(Compressor):
    """Replace each linear layer that gets smaller by it, without data or training.

    Args:
        config: the options.
    """

    def __init__(self, config: LowRankConfig) -> None:
        self.energy = config.energy

    def plan(self, model: SpeechModel) -> dict[str, Any]:
        """Decide the rank of each linear layer.

        Args:
            model: the model to compress.

        Returns:
            ``{"ranks": {name: rank}}`` of the layers that get smaller.

        Raises:
            PlanError: if none does.
        """
        ranks = {}
        for name, module in model.named_modules():
            if type(module) is nn.Linear:
                rank = rank_for(module, energy=self.energy)
                if rank * (module.in_features + module.out_features) < module.weight.numel():
                    ranks[name] = rank
        if not ranks:
            raise PlanError(
                f"low_rank with energy={self.energy} makes no linear layer of the model smaller",
                remedy="lower compressor.energy",
            )
        return {"ranks": ranks}

    def restructure(self, model: SpeechModel, plan: Mapping[str, Any]) -> SpeechModel:
        """Return a copy of the model with the planned layers factorised.

        Args:
            model: the model that the plan was made for; not changed.
            plan: what ``plan`` returned.

        Returns:
            The smaller model.

        Raises:
            PlanError: if the plan names a layer or a rank that the model cannot have.
        """
        smaller = copy.deepcopy(model)
        ranks = _checked_ranks(smaller, plan)
        replacements = {}
        for name, rank in ranks.items():
            linear = smaller.get_submodule(name)
            replacements[linear] = factorised(linear, rank=rank)  # type: ignore[arg-type]
        # Modules that stand at several places are replaced at each of them by the same factors.
        for name, module in list(smaller.named_modules(remove_duplicate=False)):
            if module in replacements:
                parent, _, child = name.rpartition(".")
                setattr(smaller.get_submodule(parent), child, replacements[module])
        return smaller


def rank_for(linear: nn.Linear, *, energy: float) -> int:
    """Return the smallest rank that keeps a share of a weight's energy.

    Args:
        linear: the layer.
        energy: share of the squared singular values, above 0, at most 1.

    Returns:
        The rank, at least 1.
    """
    squares_R = torch.linalg.svdvals(linear.weight.detach().double()).square()
    kept_R = squares_R.cumsum(0) / squares_R.sum().clamp(min=torch.finfo(torch.double).tiny)
    return min(int((kept_R < energy).sum()) + 1, len(squares_R))


def factorised(linear: nn.Linear, *, rank: int) -> nn.Sequential:
    """Return the best product of two linear layers in place of one.

    Args:
        linear: the layer; not changed.
        rank: inner width R, at least 1.

    Returns:
        A layer I -> R without bias, then one R -> O with the bias.
    """
    weight_OI = linear.weight.detach()
    left_OR, values_R, right_RI = torch.linalg.svd(weight_OI.double(), full_matrices=False)
    roots_R = values_R[:rank].sqrt()
    like = {"device": weight_OI.device, "dtype": weight_OI.dtype}
    thin = nn.Linear(linear.in_features, rank, bias=False, **like)
    wide = nn.Linear(rank, linear.out_features, bias=linear.bias is not None, **like)
    with torch.no_grad():
        thin.weight.copy_(roots_R[:, None] * right_RI[:rank])
        wide.weight.copy_(left_OR[:, :rank] * roots_R)
        if linear.bias is not None:
            wide.bias.copy_(linear.bias)
    return nn.Sequential(thin, wide).train(linear.training)


def _checked_ranks(model: SpeechModel, plan: Mapping[str, Any]) -> dict[str, int]:
    linears = {name: m for name, m in model.named_modules() if type(m) is nn.Linear}
    ranks = plan.get("ranks")
    if not isinstance(ranks, Mapping) or not ranks:
        raise PlanError("the plan names no ranks", remedy="use a plan that low_rank made")
    for name, rank in ranks.items():
        if name not in linears:
            raise PlanError(
                f"the plan names {name!r}, which is no linear layer of the model",
                remedy="use the plan with the model that it was made for",
            )
        largest = min(linears[name].weight.shape)
        if type(rank) is not int or not 1 <= rank <= largest:
            raise PlanError(
                f"the plan gives {name!r} rank {rank!r}, expected 1 to {largest}",
                remedy="use the plan with the model that it was made for",
            )
    return dict(ranks)
