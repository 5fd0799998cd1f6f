"""Draw the speakers of the synthetic corpus: accent, vocal tract, voice quality and habits."""

from __future__ import annotations

import random
from dataclasses import dataclass

from speechlite.data.corpora.mini.engine import Prosody

__all__ = ["ACCENTS_CLEAN", "ACCENTS_OTHER", "Speaker", "draw_prosody", "draw_speaker"]

ACCENTS_CLEAN = ("en-US", "en-US-nyc", "en", "en-GB-x-rp")
"""Accents of the clean splits, by eSpeak NG's names."""
ACCENTS_OTHER = (*ACCENTS_CLEAN, "en-GB-scotland", "en-GB-x-gbclan", "en-GB-x-gbcwmd", "en-029")
"""Accents of the other splits, by eSpeak NG's names."""
_RHOTIC = "en-US"
_HABITS = ("D d", "T f", "r w", "N n")
_NUM_FORMANTS = 9
_BASE_WORDS_PER_MINUTE = 160


@dataclass(frozen=True)
class Speaker:
    """Hold one voice.

    Args:
        sex: "M" or "F".
        accent: eSpeak NG's file name of the accent.
        f0_hz: centre of the fundamental frequency.
        traits: attributes of the voice in eSpeak NG's words, one a line.
        words_per_minute: habitual speaking rate.
        word_gap: habitual pause between words, in eSpeak's units of 10 ms.
    """

    sex: str
    accent: str
    f0_hz: float
    traits: str
    words_per_minute: int
    word_gap: int

    @property
    def is_rhotic(self) -> bool:
        """Tell whether the accent says the R of "car".

        Returns:
            True where the engine puts the R into the vowel.
        """
        return self.accent == _RHOTIC

    @property
    def is_klatt(self) -> bool:
        """Tell whether the voice is a Klatt synthesiser's.

        Returns:
            True where the voice has a Klatt source.
        """
        return any(trait.startswith("klatt ") for trait in self.traits.splitlines())


def draw_speaker(
    seed: str, *, sex: str, accent: str, spread: float, num_habits_in_ten: int
) -> Speaker:
    """Draw a speaker.

    Args:
        seed: the same seed draws the same speaker.
        sex: "M" or "F".
        accent: eSpeak NG's file name of the accent.
        spread: how far voices lie from the average, 1 being the widest that stays intelligible.
        num_habits_in_ten: how many speakers in ten replace one consonant by another.

    Returns:
        The speaker.
    """
    rng = random.Random(f"speaker/{seed}")  # noqa: S311  not for secrets
    f0_hz = rng.lognormvariate(0.0, 0.16 * spread) * (112.0 if sex == "M" else 198.0)
    # Outside this band the engine's waveform tables break up.
    f0_hz = min(max(f0_hz, 70.0), 290.0)
    width = f0_hz * rng.uniform(0.35, 0.35 + 0.4 * spread)
    traits = [
        f"pitch {f0_hz - width / 3:.0f} {f0_hz + 2 * width / 3:.0f}",
        *_formants(rng, sex=sex, spread=spread),
        *_quality(rng, spread=spread),
        *_timing(rng, spread=spread),
    ]
    if rng.random() < num_habits_in_ten / 10:
        traits.append(f"replace 00 {rng.choice(_HABITS)}")
    return Speaker(
        sex=sex,
        accent=accent,
        f0_hz=f0_hz,
        traits="".join(f"{line}\n" for line in traits),
        words_per_minute=round(_BASE_WORDS_PER_MINUTE * rng.lognormvariate(0.0, 0.13 * spread)),
        word_gap=rng.choice((0, 0, 0, 1, 2)),
    )


def draw_prosody(rng: random.Random, speaker: Speaker) -> Prosody:
    """Draw how the speaker says one utterance.

    Args:
        rng: where the draws come from.
        speaker: whose habits the draws vary.

    Returns:
        Rate within 10 %, pitch within 6 units and a varied range.
    """
    return Prosody(
        words_per_minute=round(speaker.words_per_minute * rng.uniform(0.9, 1.1)),
        pitch=50 + rng.randint(-6, 6),
        pitch_range=rng.randint(38, 66),
        word_gap=speaker.word_gap,
    )


def _formants(rng: random.Random, *, sex: str, spread: float) -> list[str]:
    mean, deviation = (98.0, 4.0) if sex == "M" else (113.0, 4.5)
    tract = rng.gauss(mean, deviation * spread)
    lines = []
    for number in range(_NUM_FORMANTS):
        # Formant 0 is only the voice's low-frequency body; the vocal tract shifts the others.
        centre = 100.0 if number == 0 else tract
        frequency = centre * (1 + rng.gauss(0, 0.025 * spread))
        strength = 100 * (1 + rng.gauss(0, 0.12 * spread))
        bandwidth = 100 * (1 + rng.gauss(0, 0.12 * spread))
        lines.append(f"formant {number} {frequency:.0f} {strength:.0f} {bandwidth:.0f}")
    return lines


def _quality(rng: random.Random, *, spread: float) -> list[str]:
    tilt = rng.gauss(0, 25 * spread)
    tone = " ".join(
        f"{hz} {min(max(base + share * tilt, 20), 255):.0f}"
        for hz, base, share in (
            (600, 170, -0.3),
            (1200, 135, 0.3),
            (2000, 110, 0.7),
            (3000, 110, 1),
        )
    )
    lines = [
        f"tone {tone}",
        f"flutter {rng.randint(1, 2 + round(4 * spread))}",
        f"roughness {rng.randint(0, 1 + round(3 * spread))}",
        f"voicing {100 + rng.gauss(0, 15 * spread):.0f}",
        f"consonants {100 + rng.gauss(0, 15 * spread):.0f} {100 + rng.gauss(0, 15 * spread):.0f}",
    ]
    if rng.random() < 0.3 * spread:
        lines.append("breath " + " ".join(str(rng.randint(0, 4)) for _ in range(8)))
    if rng.random() < 0.15 * spread:
        lines.append(f"klatt {rng.randint(1, 4)}")
    return lines


def _timing(rng: random.Random, *, spread: float) -> list[str]:
    deviation = 12 * spread
    steps = " ".join(f"{rng.gauss(0, deviation):.0f}" for _ in range(8))
    return [f"stressAdd {steps}", f"intonation {rng.randint(1, 4)}"]
