"""Compute a frontend's features once and keep them on disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

import speechlite
from speechlite.config.compose import to_mapping
from speechlite.config.schema import Choice
from speechlite.core.errors import ConfigError
from speechlite.core.model import Frontend
from speechlite.data.features import write_features
from speechlite.data.order import BatchOrder
from speechlite.data.reader import UtteranceReader
from speechlite.engine.build import build_frontend
from speechlite.engine.progress import say, track
from speechlite.engine.splits import Split, frame_grid, read_split
from speechlite.engine.stamps import Stamp
from speechlite.plugins.registry import Registry

__all__ = ["dump_features"]

_BATCH_SECONDS = 60.0


def dump_features(
    choice: Choice, directories: Sequence[Path], out_dir: Path, registry: Registry
) -> list[Path]:
    """Write the features of data directories, each to a store of its name.

    Args:
        choice: the frontend; without trained parameters before its features.
        directories: Kaldi-style directories.
        out_dir: where the stores go.
        registry: where the frontend is looked up.

    Returns:
        The stores.

    Raises:
        ConfigError: if the frontend's features depend on trained parameters, or two stores
            would have one name.
    """
    names = [path.resolve().name for path in directories]
    if len(set(names)) < len(names):
        raise ConfigError(
            f"two of the data directories have one name: {sorted(names)}",
            remedy="dump them to different folders",
        )
    frontend = build_frontend(choice, registry)
    if any(True for _ in frontend.parameters()):
        raise ConfigError(
            f"the features of {choice.name} change in training and cannot be kept",
            remedy="leave data.features out for this frontend",
        )
    return [_dump_one(choice, frontend.eval(), path, out_dir / path.name) for path in directories]


def _dump_one(choice: Choice, frontend: Frontend, directory: Path, out_dir: Path) -> Path:
    facts = {"frontend": to_mapping(choice), "speechlite": speechlite.__version__}
    stamp = Stamp.of(facts, [directory])
    reason = stamp.reason_to_run(out_dir)
    if reason is None:
        say(f"features {out_dir}: up to date")
        return out_dir
    say(f"features {out_dir}: {reason}")
    split = read_split([str(directory)], frame_grid(frontend))
    write_features(out_dir, _features(frontend, split), facts=facts)
    stamp.write(out_dir, outputs=sorted(path.name for path in out_dir.iterdir()))
    return out_dir


def _features(frontend: Frontend, split: Split) -> Iterator[tuple[str, Tensor]]:
    reader = UtteranceReader(split.utterances, frame_grid(frontend))
    longest = max(split.durations.values())
    order = BatchOrder(
        split.durations,
        batch_seconds=max(_BATCH_SECONDS, longest),
        num_buckets=20,
        seed=0,
        shuffle=False,
    )
    with track(f"features {split.name}", len(split.utterances)) as tracker, torch.no_grad():
        done = 0
        for names in order.epoch(0):
            waves = reader.read(names).waves
            assert waves is not None
            values_BSF, lengths_B = frontend.extract(waves.values, waves.lengths)
            for row, name in enumerate(names):
                yield name, values_BSF[row, : lengths_B[row]].clone()
            done += len(names)
            tracker.update(done)
