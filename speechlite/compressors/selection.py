"""Which units of a gated model stay, so that its size meets the target."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from speechlite.core.model import PruneGroup

__all__ = ["Selection", "blocks_around"]


def blocks_around(group: PruneGroup, groups: Sequence[PruneGroup]) -> list[str]:
    """Return the blocks that a group vanishes with.

    Args:
        group: the group.
        groups: all groups of the model.

    Returns:
        Names of groups of one unit that own all that the group owns.
    """
    own = {name for name, _, _ in group.slices}
    return [
        other.name
        for other in groups
        if other.size == 1 and other is not group and own <= {name for name, _, _ in other.slices}
    ]


class Selection:
    """Hold which units stay, by the rule that a block and the last of its units go together.

    Args:
        groups: the gated groups.
        scores: (U,) by name of the group: the higher, the rather a unit stays.
        open_units: bool (U,) by name: what the gates leave.
        size_of: size of the model for given units left, by name.
    """

    def __init__(
        self,
        groups: Sequence[PruneGroup],
        scores: Mapping[str, Tensor],
        open_units: Mapping[str, Tensor],
        size_of: Callable[[Mapping[str, Tensor]], Tensor],
    ) -> None:
        self.scores = scores
        self.size_of = size_of
        self.around = {group.name: blocks_around(group, groups) for group in groups}
        self.units = {name: mask.clone() for name, mask in open_units.items()}
        everything = {name: _count(torch.ones_like(mask)) for name, mask in self.units.items()}
        self.total = float(size_of(everything))
        self._settle(self.units)

    def kept(self, name: str) -> list[int]:
        """Return the units of a group that stay.

        Args:
            name: name of the group.

        Returns:
            Rising indices.
        """
        found: list[int] = self.units[name].nonzero()[:, 0].tolist()
        return found

    def sparsity(self) -> float:
        """Return the part of the model's size that is cut.

        Returns:
            A number in [0, 1].
        """
        return self._sparsity(self.units)

    def meet(self, target: float) -> int:
        """Take out the weakest units that are left, or bring back the strongest that are not.

        Args:
            target: the sparsity to come as near to as single units allow.

        Returns:
            The number of units that changed.
        """
        is_short = self.sparsity() < target
        order = self._candidates(stay=is_short, blocks=self._blocks_needed(target))
        low, high = 0, len(order)
        while low < high:
            middle = (low + high) // 2
            changed = self._changed(order[:middle], stay=not is_short)
            if (self._sparsity(changed) < target) == is_short:
                low = middle + 1
            else:
                high = middle
        nearest = min(
            range(max(low - 1, 0), min(low, len(order)) + 1),
            key=lambda k: abs(self._sparsity(self._changed(order[:k], stay=not is_short)) - target),
        )
        before, self.units = self.units, self._changed(order[:nearest], stay=not is_short)
        return sum(int((before[name] != self.units[name]).sum()) for name in before)

    def _blocks_needed(self, target: float) -> set[str]:
        # blocks that are on; if all of their units are too few, the strongest others as well
        blocks = [name for name in self.units if self._is_block(name)]
        needed = {name for name in blocks if self.units[name][0]}
        closed = sorted(
            (name for name in blocks if name not in needed),
            key=lambda name: float(self.scores[name][0]),
        )
        while closed:
            order = self._candidates(stay=False, blocks=needed)
            if self._sparsity(self._changed(order, stay=True)) <= target:
                break
            needed.add(closed.pop())
        return needed

    def _candidates(self, *, stay: bool, blocks: set[str]) -> list[tuple[str, int]]:
        # units that can change, the likeliest first; blocks change with their first or last unit
        found = [
            (float(self.scores[name][index]), name, index)
            for name, mask in self.units.items()
            if not self._is_block(name) and blocks.issuperset(self.around[name])
            for index in (mask == stay).nonzero()[:, 0].tolist()
        ]
        return [(name, index) for _, name, index in sorted(found, reverse=not stay)]

    def _is_block(self, name: str) -> bool:
        return any(name in blocks for blocks in self.around.values())

    def _changed(self, places: Sequence[tuple[str, int]], *, stay: bool) -> dict[str, Tensor]:
        units = {name: mask.clone() for name, mask in self.units.items()}
        for name, index in places:
            units[name][index] = stay
            if stay:
                for block in self.around[name]:
                    units[block][0] = True
        self._settle(units)
        return units

    def _settle(self, units: dict[str, Tensor]) -> None:
        for name, blocks in self.around.items():
            if self._is_block(name):
                continue
            if not blocks and not units[name].any() and not name.endswith(".block"):
                # what no block holds carries the signal: one unit must stay
                units[name][self.scores[name].argmax()] = True
            for block in blocks:
                if block in units and not units[name].any():
                    units[block][0] = False
                elif block in units and not units[block][0]:
                    units[name][:] = False

    def _sparsity(self, units: Mapping[str, Tensor]) -> float:
        left = {name: _count(mask) for name, mask in units.items()}
        return 1.0 - float(self.size_of(left)) / self.total


def _count(mask: Tensor) -> Tensor:
    return mask.sum().double()
