"""The options of ``speechlite hmm``, as one frozen dataclass."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from speechlite.config.schema import Choice
from speechlite.core.errors import ConfigError
from speechlite.hmm.config import DecodingOptions, GmmOptions, LangOptions, LmOptions

__all__ = ["DnnHmmConfig", "DnnHmmTask", "TdnnTrainingOptions"]


@dataclass(frozen=True)
class DnnHmmTask:
    """What is recognised: data, metric, version."""

    name: str = "dnn_hmm"
    """Name of the task in records, tables and directories; rescored results add ``_rescored``."""
    version: str = "1"
    """Changes whenever numbers before and after must not be compared."""
    train: list[str] = field(default_factory=list)
    """Kaldi-style directories to train acoustic models on."""
    dev: list[str] = field(default_factory=list)
    """Directories on which beams, weights and the best epoch are chosen."""
    test: list[str] = field(default_factory=list)
    """Directories to score once."""

    def __post_init__(self) -> None:
        # the name becomes part of file names
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", self.name):
            raise ConfigError(
                f"name={self.name!r}, expected letters, digits, '.', '_' or '-'",
                remedy="change task.name",
            )


@dataclass(frozen=True)
class TdnnTrainingOptions:
    """How the acoustic network is trained on a frozen model's frames."""

    epochs: int = 4
    """Passes over the training data; at least 1."""
    learning_rate: float = 1.0e-3
    """Peak of Adam's one-cycle schedule; above 0."""
    batch_seconds: float = 120.0
    """Most audio of a batch in seconds."""
    clip_norm: float = 5.0
    """Largest gradient norm of a step; 0 leaves gradients as they are."""
    num_layers: int | None = None
    """Layers that the frozen model executes (shallow-layer inference); None means all."""
    cache_gigabytes: float = 4.0
    """Memory for the frozen model's outputs; beyond it they are computed anew each time."""
    seed: int = 1
    """Seed of the network's weights, of the order of batches, and of splitting Gaussians."""
    threads: int = 0
    """CPU threads; 0 takes all cores."""
    accelerator: str = "auto"
    """Where the frozen model and the network run: auto, cpu or gpu."""

    def __post_init__(self) -> None:
        if self.accelerator not in ("auto", "cpu", "gpu"):
            raise ConfigError(
                f"accelerator={self.accelerator!r}, expected auto, cpu or gpu",
                remedy="change training.accelerator",
            )
        for name in ("epochs", "clip_norm", "threads", "cache_gigabytes", "num_layers"):
            smallest = 1 if name == "epochs" else 0
            if not smallest <= (getattr(self, name) or 0) < float("inf"):
                raise ConfigError(
                    f"{name}={getattr(self, name)}, expected at least {smallest}",
                    remedy=f"change training.{name}",
                )
        for name in ("learning_rate", "batch_seconds"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ConfigError(
                    f"{name}={getattr(self, name)}, expected more than 0",
                    remedy=f"change training.{name}",
                )


@dataclass(frozen=True)
class DnnHmmConfig:
    """Options of ``speechlite hmm``."""

    head: Choice
    """The acoustic network: hidden states to densities of the HMM."""
    task: DnnHmmTask = field(default_factory=DnnHmmTask)
    """What to recognise."""
    lang: LangOptions = field(default_factory=LangOptions)
    """Words and phones."""
    lm: LmOptions = field(default_factory=LmOptions)
    """Language models."""
    gmm: GmmOptions = field(default_factory=GmmOptions)
    """The GMM-HMMs that give labels to the network."""
    training: TdnnTrainingOptions = field(default_factory=TdnnTrainingOptions)
    """How the network is trained."""
    decoding: DecodingOptions = field(default_factory=DecodingOptions)
    """Search and rescoring."""
