"""Describe one utterance to a worker, and its result back, as lines of JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from speechlite.data.corpora.mini.channel import Channel, Take
from speechlite.data.corpora.mini.engine import Prosody
from speechlite.data.corpora.mini.speakers import Speaker

__all__ = ["BabbleVoice", "Job", "Result", "Span", "job_from_json", "result_from_json", "to_json"]

Span = tuple[int, int, str]
"""Start and end in units of 0.1 ms, and the token."""


@dataclass(frozen=True)
class BabbleVoice:
    """Hold one person who talks in the background.

    Args:
        speaker: the voice.
        prosody: how it speaks.
        spoken: what it says.
    """

    speaker: Speaker
    prosody: Prosody
    spoken: str


@dataclass(frozen=True)
class Job:
    """Hold all that an utterance is made from.

    Args:
        utterance: LibriSpeech-like id.
        path: audio file to write, relative to the corpus.
        spoken: lower-case text with punctuation.
        transcript: the same in capitals without punctuation.
        speaker: the voice.
        prosody: how it speaks.
        channel: recording conditions of the chapter.
        take: recording conditions of the utterance.
        babble: people in the background; empty for none.
    """

    utterance: str
    path: str
    spoken: str
    transcript: str
    speaker: Speaker
    prosody: Prosody
    channel: Channel
    take: Take
    babble: tuple[BabbleVoice, ...]


@dataclass(frozen=True)
class Result:
    """Hold what was written for a job.

    Args:
        utterance: id of the job.
        num_samples: length of the audio at 16 kHz.
        sha256: of the audio file.
        phones: the phones, without pauses.
        words: the words.
    """

    utterance: str
    num_samples: int
    sha256: str
    phones: tuple[Span, ...]
    words: tuple[Span, ...]


def to_json(value: Job | Result) -> str:
    """Return a job or a result as one line.

    Args:
        value: what to write.

    Returns:
        JSON without a line end.
    """
    return json.dumps(asdict(value))


def job_from_json(line: str) -> Job:
    """Return the job that a line describes.

    Args:
        line: what :func:`to_json` returned.

    Returns:
        The job.
    """
    fields = json.loads(line)
    fields["speaker"] = Speaker(**fields["speaker"])
    fields["prosody"] = Prosody(**fields["prosody"])
    gains = tuple(fields["channel"].pop("band_gains_db"))
    fields["channel"] = Channel(band_gains_db=gains, **fields["channel"])
    fields["take"] = Take(**fields["take"])
    fields["babble"] = tuple(
        BabbleVoice(Speaker(**voice["speaker"]), Prosody(**voice["prosody"]), voice["spoken"])
        for voice in fields["babble"]
    )
    return Job(**fields)


def result_from_json(line: str) -> Result:
    """Return the result that a line describes.

    Args:
        line: what :func:`to_json` returned.

    Returns:
        The result.
    """
    fields = json.loads(line)
    for name in ("phones", "words"):
        fields[name] = tuple((start, end, token) for start, end, token in fields[name])
    return Result(**fields)
