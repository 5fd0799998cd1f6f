"""Speak text with eSpeak NG through ctypes and return samples with word and phone events.

eSpeak NG keeps state between utterances (flutter index, wave phase, glottal state) that no call of
its interface resets, so an engine is for one utterance: load it once in a pristine process, fork,
and speak in the child. eSpeak NG is GPL-3: only the worker process loads it.
"""

from __future__ import annotations

import ctypes
import os
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from speechlite.core.errors import EnvironmentProblem

__all__ = ["Engine", "Event", "Prosody", "Rendering"]

_SYNCHRONOUS = 2
_PHONEME_EVENTS_DONT_EXIT = 0x8000 | 0x0001
_CHARACTERS_UTF8 = 1
_WORD, _PHONEME, _LAST = 1, 7, 0
_RATE, _VOLUME, _PITCH, _RANGE, _WORD_GAP = 1, 2, 3, 4, 7
# Louder settings clip many of the drawn voices.
_SAFE_VOLUME = 55
# SetVoiceByFile lower-cases the path and keeps fewer than 60 characters of it.
_VOICE_NAME = "v"


class _Id(ctypes.Union):
    _fields_ = (
        ("number", ctypes.c_int),
        ("name", ctypes.c_char_p),
        ("string", ctypes.c_char * 8),
    )


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    )


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


@dataclass(frozen=True)
class Event:
    """Hold where a word or a phone begins.

    Args:
        sample: first sample of the word or phone.
        name: eSpeak's mnemonic of the phone; empty for a word.
        position: 0-based character of the text where the word stands; -1 for a phone.
    """

    sample: int
    name: str
    position: int


@dataclass(frozen=True)
class Rendering:
    """Hold the samples of one utterance and its events in time order.

    Args:
        samples: float64 in [-1, 1].
        rate_hz: samples a second.
        words: the word events.
        phones: the phone events, pauses included.
    """

    samples: npt.NDArray[np.float64]
    rate_hz: int
    words: tuple[Event, ...]
    phones: tuple[Event, ...]


@dataclass(frozen=True)
class Prosody:
    """Hold how one utterance is said, in eSpeak's units.

    Args:
        words_per_minute: speaking rate, 80 to 450.
        pitch: base pitch, 0 to 100, 50 is the voice's own.
        pitch_range: pitch range, 0 to 100, 50 is the voice's own.
        word_gap: pause between words in units of 10 ms at the default rate.
    """

    words_per_minute: int
    pitch: int
    pitch_range: int
    word_gap: int


class Engine:
    """Load eSpeak NG so that it is ready to speak.

    Raises:
        EnvironmentProblem: the wheel that carries eSpeak NG is missing or cannot be loaded.
    """

    def __init__(self) -> None:
        try:
            import espeakng_loader
        except ImportError as error:
            raise EnvironmentProblem(
                "the synthetic corpus needs eSpeak NG, which is not installed",
                remedy="run pip install 'speechlite[synth]'",
            ) from error
        self._data_path = Path(espeakng_loader.get_data_path())
        self._library = _load_library(espeakng_loader.get_library_path())
        flags = _PHONEME_EVENTS_DONT_EXIT
        self._rate_hz = self._library.espeak_Initialize(
            _SYNCHRONOUS, 0, str(self._data_path).encode(), flags
        )
        if self._rate_hz <= 0:
            raise EnvironmentProblem(
                f"eSpeak NG does not start with its data in {self._data_path}",
                remedy="run pip install --force-reinstall 'speechlite[synth]'",
            )

    def version(self) -> str:
        """Return eSpeak NG's own version.

        Returns:
            The version, for example "1.52.0".
        """
        version: bytes = self._library.espeak_Info(None)
        return version.decode()

    def accent(self, name: str) -> str:
        """Return the attributes that eSpeak NG gives to an accent of English.

        Args:
            name: file name of the accent, for example "en-US".

        Returns:
            The attributes, one a line.
        """
        text = (self._data_path / "lang" / "gmw" / name).read_text(encoding="utf-8")
        drop = ("name", "maintainer", "status")
        return "".join(f"{line}\n" for line in text.splitlines() if not line.startswith(drop))

    def speak(self, text: str, *, voice: str, prosody: Prosody) -> Rendering:
        """Return the samples and events of one utterance.

        Args:
            text: what to say; lower-case ASCII with punctuation.
            voice: attributes of the voice, one a line.
            prosody: rate, pitch, range and gaps.

        Returns:
            The rendering at eSpeak's own rate.
        """
        self._set_voice(voice)
        # Breath and Klatt noise are seeded with the time of day otherwise.
        _check(self._library.espeak_ng_SetRandSeed(zlib.crc32(text.encode())), "SetRandSeed")
        for parameter, value in (
            (_RATE, prosody.words_per_minute),
            (_VOLUME, _SAFE_VOLUME),
            (_PITCH, prosody.pitch),
            (_RANGE, prosody.pitch_range),
            (_WORD_GAP, prosody.word_gap),
        ):
            _check(self._library.espeak_SetParameter(parameter, value, 0), "SetParameter")
        return self._synthesise(text)

    def _set_voice(self, voice: str) -> None:
        before = Path.cwd()
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            try:
                Path(_VOICE_NAME).write_text(voice, encoding="utf-8")
                _check(self._library.espeak_ng_SetVoiceByFile(_VOICE_NAME.encode()), "SetVoice")
            finally:
                os.chdir(before)

    def _synthesise(self, text: str) -> Rendering:
        pieces: list[np.ndarray] = []
        words: list[Event] = []
        phones: list[Event] = []

        def collect(wave: Any, count: int, events: Any) -> int:
            if wave and count:
                pieces.append(np.ctypeslib.as_array(wave, (count,)).copy())
            _sort_events(events, words=words, phones=phones)
            return 0

        callback = _Callback(collect)
        self._library.espeak_SetSynthCallback(callback)
        encoded = text.encode()
        size = len(encoded) + 1
        status = self._library.espeak_Synth(encoded, size, 0, 1, 0, _CHARACTERS_UTF8, None, None)
        _check(status, "Synth")
        _check(self._library.espeak_Synchronize(), "Synchronize")
        samples = np.concatenate(pieces).astype(np.float64) / 32768.0
        return Rendering(samples, self._rate_hz, tuple(words), tuple(phones))


def _load_library(path: str) -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(path)
    except OSError as error:
        raise EnvironmentProblem(
            f"eSpeak NG cannot be loaded ({error})",
            remedy="install the espeakng-loader wheel that is built for this platform",
            path=path,
        ) from error
    library.espeak_Info.restype = ctypes.c_char_p
    library.espeak_ng_SetRandSeed.argtypes = (ctypes.c_long,)
    library.espeak_Synth.argtypes = (
        ctypes.c_char_p,
        ctypes.c_size_t,
        ctypes.c_uint,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.c_uint,
        ctypes.c_void_p,
        ctypes.c_void_p,
    )
    return library


def _sort_events(events: Any, *, words: list[Event], phones: list[Event]) -> None:
    index = 0
    while events[index].type != _LAST:
        event = events[index]
        if event.type == _WORD:
            words.append(Event(event.sample, "", event.text_position - 1))
        elif event.type == _PHONEME:
            phones.append(Event(event.sample, event.id.string.decode(), -1))
        index += 1


def _check(status: int, call: str) -> None:
    # A refused voice silently keeps the one before it, so no status may pass unread.
    if status != 0:
        raise RuntimeError(f"eSpeak NG's {call} returned {status:#x}")
