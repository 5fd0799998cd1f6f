"""The size of a model as a function of how many units of each group are left.

DPHuBERT (arXiv 2305.17651), Eq. 4, for any model: a weight counts by the product of the parts that
are left of its axes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from speechlite.compressors.selection import blocks_around
from speechlite.core.model import PruneGroup, SpeechModel
from speechlite.core.operations import plain_operations
from speechlite.nn.pruning import units_per_axis

__all__ = ["SizeFunction", "macs_of", "parameters_of", "size_function"]


@dataclass(frozen=True)
class _Term:
    size: float
    groups: tuple[str, ...]


@dataclass(frozen=True)
class SizeFunction:
    """Compute a size from the number of units left of each group.

    Args:
        terms: sizes of the unpruned model that shrink with the groups named beside them.
        sizes: units of each group of the unpruned model.
    """

    terms: tuple[_Term, ...]
    sizes: Mapping[str, int]

    @property
    def total(self) -> float:
        """Size of the unpruned model."""
        return math.fsum(term.size for term in self.terms)

    def __call__(self, left: Mapping[str, Tensor]) -> Tensor:
        """Return the size of a pruned model.

        Args:
            left: units left of each group, or their expected number, as scalars.

        Returns:
            A scalar, differentiable in what is left.
        """
        parts = {name: left[name] / size for name, size in self.sizes.items()}
        like = next(iter(left.values()))
        sizes = like.new_tensor([term.size for term in self.terms], dtype=torch.float64)
        factors = [_product([parts[name] for name in term.groups], like) for term in self.terms]
        return (sizes * torch.stack(factors).double()).sum()


def _product(parts: Sequence[Tensor], like: Tensor) -> Tensor:
    result = like.new_ones(())
    for part in parts:
        result = result * part
    return result


def size_function(
    model: SpeechModel, groups: Sequence[PruneGroup], *, of: str, seconds: float
) -> SizeFunction:
    """Return the size of a model as a function of the units left.

    Args:
        model: the unpruned model.
        groups: its groups.
        of: what size means: ``parameters`` or ``macs``.
        seconds: length of the utterance whose multiply-accumulates count.

    Returns:
        The function.
    """
    if of == "macs":
        return macs_of(model, groups, seconds=seconds)
    return parameters_of(model, groups)


def parameters_of(model: SpeechModel, groups: Sequence[PruneGroup]) -> SizeFunction:
    """Return the number of parameters as a function of the units left.

    Args:
        model: the unpruned model.
        groups: its groups.

    Returns:
        The function; shared parameters count once.
    """
    owners = _owners(model, groups)
    sizes = {name: float(parameter.numel()) for name, parameter in model.named_parameters()}
    return _joined(sizes, owners, (), groups)


def macs_of(model: SpeechModel, groups: Sequence[PruneGroup], *, seconds: float) -> SizeFunction:
    """Return the multiply-accumulates of a forward as a function of the units left.

    Args:
        model: the unpruned model.
        groups: its groups.
        seconds: length of the utterance.

    Returns:
        The function; what no group owns, such as the positional convolution, is a constant.
    """
    executed, frames, total = _executed(model, seconds)
    owners = _owners(model, groups)
    quadratic = [
        _Term(
            float(group.pair_macs * group.size) * _pairs(group, frames[group.slices[0][0]]),
            (group.name, *blocks_around(group, groups)),
        )
        for group in groups
        if group.pair_macs
    ]
    known = sum(executed.values()) + sum(term.size for term in quadratic)
    return _joined({**executed, "": total - known}, owners, quadratic, groups)


def _pairs(group: PruneGroup, frames: Sequence[int]) -> float:
    return float(sum(group.pairs(run) if group.pairs else run * run for run in frames))


def _owners(model: SpeechModel, groups: Sequence[PruneGroup]) -> dict[str, tuple[str, ...]]:
    owned = units_per_axis(model, groups)
    return {name: tuple(group.name for _, group in rows) for name, rows in owned.items()}


def _joined(
    sizes: Mapping[str, float],
    owners: Mapping[str, tuple[str, ...]],
    further: Sequence[_Term],
    groups: Sequence[PruneGroup],
) -> SizeFunction:
    joined: dict[tuple[str, ...], float] = {}
    for name, size in sizes.items():
        key = owners.get(name, ())
        joined[key] = joined.get(key, 0.0) + size
    for term in further:
        joined[term.groups] = joined.get(term.groups, 0.0) + term.size
    return SizeFunction(
        tuple(_Term(size, key) for key, size in joined.items()),
        {group.name: group.size for group in groups},
    )


def _executed(
    model: SpeechModel, seconds: float
) -> tuple[dict[str, float], dict[str, list[int]], float]:
    # by weight of a linear layer or convolution: multiply-accumulates, frames of each run; and all
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    executed: dict[str, float] = {}
    runs: dict[str, list[int]] = {}

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        weight = module.weight
        assert isinstance(weight, Tensor)
        frames = output.numel() // weight.shape[0]
        name = names[id(weight)]
        executed[name] = executed.get(name, 0.0) + float(weight.numel() * frames)
        runs.setdefault(name, []).append(frames)

    leaves = [m for m in model.modules() if isinstance(m, (nn.Linear, nn.Conv1d))]
    hooks = [leaf.register_forward_hook(count) for leaf in leaves]
    counter = FlopCounterMode(display=False)
    samples = max(round(seconds * model.frontend.sample_rate), model.frontend.min_samples)
    device = next(model.parameters()).device
    waves_BT = torch.zeros(1, samples, device=device)
    was_training = model.training
    try:
        # the fused attention kernels of some platforms escape the counter, the plain one does not
        with torch.no_grad(), plain_operations(), sdpa_kernel(SDPBackend.MATH), counter:
            model.eval()(waves_BT, torch.tensor([samples], device=device))
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    return executed, runs, counter.get_total_flops() / 2
