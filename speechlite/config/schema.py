"""The options of each stage, as frozen dataclasses; components carry their own options."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from speechlite.core.errors import ConfigError

__all__ = [
    "CalibrationOptions",
    "Choice",
    "CompressConfig",
    "EvaluateConfig",
    "HeadTrainingOptions",
    "OptimizerOptions",
    "PretrainConfig",
    "PretrainDataOptions",
    "ProfileConfig",
    "TaskOptions",
    "TrainerOptions",
]


def _at_least(smallest: float, **values: float) -> None:
    for name, value in values.items():
        if not smallest <= value < float("inf"):
            raise ConfigError(
                f"{name}={value}, expected at least {smallest:g}", remedy=f"change {name}"
            )


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not 0 < value < float("inf"):
            raise ConfigError(f"{name}={value}, expected more than 0", remedy=f"change {name}")


@dataclass(frozen=True)
class Choice:
    """Hold a chosen component with its options.

    Args:
        kind: the component's kind.
        name: its registered name; ``distribution/name`` where the bare one is ambiguous.
        options: its own frozen config dataclass.
    """

    kind: str
    name: str
    options: Any


@dataclass(frozen=True)
class OptimizerOptions:
    """Options of Adam and its schedule."""

    learning_rate: float = 1.0e-3
    """Peak learning rate, reached at the end of warm-up; above 0."""
    warmup_steps: int = 8000
    """Optimiser steps of linear warm-up; at least 1."""
    schedule: str = "noam"
    """After warm-up: noam (falls as step ** -0.5; Vaswani et al. 2017), linear (to 0), constant."""
    beta1: float = 0.9
    """Decay of the first moment."""
    beta2: float = 0.98
    """Decay of the second moment."""
    epsilon: float = 1.0e-9
    """Term in Adam's denominator."""
    weight_decay: float = 0.0
    """Factor of the weights' decay."""
    decoupled_decay: bool = False
    """Whether weights decay apart from the gradient (AdamW), or by an L2 penalty in it (Adam)."""
    clip_norm: float = 5.0
    """Largest gradient norm of a step; 0 leaves gradients as they are."""

    def __post_init__(self) -> None:
        _positive(learning_rate=self.learning_rate, epsilon=self.epsilon)
        _at_least(1, warmup_steps=self.warmup_steps)
        if self.schedule not in ("noam", "linear", "constant"):
            raise ConfigError(
                f"schedule={self.schedule!r}, expected noam, linear or constant",
                remedy="change optimizer.schedule",
            )
        _at_least(0, weight_decay=self.weight_decay, clip_norm=self.clip_norm)
        if not (0 <= self.beta1 < 1 and 0 <= self.beta2 < 1):
            raise ConfigError(
                f"beta1={self.beta1}, beta2={self.beta2}, expected at least 0 and below 1",
                remedy="change beta1 or beta2",
            )


@dataclass(frozen=True)
class TrainerOptions:
    """How long, how precisely and on what to train."""

    max_steps: int = 1_000_000
    """Optimiser steps of the whole run."""
    seed: int = 1
    """Seed of everything random: initial weights, order, masks, dropout."""
    accumulate: int = 1
    """Batches whose gradients are averaged into one optimiser step."""
    precision: str = "32-true"
    """Lightning's name of a precision: 32-true, bf16-mixed or 16-mixed."""
    accelerator: str = "auto"
    """Lightning's name of an accelerator: auto, cpu or gpu."""
    devices: int = 1
    """Processes, one a device; several of them train by DistributedDataParallel."""
    num_nodes: int = 1
    """Machines, each with ``devices`` processes."""
    threads: int = 0
    """CPU threads of a process; 0 takes all cores."""
    workers: int = 0
    """Processes that load batches; 0 loads them in the training process."""
    log_every_steps: int = 20
    """Steps between two entries of the loggers."""
    validate_every_steps: int = 1000
    """Steps between two passes over the validation data; the best model is kept."""
    checkpoint_every_steps: int = 1000
    """Steps between two checkpoints for resuming."""

    def __post_init__(self) -> None:
        _at_least(
            1,
            max_steps=self.max_steps,
            accumulate=self.accumulate,
            devices=self.devices,
            num_nodes=self.num_nodes,
            log_every_steps=self.log_every_steps,
            validate_every_steps=self.validate_every_steps,
            checkpoint_every_steps=self.checkpoint_every_steps,
        )
        _at_least(0, threads=self.threads, workers=self.workers)


@dataclass(frozen=True)
class PretrainDataOptions:
    """Which speech to train on, and how to cut it into batches."""

    train: list[str] = field(default_factory=list)
    """Kaldi-style directories to train on."""
    valid: list[str] = field(default_factory=list)
    """Kaldi-style directories to choose the best model on."""
    features: str | None = None
    """Directory that ``speechlite data dump`` wrote features to; None computes them each time."""
    units: str | None = None
    """Directory that ``speechlite units`` wrote, for objectives that need units."""
    labels: str | None = None
    """Label stream of a head's loss: characters, or subwords (both from text); longer utterances
    than max_seconds are then left out."""
    subword_model: str | None = None
    """The sentencepiece model of ``labels=subwords``."""
    batch_seconds: float = 120.0
    """Most audio of a batch, over all processes, in seconds."""
    max_seconds: float = 36.5
    """Longest utterance; longer ones are cut at random in training. Above 0."""
    min_seconds: float = 0.1
    """Shortest utterance; shorter ones are left out and counted."""
    num_buckets: int = 20
    """Duration buckets from which batches are drawn."""

    def __post_init__(self) -> None:
        _positive(batch_seconds=self.batch_seconds, max_seconds=self.max_seconds)
        _at_least(0, min_seconds=self.min_seconds)
        _at_least(1, num_buckets=self.num_buckets)
        if self.labels not in (None, "characters", "subwords") or (
            (self.labels == "subwords") != (self.subword_model is not None)
        ):
            raise ConfigError(
                f"labels={self.labels!r}, subword_model={self.subword_model!r}: expected null, "
                "characters, or subwords with a model",
                remedy="change data.labels or data.subword_model",
            )


@dataclass(frozen=True)
class PretrainConfig:
    """Options of ``speechlite pretrain``."""

    frontend: Choice
    """Waveform to frames."""
    encoder: Choice
    """Frames to hidden states."""
    objective: Choice
    """The training signal."""
    data: PretrainDataOptions = field(default_factory=PretrainDataOptions)
    """What to train on."""
    optimizer: OptimizerOptions = field(default_factory=OptimizerOptions)
    """How weights are updated."""
    trainer: TrainerOptions = field(default_factory=TrainerOptions)
    """How long, how precisely and on what machine."""


@dataclass(frozen=True)
class CalibrationOptions:
    """What a compressor hears that wants data and no training."""

    utterances: int = 2048
    """Utterances drawn from ``data.train``; all where there are fewer."""
    fit_steps: int = 0
    """Steps of Adam that first train what the objective has beside the model: a new head."""
    fit_learning_rate: float = 1.0e-3
    """Learning rate of these steps."""

    def __post_init__(self) -> None:
        _at_least(1, utterances=self.utterances)
        _at_least(0, fit_steps=self.fit_steps)
        _positive(fit_learning_rate=self.fit_learning_rate)


@dataclass(frozen=True)
class CompressConfig:
    """Options of ``speechlite compress``: a compressor, training, or a compressor in training."""

    compressor: Choice | None = None
    """The rewrite to carry out; none only trains the model on."""
    objective: Choice | None = None
    """The training signal; none compresses without training. A compressor that is calibrated asks
    it for losses and trains nothing."""
    head: Choice | None = None
    """The head that ``objective=finetune`` trains; none takes the one that the model has."""
    calibration: CalibrationOptions = field(default_factory=CalibrationOptions)
    """What a compressor hears that wants data and no training."""
    data: PretrainDataOptions = field(default_factory=PretrainDataOptions)
    """What to train on."""
    optimizer: OptimizerOptions = field(default_factory=OptimizerOptions)
    """How weights are updated."""
    trainer: TrainerOptions = field(default_factory=TrainerOptions)
    """How long, how precisely and on what machine."""

    def __post_init__(self) -> None:
        if self.compressor is None and self.objective is None:
            raise ConfigError(
                "neither a compressor nor an objective is chosen",
                remedy="add compressor=NAME, objective=NAME or both",
            )


@dataclass(frozen=True)
class TaskOptions:
    """What a downstream task is: data, labels, metric, version."""

    name: str = "phone"
    """Name of the task in records and tables."""
    version: str = "1"
    """Changes whenever numbers before and after must not be compared."""
    labels: str = "phones"
    """Label stream: phones (one a frame), characters or subwords (from text)."""
    train: list[str] = field(default_factory=list)
    """Kaldi-style directories to train the head on."""
    dev: list[str] = field(default_factory=list)
    """Directories to choose the best head on."""
    test: list[str] = field(default_factory=list)
    """Directories to score once, with the chosen head."""
    label_files: list[str] = field(default_factory=list)
    """Files of frame labels, one line an utterance; empty takes ``phone_labels`` in each split."""
    symbols: str | None = None
    """File of ``symbol id`` lines; None takes ``phones.txt`` beside the first label file."""
    subword_units: int | None = None
    """Units that sentencepiece finds in the training text, the blank not counted; at least 1."""
    subword_type: str = "unigram"
    """How it finds them: unigram or bpe."""
    subword_model: str | None = None
    """A sentencepiece model to take instead."""

    def __post_init__(self) -> None:
        self._check_subwords()
        # the name becomes part of file names
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", self.name):
            raise ConfigError(
                f"name={self.name!r}, expected letters, digits, '.', '_' or '-'",
                remedy="change task.name",
            )

    def _check_subwords(self) -> None:
        if self.subword_type not in ("unigram", "bpe"):
            raise ConfigError(
                f"subword_type={self.subword_type!r}, expected unigram or bpe",
                remedy="change task.subword_type",
            )
        given = [name for name in ("subword_units", "subword_model") if getattr(self, name)]
        if self.subword_units is not None:
            _at_least(1, subword_units=self.subword_units)
        if self.labels == "subwords" and len(given) != 1:
            raise ConfigError(
                f"labels=subwords with {' and '.join(given) or 'neither'}, expected one of "
                "subword_units and subword_model",
                remedy="set task.subword_units to train units, or task.subword_model to take some",
            )
        if self.labels != "subwords" and given:
            raise ConfigError(
                f"{given[0]} is set, labels={self.labels} does not use it",
                remedy=f"set task.labels=subwords, or leave task.{given[0]} out",
            )


@dataclass(frozen=True)
class HeadTrainingOptions:
    """How to train a head on a frozen model."""

    learning_rate: float = 1.0e-3
    """Constant learning rate of Adam."""
    max_steps: int = 2000
    """Optimiser steps."""
    batch_seconds: float = 120.0
    """Most audio of a batch in seconds."""
    validate_every_steps: int = 200
    """Steps between two scores of the dev data; the best head is kept."""
    clip_norm: float = 1.0
    """Largest gradient norm of a step; 0 leaves gradients as they are."""
    own_head: bool = False
    """Whether to score the head that the model was fine-tuned with, as it is."""
    num_layers: int | None = None
    """Layers that the frozen model executes (shallow-layer inference); None means all."""
    cache_gigabytes: float = 4.0
    """Memory for the frozen model's outputs; beyond it they are computed anew each time."""
    seed: int = 1
    """Seed of the head's weights and of the order."""
    threads: int = 0
    """CPU threads; 0 takes all cores."""

    def __post_init__(self) -> None:
        _positive(learning_rate=self.learning_rate, batch_seconds=self.batch_seconds)
        _at_least(1, max_steps=self.max_steps, validate_every_steps=self.validate_every_steps)
        _at_least(
            0,
            clip_norm=self.clip_norm,
            cache_gigabytes=self.cache_gigabytes,
            threads=self.threads,
            num_layers=self.num_layers or 0,
        )


@dataclass(frozen=True)
class EvaluateConfig:
    """Options of ``speechlite evaluate``."""

    head: Choice
    """Hidden states to predictions."""
    task: TaskOptions = field(default_factory=TaskOptions)
    """What to predict, on which data."""
    training: HeadTrainingOptions = field(default_factory=HeadTrainingOptions)
    """How the head is trained."""


@dataclass(frozen=True)
class ProfileConfig:
    """Options of ``speechlite profile``."""

    audio_seconds: list[float] = field(default_factory=lambda: [2.0, 5.0, 10.0, 20.0])
    """Lengths at which multiply-accumulates are counted."""
    rtf_seconds: float = 10.0
    """Length of the utterance whose real-time factor is measured."""
    repeats: int = 15
    """Timed passes after the warm-up ones."""
    warmup: int = 3
    """Passes before timing starts."""
    threads: int = 1
    """CPU threads while timing."""
    convention: str = "honest"
    """honest, or paper: beside it what "Attention or Convolution" would print (Table 1)."""
    parameter_bytes: int = 4
    """Bytes of a parameter in the paper's storage: 4, or 2 for its vanilla rows."""

    def __post_init__(self) -> None:
        _at_least(1, repeats=self.repeats, threads=self.threads)
        if self.convention not in ("honest", "paper") or self.parameter_bytes not in (2, 4):
            raise ConfigError(
                f"convention={self.convention!r}, parameter_bytes={self.parameter_bytes}: expected "
                "honest or paper, and 2 or 4",
                remedy="change convention or parameter_bytes",
            )
        _at_least(0, warmup=self.warmup)
        if not self.audio_seconds:
            raise ConfigError("audio_seconds=[], expected lengths", remedy="change audio_seconds")
        # a shorter utterance may have no frame
        lengths = {f"audio_seconds[{i}]": length for i, length in enumerate(self.audio_seconds)}
        _at_least(0.1, rtf_seconds=self.rtf_seconds, **lengths)
