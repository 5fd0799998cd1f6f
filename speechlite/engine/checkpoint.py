"""Model checkpoints: config.yaml (spec and edits), model.safetensors, README.md; no pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

import speechlite
from speechlite.config.compose import config_hash
from speechlite.config.safe_yaml import load_yaml
from speechlite.core.errors import CheckpointError
from speechlite.core.model import Edit, ModelSpec, SpeechModel
from speechlite.engine.build import build_model, replay_edits
from speechlite.engine.directories import new_directory, sha256_of
from speechlite.engine.head_files import OwnHead, save_head
from speechlite.plugins.registry import Registry

__all__ = ["checkpoint_sha256", "load_model", "named_tensors", "save_model"]

_SCHEMA = "speechlite.model/1"
_KEYS = ("config_sha256", "schema", "speechlite", "weights_sha256", "spec", "edits")
_REMEDY = "write it again with the command that made it, or take another copy"


def named_tensors(model: SpeechModel) -> dict[str, Tensor]:
    """Return every parameter and persistent buffer once, however often it is shared.

    Args:
        model: the model.

    Returns:
        Tensors by the first name under which each occurs.
    """
    persistent = set(model.state_dict(keep_vars=True))
    tensors: dict[str, Tensor] = dict(model.named_parameters())
    tensors.update((name, value) for name, value in model.named_buffers() if name in persistent)
    return tensors


def save_model(model: SpeechModel, directory: Path, *, head: OwnHead | None = None) -> None:
    """Write a model checkpoint; the directory appears complete or not at all.

    Args:
        model: the model; its edits are stored with their plans.
        directory: final name; an older checkpoint there is replaced.
        head: the head that it was fine-tuned with; None where it was not.
    """
    tensors = {
        name: tensor.detach().cpu().contiguous() for name, tensor in named_tensors(model).items()
    }
    with new_directory(directory) as temporary:
        weights = temporary / "model.safetensors"
        save_file(tensors, weights, metadata={"format": "pt"})
        content = {
            "schema": _SCHEMA,
            "speechlite": speechlite.__version__,
            "weights_sha256": sha256_of(weights),
            "spec": _plain(asdict(model.spec)),
            "edits": [_plain(asdict(edit)) for edit in model.edits],
        }
        content = {"config_sha256": config_hash(content), **content}
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
        (temporary / "config.yaml").write_text(text, encoding="utf-8")
        # the safetensors library writes for the owner's eyes only
        weights.chmod((temporary / "config.yaml").stat().st_mode)
        (temporary / "README.md").write_text(_model_card(model), encoding="utf-8")
        if head is not None:
            save_head(head, temporary)


def _plain(value: Any) -> Any:
    # a round trip through JSON gives lists for tuples and refuses everything else
    return json.loads(json.dumps(value))


def _model_card(model: SpeechModel) -> str:
    parameters = sum(parameter.numel() for parameter in model.parameters())
    history = [f"{edit.compressor['name']}: `{json.dumps(edit.plan)}`" for edit in model.edits]
    lines = [
        f"# {model.spec.encoder['name']} on {model.spec.frontend['name']}",
        "",
        f"A speechlite model of {parameters:,} parameters, {model.num_layers} layers, width "
        f"{model.dim}.",
        "",
        "Compressions, in order: " + ("; ".join(history) if history else "none") + ".",
        "",
        "Load it with `speechlite.load_model`, or name this directory in `speechlite compress`,",
        "`evaluate`, `profile` or `export`.",
        "",
    ]
    return "\n".join(lines)


def checkpoint_sha256(directory: Path) -> str:
    """Return the hash that identifies a checkpoint's weights and history.

    Args:
        directory: a checkpoint.

    Returns:
        SHA-256 of its config.yaml, which holds that of the weights.

    Raises:
        CheckpointError: if there is no checkpoint.
    """
    return sha256_of(_existing(directory, "config.yaml"))


def load_model(directory: Path, registry: Registry) -> SpeechModel:
    """Build the spec, replay the edits, load the weights strictly.

    Args:
        directory: what ``save_model`` wrote.
        registry: where components are looked up.

    Returns:
        The model in eval mode, on the CPU.

    Raises:
        CheckpointError: if anything is missing, damaged or does not fit.
    """
    content = _read_config(directory)
    weights = _existing(directory, "model.safetensors")
    if sha256_of(weights) != content["weights_sha256"]:
        raise CheckpointError(
            "the content does not have the SHA-256 that config.yaml names",
            remedy=_REMEDY,
            path=weights,
        )
    try:
        tensors = load_file(weights)
    except (SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(f"damaged: {error}", remedy=_REMEDY, path=weights) from None
    model = build_model(ModelSpec(**content["spec"]), registry)
    edits = tuple(Edit(**edit) for edit in content["edits"])
    model = replay_edits(model, edits, registry)
    _load_strictly(model, tensors, weights)
    return model.eval()


def _existing(directory: Path, name: str) -> Path:
    path = directory / name
    if not path.is_file():
        raise CheckpointError(
            "is missing",
            remedy="name a directory that holds config.yaml and model.safetensors",
            path=path,
        )
    return path


def _read_config(directory: Path) -> Mapping[str, Any]:
    path = _existing(directory, "config.yaml")
    content = load_yaml(path)
    fields = {"schema": str, "weights_sha256": str, "spec": dict, "edits": list}
    if not isinstance(content, dict) or not all(
        isinstance(content.get(name), kind) for name, kind in fields.items()
    ):
        raise CheckpointError(
            f"not a model's config: expected the keys {sorted(fields)}", remedy=_REMEDY, path=path
        )
    if content["schema"] != _SCHEMA:
        raise CheckpointError(
            f"schema is {content['schema']!r}, this version reads {_SCHEMA!r}",
            remedy="install the version of speechlite that wrote it",
            path=path,
        )
    hashed = {key: value for key, value in content.items() if key != "config_sha256"}
    if content.get("config_sha256", config_hash(hashed)) != config_hash(hashed):
        raise CheckpointError(
            "the content does not have the SHA-256 that it names", remedy=_REMEDY, path=path
        )
    _check_parts(content, path)
    return content


def _check_parts(content: Mapping[str, Any], path: Path) -> None:
    expected = [(set(_KEYS), content)] if "config_sha256" in content else []
    expected += [({"frontend", "encoder"}, content["spec"])]
    expected += [({"compressor", "plan"}, edit) for edit in content["edits"]]
    for keys, mapping in expected:
        if not isinstance(mapping, dict) or set(mapping) != keys:
            raise CheckpointError(f"expected the keys {sorted(keys)}", remedy=_REMEDY, path=path)
    parts = [
        *content["spec"].values(),
        *(part for edit in content["edits"] for part in edit.values()),
    ]
    if not all(isinstance(part, dict) for part in parts):
        raise CheckpointError("a component is no mapping", remedy=_REMEDY, path=path)


def _load_strictly(model: SpeechModel, tensors: Mapping[str, Tensor], path: Path) -> None:
    own = named_tensors(model)
    if set(own) != set(tensors):
        missing, surplus = sorted(set(own) - set(tensors)), sorted(set(tensors) - set(own))
        raise CheckpointError(
            f"weights do not fit: missing {missing[:3]}, surplus {surplus[:3]}",
            remedy=_REMEDY,
            path=path,
        )
    for name, tensor in tensors.items():
        if own[name].shape != tensor.shape or own[name].dtype != tensor.dtype:
            raise CheckpointError(
                f"{name} is {tensor.dtype} {tuple(tensor.shape)}, expected {own[name].dtype} "
                f"{tuple(own[name].shape)}",
                remedy=_REMEDY,
                path=path,
            )
    with torch.no_grad():
        for name, tensor in tensors.items():
            own[name].copy_(tensor)
