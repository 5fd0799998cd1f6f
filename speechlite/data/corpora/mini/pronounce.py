"""Ask eSpeak NG how words are said, in a process of its own (its licence is GPL-3)."""

from __future__ import annotations

import json
import subprocess
import sys
import unicodedata
from collections.abc import Sequence

from speechlite.core.errors import EnvironmentProblem
from speechlite.data.corpora.mini.engine import Engine, Prosody
from speechlite.data.corpora.mini.phones import PAUSE, to_arpabet

__all__ = ["main", "pronounce"]

_VOICES = {"en-us": ("en-US", True), "en-gb-x-rp": ("en-GB-x-rp", False)}
_PLAIN = Prosody(words_per_minute=160, pitch=50, pitch_range=50, word_gap=0)


def pronounce(words: Sequence[str], *, voice: str = "en-us") -> dict[str, tuple[str, ...]]:
    """Return how eSpeak NG says words that stand alone.

    Args:
        words: words of the Latin alphabet; eSpeak NG only spells what other letters are called.
        voice: ``en-us`` or ``en-gb-x-rp``.

    Returns:
        ARPAbet phones without stress by word; words that it cannot say are left out.

    Raises:
        EnvironmentProblem: if the voice is unknown, or eSpeak NG is missing or fails.
    """
    if voice not in _VOICES:
        raise EnvironmentProblem(
            f"voice {voice!r}, expected one of {', '.join(_VOICES)}", remedy="change lang.voice"
        )
    words = [word for word in words if _is_latin(word)]
    done = subprocess.run(  # noqa: S603 (fixed program and arguments)
        [sys.executable, "-m", "speechlite.data.corpora.mini.pronounce", voice],
        input="".join(json.dumps(word) + "\n" for word in words),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        told = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise EnvironmentProblem(
            f"eSpeak NG failed: {told[-1]}",
            remedy="run pip install 'speechlite[synth]'",
        )
    found = zip(words, map(json.loads, done.stdout.splitlines()), strict=True)
    return {word: tuple(phones) for word, phones in found if phones}


def _is_latin(word: str) -> bool:
    names = (unicodedata.name(letter, "") for letter in word if letter.isalpha())
    return word.isprintable() and all(name.startswith("LATIN ") for name in names)


def _say(engine: Engine, word: str, accent: str, *, rhotic: bool) -> list[str]:
    rendering = engine.speak(word.lower(), voice=accent, prosody=_PLAIN)
    try:
        units = list(to_arpabet([event.name for event in rendering.phones], rhotic=rhotic))
    except KeyError:
        return []
    return [phone for unit in units for phone in unit if phone != PAUSE]


def main() -> int:
    """Answer each word of standard input with its phones, as JSON lines.

    Returns:
        The exit status.
    """
    name, rhotic = _VOICES[sys.argv[1]]
    engine = Engine()
    accent = engine.accent(name)
    for line in sys.stdin:
        print(json.dumps(_say(engine, json.loads(line), accent, rhotic=rhotic)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
