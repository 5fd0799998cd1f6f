"""The head that a model was fine-tuned with: two files in the folder ``head`` of its checkpoint."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from speechlite.config.compose import from_mapping, to_mapping
from speechlite.config.schema import Choice
from speechlite.core.errors import CheckpointError, SpeechliteError
from speechlite.core.head import Head
from speechlite.core.model import SpeechModel
from speechlite.core.types import LabelSpace
from speechlite.engine.build import build_head
from speechlite.engine.directories import sha256_of
from speechlite.engine.progress import say
from speechlite.plugins.registry import Registry

__all__ = ["OwnHead", "fitting_head", "load_head", "save_head"]

_SCHEMA = "speechlite.head/1"
_FOLDER = "head"
_REMEDY = "fine-tune the model again: speechlite compress objective=finetune"
_FIELDS = {
    "schema": str,
    "weights_sha256": str,
    "head": dict,
    "dim": int,
    "num_layers": int,
    "stream": str,
    "symbols": list,
    "word_mark": str,
}


@dataclass(frozen=True)
class OwnHead:
    """Join a head with what it was built from.

    Args:
        head: the head.
        choice: its name and options.
        labels: its classes.
        dim: width of the hidden states.
        num_layers: number of hidden states.
    """

    head: Head
    choice: Choice
    labels: LabelSpace
    dim: int
    num_layers: int

    @classmethod
    def fresh(
        cls, choice: Choice, registry: Registry, *, dim: int, num_layers: int, labels: LabelSpace
    ) -> OwnHead:
        """Build a head with fresh weights.

        Args:
            choice: its name and options.
            registry: where the name is looked up.
            dim: width of the hidden states.
            num_layers: number of hidden states.
            labels: its classes.

        Returns:
            The head with what it was built from.
        """
        head = build_head(choice, registry, dim=dim, num_layers=num_layers, labels=labels)
        return cls(head, choice, labels, dim, num_layers)


def fitting_head(own: OwnHead | None, model: SpeechModel) -> OwnHead | None:
    """Return a head that goes on with a model, and say so where it does not.

    Args:
        own: the head of the model that this one was made of, or None.
        model: the model.

    Returns:
        The head; None where it reads states of another number or width.
    """
    if own is None or (own.dim, own.num_layers) == (model.dim, model.num_layers + 1):
        return own
    say(
        f"the head of {own.num_layers} states of width {own.dim} stays behind: the model now has "
        f"{model.num_layers + 1} of {model.dim}"
    )
    return None


def save_head(own: OwnHead, checkpoint: Path) -> None:
    """Write a head into a checkpoint that is being written.

    Args:
        own: the head.
        checkpoint: directory of the checkpoint.
    """
    folder = checkpoint / _FOLDER
    folder.mkdir()
    weights = folder / "head.safetensors"
    tensors = {
        name: tensor.detach().cpu().contiguous() for name, tensor in own.head.state_dict().items()
    }
    save_file(tensors, weights, metadata={"format": "pt"})
    content: dict[str, Any] = {
        "schema": _SCHEMA,
        "weights_sha256": sha256_of(weights),
        "head": to_mapping(own.choice),
        "dim": own.dim,
        "num_layers": own.num_layers,
        "stream": own.labels.stream,
        "symbols": list(own.labels.symbols),
        "word_mark": own.labels.word_mark,
    }
    # no YAML: symbols such as N and Y are words for a boolean there
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    (folder / "head.json").write_text(text, encoding="utf-8")
    weights.chmod((folder / "head.json").stat().st_mode)


def load_head(checkpoint: Path, registry: Registry) -> OwnHead | None:
    """Read the head of a checkpoint.

    Args:
        checkpoint: directory of the checkpoint.
        registry: where the head is looked up.

    Returns:
        The head in eval mode; None where the model was never fine-tuned.

    Raises:
        CheckpointError: if it is damaged.
    """
    folder = checkpoint / _FOLDER
    if not folder.is_dir():
        return None
    path, weights = folder / "head.json", folder / "head.safetensors"
    for file in (path, weights):
        if not file.is_file():
            raise CheckpointError("is missing", remedy=_REMEDY, path=file)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        content = None
    if not isinstance(content, dict) or not all(
        isinstance(content.get(name), kind) for name, kind in _FIELDS.items()
    ):
        raise CheckpointError(
            f"not a head's file: expected the keys {sorted(_FIELDS)}", remedy=_REMEDY, path=path
        )
    if content["schema"] != _SCHEMA or sha256_of(weights) != content["weights_sha256"]:
        raise CheckpointError(
            f"schema {content['schema']!r}, expected {_SCHEMA!r} and weights of the SHA-256 that "
            "head.json names",
            remedy=_REMEDY,
            path=path,
        )
    labels = LabelSpace(
        content["stream"],
        tuple(str(symbol) for symbol in content["symbols"]),
        word_mark=content["word_mark"],
    )
    try:
        own = OwnHead.fresh(
            from_mapping("head", content["head"], registry),
            registry,
            dim=content["dim"],
            num_layers=content["num_layers"],
            labels=labels,
        )
        own.head.load_state_dict(load_file(weights))
    except (SafetensorError, SpeechliteError, RuntimeError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"gives no head: {' '.join(str(error).split())[:200]}",
            remedy=_REMEDY,
            path=path,
        ) from None
    own.head.eval()
    return own
