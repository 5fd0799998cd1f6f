"""Put dry speech into a room, through a microphone and under noise, at 16 kHz.

Everything linear (resampling with a speed factor, equaliser, room) happens in one pass through
the frequency domain. Transforms have lengths whose prime factors are 2, 3, 5 and 7: other lengths
are several times slower.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

__all__ = ["RATE_HZ", "Channel", "Take", "draw_channel", "draw_take", "record"]

RATE_HZ = 16000
"""Sampling rate of the corpus."""
_BAND_EDGES_HZ = (60.0, 150.0, 350.0, 800.0, 1800.0, 3500.0, 7000.0)
_LONGEST_TRANSFORM = 1 << 23
_PEAK_LIMIT = 0.98
_NOISE_FLOOR = 1e-5


@dataclass(frozen=True)
class Channel:
    """Hold the recording conditions of one chapter.

    Args:
        band_gains_db: gains of the equaliser's seven bands.
        rt60_seconds: time in which the room's tail falls by 60 dB.
        direct_to_room_db: energy of the direct sound over the tail's.
        noise_colour: power of 1/f that the noise spectrum falls with.
        snr_db: speech over noise.
        level_db: speech level below full scale.
        babble_share: share of the noise energy that is other people talking, 0 to 1.
        seed: draws the room's tail.
    """

    band_gains_db: tuple[float, ...]
    rt60_seconds: float
    direct_to_room_db: float
    noise_colour: float
    snr_db: float
    level_db: float
    babble_share: float
    seed: int


@dataclass(frozen=True)
class Take:
    """Hold what differs between two recordings on one channel.

    Args:
        speed: factor on rate and vocal tract, around 1.
        lead_seconds: silence before the speech.
        tail_seconds: silence after it.
        snr_offset_db: added to the channel's signal-to-noise ratio.
        seed: draws the noise.
    """

    speed: float
    lead_seconds: float
    tail_seconds: float
    snr_offset_db: float
    seed: int


@dataclass(frozen=True)
class _Grid:
    num_input: int
    num_output: int
    miss: float


def draw_channel(
    rng: random.Random,
    *,
    snr_db: tuple[float, float],
    direct_to_room_db: tuple[float, float],
    babble: bool,
) -> Channel:
    """Draw the recording conditions of a chapter.

    Args:
        rng: where the draws come from.
        snr_db: lowest and highest signal-to-noise ratio.
        direct_to_room_db: lowest and highest energy of the direct sound over the room's.
        babble: whether other people may talk in the background.

    Returns:
        The channel.
    """
    return Channel(
        band_gains_db=tuple(rng.gauss(0.0, 3.0) for _ in _BAND_EDGES_HZ),
        rt60_seconds=rng.uniform(0.1, 0.45),
        direct_to_room_db=rng.uniform(*direct_to_room_db),
        noise_colour=rng.uniform(0.0, 1.6),
        snr_db=rng.uniform(*snr_db),
        level_db=rng.uniform(-32.0, -20.0),
        babble_share=rng.uniform(0.2, 0.8) if babble else 0.0,
        seed=rng.getrandbits(63),
    )


def draw_take(rng: random.Random) -> Take:
    """Draw what is particular to one utterance.

    Args:
        rng: where the draws come from.

    Returns:
        The take: speed within 8 %, signal-to-noise ratio within 2 dB, silence at the edges.
    """
    return Take(
        speed=rng.uniform(0.92, 1.08),
        lead_seconds=rng.uniform(0.12, 0.4),
        tail_seconds=rng.uniform(0.15, 0.45),
        snr_offset_db=rng.uniform(-2.0, 2.0),
        seed=rng.getrandbits(63),
    )


def record(
    dry_T: np.ndarray,
    rate_hz: int,
    *,
    channel: Channel,
    take: Take,
    babble: Sequence[np.ndarray] = (),
) -> tuple[np.ndarray, float, float]:
    """Return the recording of dry speech.

    Args:
        dry_T: speech without silence at its edges, in [-1, 1].
        rate_hz: its sampling rate.
        channel: conditions of the chapter.
        take: conditions of the utterance.
        babble: speech of other people, each at ``rate_hz``; needed where the channel has babble.

    Returns:
        The recording at 16 kHz in 16-bit integers; the second at which the speech begins; seconds
        of recording for each second of dry speech.
    """
    grid = _fit_grid(len(dry_T), rate_hz, channel=channel, take=take)
    pace = rate_hz / RATE_HZ * grid.num_output / grid.num_input
    lead = round(take.lead_seconds * RATE_HZ)
    tail = round(take.tail_seconds * RATE_HZ)
    num_speech = round(len(dry_T) * grid.num_output / grid.num_input)
    total = lead + num_speech + tail
    speech_T = np.zeros(total)
    wet_T = _transmit(dry_T, grid, channel=channel)[: total - lead]
    speech_T[lead : lead + len(wet_T)] = wet_T
    target = 10 ** (channel.level_db / 20)
    speech_T *= target / max(_rms(speech_T[lead : lead + num_speech]), _NOISE_FLOOR)
    noise_T = _noise(total, channel=channel, take=take)
    if channel.babble_share > 0.0:
        talk_T = _babble(babble, rate_hz, total=total, channel=channel, take=take)
        share = channel.babble_share
        noise_T = np.sqrt(1 - share) * noise_T + np.sqrt(share) * talk_T
    snr_db = channel.snr_db + take.snr_offset_db
    mixed_T = speech_T + noise_T * (target * 10 ** (-snr_db / 20))
    mixed_T *= min(1.0, _PEAK_LIMIT / float(np.abs(mixed_T).max()))
    return np.round(mixed_T * 32767).astype(np.int16), lead / RATE_HZ, pace


def _fit_grid(num_dry: int, rate_hz: int, *, channel: Channel, take: Take) -> _Grid:
    ratio = RATE_HZ / (rate_hz * take.speed)
    # Room for the tail, so that it does not wrap around to the beginning.
    needed = num_dry + int(rate_hz * (channel.rt60_seconds + 0.05))
    smooth = _smooth_numbers()
    first = bisect_left(smooth, needed)
    best = _Grid(needed, needed, float("inf"))
    for num_input in smooth[first : first + 12]:
        place = bisect_left(smooth, num_input * ratio)
        for num_output in smooth[max(place - 1, 0) : place + 1]:
            miss = abs(num_output / num_input / ratio - 1)
            if miss < best.miss:
                best = _Grid(num_input, num_output, miss)
    return best


def _transmit(dry_T: np.ndarray, grid: _Grid, *, channel: Channel) -> np.ndarray:
    spectrum = np.fft.rfft(dry_T, grid.num_input)[: grid.num_output // 2 + 1]
    spectrum = np.pad(spectrum, (0, grid.num_output // 2 + 1 - len(spectrum)))
    hz = np.fft.rfftfreq(grid.num_output, 1 / RATE_HZ)
    spectrum *= _equaliser(hz, channel.band_gains_db)
    spectrum *= np.fft.rfft(_room(channel), grid.num_output)
    return np.fft.irfft(spectrum, grid.num_output)


def _equaliser(hz: np.ndarray, gains_db: Sequence[float]) -> np.ndarray:
    octave = np.log2(np.maximum(hz, 1.0))
    gain_db = np.interp(octave, np.log2(_BAND_EDGES_HZ), gains_db)
    # A gentle fall below 60 Hz, as microphones have.
    return np.asarray(10 ** (gain_db / 20) * np.minimum(1.0, hz / _BAND_EDGES_HZ[0]))


def _room(channel: Channel) -> np.ndarray:
    num = int(channel.rt60_seconds * RATE_HZ)
    rng = np.random.Generator(np.random.PCG64(channel.seed))
    decay = 10 ** (-3 * np.arange(num) / num)
    response = rng.standard_normal(num) * decay
    # The tail starts 2 ms after the direct sound.
    response[: RATE_HZ // 500] = 0.0
    response *= 10 ** (-channel.direct_to_room_db / 20) / np.sqrt(np.sum(response**2))
    response[0] = 1.0
    return response


def _noise(total: int, *, channel: Channel, take: Take) -> np.ndarray:
    smooth = _smooth_numbers()
    size = smooth[bisect_left(smooth, total)]
    rng = np.random.Generator(np.random.PCG64(take.seed))
    spectrum = np.fft.rfft(rng.standard_normal(size))
    hz = np.fft.rfftfreq(size, 1 / RATE_HZ)
    spectrum *= np.maximum(hz, 40.0) ** (-channel.noise_colour / 2)
    noise_T = np.fft.irfft(spectrum, size)[:total]
    return np.asarray(noise_T / _rms(noise_T))


def _babble(
    voices: Sequence[np.ndarray], rate_hz: int, *, total: int, channel: Channel, take: Take
) -> np.ndarray:
    talk_T = np.zeros(total)
    natural = replace(take, speed=1.0)
    for voice_T in voices:
        grid = _fit_grid(len(voice_T), rate_hz, channel=channel, take=natural)
        num = round(len(voice_T) * grid.num_output / grid.num_input)
        wet_T = _transmit(voice_T, grid, channel=channel)[:num]
        # A short sentence is said again until the utterance ends.
        talk_T += np.resize(wet_T / max(_rms(wet_T), _NOISE_FLOOR), total)
    return np.asarray(talk_T / max(_rms(talk_T), _NOISE_FLOOR))


def _rms(wave_T: np.ndarray) -> float:
    return float(np.sqrt(np.mean(wave_T**2)))


@lru_cache(maxsize=1)
def _smooth_numbers() -> list[int]:
    numbers = {1}
    for prime in (2, 3, 5, 7):
        for number in sorted(numbers):
            power = number
            while power <= _LONGEST_TRANSFORM:
                numbers.add(power)
                power *= prime
    return sorted(numbers)
