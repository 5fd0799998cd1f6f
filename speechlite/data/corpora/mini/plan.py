"""Decide every utterance of the synthetic corpus before any is spoken."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from speechlite.core.errors import DataError
from speechlite.data.corpora.mini.channel import draw_channel, draw_take
from speechlite.data.corpora.mini.job import BabbleVoice, Job
from speechlite.data.corpora.mini.speakers import (
    ACCENTS_CLEAN,
    ACCENTS_OTHER,
    Speaker,
    draw_prosody,
    draw_speaker,
)
from speechlite.data.corpora.mini.text import ScriptWriter

__all__ = ["SIZES", "Chapter", "CorpusPlan", "Reader", "Subset", "plan_corpus"]

_CHAPTERS_PER_READER = 2
_NUM_BABBLE_VOICES = 3
# Measured over the speakers of the corpus; only forecasts use it.
_SECONDS_PER_WORD = 0.30
_EDGE_SECONDS = 0.65


@dataclass(frozen=True)
class _Style:
    accents: tuple[str, ...]
    spread: float
    snr_db: tuple[float, float]
    direct_to_room_db: tuple[float, float]
    babble: bool
    num_habits_in_ten: int


@dataclass(frozen=True)
class _Count:
    readers: int
    utterances_per_chapter: int


_CLEAN = _Style(
    ACCENTS_CLEAN,
    spread=0.6,
    snr_db=(18.0, 42.0),
    # A reader at arm's length from the microphone; "other" readers sit anywhere in the room.
    direct_to_room_db=(10.0, 25.0),
    babble=False,
    num_habits_in_ten=1,
)
_OTHER = _Style(
    ACCENTS_OTHER,
    spread=0.9,
    snr_db=(8.0, 24.0),
    direct_to_room_db=(4.0, 20.0),
    babble=True,
    num_habits_in_ten=3,
)
# First reader number of each subset; the order is also that in which the text is written.
_FIRST_READER = {
    "train-clean-100": 1001,
    "dev-clean": 3001,
    "test-clean": 5001,
    "dev-other": 7001,
    "test-other": 8001,
}

SIZES: Mapping[str, Mapping[str, _Count]] = {
    "tiny": {
        "train-clean-100": _Count(8, 2),
        "dev-clean": _Count(2, 2),
        "test-clean": _Count(2, 2),
        "dev-other": _Count(1, 2),
        "test-other": _Count(1, 2),
    },
    "mini": {
        "train-clean-100": _Count(80, 2),
        "dev-clean": _Count(8, 3),
        "test-clean": _Count(10, 3),
        "dev-other": _Count(4, 5),
        "test-other": _Count(5, 5),
    },
    "small": {
        "train-clean-100": _Count(160, 3),
        "dev-clean": _Count(12, 5),
        "test-clean": _Count(16, 5),
        "dev-other": _Count(12, 5),
        "test-other": _Count(16, 5),
    },
}
"""Speakers and chapters of each split, by the size of the corpus."""


@dataclass(frozen=True)
class Chapter:
    """Hold the utterances that share a channel.

    Args:
        id: number of the chapter.
        jobs: what to say, in order.
    """

    id: int
    jobs: tuple[Job, ...]


@dataclass(frozen=True)
class Reader:
    """Hold one speaker and the chapters that they read.

    Args:
        id: number of the reader.
        speaker: the voice.
        chapters: at least two, each on a channel of its own.
    """

    id: int
    speaker: Speaker
    chapters: tuple[Chapter, ...]


@dataclass(frozen=True)
class Subset:
    """Hold the readers of one subset.

    Args:
        name: LibriSpeech's name of the subset.
        readers: readers that stand in no other subset.
    """

    name: str
    readers: tuple[Reader, ...]

    def jobs(self) -> Iterator[Job]:
        """Yield every utterance of the subset.

        Yields:
            The jobs in the order of their ids.
        """
        for reader in self.readers:
            for chapter in reader.chapters:
                yield from chapter.jobs

    def expected_seconds(self) -> float:
        """Forecast the length of the audio without speaking it.

        Returns:
            Seconds of audio, right within about 10 %.
        """
        return sum(
            _EDGE_SECONDS + _SECONDS_PER_WORD * len(job.transcript.split()) for job in self.jobs()
        )


@dataclass(frozen=True)
class CorpusPlan:
    """Hold every utterance of a corpus.

    Args:
        size: one of the names in :data:`SIZES`.
        seed: what all draws came from.
        subsets: the subsets, training first.
    """

    size: str
    seed: int
    subsets: tuple[Subset, ...]

    def jobs(self) -> Iterator[Job]:
        """Yield every utterance of the corpus.

        Yields:
            The jobs, subset by subset.
        """
        for subset in self.subsets:
            yield from subset.jobs()


def plan_corpus(size: str, *, seed: int) -> CorpusPlan:
    """Decide speakers, channels and text of a corpus.

    Args:
        size: one of the names in :data:`SIZES`.
        seed: the same seed decides the same corpus.

    Returns:
        The plan.

    Raises:
        DataError: there is no such size.
    """
    if size not in SIZES:
        raise DataError(
            f"there is no synthetic corpus of size {size!r}",
            remedy=f"choose one of {', '.join(SIZES)}",
        )
    writer = ScriptWriter(seed)
    subsets = tuple(
        _plan_subset(name, count, seed=seed, writer=writer) for name, count in SIZES[size].items()
    )
    return CorpusPlan(size, seed, subsets)


def _plan_subset(name: str, count: _Count, *, seed: int, writer: ScriptWriter) -> Subset:
    readers = []
    for index in range(count.readers):
        reader_id = _FIRST_READER[name] + index
        speaker = _speaker(name, index, seed=seed)
        chapters = tuple(
            _plan_chapter(
                f"{reader_id}-{reader_id * 10 + number}",
                subset=name,
                speaker=speaker,
                num_utterances=count.utterances_per_chapter,
                seed=seed,
                writer=writer,
            )
            for number in range(1, _CHAPTERS_PER_READER + 1)
        )
        readers.append(Reader(reader_id, speaker, chapters))
    return Subset(name, tuple(readers))


def _speaker(subset: str, index: int, *, seed: int) -> Speaker:
    style = _style(subset)
    return draw_speaker(
        f"{seed}/{subset}/{index}",
        sex="FM"[index % 2],
        # Both sexes meet every accent.
        accent=style.accents[index // 2 % len(style.accents)],
        spread=style.spread,
        num_habits_in_ten=style.num_habits_in_ten,
    )


def _plan_chapter(
    chapter: str,
    *,
    subset: str,
    speaker: Speaker,
    num_utterances: int,
    seed: int,
    writer: ScriptWriter,
) -> Chapter:
    style = _style(subset)
    reader_id, chapter_id = chapter.split("-")
    rng = random.Random(f"chapter/{seed}/{chapter}")  # noqa: S311  not for secrets
    channel = draw_channel(
        rng,
        snr_db=style.snr_db,
        direct_to_room_db=style.direct_to_room_db,
        babble=style.babble,
    )
    jobs = []
    for number in range(num_utterances):
        script = writer.write(held_out=not subset.startswith("train"))
        jobs.append(
            Job(
                utterance=f"{chapter}-{number:04d}",
                path=f"{subset}/{reader_id}/{chapter_id}/{chapter}-{number:04d}.flac",
                spoken=script.spoken,
                transcript=" ".join(script.words),
                speaker=speaker,
                prosody=draw_prosody(rng, speaker),
                channel=channel,
                take=draw_take(rng),
                babble=_babble(rng, style) if style.babble else (),
            )
        )
    return Chapter(int(chapter_id), tuple(jobs))


def _babble(rng: random.Random, style: _Style) -> tuple[BabbleVoice, ...]:
    voices = []
    for _ in range(_NUM_BABBLE_VOICES):
        seed = rng.getrandbits(63)
        speaker = draw_speaker(
            f"babble/{seed}",
            sex=rng.choice("FM"),
            accent=rng.choice(style.accents),
            spread=style.spread,
            num_habits_in_ten=0,
        )
        # A writer of its own: what is said in the background is nobody's transcript.
        spoken = ScriptWriter(seed).write(held_out=False).spoken
        voices.append(BabbleVoice(speaker, draw_prosody(rng, speaker), spoken))
    return tuple(voices)


def _style(subset: str) -> _Style:
    return _OTHER if subset.endswith("other") else _CLEAN
