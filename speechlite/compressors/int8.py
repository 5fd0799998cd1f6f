"""The ``int8`` compressor: linear layers of eight-bit weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from speechlite.compressors.config import Int8Config
from speechlite.compressors.leaves import find_leaves, with_leaves
from speechlite.core.compressor import Compressor
from speechlite.core.errors import PlanError
from speechlite.core.model import SpeechModel
from speechlite.nn.int8 import Int8Linear
from speechlite.nn.sparse import SparseLinear

__all__ = ["Int8"]


class Int8(Compressor):
    """Round the weights of linear layers to eight bits, and quantise their inputs as they come.

    Args:
        config: the options.
    """

    def __init__(self, config: Int8Config) -> None:
        self.config = config

    def plan(self, model: SpeechModel) -> dict[str, Any]:
        """Name the layers to replace.

        Args:
            model: the model.

        Returns:
            ``leaves``: their names.

        Raises:
            PlanError: if there are none.
        """
        config = self.config
        found: dict[str, Any] = find_leaves(
            model, (nn.Linear, SparseLinear), parts=config.parts, keep=config.keep
        )
        leaves = [name for name, leaf in found.items() if _num_weights(leaf)]
        if not leaves:
            raise PlanError(
                f"no linear layer in {list(config.parts)} is left in full precision",
                remedy="change compressor.parts or compressor.keep",
            )
        return {"leaves": leaves}

    def restructure(self, model: SpeechModel, plan: Mapping[str, Any]) -> SpeechModel:
        """Replace the layers that a plan names.

        Args:
            model: the model; not changed.
            plan: what ``plan`` returned.

        Returns:
            A copy with eight-bit layers.

        Raises:
            PlanError: if the plan does not fit the model.
        """
        if set(plan) != {"leaves"} or not plan["leaves"] or not isinstance(plan["leaves"], list):
            raise PlanError(
                f"the plan has {sorted(plan)}, expected the names of leaves",
                remedy="use the plan that speechlite compress wrote",
            )
        return with_leaves(
            model, plan["leaves"], dict.fromkeys((nn.Linear, SparseLinear), _rounded)
        )


def _num_weights(leaf: nn.Linear | SparseLinear) -> int:
    weight = leaf.weight
    return weight.numel() if isinstance(weight, Tensor) else weight.shape.numel()


def _rounded(leaf: nn.Linear | SparseLinear, name: str) -> nn.Module:
    return Int8Linear.of(leaf)
