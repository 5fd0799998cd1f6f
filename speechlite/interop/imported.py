"""What every reader of other people's checkpoints returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from speechlite.core.model import Edit, ModelSpec

__all__ = ["Imported", "ImportedHead"]


@dataclass(frozen=True)
class ImportedHead:
    """Hold a linear CTC head on the last hidden state.

    Args:
        weight: (C, D).
        bias: (C,).
        symbols: of the classes, the blank first; a space parts words.
        dropout: probability of dropping an input in training.
    """

    weight: Tensor
    bias: Tensor
    symbols: tuple[str, ...]
    dropout: float


@dataclass(frozen=True)
class Imported:
    """Hold a checkpoint of another toolkit as plain values.

    Args:
        spec: the model before its edits.
        tensors: its parameters, by the names that they have after the edits.
        source: what was read, in words.
        edits: prunings that the checkpoint has behind it.
        left_out: parameters in the checkpoint that are no part of a model, counted by what they
            are.
        assumed: options that the checkpoint does not tell, with the values taken.
        head: the CTC head that the model was fine-tuned with; None for none that can be read.
    """

    spec: ModelSpec
    tensors: Mapping[str, Tensor]
    source: str
    edits: tuple[Edit, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    assumed: Mapping[str, Any] = field(default_factory=dict)
    head: ImportedHead | None = None
