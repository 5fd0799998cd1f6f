"""Find out what a path or a name stands for, and read it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from speechlite.core.errors import CheckpointError, UsageError
from speechlite.interop.dphubert import is_dphubert, read_dphubert
from speechlite.interop.fairseq import is_fairseq, read_fairseq
from speechlite.interop.huggingface import read_huggingface
from speechlite.interop.imported import Imported
from speechlite.interop.names import HUGGINGFACE, rename
from speechlite.interop.options import describe
from speechlite.interop.torch_files import read_torch_file
from speechlite.interop.torchaudio import is_torchaudio, read_bundle, read_torchaudio
from speechlite.interop.weights import as_tensors, read_safetensors

__all__ = ["FORMATS", "read_source"]

FORMATS = ("auto", "huggingface", "torchaudio", "fairseq", "dphubert")
"""What ``read_source`` can be told to expect."""


def read_source(
    source: str, *, format: str = "auto", chosen: Mapping[str, Any] | None = None
) -> Imported:
    """Read another toolkit's checkpoint.

    Args:
        source: a folder of transformers, a file of tensors (torch.save or safetensors), or the
            name of a bundle of torchaudio.
        format: one of ``FORMATS``; auto finds it out.
        chosen: options by dotted name that go before those of the checkpoint.

    Returns:
        The model as plain values.

    Raises:
        UsageError: if nothing has that name, or the format is unknown.
        CheckpointError: if it is of another format than asked for.
    """
    if format not in FORMATS:
        raise UsageError(f"no format {format!r}", remedy=f"choose one of {', '.join(FORMATS)}")
    path = Path(source)
    if path.is_dir():
        _expect(format, "huggingface", path)
        return read_huggingface(path, chosen)
    if path.is_file():
        return _read_file(path, format, chosen or {})
    if format in ("auto", "torchaudio") and path.name == source and not path.suffix:
        return read_bundle(source, chosen)
    raise UsageError(f"no file or folder {source}", remedy="name an existing path")


def _expect(asked: str, found: str, path: Path) -> None:
    if asked not in ("auto", found):
        raise CheckpointError(
            f"is of format {found}, asked for was {asked}",
            remedy=f"leave --format out, or say --format {found}",
            path=path,
        )


def _read_file(path: Path, asked: str, chosen: Mapping[str, Any]) -> Imported:
    if path.suffix == ".safetensors":
        return _read_tensors(read_safetensors(path), None, path, asked, chosen)
    content = read_torch_file(path)
    if is_dphubert(content):
        _expect(asked, "dphubert", path)
        tensors = as_tensors(content["state_dict"], path)
        return read_dphubert(tensors, content["config"], chosen, source=f"DPHuBERT {path.name}")
    configuration = None
    if isinstance(content, Mapping):
        if isinstance(content.get("model"), Mapping):
            configuration = {key: content.get(key) for key in ("cfg", "args")}
            configuration = configuration["cfg"] or configuration["args"]
            content = content["model"]
        elif isinstance(content.get("state_dict"), Mapping):
            content = content["state_dict"]
    return _read_tensors(as_tensors(content, path), configuration, path, asked, chosen)


def _read_tensors(
    tensors: Mapping[str, Tensor],
    configuration: object,
    path: Path,
    asked: str,
    chosen: Mapping[str, Any],
) -> Imported:
    if is_fairseq(tensors):
        _expect(asked, "fairseq", path)
        source = f"fairseq {path.name}"
        return read_fairseq(tensors, configuration, chosen, source=source)
    if is_torchaudio(tensors):
        _expect(asked, "torchaudio", path)
        return read_torchaudio(tensors, chosen, source=f"torchaudio {path.name}")
    _expect(asked, "huggingface", path)
    source = f"Hugging Face {path.name}"
    named = rename(tensors, HUGGINGFACE, source=source)
    return describe(named, {}, chosen, source=source)
