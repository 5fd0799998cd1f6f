"""Small data directories of tones and noise, and the smallest runs over them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from speechlite.config.compose import compose
from speechlite.config.schema import Choice, CompressConfig, PretrainConfig
from speechlite.engine.objective_data import read_training_splits, speech_of
from speechlite.engine.training import Speech
from speechlite.plugins.registry import Registry

RATE = 16000
PHONES = ("SIL", "A", "B", "C")

MODEL = (
    "frontend=fbank",
    "frontend.num_mels=8",
    "encoder=conformer",
    "encoder.dim=8",
    "encoder.layers=3",
    "encoder.heads=2",
    "encoder.feedforward=16",
    "encoder.kernel_size=3",
    "objective=reconstruction",
)
TRAINING = (
    "data.batch_seconds=2.0",
    "data.max_seconds=0.9",
    "data.num_buckets=2",
    "optimizer.warmup_steps=4",
    "optimizer.learning_rate=0.01",
    "trainer.max_steps=6",
    "trainer.accelerator=cpu",
    "trainer.threads=1",
    "trainer.log_every_steps=2",
    "trainer.validate_every_steps=3",
    "trainer.checkpoint_every_steps=2",
)
HEAD = (
    "training.max_steps=6",
    "training.validate_every_steps=2",
    "training.batch_seconds=3",
    "training.learning_rate=0.02",
    "training.threads=1",
)


def write_speech(
    path: Path, *, utterances: int, seed: int, speakers: int = 2, text: bool = True
) -> Path:
    """Write a data directory; each phone is a tone of its own, so that a head can learn it."""
    generator = np.random.default_rng(seed)
    path.mkdir(parents=True)
    tables: dict[str, list[str]] = {}
    for number in range(utterances):
        speaker = f"{path.name}s{number % speakers}"
        name = f"{speaker}-u{number:02d}"
        phones = generator.integers(1, len(PHONES), size=int(generator.integers(3, 6)))
        wave, marks = _tones(phones, generator)
        file = path / f"{name}.flac"
        soundfile.write(file, wave, RATE)
        rows = {
            "wav.scp": [f"{name} {file}"],
            "utt2spk": [f"{name} {speaker}"],
            "utt2dur": [f"{name} {len(wave) / RATE:.6f}"],
            "utt2num_samples": [f"{name} {len(wave)}"],
            "phones.ctm": [f"{name} 1 {start:.2f} {length:.2f} {p}" for start, length, p in marks],
            "text": [f"{name} " + " ".join(("AB", "CA", "BC")[p - 1] for p in phones)],
        }
        for table, lines in rows.items():
            tables.setdefault(table, []).extend(lines)
    if not text:
        del tables["text"]
    owners: dict[str, list[str]] = {}
    for line in sorted(tables["utt2spk"]):
        name, speaker = line.split()
        owners.setdefault(speaker, []).append(name)
    tables["spk2utt"] = [f"{speaker} {' '.join(names)}" for speaker, names in owners.items()]
    for table, lines in tables.items():
        ordered = lines if table == "phones.ctm" else sorted(lines)
        if table == "phones.ctm":
            ordered = sorted(lines, key=lambda line: line.split()[0])
        (path / table).write_text("\n".join(ordered) + "\n")
    return path


def _tones(
    phones: np.ndarray, generator: np.random.Generator
) -> tuple[np.ndarray, list[tuple[float, float, str]]]:
    pieces, marks, start = [], [], 0.0
    for phone in phones:
        length = round(float(generator.uniform(0.15, 0.35)), 2)
        times = np.arange(round(length * RATE)) / RATE
        pieces.append(0.3 * np.sin(2 * np.pi * 400 * phone * times))
        marks.append((start, length, PHONES[phone]))
        start += length
    wave = np.concatenate(pieces)
    return wave + 0.01 * generator.standard_normal(len(wave)), marks


def arguments(data: Path, *further: str) -> list[str]:
    """Return the overrides of a tiny pretraining; later ones replace earlier ones."""
    chosen = dict(
        item.split("=", 1)
        for item in (
            *MODEL,
            *TRAINING,
            f"data.train=[{data / 'train'}]",
            f"data.valid=[{data / 'dev'}]",
            *further,
        )
    )
    return [f"{key}={value}" for key, value in chosen.items()]


def pretrain_config(registry: Registry, data: Path, *further: str) -> PretrainConfig:
    config: PretrainConfig = compose(
        "pretrain", registry=registry, overrides=arguments(data, *further)
    )
    return config


def compress_arguments(data: Path, *further: str) -> list[str]:
    """Return the overrides of a tiny training under a compressor, an objective or both."""
    given = (*TRAINING, f"data.train=[{data / 'train'}]", f"data.valid=[{data / 'dev'}]", *further)
    chosen = dict(item.split("=", 1) for item in given)
    return [f"{key}={value}" for key, value in chosen.items()]


def compress_config(registry: Registry, data: Path, *further: str) -> CompressConfig:
    config: CompressConfig = compose(
        "compress", registry=registry, overrides=compress_arguments(data, *further)
    )
    return config


def training_speech(config: Any, model: Any, registry: Registry) -> Speech:
    """Return the training batches of a run whose objective has no labels of its own."""
    split = read_training_splits(config, model, registry)["train"]
    return speech_of(config, model, split, {}, training=True)


def evaluate_arguments(data: Path, *further: str) -> list[str]:
    """Return the overrides of a tiny phone classification."""
    chosen = dict(
        item.split("=", 1)
        for item in (
            "head=phone",
            *HEAD,
            f"task.train=[{data / 'train'}]",
            f"task.dev=[{data / 'dev'}]",
            f"task.test=[{data / 'test'}]",
            *further,
        )
    )
    return [f"{key}={value}" for key, value in chosen.items()]


def speechlite(*words: object, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, on one thread."""
    return subprocess.run(
        [sys.executable, "-m", "speechlite", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment(**environ),
    )


def environment(**changes: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", **changes}


def choice(registry: Registry, kind: str, name: str, **options: Any) -> Choice:
    """Return a chosen component with some of its options set."""
    component = registry.get(kind, name)
    return Choice(kind, name, registry.config_class(component)(**options))


def snapshot(directory: Path) -> Mapping[str, tuple[int, bytes]]:
    """Return modification times and contents of all files that are not hidden."""
    return {
        str(path.relative_to(directory)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(directory.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def leftovers(directory: Path) -> Sequence[Path]:
    """Return the temporary files and directories below a directory."""
    return [path for mark in (".*.tmp-*", ".*.old-*") for path in directory.rglob(mark)]
