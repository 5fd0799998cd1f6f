"""Sparse layers, and folded positions, as those that every program knows."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import nn

from speechlite.nn.int8 import Int8Linear
from speechlite.nn.positional import FoldedPositions
from speechlite.nn.sparse import SparseConv1d, SparseLinear, dense_of

__all__ = ["with_dense_layers"]

_Module = TypeVar("_Module", bound=nn.Module)


def with_dense_layers(module: _Module) -> _Module:
    """Return a copy that stores zeros as numbers, for graphs and for other programs.

    Positions whose norm was folded into the weights get one again.

    Args:
        module: a module; not changed.

    Returns:
        A copy that computes the same.
    """
    copied = copy.deepcopy(module)
    for name, part in list(copied.named_modules()):
        if isinstance(part, (SparseLinear, SparseConv1d)):
            parent, _, child = name.rpartition(".")
            setattr(copied.get_submodule(parent), child, dense_of(part))
        elif isinstance(part, Int8Linear):
            codes = part.codes().clone()
            del part.weight
            part.register_buffer("weight", codes)
    for name, part in list(copied.named_modules()):
        if isinstance(part, FoldedPositions) and type(part.convolution) is nn.Conv1d:
            parent, _, child = name.rpartition(".")
            setattr(copied.get_submodule(parent), child, part.normed())
    return copied
