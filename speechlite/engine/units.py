"""Discrete units of speech: sample frames, fit a codebook, label every frame, judge the labels.

Memory holds the features of one batch of audio, the frames of one mini-batch and the labels of one
split; the frames to fit on lie in a file that is removed afterwards.

Shapes: N frames to fit on, C codewords, F features, S frames.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

import speechlite
from speechlite.config.compose import to_mapping
from speechlite.config.units import KMeansOptions, UnitsConfig
from speechlite.core.errors import ConfigError, EnvironmentProblem
from speechlite.core.types import stateless_seed
from speechlite.data.atomic import replace_file
from speechlite.data.codebook import Codebook, read_codebook, write_codebook
from speechlite.data.units import FACTS, UNITS, UnitFacts, read_units, write_units
from speechlite.engine.directories import own_directory
from speechlite.engine.kmeans import Fit, fit_codewords, nearest_codewords
from speechlite.engine.progress import say
from speechlite.engine.splits import Split, describe, read_split
from speechlite.engine.stamps import Stamp
from speechlite.engine.training_run import set_threads
from speechlite.engine.unit_features import FeatureSource, describe_source, open_source
from speechlite.engine.unit_quality import unit_quality
from speechlite.plugins.registry import Registry

__all__ = ["make_units"]

_CODEBOOK = ("codebook.json", "codebook.safetensors")
_QUALITY = "quality.json"
_SAMPLE = ".sample.float32"


def make_units(
    config: UnitsConfig, directory: Path, registry: Registry, *, force: bool = False
) -> Path:
    """Fit a codebook and write the units of all data directories; do again only what has changed.

    Args:
        config: the options.
        directory: where codebook and units go; one run owns it at a time.
        registry: where components are looked up.
        force: whether to fit and label anew although nothing has changed.

    Returns:
        The directory.

    Raises:
        ConfigError: if no directory to fit on is named, two have one name, or the features cannot
            be clustered.
        SpeechliteError: any other problem, in one line.
    """
    names = _checked_names(config)
    run = _Run(config, directory, registry)
    with own_directory(directory):
        set_threads(config.threads)
        changed = run.fit(force=force)
        for data in names:
            changed |= run.label(Path(data), force=force)
        if changed or not (directory / _QUALITY).is_file():
            run.judge([Path(data) for data in names])
    return directory


def _checked_names(config: UnitsConfig) -> list[str]:
    if not config.data.train:
        raise ConfigError("data.train names no directory", remedy="set data.train=[DIRECTORY,...]")
    paths = [*config.data.train, *config.data.other]
    names = [Path(path).resolve().name for path in paths]
    if len(set(names)) < len(names):
        raise ConfigError(
            f"two of the data directories have one name: {sorted(names)}",
            remedy="name each once, or make their units in different folders",
        )
    return paths


class _Run:
    """Carry out one run; the features' source is opened when something needs it."""

    def __init__(self, config: UnitsConfig, directory: Path, registry: Registry) -> None:
        self.config = config
        self.directory = directory
        self.registry = registry
        self.facts = describe_source(config)
        self._source: FeatureSource | None = None

    @property
    def source(self) -> FeatureSource:
        if self._source is None:
            self._source = open_source(self.config, self.registry)
        return self._source

    def fit(self, *, force: bool) -> bool:
        """Write the codebook; tell whether it was not up to date."""
        config = self.config
        facts = {
            "source": self.facts,
            "kmeans": to_mapping(config.kmeans),
            "seed": config.seed,
            "speechlite": speechlite.__version__,
        }
        stamp = Stamp.of(facts, [Path(name) for name in config.data.train])
        reason = "asked for" if force else stamp.reason_to_run(self.directory)
        if reason is None:
            say(f"codebook {self.directory}: up to date")
            return False
        say(f"codebook {self.directory}: {reason}")
        self._forget_quality()
        split = read_split(config.data.train, self.source.grid)
        names = _drawn(split, config.kmeans, seed=config.seed)
        with _sample(self.directory / _SAMPLE) as stream:
            self._write_sample(split, names, stream)
            frames_NF = np.memmap(stream.name, np.float32, "r").reshape(-1, self.source.dim)
            fit = fit_codewords(
                frames_NF,
                config.kmeans,
                seed=config.seed,
                threads=torch.get_num_threads(),
            )
        self._write_codebook(fit, split, names, num_frames=len(frames_NF))
        stamp.write(self.directory, outputs=_CODEBOOK)
        return True

    def _write_sample(self, split: Split, names: Sequence[str], stream: BinaryIO) -> None:
        options = self.config.data
        grid, hours = self.source.grid, self.config.kmeans.fit_hours
        left = None if hours is None else int(hours * 3600 * grid.sample_rate / grid.stride)
        features = self.source.stream(
            split, names, batch_seconds=options.batch_seconds, description="frames to fit on"
        )
        for _, features_SF in features:
            kept_SF = features_SF[:left]
            stream.write(kept_SF.contiguous().numpy().tobytes())
            left = None if left is None else left - len(kept_SF)
        stream.flush()

    def _write_codebook(
        self, fit: Fit, split: Split, names: Sequence[str], *, num_frames: int
    ) -> None:
        facts = {
            "data": describe(split),
            "utterances": len(names),
            "frames": num_frames,
            "steps": fit.steps,
            "distance": fit.distance,
            "seed": self.config.seed,
            "threads": torch.get_num_threads(),
        }
        write_codebook(
            self.directory, fit.codewords, grid=self.source.grid, source=self.facts, fit=facts
        )

    def label(self, data: Path, *, force: bool) -> bool:
        """Write the units of a data directory; tell whether they were not up to date."""
        out = self.directory / data.resolve().name
        codebook = read_codebook(self.directory)
        stamp = Stamp.of({"codebook": codebook.sha256, "source": self.facts}, [data])
        reason = "asked for" if force else stamp.reason_to_run(out)
        if reason is None:
            say(f"units {out}: up to date")
            return False
        say(f"units {out}: {reason}")
        self._forget_quality()
        split = read_split([str(data)], self.source.grid)
        units = dict(self._units(split, codebook))
        out.mkdir(exist_ok=True)
        write_units(out, units, facts=UnitFacts(codebook.sha256, codebook.grid, data))
        stamp.write(out, outputs=[UNITS, FACTS])
        return True

    def _units(self, split: Split, codebook: Codebook) -> Iterator[tuple[str, np.ndarray]]:
        codewords_CF = torch.from_numpy(codebook.codewords)
        features = self.source.stream(
            split,
            list(split.utterances),
            batch_seconds=self.config.data.batch_seconds,
            description=f"units {split.name}",
        )
        for name, features_SF in features:
            yield name, nearest_codewords(features_SF, codewords_CF)[0].numpy().astype(np.int16)

    def _forget_quality(self) -> None:
        # a run killed before the end must not leave that of other units
        (self.directory / _QUALITY).unlink(missing_ok=True)

    def judge(self, directories: Sequence[Path]) -> None:
        """Compare units with phones, where there are any."""
        found: dict[str, Any] = {}
        for data in directories:
            name = data.resolve().name
            classes, units, rate_hz = read_units(self.directory, [name])
            quality = unit_quality(data, units, num_units=len(classes.symbols), rate_hz=rate_hz)
            if quality is not None:
                found[name] = quality
                say(
                    f"units {name}: phone purity {quality['phone_purity']:.4f}, unit purity "
                    f"{quality['unit_purity']:.4f}, PNMI {quality['pnmi']:.4f}"
                )
        content = {"codebook_sha256": read_codebook(self.directory).sha256, "splits": found}
        with replace_file(self.directory / _QUALITY) as stream:
            stream.write(json.dumps(content, indent=1).encode() + b"\n")


def _drawn(split: Split, options: KMeansOptions, *, seed: int) -> list[str]:
    """Draw utterances at random until they last as long as asked for."""
    names = sorted(split.durations)
    generator = np.random.default_rng(stateless_seed(seed, "utterances"))
    generator.shuffle(names)
    bound = options.fit_share * sum(split.durations.values())
    if options.fit_hours is not None:
        bound = min(bound, options.fit_hours * 3600)
    total = 0.0
    drawn: list[str] = []
    for name in names:
        if drawn and total >= bound:
            break
        drawn.append(name)
        total += split.durations[name]
    return drawn


@contextmanager
def _sample(path: Path) -> Iterator[BinaryIO]:
    """Give a file for the frames to fit on, which is gone afterwards."""
    try:
        with path.open("wb") as stream:
            yield stream
    except OSError as error:
        raise EnvironmentProblem(
            f"the frames to fit on cannot be written: {error.strerror or error}",
            remedy="free disk space, or lower kmeans.fit_hours",
            path=path.parent,
        ) from error
    finally:
        path.unlink(missing_ok=True)
