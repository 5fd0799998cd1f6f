"""Small models of every encoder for compressors of few bits, and steps of training."""

from __future__ import annotations

import torch
from torch import nn

from speechlite.compressors.binary import Binary
from speechlite.compressors.config import BinaryConfig
from speechlite.core.model import ModelSpec
from speechlite.core.types import Batch
from speechlite.engine.build import build_model
from speechlite.objectives.config import DistillationConfig
from speechlite.objectives.distillation import Distillation
from speechlite.testing.fixtures import installed_registry, waves

REGISTRY = installed_registry()
_SMALL = {"dim": 16, "layers": 3, "heads": 2, "feedforward": 24, "dropout": 0.0}
_SMALL |= {"attention_dropout": 0.0}
_PLACED = {"positions": "convolution", "position_kernel": 4, "position_groups": 2}
_REDUCED = {"reduce_after": 1, "recover_after": 2, "reduction_kernel": 3}
_SPARSE = {**_SMALL, **_PLACED, "stride": 3, "expressivity": 1}

KINDS = {
    "conformer": {"name": "conformer", **_SMALL, "kernel_size": 3},
    "shared": {"name": "conformer", **_SMALL, "kernel_size": 3, "share_parameters": True},
    "transformer": {"name": "transformer", **_SMALL},
    "relu": {"name": "transformer", **_SMALL, "activation": "relu"},
    "wavlm": {"name": "transformer", **_SMALL, **_PLACED, "norm": "post", "relative_bias": True},
    "reduced": {"name": "transformer", **_SMALL, **_PLACED, "time_reduction": 2},
    "squeezeformer": {"name": "squeezeformer", **_SMALL, "kernel_size": 3, **_REDUCED},
    "window": {"name": "sparseformer", **_SPARSE, "pattern": "window"},
    "strided": {"name": "sparseformer", **_SPARSE, "pattern": "strided"},
    "fixed": {"name": "sparseformer", **_SPARSE, "pattern": "fixed"},
}


def model_of(kind, **options):
    """Return a model on eight filterbanks, in eval mode, with weights away from their start."""
    torch.manual_seed(0)
    spec = ModelSpec({"name": "fbank", "num_mels": 8}, {**KINDS[kind], **options})
    model = build_model(spec, REGISTRY).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def binary(**options):
    return Binary(BinaryConfig(**options))


def train(model, teacher, *, steps, learning_rate=0.02):
    """Descend on the distance to a teacher; return the loss of each step, and stay in training."""
    states = [0, teacher.num_layers]
    objective = Distillation(DistillationConfig(layers=states), model=model, teacher=teacher)
    optimizer = torch.optim.Adam(
        [p for p in model.parameters() if p.requires_grad], lr=learning_rate
    )
    batch = Batch(ids=("a-1", "a-2", "b-1"), waves=waves(), speakers=("a", "a", "b"))
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = objective(model.train(), batch)
        (loss.sum / loss.weight).backward()
        optimizer.step()
        losses.append(float(loss.sum.detach() / loss.weight))
    return losses


def trained(kind, *, steps=2, **options):
    """Return what a compressor prepared after some steps, in eval mode, and the compressor."""
    model, compressor = model_of(kind), binary(**options)
    prepared = compressor.prepare(model)
    train(prepared, model, steps=steps)
    return prepared.eval(), compressor


def states(model):
    """Return all hidden states of three padded utterances."""
    sound = waves()
    with torch.no_grad():
        return model.eval()(sound.values, sound.lengths).layers


def are_equal(first, second):
    return all(torch.equal(a, b) for a, b in zip(states(first), states(second), strict=True))


def leaves_of(model, kinds):
    """Return the names of a model's modules of some classes."""
    return [name for name, module in model.named_modules() if isinstance(module, kinds)]


def far_from_zero(model):
    """Move all shifts away from zero, where activations can stand exactly."""
    for name, parameter in model.named_parameters():
        if name.endswith(".shift"):
            nn.init.normal_(parameter, std=0.1)
