"""Compress a model by one compressor, in training or without, and write it with its history."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from speechlite.config.compose import to_mapping
from speechlite.config.schema import Choice, CompressConfig
from speechlite.core.compressor import Compressor
from speechlite.core.errors import ConfigError, PlanError
from speechlite.core.model import SpeechModel
from speechlite.core.types import stateless_seed
from speechlite.engine.build import build_compressor, edit_of, objective_type
from speechlite.engine.calibration import calibrate
from speechlite.engine.checkpoint import load_model, save_model
from speechlite.engine.head_files import fitting_head, load_head
from speechlite.engine.objective_data import Heads
from speechlite.engine.stamps import Stamp
from speechlite.engine.training_run import own_run, set_threads, train, training_inputs
from speechlite.plugins.registry import Registry

__all__ = ["compress", "compress_checkpoint"]


def compress(choice: Choice, model: SpeechModel, registry: Registry) -> SpeechModel:
    """Decide on a plan without data, carry it out, and record it in the model's history.

    Args:
        choice: the compressor with its options.
        model: the model; not changed.
        registry: where the compressor is looked up.

    Returns:
        The cheaper model.

    Raises:
        PlanError: if the plan is empty, or would change nothing.
        ConfigError: if the compressor wants data.
    """
    compressor = build_compressor(choice, registry)
    if compressor.needs_batches:
        raise ConfigError(
            f"{choice.name} wants calibration data",
            remedy="compress a checkpoint, with data.train set",
        )
    return _carried_out(choice, compressor, compressor.prepare(model))


def _carried_out(choice: Choice, compressor: Compressor, prepared: SpeechModel) -> SpeechModel:
    plan = compressor.plan(prepared)
    if not plan:
        raise PlanError(
            f"{choice.name} found nothing to change in this model",
            remedy="choose other options, or a compressor that fits the model",
        )
    smaller = compressor.restructure(prepared, plan)
    smaller.edits = (*prepared.edits, edit_of(choice, plan))
    return smaller.eval()


@dataclass(frozen=True)
class _Source:
    model: SpeechModel
    start: SpeechModel | None
    heads: Heads


def compress_checkpoint(
    config: CompressConfig,
    source: Path,
    directory: Path,
    registry: Registry,
    *,
    first: Path | None = None,
) -> Path:
    """Compress a checkpoint into a directory, unless that has been done already.

    With an objective the model is trained, under the compressor if there is one; without a
    compressor the model keeps its shape and only takes new weights. A compressor that wants data is
    calibrated instead, and asks the objective for losses. The head that a model was fine-tuned
    with stays with it.

    Args:
        config: the compressor, the objective, or both.
        source: a model checkpoint.
        directory: the result goes to its ``model`` subdirectory.
        registry: where components are looked up.
        first: the model that a chain of compressions began with, which stands in for a teacher that
            no option names; None takes ``source``.

    Returns:
        The new checkpoint.

    Raises:
        Interrupted: if a signal stopped the training.
        SpeechliteError: any other problem, in one line.
    """
    compressor = None
    if config.compressor is not None:
        compressor = build_compressor(config.compressor, registry)
    calibrates = compressor is not None and compressor.needs_batches
    inputs = [source]
    if config.objective is not None:
        inputs.append(first or source)
    if config.objective is not None or calibrates:
        splits = ("train",) if calibrates else ("train", "valid")
        inputs += training_inputs(config, registry, splits)
    _refuse_ignored(config, registry)
    stamp = Stamp.of(to_mapping(config), inputs)
    is_training = config.objective is not None and not calibrates

    def work() -> None:
        set_threads(config.trainer.threads)
        torch.manual_seed(stateless_seed(config.trainer.seed, "weights"))
        given = _Source(
            load_model(source, registry),
            load_model(first or source, registry) if config.objective is not None else None,
            Heads(config.head, load_head(source, registry)),
        )
        if is_training:
            _train(config, given, compressor, directory, registry, stamp)
        else:
            assert compressor is not None
            _convert(config, given, compressor, directory, registry, stamp)

    own_run(directory, stamp, work, name="compress", resumable=is_training)
    return directory / "model"


def _refuse_ignored(config: CompressConfig, registry: Registry) -> None:
    objective = config.objective
    takes_head = objective is not None and objective_type(objective, registry).takes_head
    given = [
        name
        for name, value in (("head", config.head), ("data.labels", config.data.labels))
        if value
    ]
    if given and not takes_head:
        raise ConfigError(
            f"{given[0]} is set, and no objective uses it",
            remedy=f"leave {given[0]} out, or choose objective=finetune",
        )


def _convert(
    config: CompressConfig,
    source: _Source,
    compressor: Compressor,
    directory: Path,
    registry: Registry,
    stamp: Stamp,
) -> None:
    assert config.compressor is not None
    prepared = compressor.prepare(source.model)
    outputs = ["model"]
    if compressor.needs_batches:
        facts = calibrate(
            config,
            compressor,
            prepared,
            registry,
            start=source.start,
            heads=source.heads,
            description=str(directory),
        )
        facts.write(directory)
        outputs.append("training.json")
    model = _carried_out(config.compressor, compressor, prepared)
    head = fitting_head(source.heads.own, model)
    save_model(model, directory / "model", head=head)
    stamp.write(directory, outputs=outputs)


def _train(
    config: CompressConfig,
    source: _Source,
    compressor: Compressor | None,
    directory: Path,
    registry: Registry,
    stamp: Stamp,
) -> None:
    choice, model, finish = config.compressor, source.model, None
    if choice is not None and compressor is not None:
        model = compressor.prepare(model)
        finish = partial(_carried_out, choice, compressor)
    train(
        config,
        model,
        directory,
        registry,
        stamp,
        start=source.start,
        heads=source.heads,
        compressor=compressor,
        finish=finish,
    )
