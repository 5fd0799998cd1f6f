"""Speak jobs in a process of its own: one JSON line in, one JSON line out.

The process is pristine: it loads the engine and never speaks itself. Each utterance is spoken in a
forked child, so that the engine's hidden state is the same for all of them, whatever their order.
The engine's licence (GPL) and its state both stay in here.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from speechlite.core.errors import EnvironmentProblem, SpeechliteError
from speechlite.data.corpora.mini.alignment import Phone, Word, align_phones, align_words
from speechlite.data.corpora.mini.channel import RATE_HZ, record
from speechlite.data.corpora.mini.engine import Engine, Rendering
from speechlite.data.corpora.mini.job import BabbleVoice, Job, Result, Span, job_from_json, to_json
from speechlite.data.corpora.mini.phones import PAUSE
from speechlite.data.corpora.mini.speakers import Speaker

__all__ = ["main", "perform"]

_TICKS_PER_SECOND = 10000


def perform(engine: Engine, job: Job, *, root: Path) -> Result:
    """Speak one utterance and write its audio.

    Args:
        engine: an engine that has not spoken yet.
        job: what to say.
        root: folder that the job's path starts from; the folder of the audio exists.

    Returns:
        What was written.

    Raises:
        EnvironmentProblem: the audio cannot be written.
    """
    rendering = engine.speak(job.spoken, voice=_voice(engine, job.speaker), prosody=job.prosody)
    phones = align_phones(rendering, rhotic=job.speaker.is_rhotic, klatt=job.speaker.is_klatt)
    words = align_words(rendering, phones, spoken=job.spoken)
    first, last = _sounding(rendering.samples)
    wave_T, lead_seconds, pace = record(
        rendering.samples[first:last],
        rendering.rate_hz,
        channel=job.channel,
        take=job.take,
        babble=[_background(engine, voice) for voice in job.babble],
    )
    clock = _Clock(rendering, first=first, lead_seconds=lead_seconds, pace=pace)
    return Result(
        utterance=job.utterance,
        num_samples=len(wave_T),
        sha256=_write_flac(root / job.path, wave_T),
        phones=clock.spans([(p, p.symbol) for p in phones if p.symbol != PAUSE]),
        words=clock.spans([(w, w.text) for w in words]),
    )


def main() -> int:
    """Serve jobs from standard input until it closes.

    Returns:
        The exit status: 0, or 1 when the engine does not start or nobody listens.
    """
    # An interrupt ends the parent, which then closes standard input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    root = Path(sys.argv[1])
    fork = sys.argv[2] == "fork"
    try:
        engine = Engine()
    except SpeechliteError as error:
        print(_problem(error), flush=True)
        return 1
    print(json.dumps({"engine": engine.version()}), flush=True)
    for line in sys.stdin:
        answer = _in_child(engine, line, root=root) if fork else _answer(engine, line, root=root)
        try:
            print(answer, flush=True)
        except BrokenPipeError:
            # Whoever asked is dead. The exit must not flush into the pipe again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
    return 0


class _Clock:
    """Convert the engine's samples into ticks of 0.1 ms in the recording."""

    def __init__(
        self, rendering: Rendering, *, first: int, lead_seconds: float, pace: float
    ) -> None:
        self._first = first
        self._lead_seconds = lead_seconds
        self._seconds_per_sample = pace / rendering.rate_hz

    def _ticks(self, sample: int) -> int:
        seconds = self._lead_seconds + (sample - self._first) * self._seconds_per_sample
        return max(0, round(seconds * _TICKS_PER_SECOND))

    def spans(self, items: Sequence[tuple[Phone | Word, str]]) -> tuple[Span, ...]:
        return tuple(
            (self._ticks(item.start), self._ticks(item.end), token) for item, token in items
        )


def _voice(engine: Engine, speaker: Speaker) -> str:
    return engine.accent(speaker.accent) + speaker.traits


def _background(engine: Engine, voice: BabbleVoice) -> np.ndarray:
    rendering = engine.speak(
        voice.spoken, voice=_voice(engine, voice.speaker), prosody=voice.prosody
    )
    first, last = _sounding(rendering.samples)
    return rendering.samples[first:last]


def _sounding(wave_T: np.ndarray) -> tuple[int, int]:
    places = np.flatnonzero(wave_T)
    return int(places[0]), int(places[-1]) + 1


def _write_flac(path: Path, wave_T: np.ndarray) -> str:
    encoded = io.BytesIO()
    soundfile.write(encoded, wave_T, RATE_HZ, format="FLAC", subtype="PCM_16")
    try:
        with path.open("wb") as file:
            file.write(encoded.getbuffer())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise EnvironmentProblem(
            f"the corpus cannot be written ({error})",
            remedy="free space or choose another folder",
        ) from error
    return hashlib.sha256(encoded.getbuffer()).hexdigest()


def _answer(engine: Engine, line: str, *, root: Path) -> str:
    try:
        return to_json(perform(engine, job_from_json(line), root=root))
    except SpeechliteError as error:
        return _problem(error)


def _problem(error: SpeechliteError) -> str:
    return json.dumps({"problem": error.cause, "remedy": error.remedy})


def _in_child(engine: Engine, line: str, *, root: Path) -> str:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reading)
            with os.fdopen(writing, "w") as pipe:
                pipe.write(_answer(engine, line, root=root))
            status = 0
        except Exception:
            traceback.print_exc()
        finally:
            # Not sys.exit: the child must not run the parent's clean-up.
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        answer = pipe.read()
    _, code = os.waitpid(child, 0)
    if code != 0:
        raise RuntimeError(f"the engine failed with status {code} on {line.strip()}")
    return answer


if __name__ == "__main__":
    sys.exit(main())
