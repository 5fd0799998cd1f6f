"""Prune single weights of linear layers and convolutions: what all such compressors share."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
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
from speechlite.nn.positional import ConvolutionalPositions
from speechlite.nn.sparse import SparseConv1d, SparseLinear, dense_of, sparse_of

__all__ = ["Leaf", "Unstructured", "smallest_pruned"]

Leaf = nn.Linear | nn.Conv1d
"""A layer that can be pruned."""
_SPARSE = (SparseLinear, SparseConv1d)
_DTYPES = {"float32": torch.float32, "float16": torch.float16}


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
        self.decided: dict[str, int] | None = None
        self._pruned_before: dict[str, Tensor] = {}

    def prepare(self, model: SpeechModel) -> SpeechModel:
        """Return a copy whose pruned layers are stock ones with zeros.

        Args:
            model: the model; not changed.

        Returns:
            A model for ``plan``.

        Raises:
            PlanError: if there is nothing to prune.
        """
        where = {"parts": self.config.parts, "keep": self.config.keep}
        sparse = find_leaves(model, _SPARSE, **where)
        normed = [
            name
            for name in find_leaves(model, (ConvolutionalPositions,), **where)
            if not any(re.search(kept, f"{name}.convolution") for kept in self.config.keep)
        ]
        prepared = with_leaves(
            model,
            [*sparse, *normed],
            dict.fromkeys(_SPARSE, lambda leaf, _: dense_of(leaf))
            | {ConvolutionalPositions: lambda leaf, _: leaf.folded()},
        )
        leaves = self.leaves(prepared)
        self.counts(leaves)
        self._pruned_before = {name: leaves[name].weight == 0 for name in sparse}
        return prepared

    def after_step(self, model: SpeechModel, step: int) -> None:
        """Keep at zero what earlier prunings took.

        Args:
            model: what ``prepare`` returned.
            step: optimiser steps done so far.
        """
        for name, pruned in self._pruned_before.items():
            weight = model.get_submodule(name).weight
            assert isinstance(weight, Tensor)
            with torch.no_grad():
                weight.masked_fill_(pruned.to(weight.device), 0.0)

    def plan(self, model: SpeechModel) -> dict[str, Any]:
        """Say how many weights of which layers are kept.

        Args:
            model: what ``prepare`` returned.

        Returns:
            The ``pattern``, and by the names of layers how many weights it has ``pruned`` and how
            many are ``kept``: fewer than the others where zeros stood beside the pattern; the type
            of their ``values`` where it is not float32.

        Raises:
            PlanError: if there is nothing to prune.
        """
        leaves = self.leaves(model)
        pattern, counts = self.config.pattern, self.counts(leaves)
        kept = {
            name: int(
                (smallest_pruned(leaf.weight, counts[name], pattern) & (leaf.weight != 0)).sum()
            )
            for name, leaf in leaves.items()
        }
        plan: dict[str, Any] = {"pattern": pattern, "pruned": counts, "kept": kept}
        return plan if self.config.values == "float32" else plan | {"values": self.config.values}

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
        kept, pruned, pattern = _checked(plan)
        dtype = _DTYPES[plan.get("values", "float32")]

        def make(leaf: nn.Module, name: str) -> nn.Module:
            dense = dense_of(leaf) if isinstance(leaf, _SPARSE) else leaf
            assert isinstance(dense, (nn.Linear, nn.Conv1d))
            if kept[name] + pruned[name] > dense.weight.numel():
                raise PlanError(
                    f"the plan keeps {kept[name]} and prunes {pruned[name]} weights of {name}, "
                    f"which has {dense.weight.numel()}",
                    remedy="use the plan with the model that it was made for",
                )
            _refuse_overflow(dense.weight, name, dtype)
            left = smallest_pruned(dense.weight, pruned[name], pattern) * dense.weight.detach()
            surplus = dense.weight.numel() - kept[name]
            return sparse_of(dense, smallest_pruned(left, surplus, "unstructured"), dtype=dtype)

        kinds = (nn.Linear, nn.Conv1d, *_SPARSE)
        return with_leaves(_folded(model, kept), list(kept), dict.fromkeys(kinds, make))

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
        _refuse_codes(model, self.config.parts)
        leaves = {name: leaf for name, leaf in found.items() if _is_plain(leaf)}
        if not leaves:
            raise PlanError(
                f"no linear layer and no convolution in {list(self.config.parts)} can be pruned",
                remedy="change compressor.parts or compressor.keep",
            )
        for name, leaf in leaves.items():
            self._check_pattern(name, leaf)
        return leaves

    def _check_pattern(self, name: str, leaf: Leaf) -> None:
        outputs, inputs = leaf.weight.flatten(1).shape
        groups = leaf.groups if isinstance(leaf, nn.Conv1d) else 1
        try:
            check_pattern(self.config.pattern, outputs // groups, inputs)
        except PlanError as error:
            raise PlanError(
                f"{name}: {error.cause}",
                remedy="choose another compressor.pattern, or name the layer in compressor.keep",
            ) from None

    def counts(self, leaves: Mapping[str, Leaf]) -> dict[str, int]:
        """Return how many weights of each layer are pruned, those of earlier prunings included.

        Args:
            leaves: what ``leaves`` returned.

        Returns:
            Numbers of weights by the names of layers; what ``decided`` holds where it was set.

        Raises:
            PlanError: if more are pruned already.
        """
        if self.decided is not None:
            return self.decided
        zeros = {name: int((leaf.weight == 0).sum()) for name, leaf in leaves.items()}
        sizes = {name: leaf.weight.numel() for name, leaf in leaves.items()}
        first, colon, of = self.config.pattern.partition(":")
        if colon:
            return {name: size // int(of) * int(first) for name, size in sizes.items()}
        counts = allocate(sizes, zeros, sparsity=self.config.sparsity, by_size=True)
        return self.whole_tiles(counts)

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


def _refuse_overflow(weight: Tensor, name: str, dtype: torch.dtype) -> None:
    largest = float(weight.detach().abs().max())
    if dtype == torch.float16 and not largest <= torch.finfo(dtype).max:
        raise PlanError(
            f"{name} has a weight of {largest:g}, beyond the largest of float16",
            remedy="set compressor.values=float32",
        )


def _folded(model: SpeechModel, names: Iterable[str]) -> SpeechModel:
    # a plan names the convolution within folded positions
    above = {name.rpartition(".")[0] for name in names}
    normed = [
        name
        for name, part in model.named_modules()
        if name in above and isinstance(part, ConvolutionalPositions)
    ]
    return with_leaves(model, normed, {ConvolutionalPositions: lambda leaf, _: leaf.folded()})


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


def _refuse_codes(model: SpeechModel, parts: Sequence[str]) -> None:
    for name, part in model.named_modules():
        inside = any(name == one or name.startswith(f"{one}.") for one in parts)
        if inside and hasattr(part, "stands_for") and not isinstance(part, _SPARSE):
            raise PlanError(
                f"{name} holds codes of few bits, which cannot be pruned",
                remedy="prune first, then quantise; or name other compressor.parts",
            )


def _checked(plan: Mapping[str, Any]) -> tuple[dict[str, int], dict[str, int], str]:
    kept, pruned, pattern = (plan.get(name) for name in ("kept", "pruned", "pattern"))
    are_counts = isinstance(kept, dict) and isinstance(pruned, dict) and bool(kept)
    fits = are_counts and isinstance(pattern, str) and plan.get("values", "float32") in _DTYPES
    if set(plan) - {"values"} != {"kept", "pruned", "pattern"} or not fits:
        raise PlanError(
            f"the plan has {sorted(plan)}, expected kept, pruned and pattern",
            remedy="use the plan that speechlite compress wrote",
        )
    assert isinstance(kept, dict)
    assert isinstance(pruned, dict)
    counts = [*kept.values(), *pruned.values()]
    if set(kept) != set(pruned) or not all(type(one) is int and one >= 0 for one in counts):
        raise PlanError(
            "the plan keeps numbers of weights that are no counts",
            remedy="use the plan that speechlite compress wrote",
        )
    return kept, pruned, str(pattern)
