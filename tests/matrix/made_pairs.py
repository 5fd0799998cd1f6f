"""Every encoder under every compressor: trained a step, compressed, saved and loaded again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from speechlite.compressors.config import BinaryConfig
from speechlite.config.schema import Choice
from speechlite.core.compressor import Compressor
from speechlite.core.model import SpeechModel
from speechlite.core.types import Batch, Hidden
from speechlite.engine.build import (
    build_compressor,
    build_model,
    build_objective,
    edit_of,
    model_spec,
)
from speechlite.engine.checkpoint import load_model, save_model
from speechlite.testing.fixtures import installed_registry, tiny_options, waves

REGISTRY = installed_registry()


def builtin(kind: str) -> list[str]:
    """Return the names of the built-in components of a kind."""
    return [
        component.name
        for component in REGISTRY.components(kind)
        if REGISTRY.distribution_of(component) == "speechlite"
    ]


def choice(kind: str, name: str, **options: object) -> Choice:
    """Return a component with some options, or with its tiny ones."""
    component = REGISTRY.get(kind, name)
    config = REGISTRY.config_class(component)
    return Choice(kind, name, config(**options) if options else tiny_options(component, REGISTRY))


def small(compressor: str) -> Choice:
    """Return a compressor whose tiny options every encoder takes."""
    if compressor == "student":
        # a squeezeformer's layers cannot be fewer than those at half the rate
        return choice("compressor", "student", encoder={"feedforward": 32})
    return choice("compressor", compressor)


def model_of(encoder: str, **options: object) -> SpeechModel:
    """Return a tiny model on filterbanks, in eval mode."""
    torch.manual_seed(0)
    spec = model_spec(
        choice("frontend", "fbank", num_mels=8), choice("encoder", encoder, **options)
    )
    return build_model(spec, REGISTRY).eval()


def batch() -> Batch:
    """Return three padded utterances."""
    return Batch(ids=("a-1", "a-2", "b-1"), waves=waves(), speakers=("a", "a", "b"), seed=3)


def hidden_of(model: SpeechModel) -> Hidden:
    """Return the hidden states of three padded utterances, without gradients."""
    sound = waves()
    with torch.no_grad():
        hidden: Hidden = model.eval()(sound.values, sound.lengths)
    return hidden


def train_one_step(model: SpeechModel, teacher: SpeechModel, compressor: Compressor) -> None:
    """Descend once on the distance to a teacher, checking that every gradient is finite."""
    layers = {"layers": [0, teacher.num_layers], "student_layers": [0, model.num_layers]}
    objective = build_objective(
        choice("objective", "distillation", **layers), model, REGISTRY, models={"teacher": teacher}
    )
    torch.manual_seed(1)
    loss = objective.train()(model.train(), batch())
    penalty = compressor.penalty(model, 0)
    total: Tensor = loss.sum / loss.weight + (0.0 if penalty is None else penalty)
    total.backward()
    parameters = [p for p in model.parameters() if p.grad is not None]
    assert parameters
    assert all(bool(torch.isfinite(p.grad).all()) for p in parameters)
    torch.optim.SGD(parameters, lr=0.01).step()
    model.zero_grad()
    model.eval()


def compressed(model: SpeechModel, chosen: Choice) -> SpeechModel:
    """Prepare, train for one step, calibrate, plan and restructure, as the engine does."""
    compressor = build_compressor(chosen, REGISTRY)
    prepared = compressor.prepare(model)
    if any(True for _ in prepared.parameters()):
        train_one_step(prepared, model_like(model), compressor)
    if compressor.needs_batches:
        compressor.calibrate(prepared, [batch()])
    plan = compressor.plan(prepared)
    assert plan == json.loads(json.dumps(plan))
    smaller = compressor.restructure(prepared, plan)
    smaller.edits = (*prepared.edits, edit_of(chosen, plan))
    return smaller.eval()


def model_like(model: SpeechModel) -> SpeechModel:
    """Return the model that a chain began with, with fresh weights."""
    torch.manual_seed(0)
    return build_model(model.spec, REGISTRY).eval()


def reloaded(model: SpeechModel, directory: Path) -> SpeechModel:
    """Write a checkpoint and read it."""
    save_model(model, directory / "model")
    return load_model(directory / "model", REGISTRY)


@dataclass(frozen=True)
class Pair:
    """Hold what became of a model under a compressor."""

    before: SpeechModel
    after: SpeechModel
    loaded: SpeechModel
    hidden: Hidden


@cache
def pair(encoder: str, compressor: str) -> Pair:
    """Compress a tiny model once, whoever asks."""
    before = model_of(encoder)
    after = compressed(before, small(compressor))
    with TemporaryDirectory() as directory:
        loaded = reloaded(after, Path(directory))
    return Pair(before, after, loaded, hidden_of(after))


def binary(**options: object) -> Choice:
    """Return the binary compressor with some options."""
    return Choice("compressor", "binary", BinaryConfig(**options))
