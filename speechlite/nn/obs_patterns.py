"""Choose which weights of a matrix go: any of them, n of every m, or whole tiles.

Shapes: G groups, O outputs, K inputs, N values, I parts. Columns of the solver stand in rows:
(G, K, O), so that the steps along K read long runs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from speechlite.core.errors import DataError, PlanError

__all__ = [
    "Pattern",
    "check_pattern",
    "parse_pattern",
    "pattern_mask",
    "prune_least",
    "row_mask",
    "spread",
]

_N_OF_M = re.compile(r"([1-9]\d{0,3}):([1-9]\d{0,3})")
_TILE = re.compile(r"([1-9]\d{0,3})x([1-9]\d{0,3})")
_LONG = 4096
"""Values from which one selection after the other is faster than sorting all rows at once."""


@dataclass(frozen=True)
class Pattern:
    """Say which weights go together.

    Args:
        outputs: outputs of a tile.
        inputs: consecutive inputs of a tile, or of a group of which ``zeros`` go.
        zeros: how many of the group's weights go; 0 for tiles.
    """

    outputs: int = 1
    inputs: int = 1
    zeros: int = 0

    @property
    def tile_size(self) -> int:
        """Return the number of weights that go together."""
        return 1 if self.zeros else self.outputs * self.inputs


def parse_pattern(pattern: str) -> Pattern:
    """Read a pattern's name.

    Args:
        pattern: "unstructured"; "2:4" for 2 zeros in every 4 consecutive inputs; "4x1" for tiles
            of 4 outputs by 1 input.

    Returns:
        The pattern.

    Raises:
        PlanError: if there is no such pattern.
    """
    if pattern == "unstructured":
        return Pattern()
    if match := _TILE.fullmatch(pattern):
        return Pattern(outputs=int(match[1]), inputs=int(match[2]))
    match = _N_OF_M.fullmatch(pattern)
    if match and int(match[1]) < int(match[2]):
        return Pattern(inputs=int(match[2]), zeros=int(match[1]))
    raise PlanError(
        f"there is no pattern {pattern!r}",
        remedy="use unstructured, n:m for n zeros in m inputs (2:4), or tiles such as 4x1",
    )


def check_pattern(pattern: str, outputs: int, inputs: int) -> None:
    """Refuse a pattern that does not divide a matrix.

    Args:
        pattern: its name.
        outputs: outputs of the matrix, of one group.
        inputs: inputs of the matrix, of one group.

    Raises:
        PlanError: if there is no such pattern, or it does not divide the outputs or the inputs.
    """
    form = parse_pattern(pattern)
    axes = (("outputs", outputs, form.outputs), ("inputs", inputs, form.inputs))
    for axis, width, step in axes:
        if width % step:
            raise PlanError(
                f"the pattern {pattern} needs {axis} in multiples of {step}, the matrix has "
                f"{width}",
                remedy="leave this layer out or choose another pattern",
            )


def pattern_mask(saliency_OK: Tensor, *, num_pruned: int | None, pattern: str) -> Tensor:
    """Choose the weights that stay, by their saliency alone.

    Tiles are compared by the sum of their saliencies. Of equal ones the first inputs go first.

    Args:
        saliency_OK: (O, K) floating point.
        num_pruned: weights to prune, rounded down to whole tiles; ignored for n:m.
        pattern: its name.

    Returns:
        bool (O, K), True where a weight stays; exactly the asked number is False.

    Raises:
        PlanError: if the pattern or the number does not fit the matrix.
        DataError: if a saliency is not a number.
    """
    check_pattern(pattern, *saliency_OK.shape)
    if bool(saliency_OK.isnan().any()):
        raise DataError(
            "a saliency is not a number", remedy="check the weights and the calibration data"
        )
    form = parse_pattern(pattern)
    num_tiles = tiles_of(num_pruned, saliency_OK.numel(), form)
    saliency_1KO = saliency_OK.T.unsqueeze(0)
    return ~prune_least(saliency_1KO, [num_tiles], form)[0].T.contiguous()


def row_mask(saliency_OK: Tensor, *, num_pruned: int) -> Tensor:
    """Choose the weights that stay, as many of each row as of any other.

    Args:
        saliency_OK: what the weights are worth; below 0 where one goes in any case.
        num_pruned: how many go, of all rows together.

    Returns:
        bool (O, K), True where a weight stays; rows with more that go in any case keep fewer.
    """
    least_O = (saliency_OK < 0).sum(1).cpu().numpy()
    sizes_O = np.full(len(least_O), saliency_OK.shape[1])
    pruned_O = torch.from_numpy(spread(num_pruned, sizes_O, least_O, sizes_O))
    places_OK = saliency_OK.argsort(dim=1, stable=True).argsort(dim=1)
    return places_OK >= pruned_O[:, None].to(places_OK.device)


def tiles_of(num_pruned: int | None, num_weights: int, pattern: Pattern) -> int:
    """Return how many whole tiles a number of weights makes.

    Args:
        num_pruned: weights to prune; ignored for n:m.
        num_weights: all of them.
        pattern: the pattern.

    Returns:
        The number, rounded down; 0 for n:m.

    Raises:
        PlanError: if there are not as many weights.
    """
    if pattern.zeros:
        return 0
    if num_pruned is None or not 0 <= num_pruned <= num_weights:
        raise PlanError(
            f"cannot prune {num_pruned} of {num_weights} weights",
            remedy=f"give a number from 0 to {num_weights}",
        )
    return num_pruned // pattern.tile_size


def prune_least(saliency_GKO: Tensor, num_tiles_G: list[int], pattern: Pattern) -> Tensor:
    """Choose the weights that go.

    Args:
        saliency_GKO: (G, K, O), no NaN.
        num_tiles_G: tiles to prune of each group; ignored for n:m.
        pattern: divides K and O.

    Returns:
        bool (G, K, O), True where a weight goes.
    """
    num_groups, inputs, outputs = saliency_GKO.shape
    if pattern.zeros:
        split = saliency_GKO.unflatten(1, (-1, pattern.inputs))
        order = split.argsort(dim=2, stable=True)
        pruned = torch.zeros_like(split, dtype=torch.bool)
        return pruned.scatter_(2, order[:, :, : pattern.zeros], True).flatten(1, 2)
    if pattern.tile_size == 1:
        return _least(saliency_GKO.reshape(num_groups, -1), num_tiles_G).view(saliency_GKO.shape)
    tiled = saliency_GKO.unflatten(2, (-1, pattern.outputs)).unflatten(1, (-1, pattern.inputs))
    sums_GKO = tiled.sum((2, 4))
    pruned_GKO = _least(sums_GKO.flatten(1), num_tiles_G).view(sums_GKO.shape)
    pruned = pruned_GKO[:, :, None, :, None].expand(tiled.shape)
    return pruned.reshape(num_groups, inputs, outputs)


def _least(values_GN: Tensor, counts_G: list[int]) -> Tensor:
    """Choose exactly so many of the least values of each group; of equal ones the first."""
    size = values_GN.shape[1]
    if values_GN.is_cpu and size >= _LONG:
        rows = zip(values_GN.numpy(), counts_G, strict=True)
        return torch.stack([torch.from_numpy(_least_of_row(*row)) for row in rows])
    order_GN = values_GN.argsort(dim=1, stable=True)
    counts_G1 = torch.tensor(counts_G, device=values_GN.device).unsqueeze(1)
    goes_GN = torch.arange(size, device=values_GN.device) < counts_G1
    return torch.empty_like(goes_GN).scatter_(1, order_GN, goes_GN)


def _least_of_row(values_N: np.ndarray, count: int) -> np.ndarray:
    if not count:
        return np.zeros(len(values_N), bool)
    threshold = np.partition(values_N, count - 1)[count - 1]
    chosen_N: np.ndarray = values_N <= threshold
    surplus = np.count_nonzero(chosen_N) - count
    if surplus:
        chosen_N[np.flatnonzero(values_N == threshold)[-surplus:]] = False
    return chosen_N


def spread(total: int, sizes_I: np.ndarray, least_I: np.ndarray, most_I: np.ndarray) -> np.ndarray:
    """Share a number among parts in proportion to their sizes, within bounds.

    Args:
        total: the number, between the sums of the bounds.
        sizes_I: (I,) sizes of the parts.
        least_I: (I,) integers, what each part takes at least.
        most_I: (I,) integers, what each part takes at most.

    Returns:
        (I,) int64 that sum to ``total``. Where no bound is met each is the exact share, rounded up
        or down.
    """
    if not total:
        return np.zeros(len(sizes_I), np.int64)
    low, high = 0.0, 1.0
    level = total / sizes_I.sum()
    # the even level first: it is the answer unless bounds are met
    for _ in range(60):
        shares_I = np.clip(level * sizes_I, least_I, most_I)
        excess = shares_I.sum() - total
        if abs(excess) < 1e-6:
            break
        low, high = (low, level) if excess > 0 else (level, high)
        level = (low + high) / 2
    # rounding the running sum keeps every share within one of its value; integers stay
    sums_I = np.floor(np.round(np.cumsum(shares_I), 4)).astype(np.int64)
    sums_I[-1] = total
    return np.diff(sums_I, prepend=0)
