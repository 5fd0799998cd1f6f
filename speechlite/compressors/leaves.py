"""Find a model's stock leaves, and put others in their places."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from torch import nn

from speechlite.core.errors import PlanError
from speechlite.core.model import SpeechModel

__all__ = ["find_leaves", "with_leaves"]

_Leaf = TypeVar("_Leaf", bound=nn.Module)


def find_leaves(
    model: SpeechModel,
    kinds: tuple[type[_Leaf], ...],
    *,
    parts: Sequence[str],
    keep: Sequence[str] = (),
) -> dict[str, _Leaf]:
    """Return the leaves of some kinds in some parts of a model.

    Args:
        model: the model.
        kinds: classes of leaves; subclasses do not count, since they may compute otherwise.
        parts: names of modules, from the model on.
        keep: regular expressions; leaves in whose name one is found are left out.

    Returns:
        The leaves by name, those that layers share once.

    Raises:
        PlanError: if a part is no module of the model.
    """
    known = {name for name, _ in model.named_modules(remove_duplicate=False)}
    unknown = [part for part in parts if part not in known]
    if unknown:
        raise PlanError(f"the model has no {unknown}", remedy="change compressor.parts")
    return {
        name: module
        for name, module in model.named_modules()
        if type(module) in kinds
        and any(name == part or name.startswith(f"{part}.") for part in parts)
        and not any(re.search(pattern, name) for pattern in keep)
    }


def with_leaves(
    model: SpeechModel,
    names: Sequence[str],
    replace: Mapping[Any, Callable[..., nn.Module]],
) -> SpeechModel:
    """Return a copy of a model with other leaves.

    Args:
        model: the model; not changed.
        names: names of the leaves to replace, from the model on.
        replace: by class of a leaf what makes the new one; called with the leaf and its name.

    Returns:
        The copy.

    Raises:
        PlanError: if a leaf is missing, or of another class.
    """
    copied = copy.deepcopy(model)
    modules = dict(copied.named_modules())
    for name in names:
        leaf = modules.get(name)
        make = None if leaf is None else replace.get(type(leaf))
        if leaf is None or make is None:
            found = "no module" if leaf is None else type(leaf).__name__
            raise PlanError(
                f"the plan replaces {name}, which is {found} in this model",
                remedy="use the plan with the model that it was made for, and quantise only once",
            )
        parent, _, child = name.rpartition(".")
        setattr(modules[parent], child, make(leaf, name))
    return copied
