"""What every reader of other people's checkpoints returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from speechlite.core.model import Edit, ModelSpec

__all__ = ["Imported"]


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
    """

    spec: ModelSpec
    tensors: Mapping[str, Tensor]
    source: str
    edits: tuple[Edit, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    assumed: Mapping[str, Any] = field(default_factory=dict)
