"""What the prune groups of every frontend and encoder must do."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from speechlite.core.model import Encoder, Frontend, PruneGroup
from speechlite.nn.pruning import absorb, cut
from speechlite.testing.modules import close

__all__ = [
    "blocks_vanish",
    "gates_are_neutral",
    "groups_fit_their_tensors",
    "multipliers_are_absorbed",
    "units_vanish",
]

_Part = TypeVar("_Part", bound=Encoder | Frontend)

_SPREAD = 0.05


def groups_fit_their_tensors(part: Encoder | Frontend) -> None:
    """Check that groups have names of their own, and own what the part has.

    Args:
        part: a frontend or an encoder.
    """
    groups = part.prune_groups()
    names = [group.name for group in groups]
    assert len(set(names)) == len(names), f"groups {names} are not unique"
    tensors = {**dict(part.named_parameters()), **dict(part.named_buffers())}
    for group in groups:
        assert group.size > 0, f"{group.name} has {group.size} units"
        assert group.slices, f"{group.name} owns nothing"
        owned = {name for name, _, _ in group.slices}
        strange = set(group.absorbed_by) - owned
        assert not strange, f"{group.name} is absorbed by {sorted(strange)}, which it does not own"
        for name, axis, width in group.slices:
            assert name in tensors, f"{group.name} owns {name}, which does not exist"
            shape = tuple(tensors[name].shape)
            fits = axis < len(shape) and shape[axis] == group.size * width
            assert fits, (
                f"{group.name} owns {group.size} x {width} of axis {axis} of {name} {shape}"
            )


def gates_are_neutral(part: _Part, run: Callable[[_Part], Sequence[Tensor]]) -> None:
    """Check that multipliers of one change nothing, that others do, and that None ends it.

    Args:
        part: a frontend or an encoder.
        run: gives its outputs for fixed inputs.
    """
    _vary(part)
    plain = run(part)
    for group in part.prune_groups():
        group.gate(torch.ones(group.size))
        _all_close(run(part), plain, f"outputs with a multiplier of one on {group.name}")
        group.gate(torch.full((group.size,), 0.5))
        assert not _equal(run(part), plain), f"a multiplier on {group.name} changes nothing"
        group.gate(None)
        assert _equal(run(part), plain), f"taking the multiplier off {group.name} leaves a trace"


def units_vanish(part: _Part, run: Callable[[_Part], Sequence[Tensor]]) -> None:
    """Check that units with a multiplier of zero compute as if they were cut out.

    Args:
        part: a frontend or an encoder.
        run: gives its outputs for fixed inputs.
    """
    _vary(part)
    generator = torch.Generator().manual_seed(0)
    gates: dict[str, Tensor] = {}
    for group in part.prune_groups():
        if group.size > 1:
            gates[group.name] = (torch.rand(group.size, generator=generator) < 0.5).float()
            gates[group.name][int(torch.randint(group.size, (), generator=generator))] = 1.0
    _compare(part, run, gates, "all groups")


def blocks_vanish(part: _Part, run: Callable[[_Part], Sequence[Tensor]]) -> None:
    """Check that each block with a multiplier of zero computes as if it were cut out.

    Args:
        part: a frontend or an encoder.
        run: gives its outputs for fixed inputs.
    """
    _vary(part)
    for group in part.prune_groups():
        if group.size == 1:
            _compare(part, run, {group.name: torch.zeros(1)}, group.name)


def multipliers_are_absorbed(part: _Part, run: Callable[[_Part], Sequence[Tensor]]) -> None:
    """Check that the weights named for it take up multipliers between zero and one.

    Args:
        part: a frontend or an encoder.
        run: gives its outputs for fixed inputs.
    """
    _vary(part)
    generator = torch.Generator().manual_seed(1)
    groups = [group for group in part.prune_groups() if group.absorbed_by]
    gates = {
        group.name: 0.5 + 0.5 * torch.rand(group.size, generator=generator) for group in groups
    }
    absorbed = copy.deepcopy(part)
    absorb(absorbed, absorbed.prune_groups(), gates)
    _all_close(_gated(groups, gates, run, part), run(absorbed), "outputs with absorbed multipliers")


def _compare(
    part: _Part, run: Callable[[_Part], Sequence[Tensor]], gates: Mapping[str, Tensor], what: str
) -> None:
    kept = {name: gate.nonzero()[:, 0].tolist() for name, gate in gates.items()}
    smaller = copy.deepcopy(part)
    cut(smaller, smaller.prune_groups(), kept)
    gated = _gated(part.prune_groups(), gates, run, part)
    _all_close(gated, run(smaller), f"outputs with {what} gated and cut")


def _gated(
    groups: Sequence[PruneGroup],
    gates: Mapping[str, Tensor],
    run: Callable[[_Part], Sequence[Tensor]],
    part: _Part,
) -> Sequence[Tensor]:
    chosen = [group for group in groups if group.name in gates]
    for group in chosen:
        group.gate(gates[group.name])
    outputs = run(part)
    for group in chosen:
        group.gate(None)
    return outputs


def _vary(part: nn.Module) -> None:
    # biases and scales start at values that would hide an error
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in part.parameters():
            parameter.add_(_SPREAD * torch.randn(parameter.shape, generator=generator))


def _all_close(first: Sequence[Tensor], second: Sequence[Tensor], what: str) -> None:
    for one, other in zip(first, second, strict=True):
        close(one, other, what)


def _equal(first: Sequence[Tensor], second: Sequence[Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
