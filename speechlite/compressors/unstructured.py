"""Prune single weights of linear layers and convolutions: what all such compressors share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from speechlite.compressors.allocation import allocate
from speechlite.compressors.leaves import find_leaves, with_leaves
from speechlite.compressors.pruning_config import PruningConfig
from speechlite.core.compressor import Compressor
from speechlite.core.errors import PlanError
from speechlite.core.model import SpeechModel
from speechlite.nn.obs import check_pattern, pattern_mask
from speechlite.nn.sparse import SparseConv1d, SparseLinear, dense_of, sparse_of

__all__ = ["Leaf", "Unstructured", "smallest_pruned"]

Leaf = nn.Linear | nn.Conv1d
"""A layer that can be pruned."""
_SPARSE = (SparseLinear, SparseConv1d)


class Unstructured(Compressor):
    """Keep the weights of each layer that are largest once the method has done its work.

    Pruned weights are not stored, so no later training revives them; a further pruning keeps them
    pruned. Subclasses prune in ``prepare``, ``after_step`` or ``calibrate``, or leave the weights
    as they are for the smallest ones to go.

    Args:
        config: the options.
    """

    def __init__(self, config: PruningConfig) -> None:
        self.config = config

    def prepare(self, model: SpeechModel) -> SpeechModel:
        """Return a copy whose pruned layers are stock ones with zeros.

        Args:
            model: the model; not changed.

        Returns:
            A model for ``plan``.

        Raises:
            PlanError: if there is nothing to prune.
        """
        sparse = find_leaves(model, _SPARSE, parts=self.config.parts, keep=self.config.keep)
        prepared = with_leaves(
            model, list(sparse), dict.fromkeys(_SPARSE, lambda leaf, _: dense_of(leaf))
        )
        self.counts(self.leaves(prepared))
        return prepared

    def plan(self, model: SpeechModel) -> dict[str, Any]:
        """Say how many weights of which layers are kept.

        Args:
            model: what ``prepare`` returned.

        Returns:
            The ``pattern``, and numbers of weights ``kept`` by the names of layers.

        Raises:
            PlanError: if there is nothing to prune.
        """
        leaves = self.leaves(model)
        counts = self.counts(leaves)
        kept = {name: leaf.weight.numel() - counts[name] for name, leaf in leaves.items()}
        return {"pattern": self.config.pattern, "kept": kept}

    def restructure(self, model: SpeechModel, plan: Mapping[str, Any]) -> SpeechModel:
        """Keep the largest weights of the layers that a plan names.

        Args:
            model: the pruned model, or one that the plan was made for.
            plan: what ``plan`` returned.

        Returns:
            A copy with sparse layers.

        Raises:
            PlanError: if the plan does not fit the model.
        """
        kept, pattern = _checked(plan)

        def make(leaf: nn.Module, name: str) -> nn.Module:
            dense = dense_of(leaf) if isinstance(leaf, _SPARSE) else leaf
            assert isinstance(dense, (nn.Linear, nn.Conv1d))
            if kept[name] > dense.weight.numel():
                raise PlanError(
                    f"the plan keeps {kept[name]} weights of {name}, which has "
                    f"{dense.weight.numel()}",
                    remedy="use the plan with the model that it was made for",
                )
            count = dense.weight.numel() - kept[name]
            return sparse_of(dense, smallest_pruned(dense.weight, count, pattern))

        kinds = (nn.Linear, nn.Conv1d, *_SPARSE)
        return with_leaves(model, list(kept), dict.fromkeys(kinds, make))

    def leaves(self, model: SpeechModel) -> dict[str, Leaf]:
        """Return the layers to prune.

        Args:
            model: what ``prepare`` returned.

        Returns:
            Linear layers and convolutions by name.

        Raises:
            PlanError: if there are none, or the pattern does not divide one.
        """
        found: dict[str, Any] = find_leaves(
            model, (nn.Linear, nn.Conv1d), parts=self.config.parts, keep=self.config.keep
        )
        leaves = {name: leaf for name, leaf in found.items() if _is_plain(leaf)}
        if not leaves:
            raise PlanError(
                f"no linear layer and no convolution in {list(self.config.parts)} can be pruned",
                remedy="change compressor.parts or compressor.keep",
            )
        for leaf in leaves.values():
            matrix_OK = leaf.weight.flatten(1)
            check_pattern(self.config.pattern, *matrix_OK.shape)
        return leaves

    def counts(self, leaves: Mapping[str, Leaf]) -> dict[str, int]:
        """Return how many weights of each layer are pruned, those of earlier prunings included.

        Args:
            leaves: what ``leaves`` returned.

        Returns:
            Numbers of weights by the names of layers.

        Raises:
            PlanError: if more are pruned already.
        """
        zeros = {name: int((leaf.weight == 0).sum()) for name, leaf in leaves.items()}
        sizes = {name: leaf.weight.numel() for name, leaf in leaves.items()}
        first, colon, of = self.config.pattern.partition(":")
        if colon:
            return {name: size // int(of) * int(first) for name, size in sizes.items()}
        return self.whole_tiles(allocate(sizes, zeros, sparsity=self.config.sparsity))

    def whole_tiles(self, counts: Mapping[str, int]) -> dict[str, int]:
        """Return the numbers that the pattern allows.

        Args:
            counts: of weights to prune, by the names of layers.

        Returns:
            The same, rounded down to whole tiles.
        """
        rows, cross, columns = self.config.pattern.partition("x")
        tile = int(rows) * int(columns) if cross else 1
        return {name: count // tile * tile for name, count in counts.items()}


def smallest_pruned(weight: Tensor, count: int, pattern: str) -> Tensor:
    """Return which weights stay when the smallest ones go.

    Args:
        weight: of a layer.
        count: number of weights to prune.
        pattern: where zeros may be.

    Returns:
        bool of the weight's shape.
    """
    with torch.no_grad():
        kept_OK = pattern_mask(weight.abs().flatten(1), num_pruned=count, pattern=pattern)
    return kept_OK.view(weight.shape)


def _is_plain(leaf: Leaf) -> bool:
    if isinstance(leaf, nn.Conv1d) and (
        leaf.padding_mode != "zeros" or isinstance(leaf.padding, str)
    ):
        return False
    return leaf.weight.numel() > 0


def _checked(plan: Mapping[str, Any]) -> tuple[dict[str, int], str]:
    kept, pattern = plan.get("kept"), plan.get("pattern")
    is_plan = isinstance(kept, dict) and bool(kept) and isinstance(pattern, str)
    if set(plan) != {"kept", "pattern"} or not is_plan:
        raise PlanError(
            f"the plan has {sorted(plan)}, expected kept and pattern",
            remedy="use the plan that speechlite compress wrote",
        )
    assert isinstance(kept, dict)
    if not all(type(count) is int and count >= 0 for count in kept.values()):
        raise PlanError(
            "the plan keeps numbers of weights that are no counts",
            remedy="use the plan that speechlite compress wrote",
        )
    return kept, str(pattern)
