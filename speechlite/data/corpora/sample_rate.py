"""Bring the recordings of a data directory to one sample rate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from speechlite.data.audio import read_info, read_wave, resample, write_flac
from speechlite.data.tables import read_table, write_table

__all__ = ["convert_sample_rate"]


def convert_sample_rate(directories: Sequence[Path], *, sample_rate: int) -> int:
    """Rewrite recordings that have another rate as FLAC inside their data directory.

    Args:
        directories: data directories with absolute paths in wav.scp; changed in place.
        sample_rate: the rate to bring them to, in Hz.

    Returns:
        How many recordings were converted.
    """
    return sum(_convert(directory, sample_rate) for directory in directories)


def _convert(directory: Path, sample_rate: int) -> int:
    recordings = read_table(directory / "wav.scp")
    converted = {
        key: path for key, path in recordings.items() if read_info(path).sample_rate != sample_rate
    }
    if not converted:
        return 0
    audio_dir = directory / "audio"
    audio_dir.mkdir(exist_ok=True)
    counts: dict[str, str] = {}
    for key, path in converted.items():
        wave_T = read_wave(path)
        wave_T = resample(wave_T, orig_rate=read_info(path).sample_rate, new_rate=sample_rate)
        # interpolating between samples at full scale overshoots a little
        wave_T = np.clip(wave_T, -1.0, 1.0)
        target = (audio_dir / f"{key}.flac").resolve()
        write_flac(target, wave_T, sample_rate=sample_rate)
        recordings[key] = str(target)
        counts[key] = str(len(wave_T))
    write_table(directory / "wav.scp", recordings)
    if (directory / "utt2num_samples").is_file() and not (directory / "segments").exists():
        old = read_table(directory / "utt2num_samples")
        write_table(directory / "utt2num_samples", {**old, **counts})
        durations = read_table(directory / "utt2dur")
        new = {key: f"{int(count) / sample_rate:.6f}" for key, count in counts.items()}
        write_table(directory / "utt2dur", {**durations, **new})
    return len(converted)
