"""Carry out width pruning: take units out of the tensors that their groups name.

Shapes: U units of a group.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from speechlite.core.errors import PlanError
from speechlite.core.model import PruneGroup

__all__ = ["absorb", "cut", "indices_of", "ranges_of", "units_per_axis"]

_RANGES = re.compile(r"([0-9]{1,9}(-[0-9]{1,9})?(,[0-9]{1,9}(-[0-9]{1,9})?)*)?")


def ranges_of(indices: Iterable[int]) -> str:
    """Write indices shortly.

    Args:
        indices: rising integers.

    Returns:
        Ranges joined by commas: "0-5,8"; empty for none.
    """
    ranges: list[list[int]] = []
    for index in indices:
        if ranges and index == ranges[-1][1] + 1:
            ranges[-1][1] = index
        else:
            ranges.append([index, index])
    return ",".join(f"{low}" if low == high else f"{low}-{high}" for low, high in ranges)


def indices_of(ranges: object, size: int) -> list[int]:
    """Read what ``ranges_of`` wrote.

    Args:
        ranges: ranges joined by commas.
        size: all indices are below it.

    Returns:
        The rising indices.

    Raises:
        PlanError: if these are no such ranges.
    """
    is_text = isinstance(ranges, str) and _RANGES.fullmatch(ranges) is not None
    parts = [part.partition("-") for part in str(ranges).split(",") if part] if is_text else []
    bounds = [(int(low), int(high or low)) for low, _, high in parts]
    ends = [-1, *(high for _, high in bounds)]
    rising = all(end < low <= high for end, (low, high) in zip(ends, bounds, strict=False))
    if not is_text or not rising:
        raise PlanError(
            f"the plan keeps units {ranges!r}, expected rising ranges such as '0-5,8'",
            remedy="use the plan that speechlite compress wrote",
        )
    if ends[-1] >= size:
        raise PlanError(
            f"the plan keeps unit {ends[-1]} of a group of {size}",
            remedy="use the plan with the model that it was made for",
        )
    return [index for low, high in bounds for index in range(low, high + 1)]


def units_per_axis(
    module: nn.Module, groups: Sequence[PruneGroup]
) -> dict[str, list[tuple[int, PruneGroup]]]:
    """Return which groups own the axes of which tensors, checking that they fit.

    Args:
        module: what the groups' names start from.
        groups: the groups.

    Returns:
        Axes with their groups, by the name of the tensor.

    Raises:
        PlanError: if a tensor is missing or has another length than its groups say.
    """
    tensors = _tensors(module)
    owners: dict[str, list[tuple[int, PruneGroup]]] = {}
    for group in groups:
        for name, axis, width in group.slices:
            tensor = tensors.get(name)
            if tensor is None or not _fits(tensor, axis, group.size * width):
                found = "no tensor"
                if tensor is not None:
                    found = f"a tensor {tuple(tensor.shape)} of {tensor.dtype}"
                raise PlanError(
                    f"{group.name} owns {group.size} x {width} of axis {axis} of {name}, which is "
                    f"{found}",
                    remedy="prune widths before layers are replaced by quantised ones",
                )
            owners.setdefault(name, []).append((axis, group))
    return owners


def _fits(tensor: Tensor, axis: int, length: int) -> bool:
    # a unit's codes of a few bits have scales that its group does not know
    is_coded = tensor.dtype in (torch.int8, torch.uint8)
    return not is_coded and tensor.dim() > axis and tensor.shape[axis] == length


def cut(module: nn.Module, groups: Sequence[PruneGroup], kept: Mapping[str, Sequence[int]]) -> None:
    """Take out all units but those to keep; what is left computes as if the others were zero.

    Args:
        module: changed in place; what the groups' names start from.
        groups: the groups of the module.
        kept: rising indices of the units to keep, by name of the group; a group without an entry
            keeps all.

    Raises:
        PlanError: if a group is unknown, or does not fit its tensors.
    """
    unknown = sorted(set(kept) - {group.name for group in groups})
    if unknown:
        raise PlanError(
            f"the plan cuts {unknown[0]}, which the model does not have",
            remedy="use the plan with the model that it was made for",
        )
    stays: dict[tuple[str, int], Tensor] = {}
    tensors = _tensors(module)
    for name, owners in units_per_axis(module, groups).items():
        for axis, group in owners:
            if group.name not in kept:
                continue
            stays_U = torch.zeros(group.size, dtype=torch.bool)
            stays_U[list(kept[group.name])] = True
            length = tensors[name].shape[axis]
            mask = stays_U.repeat_interleave(length // group.size)
            stays[name, axis] = stays.get((name, axis), torch.ones(length, dtype=torch.bool)) & mask
    for (name, axis), mask in stays.items():
        _replace(module, name, axis, mask)


def absorb(
    module: nn.Module, groups: Sequence[PruneGroup], multipliers: Mapping[str, Tensor]
) -> None:
    """Multiply units' multipliers into the weights that read them, as if gates applied them.

    Args:
        module: changed in place; what the groups' names start from.
        groups: the groups of the module.
        multipliers: (U,) by name of the group; a group without an entry is left as it is.
    """
    tensors = _tensors(module)
    with torch.no_grad():
        for group in groups:
            if group.name not in multipliers:
                continue
            for name, axis, width in group.slices:
                if name in group.absorbed_by:
                    factors = multipliers[group.name].detach().repeat_interleave(width)
                    shape = [1] * tensors[name].dim()
                    shape[axis] = -1
                    tensors[name].mul_(factors.to(tensors[name]).view(shape))


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def _replace(module: nn.Module, name: str, axis: int, stays: Tensor) -> None:
    path, _, leaf = name.rpartition(".")
    owner = module.get_submodule(path)
    old = getattr(owner, leaf)
    new = old.detach().index_select(axis, stays.nonzero()[:, 0].to(old.device))
    is_parameter = isinstance(old, nn.Parameter)
    setattr(
        owner, leaf, nn.Parameter(new, requires_grad=old.requires_grad) if is_parameter else new
    )
    _tell_sizes(owner)


def _tell_sizes(owner: nn.Module) -> None:
    # what stock modules say of themselves
    if isinstance(owner, nn.Linear):
        owner.out_features, owner.in_features = owner.weight.shape
    elif isinstance(owner, nn.Conv1d):
        owner.out_channels, owner.in_channels = owner.weight.shape[:2]
    elif isinstance(owner, nn.LayerNorm):
        owner.normalized_shape = tuple(owner.weight.shape)
