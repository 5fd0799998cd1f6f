"""The step ``tdnn``: train the acoustic network on a frozen model's frames.

Shapes: S frames of the model, L frames of the alignment, P densities.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file

from speechlite.core.errors import ConfigError, DataError, SpeechliteError
from speechlite.core.head import Head
from speechlite.core.model import SpeechModel
from speechlite.core.types import Hidden, LabelSpace, stateless_seed
from speechlite.data.atomic import replace_file
from speechlite.data.order import BatchOrder
from speechlite.data.reader import KALDI_FRAMES, FrameGrid, UtteranceReader, frame_of
from speechlite.engine.build import build_head
from speechlite.engine.dnn_hmm.steps import write_report
from speechlite.engine.dnn_hmm.workspace import Workspace
from speechlite.engine.frozen import FrozenModel, HiddenCache
from speechlite.engine.progress import track
from speechlite.engine.splits import Split, check_features, frame_grid, open_features
from speechlite.engine.training_run import set_threads

__all__ = [
    "AcousticNetwork",
    "FrozenFrames",
    "batches",
    "build_network",
    "labels_at",
    "open_frames",
    "read_network",
    "train_network",
]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
_STREAM = "pdfs"


def labels_at(grid: FrameGrid, pdfs_L: npt.NDArray[np.int32], num_samples: int) -> Ints:
    """Return the density at each frame of a model.

    Args:
        grid: the model's frames.
        pdfs_L: density of each frame of the alignment.
        num_samples: samples of the utterance at the model's rate.

    Returns:
        (S,) densities.
    """
    count = grid.num_frames(num_samples)
    places = frame_of(grid, KALDI_FRAMES, num_target=count, num_source=len(pdfs_L))
    densities_S: Ints = pdfs_L[places].astype(np.int64)
    return densities_S


@dataclass(frozen=True)
class AcousticNetwork:
    """Join a trained network with the priors of its classes.

    Args:
        head: the network.
        log_priors_P: log-probability of each density in training.
    """

    head: Head
    log_priors_P: torch.Tensor

    @torch.no_grad()
    def scores(self, hidden: Hidden) -> list[Floats]:
        """Return log-likelihoods of densities, up to a constant of each frame.

        Args:
            hidden: hidden states of a batch.

        Returns:
            (S, P) log-posteriors less log-priors, one an utterance.
        """
        scorer: Any = self.head
        log_posteriors = scorer.scores(hidden).log_softmax(-1)
        values = (log_posteriors - self.log_priors_P.to(log_posteriors.device)).cpu().numpy()
        return [row[:n] for row, n in zip(values, hidden.lengths.tolist(), strict=True)]


@dataclass
class FrozenFrames:
    """Give hidden states of a frozen model for all parts of a task.

    Args:
        frozen: the model with its cache.
        splits: utterances by part.
        grid: the model's frames.
    """

    frozen: FrozenModel
    splits: Mapping[str, Split]
    grid: FrameGrid


def open_frames(
    space: Workspace,
    model: SpeechModel,
    splits: Mapping[str, Split],
    *,
    features: Path | None,
    needs_all_layers: bool,
) -> FrozenFrames:
    """Prepare the frozen model's frames.

    Args:
        space: options.
        model: the model.
        splits: utterances by part.
        features: directory of cached features made by the model's frontend; None computes them.
        needs_all_layers: whether all hidden states are wanted.

    Returns:
        The frames.
    """
    options, grid = space.config.training, frame_grid(model.frontend)
    model = model.to(device_of(options.accelerator))
    utterances = {n: one for split in splits.values() for n, one in split.utterances.items()}
    stores = None
    if features is not None:
        stores = [s for split in splits.values() for s in open_features(features, split) or []]
        check_features(stores, model.spec.frontend)
    reader = UtteranceReader(utterances, grid, stores)
    cache: HiddenCache = {}
    frozen = FrozenModel(
        model,
        reader,
        num_layers=options.num_layers,
        last_only=not needs_all_layers,
        cache_bytes=options.cache_gigabytes * 1e9,
        cache=cache,
    )
    return FrozenFrames(frozen, splits, grid)


def device_of(accelerator: str) -> torch.device:
    """Return the device that an option names.

    Args:
        accelerator: ``auto``, ``cpu`` or ``gpu``.

    Returns:
        The device; ``auto`` takes a GPU where there is one.

    Raises:
        ConfigError: if a GPU is asked for and there is none.
    """
    if accelerator == "gpu" and not torch.cuda.is_available():
        raise ConfigError(
            "training.accelerator=gpu, and there is no GPU",
            remedy="set training.accelerator=cpu",
        )
    usable = accelerator != "cpu" and torch.cuda.is_available()
    return torch.device("cuda" if usable else "cpu")


def build_network(space: Workspace, model: SpeechModel, num_pdfs: int) -> Head:
    """Build the network for a model's hidden states.

    Args:
        space: options.
        model: the model.
        num_pdfs: densities.

    Returns:
        The network.

    Raises:
        ConfigError: if the chosen head gives no scores of frames.
    """
    depth = space.config.training.num_layers
    labels = LabelSpace(_STREAM, tuple(map(str, range(num_pdfs))))
    states = 1 + (model.num_layers if depth is None else depth)
    head = build_head(
        space.config.head, space.registry, dim=model.dim, num_layers=states, labels=labels
    )
    if head.label_layout != "frame" or not hasattr(head, "scores"):
        raise ConfigError(
            f"head={space.config.head.name} does not score frames",
            remedy="choose head=tdnn, or a head with label_layout 'frame' and a method scores",
        )
    return head.to(device_of(space.config.training.accelerator))


def batches(split: Split, seconds: float, seed: int, *, shuffle: bool) -> BatchOrder:
    """Return the batches of a split.

    Args:
        split: the utterances.
        seconds: most audio of a batch.
        seed: seed of the order.
        shuffle: whether to shuffle.

    Returns:
        The order.
    """
    return BatchOrder(
        split.durations,
        batch_seconds=max(seconds, *split.durations.values()),
        num_buckets=20,
        seed=seed,
        shuffle=shuffle,
    )


def train_network(
    space: Workspace, head: Head, frames: FrozenFrames, labels: Mapping[str, Ints], directory: Path
) -> list[str]:
    """Train the network, keep its best epoch on dev, and write it.

    Args:
        space: options.
        head: the network.
        frames: hidden states of ``train`` and ``dev``.
        labels: densities by utterance.
        directory: where it goes.

    Returns:
        Names of the files written.
    """
    started, options = time.perf_counter(), space.config.training
    set_threads(options.threads)
    for part, split in frames.splits.items():
        order = batches(split, options.batch_seconds, 0, shuffle=False)
        frames.frozen.fill(order, f"tdnn seed {space.seed}: frames of {part}")
    run = _Training(space, head, frames)
    best, history = run.train()
    counts_P = np.full(len(_classes(head)), 0.5)
    for name in frames.splits["train"].utterances:
        counts_P += np.bincount(labels[name], minlength=len(counts_P))
    tensors = {f"head.{name}": value.cpu() for name, value in head.state_dict().items()}
    tensors["log_priors_P"] = torch.from_numpy(np.log(counts_P / counts_P.sum())).float()
    facts = {
        "epochs": history,
        "best_epoch": best,
        "dev_accuracy": history[best - 1]["dev_accuracy"],
        "parameters": sum(p.numel() for p in head.parameters()),
        "seconds": time.perf_counter() - started,
        "num_pdfs": len(counts_P),
    }
    with replace_file(directory / "network.safetensors") as stream:
        save_file(tensors, stream.name)
    return ["network.safetensors", write_report(directory, facts)]


def _classes(head: Head) -> tuple[str, ...]:
    labels: Any = head.labels
    return tuple(labels.symbols)


def read_network(head: Head, directory: Path) -> AcousticNetwork:
    """Read a trained network.

    Args:
        head: the network, as it was built for training.
        directory: where it lies.

    Returns:
        The network in eval mode, with its priors.

    Raises:
        DataError: if it is missing or does not fit.
    """
    path = directory / "network.safetensors"
    try:
        tensors = load_file(path)
        priors = tensors.pop("log_priors_P")
        head.load_state_dict({n.removeprefix("head."): value for n, value in tensors.items()})
    except Exception as error:  # noqa: BLE001  the library has no error of its own
        raise DataError(
            f"cannot be read ({' '.join(str(error).split())[:200]})",
            remedy="run the step tdnn again",
            path=path,
        ) from None
    return AcousticNetwork(head.eval(), priors)


class _Training:
    """Train for some epochs with one cycle of the learning rate."""

    def __init__(self, space: Workspace, head: Head, frames: FrozenFrames) -> None:
        self.options = space.config.training
        self.description = f"tdnn seed {space.seed}"
        self.head, self.frozen, self.splits = head, frames.frozen, frames.splits
        train = self.splits["train"]
        self.order = batches(train, self.options.batch_seconds, space.seed, shuffle=True)
        self.epochs = [list(self.order.epoch(e)) for e in range(self.options.epochs)]
        self.adam = torch.optim.Adam(head.parameters(), lr=self.options.learning_rate)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.adam,
            max_lr=self.options.learning_rate,
            total_steps=sum(map(len, self.epochs)) + 1,
        )

    def train(self) -> tuple[int, list[dict[str, float]]]:
        """Train, and take the epoch with the best frame accuracy on dev."""
        history: list[dict[str, float]] = []
        states = []
        done, total = 0, sum(map(len, self.epochs))
        with track(self.description, total) as tracker:
            for number, epoch in enumerate(self.epochs, start=1):
                losses, weights = 0.0, 0.0
                for names in epoch:
                    loss, weight = self._step(names, done)
                    losses, weights, done = losses + loss, weights + weight, done + 1
                    tracker.update(done)
                accuracy = self._accuracy(self.splits["dev"])
                history.append(
                    {"epoch": number, "loss": losses / weights, "dev_accuracy": accuracy}
                )
                states.append(copy.deepcopy(self.head.state_dict()))
        best = max(range(len(history)), key=lambda e: history[e]["dev_accuracy"])
        self.head.load_state_dict(states[best])
        return best + 1, history

    def _step(self, names: tuple[str, ...], step: int) -> tuple[float, float]:
        self.head.train()
        torch.manual_seed(stateless_seed(self.options.seed, "tdnn", step))
        batch, hidden = self.frozen.read(names)
        loss = self.head.loss(hidden, batch)
        if not bool(torch.isfinite(loss.sum)):
            raise SpeechliteError(
                f"the loss is {loss.sum.item()} at step {step}",
                remedy="lower training.learning_rate",
            )
        self.adam.zero_grad()
        (loss.sum / loss.weight.clamp(min=1.0)).backward()  # type: ignore[no-untyped-call]
        if self.options.clip_norm:
            torch.nn.utils.clip_grad_norm_(self.head.parameters(), self.options.clip_norm)
        self.adam.step()
        self.schedule.step()
        return loss.sum.item(), float(loss.weight)

    def _accuracy(self, split: Split) -> float:
        self.head.eval()
        metric = self.head.metric()
        correct = counted = 0.0
        with torch.no_grad():
            for names in batches(split, self.options.batch_seconds, 0, shuffle=False).epoch(0):
                batch, hidden = self.frozen.read(names)
                for score in metric.score(self.head.predict(hidden), batch):
                    correct, counted = correct + score.numerator, counted + score.denominator
        return 100.0 * correct / max(counted, 1.0)
