"""Train a model under an objective: its data, its best weights, and what a killed run needs.

What ``pretrain`` and ``compress`` share.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechlite.core.compressor import Compressor
from speechlite.core.errors import ConfigError, SpeechliteError
from speechlite.core.model import SpeechModel
from speechlite.core.types import stateless_seed
from speechlite.data.atomic import replace_file
from speechlite.engine.build import objective_type
from speechlite.engine.checkpoint import save_model
from speechlite.engine.directories import new_directory, own_directory
from speechlite.engine.fitting import fit
from speechlite.engine.head_files import OwnHead, fitting_head
from speechlite.engine.objective_data import (
    NO_HEADS,
    Heads,
    TrainingOptions,
    prepare_objective,
    read_training_splits,
    speech_of,
)
from speechlite.engine.progress import say
from speechlite.engine.resume import sweep_temporaries
from speechlite.engine.splits import Split, describe
from speechlite.engine.stamps import Stamp
from speechlite.engine.training import Speech, TrainingModule, rank_and_world, summed
from speechlite.plugins.registry import Registry

__all__ = [
    "Interrupted",
    "is_further_process",
    "own_run",
    "set_threads",
    "train",
    "training_inputs",
]


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


def is_further_process() -> bool:
    """Tell whether another process owns the run's directory, and this one only trains.

    Returns:
        True in all processes but the first of those that Lightning or a launcher started.
    """
    return int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))) > 0


def training_inputs(
    config: TrainingOptions, registry: Registry, splits: Sequence[str] = ("train", "valid")
) -> list[Path]:
    """Return the files and directories that training reads.

    Args:
        config: the options.
        registry: where the objective is looked up.
        splits: which data must be named.

    Returns:
        Paths; the checkpoints that the objective reads are among them.

    Raises:
        ConfigError: if no data is named.
    """
    data = config.data
    for name in splits:
        if not getattr(data, name):
            raise ConfigError(
                f"data.{name} names no directory", remedy=f"set data.{name}=[DIRECTORY,...]"
            )
    inputs = [Path(name) for name in (*data.train, *data.valid)]
    if data.features is not None:
        stores = {Path(data.features) / path.name for path in inputs}
        inputs += [store / "features.json" for store in sorted(stores)]
    inputs += [Path(name) for name in (data.units, data.subword_model) if name is not None]
    if config.objective is None:
        return inputs
    named = (
        getattr(config.objective.options, n)
        for n in objective_type(config.objective, registry).reads
    )
    return [*inputs, *(Path(name) for name in named if name)]


def own_run(
    directory: Path,
    stamp: Stamp,
    work: Callable[[], None],
    *,
    name: str,
    force: bool = False,
    resumable: bool = True,
) -> None:
    """Do the work of a training run in a directory that it owns, unless it is up to date.

    Args:
        directory: where checkpoints, logs and the model go.
        stamp: what the run depends on.
        work: trains, and writes the outputs and the stamp.
        name: what messages call the run.
        force: whether to train anew although nothing has changed.
        resumable: whether the work leaves checkpoints, which other options must not resume.
    """
    if is_further_process():
        if force or stamp.reason_to_run(directory) is not None:
            work()
        return
    with own_directory(directory):
        reason = "asked for" if force else stamp.reason_to_run(directory)
        if reason is None:
            say(f"{name} {directory}: up to date")
            return
        say(f"{name} {directory}: {reason}")
        # a finished run keeps no candidates, so that one whose output is gone starts anew
        finished = (directory / "stamp.json").is_file()
        if resumable:
            _forget_other_runs(directory, stamp, force=force or finished)
        work()


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


def train(
    config: TrainingOptions,
    model: SpeechModel,
    directory: Path,
    registry: Registry,
    stamp: Stamp,
    *,
    start: SpeechModel | None = None,
    heads: Heads = NO_HEADS,
    compressor: Compressor | None = None,
    finish: Callable[[SpeechModel], SpeechModel] | None = None,
) -> None:
    """Train to the last step, or go on where an earlier run stopped; write model and stamp.

    Args:
        config: the options.
        model: the model to train.
        directory: where checkpoints, logs and the model go.
        registry: where components are looked up.
        stamp: written when all is there.
        start: the model that stands in for one that the objective reads and no option names.
            None where there is none.
        heads: what an objective that takes a head is given; the source's own one stays with the
            model in any case.
        compressor: what prepared the model; its penalty is added to the loss.
        finish: makes the final model of the one with the last weights; None keeps the model with
            the lowest validation loss as it is.

    Raises:
        Interrupted: if a signal stopped the run.
        SystemExit: if one stopped a further process.
        SpeechliteError: any other problem, in one line.
    """
    splits = read_training_splits(config, model, registry)
    prepared = prepare_objective(config, model, registry, splits, start=start, heads=heads)
    speech = {
        name: speech_of(config, model, split, prepared.labels, training=name == "train")
        for name, split in splits.items()
    }
    module = TrainingModule(
        model,
        prepared.objective,
        optimizer=config.optimizer,
        trainer=config.trainer,
        speech=speech["train"],
        compressor=compressor,
    )
    best = _Best(
        module,
        directory / "candidates",
        speech["valid"],
        head=prepared.head or fitting_head(heads.own, model),
        keep=finish is None,
    )
    stopped = fit(module, directory, validate=best.validate, description=str(directory))
    if stopped and is_further_process():
        # the first process reports it; Lightning would kill that one if this one failed
        raise SystemExit(0)
    if stopped:
        raise Interrupted(stopped)
    if rank_and_world()[0] == 0:
        if finish is None:
            _take_best(directory, best)
        else:
            finished = finish(model.eval().cpu())
            head = fitting_head(prepared.head or heads.own, finished)
            save_model(finished, directory / "model", head=head)
        _write_facts(directory, module, best, splits)
        stamp.write(directory, outputs=["model", "training.json"])
        # only now: a run killed before the stamp needs them once more
        shutil.rmtree(best.directory, ignore_errors=True)


class _Best:
    """Measure the loss on the validation data, and keep the weights with the lowest one."""

    def __init__(
        self,
        module: TrainingModule,
        directory: Path,
        speech: Speech,
        *,
        head: OwnHead | None,
        keep: bool,
    ) -> None:
        self.module = module
        self.head = head
        self.directory = directory
        self.speech = speech
        self.seed = module.trainer_options.seed
        self.keep = keep

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
        if self.keep and rank_and_world()[0] == 0 and self.best_step() == step:
            save_model(module.model, self.directory / f"step-{step:09d}", head=self.head)

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


def _take_best(directory: Path, best: _Best) -> None:
    candidate = best.directory / f"step-{best.best_step():09d}"
    with new_directory(directory / "model") as temporary:
        shutil.copytree(candidate, temporary, dirs_exist_ok=True)


def _write_facts(
    directory: Path, module: TrainingModule, best: _Best, splits: Mapping[str, Split]
) -> None:
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
        "best_step": best.best_step() if best.keep else module.trainer_options.max_steps,
        "validations": module.validations,
        "data": {name: describe(split) for name, split in splits.items()},
    }
    with replace_file(directory / "training.json") as stream:
        stream.write(json.dumps(facts, indent=1).encode())
