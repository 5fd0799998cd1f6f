"""Training under an objective, on Lightning: any number of processes, resumable to the bit.

All randomness is stateless: the order of batches is a function of (seed, epoch), masks and depths
of (seed, epoch, batch, utterance), dropout of (seed, step, process). A run therefore continues
from any checkpoint as if it had never stopped.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import lightning
import torch
from torch import Tensor, distributed, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from speechlite.config.schema import OptimizerOptions, TrainerOptions
from speechlite.core.compressor import Compressor
from speechlite.core.errors import ConfigError, SpeechliteError
from speechlite.core.model import SpeechModel
from speechlite.core.objective import Objective
from speechlite.core.types import Batch, Loss, stateless_seed
from speechlite.data.order import BatchOrder, Position
from speechlite.data.reader import UtteranceReader

__all__ = ["Speech", "TrainingModule", "rank_and_world", "rate_factor", "summed"]


def rate_factor(step: int, *, schedule: str, warmup_steps: int, max_steps: int) -> float:
    """Return the learning rate of a step relative to its peak.

    Args:
        step: optimiser steps done so far.
        schedule: ``noam`` (Vaswani et al. 2017, Eq. 3), ``linear`` (to 0 after the last step) or
            ``constant``, each after a linear warm-up.
        warmup_steps: step of the peak.
        max_steps: steps of the run.

    Returns:
        A factor in [0, 1], 1 at the peak.
    """
    step = step + 1
    if step <= warmup_steps or schedule == "constant":
        return min(step / warmup_steps, 1.0)
    if schedule == "noam":
        return float((warmup_steps / step) ** 0.5)
    return max(0.0, (max_steps + 1 - step) / max(1, max_steps + 1 - warmup_steps))


@dataclass(frozen=True)
class Speech:
    """Join the order of batches with the reader that makes them.

    Args:
        order: which utterances form a batch.
        reader: reads them.
    """

    order: BatchOrder
    reader: UtteranceReader


@dataclass(frozen=True)
class _Request:
    names: tuple[str, ...]
    seed: int
    crop_seed: int
    position: Position


class _Requests(Sampler[_Request]):
    """Give this process its share of every batch of the run, from a position on."""

    def __init__(self, order: BatchOrder, *, seed: int, start: Position, done: int, total: int):
        self.order = order
        self.seed = seed
        self.start = start
        self.done = done
        self.total = total

    def __len__(self) -> int:
        return self.total

    def __iter__(self) -> Iterator[_Request]:
        rank, world = rank_and_world()
        stream = self.order.stream(self.start)
        for _, (position, names) in zip(range(self.total - self.done), stream, strict=False):
            if len(names) < world:
                raise ConfigError(
                    f"a batch of {len(names)} utterances cannot be shared by {world} processes",
                    remedy="raise data.batch_seconds or lower trainer.devices",
                )
            yield _Request(
                names=names[rank::world],
                seed=stateless_seed(self.seed, position.epoch, position.batch),
                crop_seed=stateless_seed(self.seed, "crop", position.epoch),
                position=position,
            )


class _Batches(Dataset[Any]):
    def __init__(self, reader: UtteranceReader) -> None:
        self.reader = reader

    def __getitem__(self, request: _Request) -> tuple[Batch | SpeechliteError, Position]:
        try:
            read = self.reader.read(request.names, seed=request.seed, crop_seed=request.crop_seed)
        except SpeechliteError as error:
            # torch would rebuild an error of a loading process from its text alone
            return error, request.position
        return read, request.position


def rank_and_world() -> tuple[int, int]:
    """Return which of how many processes this one is.

    Returns:
        Rank from 0, and the number of processes.
    """
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def summed(value: Tensor) -> Tensor:
    """Return the sum of a tensor over all processes, without a gradient.

    Args:
        value: any tensor of equal shape in all processes.

    Returns:
        A new tensor.
    """
    value = value.detach().clone()
    if rank_and_world()[1] > 1:
        distributed.all_reduce(value)
    return value


class TrainingModule(lightning.LightningModule):
    """Run an objective over a model, and keep what a resumed run needs to know.

    Args:
        model: the model to train.
        objective: the training signal.
        optimizer: options of Adam and its schedule.
        trainer: length, precision and seed of the run.
        speech: the training batches.
        compressor: what prepared the model and adds its penalty to the loss; None for nothing.
    """

    def __init__(
        self,
        model: SpeechModel,
        objective: Objective,
        *,
        optimizer: OptimizerOptions,
        trainer: TrainerOptions,
        speech: Speech,
        compressor: Compressor | None = None,
    ) -> None:
        super().__init__()
        self.compressor = compressor
        self.model = model
        self.objective = objective
        self.optimizer_options = optimizer
        self.trainer_options = trainer
        self.speech = speech
        self.next_position = Position(0, 0)
        self.seconds = 0.0
        self.audio_seconds = 0.0
        self.last_loss = float("nan")
        self.validations: list[tuple[int, float]] = []
        self._step_started = 0.0

    def configure_optimizers(self) -> Any:
        """Return Adam with its schedule, a step at a time.

        Returns:
            What Lightning expects.
        """
        options = self.optimizer_options
        kind = torch.optim.AdamW if options.decoupled_decay else torch.optim.Adam
        adam = kind(
            _parameter_groups(self),
            lr=options.learning_rate,
            betas=(options.beta1, options.beta2),
            eps=options.epsilon,
            weight_decay=options.weight_decay,
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(
            adam,
            lambda step: rate_factor(
                step,
                schedule=options.schedule,
                warmup_steps=options.warmup_steps,
                max_steps=self.trainer_options.max_steps,
            ),
        )
        return [adam], [{"scheduler": schedule, "interval": "step"}]

    def train_dataloader(self) -> DataLoader[Any]:
        """Return the rest of the run's batches, from the position of the last checkpoint on.

        Returns:
            A loader whose length is that of the whole run.
        """
        options = self.trainer_options
        requests = _Requests(
            self.speech.order,
            seed=options.seed,
            start=self.next_position,
            done=self.trainer.global_step * options.accumulate,
            total=options.max_steps * options.accumulate,
        )
        return DataLoader(
            _Batches(self.speech.reader),
            sampler=requests,
            batch_size=None,
            num_workers=options.workers,
        )

    def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
        """Move a batch to the device of this process.

        Args:
            batch: a batch with its position.
            device: where to.
            dataloader_idx: unused.

        Returns:
            The same pair on the device.

        Raises:
            SpeechliteError: if the batch could not be read.
        """
        if isinstance(batch[0], SpeechliteError):
            raise batch[0]
        return batch[0].to(device), batch[1]

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seed torch for this batch and process, and start its clock.

        Args:
            batch: a batch with its position.
            batch_idx: micro-batches done so far in the run.
        """
        self._step_started = time.perf_counter()
        torch.manual_seed(stateless_seed(batch[0].seed, "torch", rank_and_world()[0]))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the loss, normalised over all processes.

        Args:
            batch: a batch with its position.
            batch_idx: unused.

        Returns:
            A scalar whose average over processes is the loss of the whole batch.
        """
        loss: Loss = self.objective(self.model, batch[0])
        weight = summed(loss.weight).clamp(min=1.0)
        value = loss.sum * (rank_and_world()[1] / weight)
        if self.compressor is not None:
            penalty = self.compressor.penalty(self.model, self.trainer.global_step)
            value = value if penalty is None else value + penalty
        self._log(value, loss)
        return value

    def _log(self, value: Tensor, loss: Loss) -> None:
        if self.trainer.global_step % self.trainer_options.log_every_steps:
            return
        world = rank_and_world()[1]
        self.last_loss = float(summed(value)) / world
        if not torch.isfinite(torch.tensor(self.last_loss)):
            raise SpeechliteError(
                f"the loss is {self.last_loss} at step {self.trainer.global_step}",
                remedy="lower optimizer.learning_rate or use trainer.precision=32-true",
            )
        self.log("train/loss", self.last_loss)
        # the last group is that of the parts without a rate of their own
        self.log("learning_rate", float(self.lr_schedulers().get_last_lr()[-1]))  # type: ignore[union-attr]
        for name, part in loss.parts.items():
            self.log(f"train/{name}", float(summed(part)) / world)

    def count_batch(self, batch: Any) -> None:
        """Count time and audio, and remember where the next batch is.

        Not a hook of this module: Lightning runs those after the callbacks that save checkpoints,
        and a resumed run would then train on a batch twice.

        Args:
            batch: the batch that was trained on, with its position.
        """
        position = batch[1]
        self.next_position = Position(position.epoch, position.batch + 1)
        frames = (batch[0].features or batch[0].waves).lengths.sum().double()
        grid = self.speech.reader.grid
        per_second = grid.sample_rate / (grid.stride if batch[0].features else 1)
        self.audio_seconds += float(summed(frames)) / per_second
        self.seconds += time.perf_counter() - self._step_started

    def on_train_start(self) -> None:
        """Put model and objective into training mode."""
        self.model.train()
        self.objective.train()

    def state_to_resume(self) -> dict[str, Any]:
        """Return what a resumed run must know beside weights and optimiser.

        Returns:
            Plain values.
        """
        return {
            "position": asdict(self.next_position),
            "seconds": self.seconds,
            "audio_seconds": self.audio_seconds,
            "validations": [list(item) for item in self.validations],
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the position and the counters to a checkpoint.

        Args:
            checkpoint: what Lightning is about to save.
        """
        checkpoint["speechlite"] = self.state_to_resume()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the position and the counters from a checkpoint.

        Args:
            checkpoint: what Lightning has loaded.
        """
        state = checkpoint["speechlite"]
        self.next_position = Position(**state["position"])
        self.seconds = state["seconds"]
        self.audio_seconds = state["audio_seconds"]
        self.validations = [(int(step), float(loss)) for step, loss in state["validations"]]


def _parameter_groups(module: nn.Module) -> list[dict[str, Any]]:
    # parameters of a part with a learning rate of its own come first, then all others
    groups: list[dict[str, Any]] = []
    taken: set[int] = set()
    for part in module.modules():
        rate = getattr(part, "learning_rate", None)
        if not isinstance(rate, float):
            continue
        own = [one for one in part.parameters() if id(one) not in taken]
        taken.update(id(one) for one in own)
        maximise = bool(getattr(part, "maximise", False))
        groups.append({"params": own, "lr": rate, "maximize": maximise, "weight_decay": 0.0})
    others = [one for one in module.parameters() if id(one) not in taken]
    return [*groups, {"params": others}] if others else groups
