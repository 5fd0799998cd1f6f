"""Tensors of a file or of a folder, whatever they were written with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from speechlite.core.errors import CheckpointError
from speechlite.interop.torch_files import read_torch_file

__all__ = ["as_tensors", "read_folder", "read_json", "read_safetensors"]

_REMEDY = "take another copy of the checkpoint"
_INDICES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file.

    Args:
        path: the file.

    Returns:
        Tensors by name.

    Raises:
        CheckpointError: if it is damaged.
    """
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, ValueError, KeyError, OSError) as error:
        raise CheckpointError(f"damaged: {error}", remedy=_REMEDY, path=path) from None
    return tensors


def as_tensors(value: object, path: Path) -> dict[str, Tensor]:
    """Check that a value is what a model's ``state_dict`` gives.

    Args:
        value: what a file holds.
        path: the file, for messages.

    Returns:
        Tensors by name.

    Raises:
        CheckpointError: if it is anything else.
    """
    is_state = isinstance(value, Mapping) and bool(value)
    if not is_state or not all(
        isinstance(name, str) and isinstance(item, Tensor)
        for name, item in value.items()  # type: ignore[attr-defined]
    ):
        raise CheckpointError(
            f"holds {type(value).__name__}, expected tensors by name",
            remedy="give a checkpoint of HuBERT, wav2vec 2.0, WavLM or DPHuBERT",
            path=path,
        )
    return dict(value)  # type: ignore[call-overload, no-any-return]


def read_json(path: Path) -> dict[str, Any]:
    """Return the object that a JSON file holds.

    Args:
        path: the file.

    Returns:
        Values by key.

    Raises:
        CheckpointError: if it is missing, damaged or holds anything else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        cause = error.strerror if isinstance(error, OSError) else f"not JSON: {error}"
        raise CheckpointError(str(cause), remedy=_REMEDY, path=path) from None
    if not isinstance(content, dict):
        raise CheckpointError("expected a JSON object", remedy=_REMEDY, path=path)
    return content


def read_folder(folder: Path) -> dict[str, Tensor]:
    """Return the weights in a folder of transformers.

    Args:
        folder: holds model.safetensors or pytorch_model.bin, or several files with an index.

    Returns:
        Tensors by name.

    Raises:
        CheckpointError: if weights are missing or damaged.
    """
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (folder / name).is_file():
            return _read_file(folder / name)
    for name in _INDICES:
        if (folder / name).is_file():
            return _read_shards(folder / name)
    raise CheckpointError(
        "no model.safetensors, no pytorch_model.bin and no index of several files",
        remedy="name a folder that holds config.json and weights of one of these names",
        path=folder,
    )


def _read_file(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    return as_tensors(read_torch_file(path), path)


def _read_shards(index: Path) -> dict[str, Tensor]:
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise CheckpointError("has no weight_map of file names", remedy=_REMEDY, path=index)
    tensors: dict[str, Tensor] = {}
    for name in sorted(set(places.values())):
        path = index.parent / name
        if Path(name).name != name or not path.is_file():
            raise CheckpointError(
                f"names a file {name!r} that is not beside it", remedy=_REMEDY, path=index
            )
        tensors.update(_read_file(path))
    if set(tensors) != set(places):
        odd = sorted(set(tensors) ^ set(places))[0]
        raise CheckpointError(
            f"the files and their index differ: {odd} is in one of the two only",
            remedy=_REMEDY,
            path=index,
        )
    return tensors
