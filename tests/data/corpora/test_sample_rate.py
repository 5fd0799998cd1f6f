"""Recordings of another rate are rewritten; the others stay."""

from __future__ import annotations

import numpy as np
import pytest

from speechlite.data.audio import read_info, read_wave, write_flac
from speechlite.data.corpora.sample_rate import convert_sample_rate
from speechlite.data.datadir import read_table, write_table
from speechlite.data.validation import check_datadir


@pytest.fixture
def directory(tmp_path):
    path = tmp_path / "data"
    path.mkdir()
    recordings, counts = {}, {}
    for name, rate in (("a-1", 8000), ("a-2", 16000)):
        time_T = np.arange(rate) / rate
        audio = tmp_path / f"{name}.flac"
        wave_T = (0.3 * np.sin(2 * np.pi * 440 * time_T)).astype(np.float32)
        write_flac(audio, wave_T, sample_rate=rate)
        recordings[name], counts[name] = str(audio), str(rate)
    write_table(path / "wav.scp", recordings)
    write_table(path / "utt2spk", {"a-1": "a", "a-2": "a"})
    write_table(path / "spk2utt", {"a": "a-1 a-2"})
    write_table(path / "utt2num_samples", counts)
    write_table(path / "utt2dur", {"a-1": "1.000000", "a-2": "1.000000"})
    return path


def test_convert_when_rates_differ_then_all_have_the_one_asked_for(directory):
    assert convert_sample_rate([directory], sample_rate=16000) == 1
    recordings = read_table(directory / "wav.scp")
    assert {read_info(path).sample_rate for path in recordings.values()} == {16000}
    assert check_datadir(directory, audio=True) == []


def test_convert_when_done_then_a_tone_keeps_its_pitch(directory):
    convert_sample_rate([directory], sample_rate=16000)
    wave_T = read_wave(read_table(directory / "wav.scp")["a-1"])
    peak = np.abs(np.fft.rfft(wave_T)).argmax() * 16000 / len(wave_T)
    assert abs(peak - 440) <= 1


def test_convert_when_nothing_differs_then_nothing_is_written(directory):
    convert_sample_rate([directory], sample_rate=16000)
    before = {path: path.stat().st_mtime_ns for path in directory.rglob("*")}
    assert convert_sample_rate([directory], sample_rate=16000) == 0
    assert before == {path: path.stat().st_mtime_ns for path in directory.rglob("*")}


def test_convert_when_samples_are_at_full_scale_then_overshoot_is_cut(directory):
    square_T = np.sign(np.sin(2 * np.pi * 300 * (np.arange(8000) + 0.5) / 8000))
    audio = read_table(directory / "wav.scp")["a-1"]
    write_flac(
        audio, (0.999 * square_T * (np.arange(8000) % 8 > 0)).astype(np.float32), sample_rate=8000
    )
    convert_sample_rate([directory], sample_rate=16000)
    assert check_datadir(directory, audio=True) == []
