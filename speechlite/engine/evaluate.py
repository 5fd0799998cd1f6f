"""Evaluate a frozen model on a task: train the head, choose it on dev, score test once.

The loop is a plain one: a head on cached hidden states trains in seconds to minutes, where
Lightning's restarts and processes have nothing to offer.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from speechlite.config.schema import EvaluateConfig
from speechlite.core.errors import ConfigError, DataError, SpeechliteError
from speechlite.core.head import Head, UtteranceScore
from speechlite.core.model import SpeechModel
from speechlite.core.types import Hidden, LabelSpace, stateless_seed
from speechlite.data.datadir import Utterance
from speechlite.data.order import BatchOrder, Position
from speechlite.data.reader import KALDI_FRAMES, FrameGrid, UtteranceReader, frame_of
from speechlite.engine.build import build_head
from speechlite.engine.frozen import FrozenModel, HiddenCache
from speechlite.engine.head_files import OwnHead
from speechlite.engine.labels import LAYOUTS, TEXT_STREAMS, describe_labels, read_labels
from speechlite.engine.progress import track
from speechlite.engine.splits import Split, check_features, frame_grid, open_features, read_split
from speechlite.engine.training_run import set_threads
from speechlite.plugins.registry import Registry

__all__ = ["Evaluation", "SplitScore", "evaluate"]

_LABEL_TOLERANCE = 3


@dataclass(frozen=True)
class SplitScore:
    """Hold the scores of one split.

    Args:
        split: the split.
        metric: name of the metric.
        unit: its unit.
        higher_is_better: its direction.
        scorer: name and version of what counted.
        scores: one score an utterance.
    """

    split: Split
    metric: str
    unit: str
    higher_is_better: bool
    scorer: str
    scores: tuple[UtteranceScore, ...]

    @property
    def value(self) -> float:
        """Ratio of the sums, in percent."""
        total = sum(score.denominator for score in self.scores)
        return 100.0 * sum(score.numerator for score in self.scores) / max(total, 1.0)


@dataclass(frozen=True)
class Evaluation:
    """Hold what evaluating a model on a task gave.

    Args:
        tests: one score a test directory.
        dev: the score by which the head was chosen.
        best_step: its step.
        seconds: time spent on the frozen pass and the head.
        train: the split that the head was trained on.
        search: what tells the search by which ``tests`` were scored, with its score on dev where
            it was chosen among several.
        labels: stream, number and SHA-256 of the classes.
    """

    tests: tuple[SplitScore, ...]
    dev: float
    best_step: int
    seconds: float
    train: Split
    search: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, Any] = field(default_factory=dict)


def evaluate(
    config: EvaluateConfig,
    model: SpeechModel,
    registry: Registry,
    *,
    own: OwnHead | None = None,
    features: Path | None = None,
    cache: HiddenCache | None = None,
    description: str = "evaluate",
) -> Evaluation:
    """Train a head on a frozen model, or take the model's own one, and score it.

    Args:
        config: the options.
        model: the model.
        registry: where the head is looked up.
        own: the head that the model was fine-tuned with, for ``training.own_head``.
        features: directory of cached features made by the model's frontend; None computes them.
        cache: hidden states that another task of this model left, or None.
        description: what progress bars say.

    Returns:
        Scores of every test directory.

    Raises:
        ConfigError: if a split is not named.
        DataError: if data or labels are not usable.
    """
    started = time.perf_counter()
    set_threads(config.training.threads)
    splits = _read_splits(config, model)
    known = own.labels if config.training.own_head and own is not None else None
    labels, rows = read_labels(config.task, splits, known=known)
    if LAYOUTS[config.task.labels] == "frame":
        rows = _at_frames(rows, splits.values(), frame_grid(model.frontend))
    reader = _reader(splits, model, features, {labels.stream: rows})
    torch.manual_seed(stateless_seed(config.training.seed, "head"))
    frozen, head = _frozen_and_head(config, model, registry, reader, labels, cache)
    if config.training.own_head:
        _take(own, head, labels)
    run = _HeadTraining(head, frozen, config, splits)
    for name, split in splits.items():
        if name != "train" or not config.training.own_head:
            frozen.fill(_order(split, config), f"{description}: {split.name}")
    if config.training.own_head:
        run.best_value = run.score(splits["dev"]).value
    else:
        run.train(description)
    search = run.choose_search(description)
    tests = tuple(run.score(splits[name]) for name in splits if name.startswith("test"))
    return Evaluation(
        tests=tests,
        dev=run.best_value,
        best_step=run.best_step,
        seconds=time.perf_counter() - started,
        train=splits["train"],
        search=search,
        labels=describe_labels(labels),
    )


def _read_splits(config: EvaluateConfig, model: SpeechModel) -> dict[str, Split]:
    task, grid = config.task, frame_grid(model.frontend)
    for name in ("train", "dev", "test"):
        if not getattr(task, name):
            raise ConfigError(
                f"task.{name} names no data directory",
                remedy=f"set task.{name}=[DIRECTORY,...]",
            )
    need_text = task.labels in TEXT_STREAMS
    splits = {
        name: read_split(getattr(task, name), grid, need_text=need_text)
        for name in ("train", "dev")
    }
    for number, directory in enumerate(task.test):
        splits[f"test{number}"] = read_split([directory], grid, need_text=need_text)
    _refuse_clashes(splits)
    return splits


def _refuse_clashes(splits: Mapping[str, Split]) -> None:
    utterances: dict[str, Utterance] = {}
    for split in splits.values():
        for name, utterance in split.utterances.items():
            if utterances.setdefault(name, utterance) != utterance:
                raise DataError(
                    f"utterance {name} is another one in {split.name} than elsewhere in the task",
                    remedy="give utterances ids that are unique in all directories of a task",
                )
    scored = [split for name, split in splits.items() if name.startswith("test")]
    named = {splits["train"].name: splits["train"].directories}
    for number, split in enumerate(scored):
        if split.name in [other.name for other in scored[:number]] or (
            named.get(split.name, split.directories) != split.directories
        ):
            raise ConfigError(
                f"two data directories are called {split.name}, which a record cannot tell apart",
                remedy="rename one of them",
            )


def _at_frames(
    rows: Mapping[str, np.ndarray], splits: Iterable[Split], grid: FrameGrid
) -> dict[str, np.ndarray]:
    """Bring labels of Kaldi's frames to those of the model; others stay, and the head judges."""
    found = dict(rows)
    for split in splits:
        reader = UtteranceReader(split.utterances, grid)
        for name in split.utterances:
            samples = reader.num_samples(name)
            frames = grid.num_frames(samples)
            kaldi = KALDI_FRAMES.num_frames(samples * KALDI_FRAMES.sample_rate // grid.sample_rate)
            labels = rows.get(name)
            if labels is None or len(labels) == 0 or abs(len(labels) - kaldi) > _LABEL_TOLERANCE:
                continue
            if abs(len(labels) - frames) > _LABEL_TOLERANCE:
                places = frame_of(grid, KALDI_FRAMES, num_target=frames, num_source=len(labels))
                found[name] = labels[places]
    return found


def _reader(
    splits: Mapping[str, Split],
    model: SpeechModel,
    features: Path | None,
    labels: Mapping[str, Mapping[str, np.ndarray]],
) -> UtteranceReader:
    utterances = {
        name: utterance for split in splits.values() for name, utterance in split.utterances.items()
    }
    stores = None
    if features is not None:
        opened = [open_features(features, split) or [] for split in splits.values()]
        stores = [store for group in opened for store in group]
        check_features(stores, model.spec.frontend)
    return UtteranceReader(utterances, frame_grid(model.frontend), stores, labels=labels)


def _frozen_and_head(
    config: EvaluateConfig,
    model: SpeechModel,
    registry: Registry,
    reader: UtteranceReader,
    labels: LabelSpace,
    cache: HiddenCache | None,
) -> tuple[FrozenModel, Head]:
    depth = config.training.num_layers
    states = 1 + (model.num_layers if depth is None else depth)
    head = build_head(config.head, registry, dim=model.dim, num_layers=states, labels=labels)
    if head.label_layout != LAYOUTS[config.task.labels]:
        raise ConfigError(
            f"head {config.head.name} wants one label a {head.label_layout}, task.labels="
            f"{config.task.labels} gives one a {LAYOUTS[config.task.labels]}",
            remedy="choose a head and a label stream that belong together",
        )
    frozen = FrozenModel(
        model,
        reader,
        num_layers=depth,
        last_only=not head.needs_all_layers,
        cache_bytes=config.training.cache_gigabytes * 1e9,
        cache=cache,
    )
    return frozen, head


def _take(own: OwnHead | None, head: Head, labels: LabelSpace) -> None:
    if own is None:
        raise ConfigError(
            "training.own_head=true, and the model was never fine-tuned with a head",
            remedy="fine-tune it by speechlite compress objective=finetune, or set "
            "training.own_head=false",
        )
    if own.labels != labels:
        raise ConfigError(
            f"the model's head knows {len(own.labels.symbols)} {own.labels.stream}, the task has "
            f"{len(labels.symbols)} {labels.stream}, or others",
            remedy="name in task.train the data that the model was fine-tuned on",
        )
    try:
        head.load_state_dict(own.head.state_dict())
    except RuntimeError:
        raise ConfigError(
            f"the model's head is {own.choice.name} with {own.choice.options}, another than the "
            "task's",
            remedy="give head the options that the model was fine-tuned with",
        ) from None


def _order(split: Split, config: EvaluateConfig, *, shuffle: bool = False) -> BatchOrder:
    return BatchOrder(
        split.durations,
        batch_seconds=max(config.training.batch_seconds, *split.durations.values()),
        num_buckets=20,
        seed=config.training.seed,
        shuffle=shuffle,
    )


class _HeadTraining:
    """Train a head and keep the weights that are best on dev."""

    def __init__(
        self,
        head: Head,
        frozen: FrozenModel,
        config: EvaluateConfig,
        splits: Mapping[str, Split],
    ) -> None:
        self.head = head
        self.frozen = frozen
        self.config = config
        self.splits = splits
        self.metric = head.metric()
        self.searches = head.searches()
        self.predict: Callable[[Hidden], list[Any]] = head.predict
        self.best_step = 0
        self.best_value = float("nan")

    def train(self, description: str) -> None:
        """Train for all steps, then take the best weights.

        Args:
            description: what the progress bar says.
        """
        options = self.config.training
        adam = torch.optim.Adam(self.head.parameters(), lr=options.learning_rate)
        best = copy.deepcopy(self.head.state_dict())
        stream = _order(self.splits["train"], self.config, shuffle=True).stream(Position(0, 0))
        with track(f"{description}: head", options.max_steps) as tracker:
            for step in range(1, options.max_steps + 1):
                self._step(adam, next(stream)[1], step)
                due = step % options.validate_every_steps == 0 or step == options.max_steps
                if due and self._is_better(self.score(self.splits["dev"]).value):
                    self.best_step = step
                    best = copy.deepcopy(self.head.state_dict())
                note = f"dev {self.metric.name} {self.best_value:.2f}" if self.best_step else ""
                tracker.update(step, note)
        self.head.load_state_dict(best)

    def choose_search(self, description: str) -> dict[str, Any]:
        """Take the search that is best on dev, with the weights chosen before.

        Args:
            description: what the progress bar says.

        Returns:
            Its facts, with its score on dev where there was a choice.
        """
        best = self.searches[0]
        facts = dict(best.facts)
        if len(self.searches) > 1:
            sign = -1 if self.metric.higher_is_better else 1
            values = []
            with track(f"{description}: search", len(self.searches)) as tracker:
                for done, search in enumerate(self.searches, start=1):
                    self.predict = search.predict
                    values.append(self.score(self.splits["dev"]).value)
                    tracker.update(done)
            value = min(values, key=lambda value: sign * value)
            best = self.searches[values.index(value)]
            facts = {**best.facts, "dev": value}
        self.predict = best.predict
        return facts

    def _step(self, adam: torch.optim.Adam, names: tuple[str, ...], step: int) -> None:
        options = self.config.training
        self.head.train()
        torch.manual_seed(stateless_seed(options.seed, "head", step))
        batch, hidden = self.frozen.read(names)
        loss = self.head.loss(hidden, batch)
        adam.zero_grad()
        mean = loss.sum / loss.weight.clamp(min=1.0)
        if not torch.isfinite(mean):
            raise SpeechliteError(
                f"the head's loss is {mean.item()} at step {step}",
                remedy="lower training.learning_rate",
            )
        mean.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        if options.clip_norm:
            torch.nn.utils.clip_grad_norm_(self.head.parameters(), options.clip_norm)
        adam.step()

    def _is_better(self, value: float) -> bool:
        gain = value - self.best_value if self.metric.higher_is_better else self.best_value - value
        if self.best_step and not gain > 0:
            return False
        self.best_value = value
        return True

    def score(self, split: Split) -> SplitScore:
        """Score the head on a split.

        Args:
            split: the split.

        Returns:
            Its scores, in order of utterance ids.
        """
        self.head.eval()
        scores: list[UtteranceScore] = []
        with torch.no_grad():
            for names in _order(split, self.config).epoch(0):
                batch, hidden = self.frozen.read(names)
                scores += self.metric.score(self.predict(hidden), batch)
        return SplitScore(
            split=split,
            metric=self.metric.name,
            unit=self.metric.unit,
            higher_is_better=self.metric.higher_is_better,
            scorer=self.metric.scorer,
            scores=tuple(sorted(scores, key=lambda score: score.id)),
        )
