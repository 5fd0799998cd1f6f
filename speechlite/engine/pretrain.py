"""Pretrain a model under an objective and keep its best weights."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechlite.config.compose import to_mapping
from speechlite.config.schema import PretrainConfig, PretrainDataOptions
from speechlite.core.errors import ConfigError, SpeechliteError
from speechlite.core.model import SpeechModel
from speechlite.core.types import stateless_seed
from speechlite.data.atomic import replace_file
from speechlite.data.order import BatchOrder
from speechlite.data.reader import UtteranceReader
from speechlite.engine.build import build_model, build_objective, model_spec
from speechlite.engine.checkpoint import save_model
from speechlite.engine.directories import new_directory, own_directory
from speechlite.engine.fitting import fit
from speechlite.engine.progress import say
from speechlite.engine.resume import sweep_temporaries
from speechlite.engine.splits import (
    Split,
    check_features,
    describe,
    frame_grid,
    open_features,
    read_split,
)
from speechlite.engine.stamps import Stamp
from speechlite.engine.training import Speech, TrainingModule, rank_and_world, summed
from speechlite.plugins.registry import Registry

__all__ = ["Interrupted", "is_further_process", "pretrain", "set_threads"]


class Interrupted(SpeechliteError):  # noqa: N818 (a stopped run is no failure)
    """Report a run that a signal stopped after a checkpoint.

    Args:
        number: the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(
            f"stopped by signal {number} after saving a checkpoint",
            remedy="run the same command again to go on",
        )
        self.exit_code = 128 + number


def set_threads(threads: int) -> None:
    """Set the CPU threads of this process.

    Args:
        threads: how many; 0 takes all cores that the process may use.
    """
    torch.set_num_threads(threads or len(os.sched_getaffinity(0)))


def pretrain(
    config: PretrainConfig, directory: Path, registry: Registry, *, force: bool = False
) -> Path:
    """Train until the last step, or go on where an earlier run stopped.

    Args:
        config: the options.
        directory: where checkpoints, logs and the model go; one run owns it at a time.
        registry: where components are looked up.
        force: whether to train anew although the stamp says that nothing has changed.

    Returns:
        The directory of the best model.

    Raises:
        Interrupted: if a signal stopped the run.
        SpeechliteError: any other problem, in one line.
    """
    model_directory = directory / "model"
    _refuse_no_data(config.data)
    stamp = Stamp.of(to_mapping(config), _inputs(config))
    if is_further_process():
        if not force and stamp.reason_to_run(directory) is None:
            return model_directory
        return _train(config, directory, registry, stamp)
    with own_directory(directory):
        reason = "asked for" if force else stamp.reason_to_run(directory)
        if reason is None:
            say(f"pretrain {directory}: up to date")
            return model_directory
        say(f"pretrain {directory}: {reason}")
        # a finished run keeps no candidates, so that one whose output is gone starts anew
        finished = (directory / "stamp.json").is_file()
        _forget_other_runs(directory, stamp, force=force or finished)
        return _train(config, directory, registry, stamp)


def _refuse_no_data(data: PretrainDataOptions) -> None:
    for name in ("train", "valid"):
        if not getattr(data, name):
            raise ConfigError(
                f"data.{name} names no directory", remedy=f"set data.{name}=[DIRECTORY,...]"
            )


def is_further_process() -> bool:
    """Tell whether another process owns the run's directory, and this one only trains.

    Returns:
        True in all processes but the first of those that Lightning or a launcher started.
    """
    return int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))) > 0


def _inputs(config: PretrainConfig) -> list[Path]:
    data = config.data
    inputs = [Path(name) for name in (*data.train, *data.valid)]
    if data.features is not None:
        stores = {Path(data.features) / path.name for path in inputs}
        inputs += [store / "features.json" for store in sorted(stores)]
    return inputs


def _forget_other_runs(directory: Path, stamp: Stamp, *, force: bool) -> None:
    # checkpoints may be resumed only by the configuration that made them
    sweep_temporaries(directory)
    path = directory / "run.json"
    content = json.dumps(asdict(stamp), sort_keys=True, indent=1)
    if force or not path.is_file() or path.read_text(encoding="utf-8") != content:
        for name in ("checkpoints", "candidates", "model", "logs", "tensorboard", "stamp.json"):
            target = directory / name
            if target.is_dir():
                shutil.rmtree(target)
            target.unlink(missing_ok=True) if target.is_file() else None
        with replace_file(path) as stream:
            stream.write(content.encode())


def _train(config: PretrainConfig, directory: Path, registry: Registry, stamp: Stamp) -> Path:
    set_threads(config.trainer.threads)
    torch.manual_seed(stateless_seed(config.trainer.seed, "weights"))
    model = build_model(model_spec(config.frontend, config.encoder), registry)
    objective = build_objective(config.objective, model, registry)
    train = _speech(config, model, config.data.train, training=True)
    valid = _speech(config, model, config.data.valid, training=False)
    module = TrainingModule(
        model,
        objective,
        optimizer=config.optimizer,
        trainer=config.trainer,
        speech=train[0],
    )
    best = _Best(module, directory / "candidates", valid[0], config.trainer.seed)
    stopped = fit(module, directory, validate=best.validate, description=str(directory))
    if stopped and is_further_process():
        # the first process reports it; Lightning would kill that one if this one failed
        raise SystemExit(0)
    if stopped:
        raise Interrupted(stopped)
    if rank_and_world()[0] == 0:
        _finish(directory, module, best, {"train": train[1], "valid": valid[1]})
        stamp.write(directory, outputs=["model", "training.json"])
        # only now: a run killed before the stamp needs them once more
        shutil.rmtree(best.directory)
    return directory / "model"


def _speech(
    config: PretrainConfig, model: SpeechModel, directories: list[str], *, training: bool
) -> tuple[Speech, Split]:
    data = config.data
    grid = frame_grid(model.frontend)
    split = read_split(directories, grid, min_seconds=data.min_seconds)
    stores = open_features(None if data.features is None else Path(data.features), split)
    if stores is not None:
        check_features(stores, to_mapping(config.frontend))
    reader = UtteranceReader(split.utterances, grid, stores, max_seconds=data.max_seconds)
    order = BatchOrder(
        {name: min(seconds, data.max_seconds) for name, seconds in split.durations.items()},
        batch_seconds=data.batch_seconds,
        num_buckets=data.num_buckets,
        seed=config.trainer.seed,
        shuffle=training,
    )
    return Speech(order, reader), split


class _Best:
    """Keep the weights with the lowest loss on the validation data."""

    def __init__(self, module: TrainingModule, directory: Path, speech: Speech, seed: int) -> None:
        self.module = module
        self.directory = directory
        self.speech = speech
        self.seed = seed

    def validate(self, step: int) -> None:
        """Measure the validation loss; write the model where it is the lowest so far.

        Args:
            step: optimiser steps done.
        """
        module = self.module
        loss = self._loss()
        module.validations.append((step, loss))
        if module.logger is not None:
            module.logger.log_metrics({"valid/loss": loss}, step=step)
        if rank_and_world()[0] == 0 and self.best_step() == step:
            save_model(module.model, self.directory / f"step-{step:09d}")

    def best_step(self) -> int:
        """Return the step with the lowest validation loss; the earliest of equal ones.

        Returns:
            Optimiser steps done.
        """
        return min(self.module.validations, key=lambda item: item[1])[0]

    def _loss(self) -> float:
        module = self.module
        module.eval()
        total = torch.zeros(2, dtype=torch.float64, device=module.device)
        rank, world = rank_and_world()
        with torch.no_grad():
            for number, names in enumerate(self.speech.order.epoch(0)):
                seed = stateless_seed(self.seed, "valid", number)
                share = names[rank::world]
                if share:
                    total += self._sums(share, seed)
        module.train()
        sum_and_weight: Tensor = summed(total)
        return float(sum_and_weight[0] / sum_and_weight[1].clamp(min=1))

    def _sums(self, names: tuple[str, ...], seed: int) -> Tensor:
        module = self.module
        batch = self.speech.reader.read(names, seed=seed, crop_seed=seed).to(module.device)
        with module.trainer.precision_plugin.forward_context():
            loss = module.objective(module.model, batch)
        return torch.stack([loss.sum.double(), loss.weight.double()])


def _finish(
    directory: Path, module: TrainingModule, best: _Best, splits: Mapping[str, Split]
) -> None:
    step = best.best_step()
    candidate = best.directory / f"step-{step:09d}"
    model_directory = directory / "model"
    with new_directory(model_directory) as temporary:
        shutil.copytree(candidate, temporary, dirs_exist_ok=True)
    hours = sum(splits["train"].durations.values()) / 3600
    epochs = module.audio_seconds / 3600 / hours
    facts: dict[str, Any] = {
        "seconds": module.seconds,
        "steps": module.trainer_options.max_steps,
        "epochs": epochs,
        "seconds_per_epoch": module.seconds / epochs,
        "audio_hours_seen": module.audio_seconds / 3600,
        "device": str(module.device),
        "threads": torch.get_num_threads(),
        "best_step": step,
        "validations": module.validations,
        "data": {name: describe(split) for name, split in splits.items()},
    }
    with replace_file(directory / "training.json") as stream:
        stream.write(json.dumps(facts, indent=1).encode())
