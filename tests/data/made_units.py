"""Units of two small data directories, and the ways in which they can be wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from speechlite.data.codebook import read_codebook, write_codebook
from speechlite.data.reader import FrameGrid
from speechlite.data.units import UnitFacts, write_units

GRID = FrameGrid(sample_rate=16000, stride=160, min_samples=400)
SAMPLES = {"train": {"a-1": 16000, "a-2": 8000, "b-1": 500}, "dev": {"c-1": 4000, "c-2": 6000}}


def write_data(root: Path, name: str) -> Path:
    """Write a data directory without sound."""
    path = root / "data" / name
    path.mkdir(parents=True)
    rows = SAMPLES[name]
    speakers = sorted({key[0] for key in rows})
    tables = {
        "wav.scp": [f"{key} /audio/{key}.flac" for key in rows],
        "utt2spk": [f"{key} {key[0]}" for key in rows],
        "utt2num_samples": [f"{key} {count}" for key, count in rows.items()],
        "spk2utt": [" ".join([s, *(key for key in rows if key[0] == s)]) for s in speakers],
    }
    for table, lines in tables.items():
        (path / table).write_text("\n".join(lines) + "\n")
    return path


def write_codewords(directory: Path, *, clusters: int = 5, seed: int = 0) -> str:
    """Write a codebook and return its hash."""
    directory.mkdir(parents=True, exist_ok=True)
    codewords_CF = np.random.default_rng(seed).normal(size=(clusters, 3)).astype(np.float32)
    write_codebook(directory, codewords_CF, grid=GRID, source={"frontend": {}}, fit={})
    return read_codebook(directory).sha256


def write_good(root: Path) -> Path:
    """Write a codebook with right units of two data directories; return its folder."""
    folder = root / "units"
    sha256 = write_codewords(folder)
    generator = np.random.default_rng(0)
    for name, rows in SAMPLES.items():
        units = {
            key: generator.integers(0, 5, GRID.num_frames(count)).astype(np.int16)
            for key, count in rows.items()
        }
        (folder / name).mkdir()
        facts = UnitFacts(sha256, GRID, write_data(root, name))
        write_units(folder / name, units, facts=facts)
    return folder


def edit(path: Path, old: str, new: str) -> None:
    """Replace a part of a text file that it has."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
