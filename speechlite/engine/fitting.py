"""Run a training module under Lightning: validate, save, stop on a signal, resume."""

from __future__ import annotations

import logging
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import distributed

from speechlite.core.errors import ConfigError, EnvironmentProblem
from speechlite.engine.progress import Tracker, say, track
from speechlite.engine.resume import DurableCheckpointIO, latest_checkpoint, step_path
from speechlite.engine.training import TrainingModule, rank_and_world

__all__ = ["fit"]

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)


class _Steps(Callback):
    """Validate, save and stop at optimiser steps, in this order."""

    def __init__(
        self, directory: Path, module: TrainingModule, validate: Callable[[int], None]
    ) -> None:
        self.directory = directory
        self.options = module.trainer_options
        self.validate = validate
        self.signal = 0
        self.tracker: Tracker | None = None

    def watch_signals(self) -> None:
        """Take note of signals from now on; a handler that only does that interrupts no write."""
        for number in _SIGNALS:
            signal.signal(number, self._remember)

    def _remember(self, number: int, frame: object) -> None:
        if self.signal and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number

    def on_train_start(self, trainer: Any, module: Any) -> None:
        # by now Lightning has a handler of its own, which ends the process as if all were well
        self.watch_signals()

    def on_train_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        options, step = self.options, trainer.global_step
        module.count_batch(batch)
        if (batch_idx + 1) % options.accumulate:
            return
        module.objective.after_step(module.model, step)
        if module.compressor is not None:
            module.compressor.after_step(module.model, step)
        last = step >= options.max_steps
        if self.tracker is not None:
            self.tracker.update(step, f"loss {module.last_loss:.4f}")
        if last or step % options.validate_every_steps == 0:
            self.validate(step)
        stop = self._stop_asked(module.device)
        if last or stop or step % options.checkpoint_every_steps == 0:
            trainer.save_checkpoint(step_path(self.directory, step))
        if stop:
            trainer.should_stop = True

    def _stop_asked(self, device: torch.device) -> bool:
        if rank_and_world()[1] > 1:
            flag = torch.tensor(self.signal, device=device)
            distributed.all_reduce(flag, distributed.ReduceOp.MAX)
            self.signal = int(flag)
        return bool(self.signal)


@contextmanager
def _deferred_signals(steps: _Steps) -> Iterator[None]:
    previous = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        steps.watch_signals()
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def fit(
    module: TrainingModule,
    directory: Path,
    *,
    validate: Callable[[int], None],
    description: str,
) -> int:
    """Train to the end, or from the newest checkpoint to the end.

    Args:
        module: the model, its objective and its batches.
        directory: where checkpoints and logs go.
        validate: called after a step that is due for validation, before it is saved.
        description: what the progress bar says.

    Returns:
        0 at the end of training; else the number of the signal that stopped it before.

    Raises:
        ConfigError: if Lightning refuses an option.
        EnvironmentProblem: if memory runs out.
    """
    checkpoints = directory / "checkpoints"
    steps = _Steps(checkpoints, module, validate)
    resume = latest_checkpoint(checkpoints)
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with warnings.catch_warnings():
        # Lightning's advice on workers and loggers does not apply to a loader of whole batches
        warnings.filterwarnings("ignore", module="lightning")
        trainer = _trainer(module, directory, steps, start=resume)
        first = trainer.is_global_zero
        if resume is not None and first:
            say(f"resuming from {resume}")
        total = module.trainer_options.max_steps
        with _deferred_signals(steps), track(description, total, quiet=not first) as tracker:
            steps.tracker = tracker
            try:
                trainer.fit(module, ckpt_path=None if resume is None else str(resume))
            except SIGTERMException:
                # the signal came before training had begun
                steps.signal = steps.signal or signal.SIGTERM
            except (torch.OutOfMemoryError, MemoryError) as error:
                raise EnvironmentProblem(
                    f"out of memory: {' '.join(str(error).split()) or 'no detail'}",
                    remedy="lower data.batch_seconds or data.max_seconds; the run can be resumed",
                ) from None
    return steps.signal


class _EveryBatchDDP(DDPStrategy):
    """Sum gradients over processes after every batch, not once a step.

    A layer that is idle in the last batch of a step would keep what this process alone gathered in
    the batches before: the processes would drift apart.
    """

    @contextmanager
    def block_backward_sync(self) -> Iterator[None]:
        """Leave the summing on."""
        yield


def _has_unused_parameters(module: TrainingModule) -> bool:
    encoder = module.model.encoder
    drawn = encoder.draw_depth(0) is not None
    has_idle_layers = drawn and len({id(layer) for layer in encoder.layers}) > 1
    return has_idle_layers or module.objective.has_idle_layers or encoder.layer_drop > 0


def _loggers(directory: Path, start: Path | None) -> list[Logger]:
    # every start of a run writes files of its own, so that no resumed run overwrites a curve
    version = "from-" + ("start" if start is None else start.name.split(".")[0])
    return [
        CSVLogger(directory, name="logs", version=version),
        TensorBoardLogger(directory, name="tensorboard", version=version),
    ]


def _trainer(
    module: TrainingModule, directory: Path, steps: _Steps, *, start: Path | None
) -> lightning.Trainer:
    options = module.trainer_options
    strategy: str | DDPStrategy = "auto"
    if options.devices * options.num_nodes > 1:
        idle = _has_unused_parameters(module)
        strategy = _EveryBatchDDP(find_unused_parameters=True) if idle else "ddp"
    try:
        return lightning.Trainer(
            accelerator=options.accelerator,
            devices=options.devices,
            num_nodes=options.num_nodes,
            strategy=strategy,
            precision=options.precision,  # type: ignore[arg-type]
            max_steps=options.max_steps,
            max_epochs=-1,
            accumulate_grad_batches=options.accumulate,
            gradient_clip_val=module.optimizer_options.clip_norm or None,
            callbacks=[steps],
            plugins=[DurableCheckpointIO()],
            logger=_loggers(directory, start),
            log_every_n_steps=options.log_every_steps,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
    except (ValueError, MisconfigurationException) as error:
        raise ConfigError(
            f"Lightning refuses the trainer options: {' '.join(str(error).split())}",
            remedy="change trainer.accelerator, trainer.devices or trainer.precision",
        ) from None
