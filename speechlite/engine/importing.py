"""From another toolkit's checkpoint to a model of ours, and back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from speechlite.config.overrides import parse_overrides
from speechlite.config.typed import from_mapping
from speechlite.core.errors import CheckpointError, UsageError
from speechlite.core.model import Edit, ModelSpec, SpeechModel
from speechlite.core.types import LabelSpace
from speechlite.engine.build import build_model, edit_of, model_spec, replay_edits
from speechlite.engine.checkpoint import load_model, save_model
from speechlite.engine.directories import new_directory
from speechlite.engine.head_files import OwnHead
from speechlite.interop.huggingface_export import write_huggingface
from speechlite.interop.imported import Imported
from speechlite.interop.sources import read_source
from speechlite.plugins.registry import Registry

__all__ = ["EXPORT_FORMATS", "export_checkpoint", "import_checkpoint", "model_of", "read_options"]

EXPORT_FORMATS = ("huggingface", "onnx")
"""What ``export_checkpoint`` can write."""


def read_options(texts: list[str]) -> dict[str, Any]:
    """Read the options that a user sets for an imported model.

    Args:
        texts: arguments such as ``encoder.heads=8``.

    Returns:
        Values by dotted name.

    Raises:
        UsageError: if an argument names no option of a frontend or an encoder.
    """
    options = {}
    for override in parse_overrides(texts):
        if len(override.keys) != 2 or override.keys[0] not in ("frontend", "encoder"):
            raise UsageError(
                f"argument {override.text!r} names no option of a frontend or an encoder",
                remedy="write it as frontend.OPTION=VALUE or encoder.OPTION=VALUE",
            )
        options[".".join(override.keys)] = override.value
    return options


def import_checkpoint(
    source: str,
    directory: Path,
    registry: Registry,
    *,
    format: str = "auto",
    options: Mapping[str, Any] | None = None,
) -> tuple[SpeechModel, Imported]:
    """Write another toolkit's model as a checkpoint of ours.

    Args:
        source: a folder, a file, or the name of a torchaudio bundle.
        directory: where the checkpoint goes.
        registry: where components are looked up.
        format: what the source is; auto finds it out.
        options: options by dotted name that go before those of the source.

    Returns:
        The model, and what was read; a CTC head goes into the checkpoint's folder ``head``.

    Raises:
        CheckpointError: if the checkpoint is damaged, or is none that can be read.
        UsageError: if nothing has that name, or the format is unknown.
    """
    imported = read_source(source, format=format, chosen=options)
    model = model_of(imported, registry)
    save_model(model, directory, head=_head_of(imported, model, registry))
    return model, imported


def _head_of(imported: Imported, model: SpeechModel, registry: Registry) -> OwnHead | None:
    read = imported.head
    if read is None:
        return None
    if read.weight.shape != (len(read.symbols), model.dim):
        raise CheckpointError(
            f"{imported.source}: the head has {tuple(read.weight.shape)} weights, expected "
            f"({len(read.symbols)}, {model.dim})",
            remedy="remove vocab.json to import the model without its head",
        )
    options = {"name": "ctc", "layer": "last", "recurrent_layers": 0, "dropout": read.dropout}
    own = OwnHead.fresh(
        from_mapping("head", options, registry),
        registry,
        dim=model.dim,
        num_layers=model.num_layers + 1,
        labels=LabelSpace("characters", read.symbols),
    )
    own.head.load_state_dict({"classifier.weight": read.weight, "classifier.bias": read.bias})
    return own


def model_of(imported: Imported, registry: Registry) -> SpeechModel:
    """Build the model that was read, with its weights.

    Args:
        imported: what a reader gave.
        registry: where components are looked up.

    Returns:
        The model in eval mode, on the CPU, in float32.

    Raises:
        CheckpointError: if a tensor is missing, too many or of another shape.
    """
    spec = _with_all_options(imported.spec, registry)
    edits = tuple(_with_all(edit, registry) for edit in imported.edits)
    model = replay_edits(build_model(spec, registry), edits, registry)
    _load(model, imported)
    return model.eval()


def _with_all_options(spec: ModelSpec, registry: Registry) -> ModelSpec:
    # written out, so that a later change of a default does not change the model
    frontend = from_mapping("frontend", spec.frontend, registry)
    return model_spec(frontend, from_mapping("encoder", spec.encoder, registry))


def _with_all(edit: Edit, registry: Registry) -> Edit:
    return edit_of(from_mapping("compressor", edit.compressor, registry), edit.plan)


def _load(model: SpeechModel, imported: Imported) -> None:
    # what pruning left of a block that is gone has no numbers, and other toolkits no tensor
    own = {name: value for name, value in model.named_parameters() if value.numel()}
    given = {name: value for name, value in imported.tensors.items() if value.numel()}
    remedy = "take a complete checkpoint, or set options of frontend or encoder that fit it"
    if set(own) != set(given):
        missing, surplus = sorted(set(own) - set(given)), sorted(set(given) - set(own))
        raise CheckpointError(
            f"{imported.source}: tensors do not fit the configuration: missing {missing[:3]}, "
            f"surplus {surplus[:3]}",
            remedy=remedy,
        )
    for name, value in given.items():
        if own[name].shape != value.shape or not value.is_floating_point():
            raise CheckpointError(
                f"{imported.source}: {name} is {value.dtype} {tuple(value.shape)}, expected "
                f"floats {tuple(own[name].shape)}",
                remedy=remedy,
            )
    with torch.no_grad():
        for name, value in given.items():
            own[name].copy_(value)


def export_checkpoint(
    directory: Path, path: Path, registry: Registry, *, format: str, family: str | None = None
) -> None:
    """Write a checkpoint of ours for other toolkits.

    Args:
        directory: the checkpoint.
        path: the result; a folder for huggingface, a file for onnx. It appears complete or not
            at all.
        registry: where components are looked up.
        format: one of ``EXPORT_FORMATS``.
        family: for huggingface, which of the two equal classes: hubert or wav2vec2.

    Raises:
        UsageError: if the format is unknown, or a family is given where there is none.
    """
    if format not in EXPORT_FORMATS:
        known = ", ".join(EXPORT_FORMATS)
        raise UsageError(f"no format {format!r}", remedy=f"choose one of {known}")
    if format == "onnx" and family is not None:
        raise UsageError("ONNX has no families", remedy="leave --family out")
    model = load_model(directory, registry)
    if format == "huggingface":
        with new_directory(path) as folder:
            write_huggingface(model, folder, family=family)
        return
    from speechlite.interop.onnx import export_onnx

    export_onnx(model, path)
