from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from speechlite.data.corpora.mini.channel import RATE_HZ, Channel, Take, draw_channel, record

DRY = Channel((0.0,) * 7, 0.1, 200.0, 0.0, 200.0, -20.0, 0.0, 1)
TAKE = Take(1.0, 0.25, 0.25, 0.0, 2)


def tone(hz, *, seconds=1.0, rate=22050):
    return np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)


def peak_hz(wave):
    return np.argmax(np.abs(np.fft.rfft(wave * np.hanning(len(wave))))) * RATE_HZ / len(wave)


def db(power):
    return 10 * np.log10(power)


@pytest.mark.parametrize("speed", [0.92, 1.0, 1.08])
def test_record_when_speed_changes_shifts_frequency_and_length_alike(speed):
    wave, lead, pace = record(tone(1000), 22050, channel=DRY, take=replace(TAKE, speed=speed))
    start = round(lead * RATE_HZ)
    spoken = wave[start : start + round(pace * RATE_HZ)]
    assert peak_hz(spoken.astype(float)) == pytest.approx(1000 * speed, rel=2e-3)
    assert pace == pytest.approx(1 / speed, rel=5e-3)


def test_record_when_a_click_is_spoken_places_it_where_it_says():
    dry = np.zeros(22050)
    dry[11025] = 1.0
    wave, lead, pace = record(dry, 22050, channel=DRY, take=TAKE)
    assert np.argmax(np.abs(wave)) / RATE_HZ == pytest.approx(lead + 0.5 * pace, abs=2e-4)


def test_record_when_silence_surrounds_has_the_asked_edges():
    wave, lead, pace = record(tone(500), 22050, channel=DRY, take=TAKE)
    assert lead == 0.25
    assert len(wave) / RATE_HZ == pytest.approx(0.5 + pace, abs=1e-3)


def test_record_when_noisy_has_the_asked_ratio():
    channel = replace(DRY, snr_db=15.0)
    wave, lead, _ = record(tone(1000), 22050, channel=channel, take=TAKE)
    start = round(lead * RATE_HZ)
    noise = np.mean(wave[: start - 200].astype(float) ** 2)
    both = np.mean(wave[start + 200 : start + 15800].astype(float) ** 2)
    assert db((both - noise) / noise) == pytest.approx(15.0, abs=0.5)


def test_record_when_a_level_is_asked_has_it():
    wave, lead, _ = record(tone(1000), 22050, channel=DRY, take=TAKE)
    start = round(lead * RATE_HZ)
    assert db(np.mean((wave[start : start + 16000] / 32767.0) ** 2)) == pytest.approx(-20, abs=0.2)


def test_record_when_room_is_live_rings_after_the_speech():
    channel = replace(DRY, rt60_seconds=0.4, direct_to_room_db=3.0)
    dry = np.random.default_rng(0).standard_normal(22050)
    wave, lead, pace = record(dry, 22050, channel=channel, take=TAKE)
    end = round((lead + pace) * RATE_HZ)
    early = np.mean(wave[end + 160 : end + 800].astype(float) ** 2)
    late = np.mean(wave[end + 1760 : end + 2400].astype(float) ** 2)
    # 60 dB in 0.4 s is 15 dB in 0.1 s.
    assert db(early / late) == pytest.approx(15.0, abs=3.0)


def test_record_when_people_babble_carries_their_voices():
    channel = replace(DRY, snr_db=0.0, babble_share=1.0)
    wave, lead, _ = record(tone(500), 22050, channel=channel, take=TAKE, babble=[tone(3000)])
    assert peak_hz(wave[: round(lead * RATE_HZ)].astype(float)) == pytest.approx(3000, rel=0.02)


def test_record_when_equaliser_lifts_a_band_lifts_a_tone_in_it():
    gains = (0.0, 0.0, 0.0, 0.0, 12.0, 0.0, 0.0)
    dry = tone(1800) + tone(350)
    flat, _, _ = record(dry, 22050, channel=DRY, take=TAKE)
    lifted, _, _ = record(dry, 22050, channel=replace(DRY, band_gains_db=gains), take=TAKE)

    def ratio(wave):
        power = np.abs(np.fft.rfft(wave[5000:20000] * np.hanning(15000))) ** 2
        at = [round(hz * 15000 / RATE_HZ) for hz in (1800, 350)]
        return db(power[at[0] - 3 : at[0] + 4].sum() / power[at[1] - 3 : at[1] + 4].sum())

    assert ratio(lifted) - ratio(flat) == pytest.approx(12.0, abs=0.5)


def test_record_when_repeated_is_bit_identical():
    channel = draw_channel(
        random.Random(1), snr_db=(8, 24), direct_to_room_db=(4, 20), babble=False
    )
    first = record(tone(300), 22050, channel=channel, take=TAKE)[0]
    assert np.array_equal(first, record(tone(300), 22050, channel=channel, take=TAKE)[0])


def test_record_when_level_is_too_high_does_not_clip():
    wave, _, _ = record(tone(300), 22050, channel=replace(DRY, level_db=6.0), take=TAKE)
    assert np.abs(wave).max() <= 0.98 * 32767 + 1
