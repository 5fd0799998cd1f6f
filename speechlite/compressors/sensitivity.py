"""How much a loss bends with each matrix: Hutchinson's estimate of Hessian traces.

SparseWAV, Eqs. 4 and 5: E[z' H z] = tr H for z of independent standard normal numbers. H z is the
difference of two gradients, so that every loss will do, also CTC, which torch differentiates once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice

import torch
from torch import Tensor

from speechlite.compressors.unstructured import Leaf
from speechlite.core.errors import DataError, PlanError
from speechlite.core.model import SpeechModel
from speechlite.core.types import Batch, Loss

__all__ = ["mean_traces"]

_STEP = 1.0e-2


def mean_traces(
    model: SpeechModel,
    leaves: Mapping[str, Leaf],
    batches: Iterable[Batch],
    loss: Callable[[SpeechModel, Batch], Loss],
    *,
    probes: int,
    max_batches: int,
    seed: int,
) -> dict[str, float]:
    """Estimate the mean of the diagonal of each matrix's Hessian.

    Args:
        model: the model, in eval mode; its weights are the same afterwards.
        leaves: the layers, by name.
        batches: calibration data.
        loss: of the model on a batch.
        probes: random vectors a batch.
        max_batches: batches that are used.
        seed: of the random vectors.

    Returns:
        Traces divided by the number of weights, by name.

    Raises:
        DataError: if there is no data, or the loss is not finite.
        PlanError: if the loss does not depend on a layer.
    """
    generator = torch.Generator().manual_seed(seed)
    weights = {name: leaf.weight for name, leaf in leaves.items()}
    totals = dict.fromkeys(weights, 0.0)
    count = 0
    device = next(model.parameters()).device
    for batch in islice(batches, max_batches):
        here = batch.to(device)
        for _ in range(probes):
            for name, value in _products(model, weights, here, loss, generator).items():
                totals[name] += value
            count += 1
    if not count:
        raise DataError("there is no calibration data", remedy="name some in data.train")
    return {name: total / count / weights[name].numel() for name, total in totals.items()}


def _products(
    model: SpeechModel,
    weights: Mapping[str, Tensor],
    batch: Batch,
    loss: Callable[[SpeechModel, Batch], Loss],
    generator: torch.Generator,
) -> dict[str, float]:
    # z' H z of every matrix, from one vector over all of them: what lies between two matrices
    # averages out
    probes = {
        name: torch.randn(weight.shape, generator=generator).to(weight)
        for name, weight in weights.items()
    }
    squares = sum(float(weight.detach().square().sum()) for weight in weights.values())
    step = _STEP * (squares / sum(weight.numel() for weight in weights.values())) ** 0.5
    before = {name: weight.detach().clone() for name, weight in weights.items()}
    try:
        gradients = []
        for sign in (1.0, -1.0):
            _move(weights, before, probes, sign * step)
            gradients.append(_gradients(model, weights, batch, loss))
    finally:
        _move(weights, before, probes, 0.0)
    ahead, behind = gradients
    return {
        name: float((probes[name] * (ahead[name] - behind[name])).sum()) / (2 * step)
        for name in weights
    }


def _move(
    weights: Mapping[str, Tensor],
    before: Mapping[str, Tensor],
    probes: Mapping[str, Tensor],
    step: float,
) -> None:
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(before[name])
            if step:
                weight.add_(probes[name], alpha=step)


def _gradients(
    model: SpeechModel,
    weights: Mapping[str, Tensor],
    batch: Batch,
    loss: Callable[[SpeechModel, Batch], Loss],
) -> dict[str, Tensor]:
    with torch.enable_grad():
        torch.manual_seed(batch.seed)
        result = loss(model, batch)
        value = result.sum / result.weight.clamp(min=1.0)
        if not bool(torch.isfinite(value)):
            raise DataError(
                f"the loss on calibration data is {value.item()}",
                remedy="check the data, or choose allocation=uniform",
            )
        found = torch.autograd.grad(value, list(weights.values()), allow_unused=True)
    gradients = dict(zip(weights, found, strict=True))
    missing = [name for name, gradient in gradients.items() if gradient is None]
    if missing:
        raise PlanError(
            f"the loss has no gradient in {missing[0]}, whose sensitivity it cannot tell",
            remedy="set objective.freeze_features=false, choose another objective, or leave the "
            "layer out by compressor.keep",
        )
    return gradients
