"""What training needs beside a model: speech in batches, labels, and the objective's parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from speechlite.config.schema import (
    Choice,
    OptimizerOptions,
    PretrainDataOptions,
    TaskOptions,
    TrainerOptions,
)
from speechlite.core.errors import ConfigError, DataError
from speechlite.core.model import SpeechModel
from speechlite.core.objective import Objective
from speechlite.core.types import LabelSpace
from speechlite.data.order import BatchOrder
from speechlite.data.reader import FrameGrid, UtteranceReader
from speechlite.data.unit_checks import lint_units
from speechlite.data.units import UNITS, labels_at_frames, read_units
from speechlite.engine.build import build_objective, objective_type
from speechlite.engine.checkpoint import load_model
from speechlite.engine.head_files import OwnHead
from speechlite.engine.labels import read_labels
from speechlite.engine.splits import (
    Split,
    check_features,
    frame_grid,
    open_features,
    read_split,
)
from speechlite.engine.training import Speech
from speechlite.plugins.registry import Registry

__all__ = [
    "NO_HEADS",
    "Heads",
    "PreparedObjective",
    "TrainingOptions",
    "prepare_objective",
    "read_training_splits",
    "speech_of",
]


class TrainingOptions(Protocol):
    """Say what a configuration must have so that ``train`` can follow it."""

    @property
    def objective(self) -> Choice | None:
        """The training signal."""

    @property
    def data(self) -> PretrainDataOptions:
        """What to train on."""

    @property
    def optimizer(self) -> OptimizerOptions:
        """How weights are updated."""

    @property
    def trainer(self) -> TrainerOptions:
        """How long, how precisely and on what machine."""


@dataclass(frozen=True)
class Heads:
    """Say where the head of an objective comes from.

    Args:
        choice: a fresh one; None for none.
        own: the one that the model was fine-tuned with; None where it was not.
    """

    choice: Choice | None = None
    own: OwnHead | None = None


NO_HEADS = Heads()
"""No head at all."""


@dataclass(frozen=True)
class PreparedObjective:
    """Join an objective with what goes with it.

    Args:
        objective: the objective.
        head: the head in it; None where it takes none.
        labels: int64 labels of whole utterances, by stream and utterance id.
    """

    objective: Objective
    head: OwnHead | None = None
    labels: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)


def read_training_splits(
    config: TrainingOptions,
    model: SpeechModel,
    registry: Registry,
    names: Sequence[str] = ("train", "valid"),
) -> dict[str, Split]:
    """Read the speech to train on.

    Args:
        config: the options.
        model: the model, which says how long an utterance must be.
        registry: where the objective is looked up.
        names: which of ``train`` and ``valid``.

    Returns:
        The splits; utterances that must not be cut are left out where they
        are too long.

    Raises:
        DataError: if a directory is not valid, or nothing is left.
    """
    data, grid = config.data, frame_grid(model.frontend)
    has_text = config.objective is not None and _takes_head(config.objective, registry)
    splits = {}
    for name in names:
        splits[name] = read_split(
            getattr(data, name),
            grid,
            min_seconds=data.min_seconds,
            # a transcript belongs to the whole utterance
            max_seconds=data.max_seconds if has_text else None,
            need_text=has_text,
        )
    return splits


def _takes_head(choice: Choice, registry: Registry) -> bool:
    return objective_type(choice, registry).takes_head


def prepare_objective(
    config: TrainingOptions,
    model: SpeechModel,
    registry: Registry,
    splits: Mapping[str, Split],
    *,
    start: SpeechModel | None = None,
    heads: Heads = NO_HEADS,
) -> PreparedObjective:
    """Build an objective with the labels, models and the head that it asks for.

    Args:
        config: the options.
        model: the model that it will train.
        registry: where components are looked up.
        splits: the speech; ``train`` defines the characters.
        start: the model that stands in for one that the objective reads and no option names.
        heads: where its head comes from.

    Returns:
        The objective and what goes with it.

    Raises:
        ConfigError: if something that it asks for is not named, or does not fit.
        DataError: if labels are missing.
    """
    assert config.objective is not None
    takes_head = _takes_head(config.objective, registry)
    own: OwnHead | None = None
    labels: dict[str, Mapping[str, np.ndarray]] = {}
    if takes_head:
        own, labels = _head_and_labels(config, model, registry, splits, heads)
    objective = build_objective(
        config.objective,
        model,
        registry,
        labels=_label_spaces(config, registry),
        models=_models(config.objective, registry, start),
        head=None if own is None else own.head,
    )
    return PreparedObjective(objective, own, labels)


def _head_and_labels(
    config: TrainingOptions,
    model: SpeechModel,
    registry: Registry,
    splits: Mapping[str, Split],
    heads: Heads,
) -> tuple[OwnHead, dict[str, Mapping[str, np.ndarray]]]:
    data = config.data
    if data.labels is None:
        raise ConfigError(
            "the objective trains a head, and data.labels names no label stream",
            remedy="set data.labels=characters",
        )
    task = TaskOptions(labels=data.labels, subword_model=data.subword_model)
    goes_on = heads.own if heads.choice is None else None
    space, rows = read_labels(task, splits, known=None if goes_on is None else goes_on.labels)
    if heads.choice is None and heads.own is None:
        raise ConfigError(
            "the objective trains a head, none is chosen and the model has none",
            remedy="add head=ctc",
        )
    if goes_on is not None:
        _check_fits(goes_on, model, space)
        return goes_on, {space.stream: rows}
    assert heads.choice is not None
    fresh = OwnHead.fresh(
        heads.choice, registry, dim=model.dim, num_layers=model.num_layers + 1, labels=space
    )
    if fresh.head.label_layout != "sequence":
        raise ConfigError(
            f"head {heads.choice.name} wants one label a {fresh.head.label_layout}, "
            f"data.labels={data.labels} gives one a sequence",
            remedy="choose a head of sequences, such as ctc",
        )
    return fresh, {space.stream: rows}


def _check_fits(own: OwnHead, model: SpeechModel, labels: LabelSpace) -> None:
    if own.labels != labels:
        raise ConfigError(
            f"the model's head knows {len(own.labels.symbols)} {own.labels.stream}, the training "
            f"data has {len(labels.symbols)} {labels.stream}, or others",
            remedy="fine-tune on the data of the head, or add head=ctc for a fresh one",
        )
    if (own.dim, own.num_layers) != (model.dim, model.num_layers + 1):
        raise ConfigError(
            f"the model's head reads {own.num_layers} states of width {own.dim}, the model has "
            f"{model.num_layers + 1} of {model.dim}",
            remedy="add head=ctc for a fresh one",
        )


def speech_of(
    config: TrainingOptions,
    model: SpeechModel,
    split: Split,
    labels: Mapping[str, Mapping[str, np.ndarray]],
    *,
    training: bool,
) -> Speech:
    """Cut a split into batches.

    Args:
        config: the options.
        model: the model, which says where frames are.
        split: the speech.
        labels: int64 labels of whole utterances, by stream and utterance id.
        training: whether the order is shuffled.

    Returns:
        The order of the batches and what reads them.

    Raises:
        DataError: if features or units are missing or do not fit.
    """
    data = config.data
    grid = frame_grid(model.frontend)
    stores = open_features(None if data.features is None else Path(data.features), split)
    if stores is not None:
        check_features(stores, dict(model.spec.frontend))
    units = {} if data.units is None else {UNITS: _units(config, split, grid)}
    reader = UtteranceReader(
        split.utterances,
        grid,
        stores,
        max_seconds=data.max_seconds,
        labels={**labels, **units},
        frame_streams=frozenset([UNITS]),
    )
    order = BatchOrder(
        {name: min(seconds, data.max_seconds) for name, seconds in split.durations.items()},
        batch_seconds=data.batch_seconds,
        num_buckets=data.num_buckets,
        seed=config.trainer.seed,
        shuffle=training,
    )
    return Speech(order, reader)


def _models(
    choice: Choice, registry: Registry, start: SpeechModel | None
) -> dict[str, SpeechModel]:
    models = {}
    for name in objective_type(choice, registry).reads:
        path = getattr(choice.options, name)
        if path is None and start is None:
            raise ConfigError(
                f"objective.{name} names no checkpoint", remedy=f"set objective.{name}=DIRECTORY"
            )
        found = start if path is None else load_model(Path(path), registry)
        assert found is not None
        models[name] = found
    return models


def _label_spaces(config: TrainingOptions, registry: Registry) -> dict[str, LabelSpace]:
    assert config.objective is not None
    needs = objective_type(config.objective, registry).needs
    unknown = [name for name in needs if name != UNITS]
    if unknown or (needs and config.data.units is None):
        raise ConfigError(
            f"{config.objective.name} needs label streams {list(needs)}, and data.units is "
            f"{config.data.units}",
            remedy="run speechlite units, and set data.units to what it wrote",
        )
    if not needs:
        return {}
    folder = Path(config.data.units or "")
    directories = (*config.data.train, *config.data.valid)
    names = list(dict.fromkeys(Path(name).resolve().name for name in directories))
    problems = lint_units([folder / name for name in names], limit=1)
    if problems:
        raise problems[0].error()
    return {UNITS: read_units(folder, names)[0]}


def _units(config: TrainingOptions, split: Split, grid: FrameGrid) -> dict[str, np.ndarray]:
    # one unit for each frame of the model
    names = [path.resolve().name for path in split.directories]
    _, rows, rate_hz = read_units(Path(config.data.units or ""), names)
    reader = UtteranceReader(split.utterances, grid)
    missing = [name for name in split.utterances if name not in rows]
    if missing:
        raise DataError(
            f"utterance {missing[0]} has no units", remedy="run speechlite units for this data"
        )
    return {
        name: labels_at_frames(
            rows[name],
            grid.num_frames(reader.num_samples(name)),
            label_rate_hz=rate_hz,
            frame_rate_hz=grid.sample_rate / grid.stride,
        )
        for name in split.utterances
    }
