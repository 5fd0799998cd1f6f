"""The ``student`` compressor: a smaller model of the same kind, trained in the teacher's place."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import torch
from torch import Tensor

from speechlite.compressors.config import StudentConfig
from speechlite.core.compressor import Compressor
from speechlite.core.errors import ConfigError, PlanError
from speechlite.core.model import SpeechModel
from speechlite.nn.dense_layers import with_dense_layers

__all__ = ["Student"]

_LAYER = re.compile(r"encoder\.layers\.(\d+)\.(.+)")


class Student(Compressor):
    """Build the teacher's frontend and encoder with other options, and start from its weights.

    DistilHuBERT (arXiv 2110.01900), FitHuBERT (arXiv 2207.00555) and the 12-Layer Half and 3-Layer
    One of Ashihara et al. (arXiv 2207.06867) are such students. Train one under the objective
    ``distillation``.

    Args:
        config: the options.
    """

    def __init__(self, config: StudentConfig) -> None:
        self.config = config

    def prepare(self, model: SpeechModel) -> SpeechModel:
        """Return the student.

        Args:
            model: the teacher; not changed.

        Returns:
            A new model, whose tensors are the teacher's where it starts from them.

        Raises:
            ConfigError: if the teacher's parts do not have the options, or their values are wrong.
            PlanError: if the student would be the teacher, or the teacher lacks a layer.
        """
        student = _built(model, self._options())
        if self.config.start == "teacher":
            _start_from(model, student, self._start_layers(model, student))
        return student

    def plan(self, model: SpeechModel) -> dict[str, Any]:
        """Return how the student differs.

        Args:
            model: what ``prepare`` returned.

        Returns:
            ``encoder`` and ``frontend``: options that differ from the teacher's.
        """
        return self._options()

    def restructure(self, model: SpeechModel, plan: Mapping[str, Any]) -> SpeechModel:
        """Return the student.

        Args:
            model: the trained student, or a model with the teacher's options.
            plan: what ``plan`` returned.

        Returns:
            A copy of the student, or one with fresh weights.

        Raises:
            PlanError: if the plan does not fit the model.
        """
        if set(plan) != {"encoder", "frontend"} or not any(plan.values()):
            raise PlanError(
                f"the plan has {sorted(plan)}, expected options of encoder and frontend",
                remedy="use the plan that speechlite compress wrote",
            )
        if _has(model.encoder, plan["encoder"]) and _has(model.frontend, plan["frontend"]):
            return copy.deepcopy(model)
        return _built(model, plan)

    def _options(self) -> dict[str, Any]:
        return {"encoder": dict(self.config.encoder), "frontend": dict(self.config.frontend)}

    def _start_layers(self, teacher: SpeechModel, student: SpeechModel) -> list[int]:
        chosen = self.config.start_layers
        if chosen is None:
            return list(range(min(student.num_layers, teacher.num_layers)))
        if len(chosen) != student.num_layers or max(chosen) >= teacher.num_layers:
            raise PlanError(
                f"start_layers={list(chosen)} for a student of {student.num_layers} layers and a "
                f"teacher of {teacher.num_layers}: expected one layer of the teacher for each",
                remedy="change compressor.start_layers",
            )
        return list(chosen)


def _built(model: SpeechModel, options: Mapping[str, Any]) -> SpeechModel:
    if _has(model.encoder, options["encoder"]) and _has(model.frontend, options["frontend"]):
        raise PlanError(
            "the student would have the teacher's options",
            remedy="change compressor.encoder or compressor.frontend",
        )
    encoder = type(model.encoder)(_changed(model.encoder, options["encoder"], "encoder"))
    config = _changed(model.frontend, options["frontend"], "frontend")
    frontend = type(model.frontend)(config, dim=encoder.dim)
    student = SpeechModel(frontend, encoder, spec=model.spec, edits=model.edits)
    return student.to(next(model.parameters()).device)


def _has(part: Any, options: Mapping[str, Any]) -> bool:
    current = _current(part)
    return all(name in current and current[name] == value for name, value in options.items())


def _current(part: Any) -> dict[str, Any]:
    config = getattr(part, "config", None)
    if not is_dataclass(config) or isinstance(config, type):
        return {}
    found = {field.name: getattr(config, field.name) for field in fields(config)}
    if "layers" in found and hasattr(part, "layers"):
        # the config does not know of layers that were removed
        found["layers"] = len(part.layers)
    return found


def _changed(part: Any, options: Mapping[str, Any], kind: str) -> Any:
    config = getattr(part, "config", None)
    if not is_dataclass(config) or isinstance(config, type):
        raise ConfigError(
            f"student cannot rebuild {type(part).__name__}, which does not keep its config",
            remedy=f"choose a model whose {kind} keeps its options in .config",
        )
    types = get_type_hints(type(config))
    unknown = sorted(set(options) - set(types))
    if unknown:
        raise ConfigError(
            f"student changes {unknown} of {type(config).__name__}, which has no such options",
            remedy=f"see speechlite config pretrain --list; change compressor.{kind}",
        )
    for name, value in options.items():
        if not _is_of(value, types[name]):
            raise ConfigError(
                f"student changes {name} of {type(config).__name__} to {value!r}, expected "
                f"{getattr(types[name], '__name__', types[name])}",
                remedy=f"change compressor.{kind}.{name}",
            )
    return type(config)(**{**_current(part), **options})


def _is_of(value: object, kind: Any) -> bool:
    if isinstance(kind, UnionType):
        return any(_is_of(value, member) for member in get_args(kind))
    if get_origin(kind) is list:
        (member,) = get_args(kind)
        return isinstance(value, list) and all(_is_of(entry, member) for entry in value)
    return type(value) is kind or (kind is float and type(value) is int)


def _start_from(teacher: SpeechModel, student: SpeechModel, layers: list[int]) -> None:
    known: dict[str, Tensor] = with_dense_layers(teacher).state_dict()
    with torch.no_grad():
        for name, tensor in student.state_dict().items():
            found = _LAYER.fullmatch(name)
            source = name
            if found is not None:
                depth = int(found[1])
                if depth >= len(layers):
                    continue
                source = f"encoder.layers.{layers[depth]}.{found[2]}"
            # codes of few bits are no weights
            if source in known and (known[source].shape, known[source].dtype) == (
                tensor.shape,
                tensor.dtype,
            ):
                tensor.copy_(known[source])
