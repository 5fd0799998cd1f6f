"""Join short utterances of a speaker to longer ones: digits to strings of digits, for example."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from speechlite.core.errors import ConfigError
from speechlite.core.types import stateless_seed
from speechlite.data.audio import read_wave, write_flac
from speechlite.data.corpora.directory import replace_datadir
from speechlite.data.datadir import Utterance, read_datadir
from speechlite.data.tables import write_table

__all__ = ["join_utterances"]

_GAP_SECONDS = (0.05, 0.3)
_NOISE_LEVEL = 3e-4
"""Standard deviation of the noise in gaps, relative to full scale."""


def join_utterances(
    data_dir: Path,
    out_dir: Path,
    *,
    smallest: int,
    largest: int,
    repeats: int = 1,
    sample_rate: int = 16000,
    seed: int = 1,
) -> int:
    """Write a data directory of sequences of utterances, each by one speaker.

    Every utterance is used once in each repeat; a rest smaller than ``smallest`` is left over.
    Gaps of 50 to 300 ms with faint noise stand between and at the ends.

    Args:
        data_dir: the directory with the short utterances and their transcripts.
        out_dir: the directory to write, with its audio.
        smallest: fewest utterances of a sequence, at least 1.
        largest: most utterances of a sequence.
        repeats: how often to go through all utterances, in another order each time.
        sample_rate: rate of the audio, in Hz.
        seed: where sequences and gaps come from.

    Returns:
        Number of sequences.

    Raises:
        ConfigError: if the numbers make no sense.
        DataError: if the directory is not valid.
    """
    if not 1 <= smallest <= largest or repeats < 1:
        raise ConfigError(
            f"smallest={smallest}, largest={largest}, repeats={repeats}, expected at least 1 and "
            "largest not below smallest",
            remedy="change --smallest, --largest or --repeats",
        )
    by_speaker: dict[str, list[Utterance]] = {}
    for utterance in read_datadir(data_dir, need_text=True).utterances:
        by_speaker.setdefault(utterance.speaker, []).append(utterance)
    tables: dict[str, dict[str, str]] = {name: {} for name in _TABLES}
    with replace_datadir(out_dir) as folder:
        (folder / "audio").mkdir()
        for speaker in sorted(by_speaker):
            random = np.random.default_rng(stateless_seed(seed, speaker))
            groups = _groups(by_speaker[speaker], random, smallest, largest, repeats)
            for number, group in enumerate(groups):
                key = f"{speaker}-{number:05d}"
                wave_T = _joined(group, random, sample_rate)
                write_flac(folder / "audio" / f"{key}.flac", wave_T, sample_rate=sample_rate)
                tables["wav.scp"][key] = f"audio/{key}.flac"
                tables["text"][key] = " ".join(utterance.text or "" for utterance in group)
                tables["utt2spk"][key] = speaker
                tables["utt2num_samples"][key] = str(len(wave_T))
                tables["utt2dur"][key] = f"{len(wave_T) / sample_rate:.6f}"
        tables["spk2utt"] = _by_speaker(tables["utt2spk"])
        for name, rows in tables.items():
            write_table(folder / name, rows)
    return len(tables["text"])


_TABLES = ("wav.scp", "text", "utt2spk", "utt2num_samples", "utt2dur")


def _by_speaker(speaker_of: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    for key in sorted(speaker_of):
        found.setdefault(speaker_of[key], []).append(key)
    return {speaker: " ".join(keys) for speaker, keys in found.items()}


def _groups(
    utterances: Sequence[Utterance],
    random: np.random.Generator,
    smallest: int,
    largest: int,
    repeats: int,
) -> Iterator[list[Utterance]]:
    for _ in range(repeats):
        waiting = [utterances[place] for place in random.permutation(len(utterances))]
        while len(waiting) >= smallest:
            size = int(random.integers(smallest, largest + 1))
            yield waiting[:size]
            waiting = waiting[size:]


def _joined(
    group: Sequence[Utterance], random: np.random.Generator, sample_rate: int
) -> np.ndarray:
    pieces = [_gap(random, sample_rate)]
    for utterance in group:
        wave_T = read_wave(utterance.audio_path, sample_rate=sample_rate)
        pieces += [wave_T, _gap(random, sample_rate)]
    return np.concatenate(pieces)


def _gap(random: np.random.Generator, sample_rate: int) -> np.ndarray:
    count = round(random.uniform(*_GAP_SECONDS) * sample_rate)
    return (_NOISE_LEVEL * random.standard_normal(count)).astype(np.float32)
