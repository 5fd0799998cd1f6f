"""Compress a model by one compressor, in training or without, and write it with its history."""

from __future__ import annotations

from pathlib import Path

import torch

from speechlite.config.compose import to_mapping
from speechlite.config.schema import Choice, CompressConfig
from speechlite.core.compressor import Compressor
from speechlite.core.errors import ConfigError, PlanError
from speechlite.core.model import SpeechModel
from speechlite.core.types import stateless_seed
from speechlite.engine.build import build_compressor, edit_of
from speechlite.engine.checkpoint import load_model, save_model
from speechlite.engine.stamps import Stamp
from speechlite.engine.training_run import own_run, set_threads, train, training_inputs
from speechlite.plugins.registry import Registry

__all__ = ["compress", "compress_checkpoint"]


def compress(choice: Choice, model: SpeechModel, registry: Registry) -> SpeechModel:
    """Decide on a plan, carry it out, and record it in the model's history.

    Args:
        choice: the compressor with its options.
        model: the model; not changed.
        registry: where the compressor is looked up.

    Returns:
        The cheaper model.

    Raises:
        PlanError: if the plan is empty, or would change nothing.
        ConfigError: if the compressor wants data, which this command does not give yet.
    """
    compressor = _built(choice, registry)
    return _carried_out(choice, compressor, compressor.prepare(model))


def _built(choice: Choice, registry: Registry) -> Compressor:
    compressor = build_compressor(choice, registry)
    if compressor.needs_batches:
        raise ConfigError(
            f"{choice.name} wants calibration data",
            remedy="use a data-free compressor such as depth",
        )
    return compressor


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
    compressor the model keeps its shape and only takes new weights.

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
    inputs = [source]
    if config.objective is not None:
        inputs += [first or source, *training_inputs(config, registry)]
    stamp = Stamp.of(to_mapping(config), inputs)

    def work() -> None:
        if config.objective is None:
            assert config.compressor is not None
            model = compress(config.compressor, load_model(source, registry), registry)
            save_model(model, directory / "model")
            stamp.write(directory, outputs=["model"])
        else:
            _train(config, source, directory, registry, stamp, first=first or source)

    is_training = config.objective is not None
    own_run(directory, stamp, work, name="compress", resumable=is_training)
    return directory / "model"


def _train(
    config: CompressConfig,
    source: Path,
    directory: Path,
    registry: Registry,
    stamp: Stamp,
    *,
    first: Path,
) -> None:
    set_threads(config.trainer.threads)
    torch.manual_seed(stateless_seed(config.trainer.seed, "weights"))
    model = load_model(source, registry)
    start = load_model(first, registry)
    choice = config.compressor
    if choice is None:
        train(config, model, directory, registry, stamp, start=start)
        return
    compressor = _built(choice, registry)
    train(
        config,
        compressor.prepare(model),
        directory,
        registry,
        stamp,
        start=start,
        compressor=compressor,
        finish=lambda trained: _carried_out(choice, compressor, trained),
    )
