"""Compress by what a model makes of data, without training it."""

from __future__ import annotations

import json
import random
import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from speechlite.config.schema import CompressConfig
from speechlite.core.compressor import Compressor
from speechlite.core.errors import ConfigError
from speechlite.core.model import SpeechModel
from speechlite.core.types import Batch, Loss, stateless_seed
from speechlite.data.atomic import replace_file
from speechlite.data.order import Position
from speechlite.engine.objective_data import (
    Heads,
    PreparedObjective,
    prepare_objective,
    read_training_splits,
    speech_of,
)
from speechlite.engine.progress import track
from speechlite.engine.splits import Split
from speechlite.engine.training import Speech
from speechlite.plugins.registry import Registry

__all__ = ["CalibrationFacts", "calibrate"]

_LossOf = Callable[[SpeechModel, Batch], Loss]


@dataclass(frozen=True)
class CalibrationFacts:
    """Say what a calibration took.

    Args:
        seconds: of the compressor, reading included.
        utterances: that it heard.
        hours: of audio.
        peak_bytes: largest resident set of the process so far.
        device: what computed.
    """

    seconds: float
    utterances: int
    hours: float
    peak_bytes: int
    device: str

    def write(self, directory: Path) -> None:
        """Write what records read as the cost of a compression.

        Args:
            directory: where ``training.json`` goes.
        """
        facts = {
            "seconds": self.seconds,
            "steps": 0,
            "epochs": 0.0,
            "audio_hours_seen": self.hours,
            "utterances": self.utterances,
            "peak_bytes": self.peak_bytes,
            "device": self.device,
            "threads": torch.get_num_threads(),
        }
        with replace_file(directory / "training.json") as stream:
            stream.write(json.dumps(facts, indent=1).encode())


class _Heard:
    """Give the same batches whenever it is gone through, and count what was heard once."""

    def __init__(self, speech: Speech, seed: int, description: str) -> None:
        self.speech = speech
        self.seed = seed
        self.description = description
        self.passes = 0

    def __iter__(self) -> Iterator[Batch]:
        self.passes += 1
        batches = list(self.speech.order.epoch(0))
        with track(f"{self.description}: calibration, pass {self.passes}", len(batches)) as bar:
            for number, names in enumerate(batches):
                yield self.speech.reader.read(
                    names,
                    seed=stateless_seed(self.seed, "calibration", number),
                    crop_seed=self.seed,
                )
                bar.update(number + 1)


def calibrate(
    config: CompressConfig,
    compressor: Compressor,
    prepared: SpeechModel,
    registry: Registry,
    *,
    start: SpeechModel | None,
    heads: Heads,
    description: str,
) -> CalibrationFacts:
    """Let a compressor change a model by what it makes of data.

    Args:
        config: the options; data to hear, and perhaps an objective to measure losses by.
        compressor: the compressor.
        prepared: what it prepared; changed, and on the CPU afterwards.
        registry: where components are looked up.
        start: the model that stands in for one that the objective reads and no option names.
        heads: where the objective's head comes from.
        description: what progress bars say.

    Returns:
        What it took.

    Raises:
        ConfigError: if no data is named, or an option does not fit.
        DataError: if data is missing or not usable.
    """
    started = time.perf_counter()
    device = _device(config.trainer.accelerator)
    splits = read_training_splits(config, prepared, registry, ("train",))
    objective = None
    if config.objective is not None:
        objective = prepare_objective(config, prepared, registry, splits, start=start, heads=heads)
    split = _drawn(splits["train"], config.calibration.utterances, config.trainer.seed)
    labels = {} if objective is None else objective.labels
    speech = speech_of(config, prepared, split, labels, training=True)
    prepared.to(device).eval()
    loss: _LossOf | None = None
    if objective is not None:
        objective.objective.to(device)
        if objective.head is None or objective.head is not heads.own:
            _fit(config, objective, prepared, speech)
        loss = objective.objective.eval()
    compressor.calibrate(prepared, _Heard(speech, config.trainer.seed, description), loss)
    prepared.cpu()
    hours = sum(min(seconds, config.data.max_seconds) for seconds in split.durations.values())
    return CalibrationFacts(
        seconds=time.perf_counter() - started,
        utterances=len(split.utterances),
        hours=hours / 3600,
        peak_bytes=_peak_bytes(),
        device=str(device),
    )


def _device(accelerator: str) -> torch.device:
    if accelerator not in ("auto", "cpu", "gpu", "cuda"):
        raise ConfigError(
            f"trainer.accelerator={accelerator}, calibration knows auto, cpu and gpu",
            remedy="change trainer.accelerator",
        )
    use_cuda = accelerator in ("gpu", "cuda") or (
        accelerator == "auto" and torch.cuda.is_available()
    )
    if use_cuda and not torch.cuda.is_available():
        raise ConfigError(
            f"trainer.accelerator={accelerator}, and there is none",
            remedy="set trainer.accelerator=cpu",
        )
    return torch.device("cuda" if use_cuda else "cpu")


def _drawn(split: Split, utterances: int, seed: int) -> Split:
    names = sorted(split.utterances)
    if len(names) > utterances:
        generator = random.Random(stateless_seed(seed, "calibration"))  # noqa: S311
        names = generator.sample(names, utterances)
    chosen = set(names)
    return replace(
        split,
        utterances={name: one for name, one in split.utterances.items() if name in chosen},
        durations={name: one for name, one in split.durations.items() if name in chosen},
    )


def _fit(
    config: CompressConfig, objective: PreparedObjective, model: SpeechModel, speech: Speech
) -> None:
    # what the objective has beside the model may be as new as a head before its first step
    options, part = config.calibration, objective.objective
    parameters = [one for one in part.parameters() if one.requires_grad]
    if not options.fit_steps or not parameters:
        return
    adam = torch.optim.Adam(parameters, lr=options.fit_learning_rate)
    part.train()
    device = next(model.parameters()).device
    stream = speech.order.stream(Position(0, 0))
    for step in range(options.fit_steps):
        _, names = next(stream)
        seed = stateless_seed(config.trainer.seed, "fit", step)
        torch.manual_seed(seed)
        loss = part(model, speech.reader.read(names, seed=seed, crop_seed=seed).to(device))
        gradients = torch.autograd.grad(
            loss.sum / loss.weight.clamp(min=1.0), parameters, allow_unused=True
        )
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        adam.step()


def _peak_bytes() -> int:
    # Linux counts kilobytes, macOS bytes
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
