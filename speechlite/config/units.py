"""The options of ``speechlite units``, as one frozen dataclass."""

from __future__ import annotations

from dataclasses import dataclass, field

from speechlite.config.schema import Choice
from speechlite.core.errors import ConfigError

__all__ = ["KMeansOptions", "UnitsConfig", "UnitsDataOptions"]

_MOST_CLUSTERS = 32767


@dataclass(frozen=True)
class UnitsDataOptions:
    """Which speech gets units."""

    train: list[str] = field(default_factory=list)
    """Kaldi-style directories that the codebook is fitted on; they get units, too."""
    other: list[str] = field(default_factory=list)
    """Further directories that get units of the same codebook."""
    batch_seconds: float = 60.0
    """Audio whose features are in memory at a time, in seconds; at least one utterance."""

    def __post_init__(self) -> None:
        _check(0.0, {"data.batch_seconds": self.batch_seconds}, is_open=True)


@dataclass(frozen=True)
class KMeansOptions:
    """How the codebook is fitted; defaults are those of HuBERT's first iteration."""

    clusters: int = 100
    """Codewords; 2 to 32767. HuBERT has 100 for MFCCs and 500 for hidden states."""
    fit_share: float = 1.0
    """Share of the training speech to fit on, drawn by utterances; above 0, at most 1."""
    fit_hours: float | None = None
    """Most hours to fit on; None leaves it to ``fit_share``."""
    batch_frames: int = 10000
    """Frames of a mini-batch; at least ``clusters``."""
    starts: int = 20
    """Random k-means++ starts, of which the best is taken; at least 1."""
    max_epochs: int = 100
    """Most frames to draw, as multiples of those to fit on; at least 1."""
    patience: int = 100
    """Mini-batches without a lower smoothed distance before fitting ends; at least 1."""

    def __post_init__(self) -> None:
        if not 2 <= self.clusters <= _MOST_CLUSTERS:
            raise ConfigError(
                f"clusters={self.clusters}, expected 2 to {_MOST_CLUSTERS}",
                remedy="change kmeans.clusters",
            )
        _check(self.clusters, {"kmeans.batch_frames": self.batch_frames})
        counts = {name: getattr(self, name) for name in ("starts", "max_epochs", "patience")}
        _check(1, {f"kmeans.{name}": value for name, value in counts.items()})
        if not 0 < self.fit_share <= 1:
            raise ConfigError(
                f"fit_share={self.fit_share}, expected more than 0 and at most 1",
                remedy="change kmeans.fit_share",
            )
        if self.fit_hours is not None:
            _check(0.0, {"kmeans.fit_hours": self.fit_hours}, is_open=True)


@dataclass(frozen=True)
class UnitsConfig:
    """Options of ``speechlite units``."""

    frontend: Choice | None = None
    """Whose features are clustered, as in HuBERT's first iteration; without trained weights."""
    model: str | None = None
    """Checkpoint whose hidden states are clustered instead, as in further iterations."""
    layer: int | None = None
    """Which of its hidden states: 0 is the encoder's input, n the output of its n-th layer."""
    data: UnitsDataOptions = field(default_factory=UnitsDataOptions)
    """Which speech."""
    kmeans: KMeansOptions = field(default_factory=KMeansOptions)
    """How the codebook is fitted."""
    seed: int = 1
    """Seed of the sample, of the starts and of the mini-batches."""
    threads: int = 0
    """CPU threads; 0 takes all cores."""
    accelerator: str = "auto"
    """Where features are computed: auto, cpu or gpu."""

    def __post_init__(self) -> None:
        if (self.frontend is None) == (self.model is None):
            raise ConfigError(
                f"{'neither' if self.model is None else 'both'} of frontend and model given, "
                "expected one of them to take features from",
                remedy="add frontend=NAME, or model=DIRECTORY and layer=NUMBER",
            )
        if (self.model is None) != (self.layer is None):
            raise ConfigError(
                f"model={self.model}, layer={self.layer}, expected both or neither",
                remedy="name the hidden state of the model: layer=0 is the encoder's input",
            )
        _check(0, {"layer": self.layer or 0, "threads": self.threads})
        if self.accelerator not in ("auto", "cpu", "gpu"):
            raise ConfigError(
                f"accelerator={self.accelerator!r}, expected auto, cpu or gpu",
                remedy="change accelerator",
            )


def _check(smallest: float, values: dict[str, float], *, is_open: bool = False) -> None:
    for name, value in values.items():
        if not smallest <= value < float("inf") or (is_open and value == smallest):
            bound = "more than" if is_open else "at least"
            cause = f"{name.rpartition('.')[2]}={value}, expected {bound} {smallest:g}"
            raise ConfigError(cause, remedy=f"change {name}")
