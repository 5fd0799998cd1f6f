"""Compress a model by one compressor and write the result with its history."""

from __future__ import annotations

from pathlib import Path

from speechlite.config.compose import to_mapping
from speechlite.config.schema import CompressConfig
from speechlite.core.errors import ConfigError, PlanError
from speechlite.core.model import SpeechModel
from speechlite.engine.build import build_compressor, edit_of
from speechlite.engine.checkpoint import load_model, save_model
from speechlite.engine.directories import own_directory
from speechlite.engine.progress import say
from speechlite.engine.stamps import Stamp
from speechlite.plugins.registry import Registry

__all__ = ["compress", "compress_checkpoint"]


def compress(config: CompressConfig, model: SpeechModel, registry: Registry) -> SpeechModel:
    """Decide on a plan, carry it out, and record it in the model's history.

    Args:
        config: the compressor with its options.
        model: the model; not changed.
        registry: where the compressor is looked up.

    Returns:
        The cheaper model.

    Raises:
        PlanError: if the plan is empty, or would change nothing.
        ConfigError: if the compressor wants data, which this command does not give yet.
    """
    compressor = build_compressor(config.compressor, registry)
    if compressor.needs_batches:
        raise ConfigError(
            f"{config.compressor.name} wants calibration data",
            remedy="use a data-free compressor such as depth",
        )
    prepared = compressor.prepare(model)
    plan = compressor.plan(prepared)
    if not plan:
        raise PlanError(
            f"{config.compressor.name} found nothing to change in this model",
            remedy="choose other options, or a compressor that fits the model",
        )
    smaller = compressor.restructure(prepared, plan)
    smaller.edits = (*model.edits, edit_of(config.compressor, plan))
    return smaller.eval()


def compress_checkpoint(
    config: CompressConfig, source: Path, directory: Path, registry: Registry
) -> Path:
    """Compress a checkpoint into a directory, unless that has been done already.

    Args:
        config: the compressor with its options.
        source: a model checkpoint.
        directory: the result goes to its ``model`` subdirectory.
        registry: where components are looked up.

    Returns:
        The new checkpoint.
    """
    target = directory / "model"
    stamp = Stamp.of(to_mapping(config), [source])
    with own_directory(directory):
        reason = stamp.reason_to_run(directory)
        if reason is None:
            say(f"compress {directory}: up to date")
            return target
        say(f"compress {directory}: {reason}")
        save_model(compress(config, load_model(source, registry), registry), target)
        stamp.write(directory, outputs=["model"])
    return target
