"""Cepstra of audio files against Kaldi's own, computed one file at a time."""

from __future__ import annotations

import kaldi_native_fbank as knf
import numpy as np
import pytest
import soundfile

from speechlite.core.errors import ConfigError, DataError
from speechlite.data.datadir import read_datadir
from speechlite.data.reader import KALDI_FRAMES, FrameGrid
from speechlite.hmm.cepstra import compute_cepstra

LENGTHS = {"s-b": 8000, "s-a": 16000, "s-short": 400, "s-odd": 5001}


@pytest.fixture
def speech(tmp_path):
    """Return utterances, their durations and their samples; the ids come unsorted."""
    waves = {}
    for number, (name, length) in enumerate(LENGTHS.items()):
        noise = np.random.default_rng(number).standard_normal(length)
        waves[name] = (2000 * noise).astype(np.int16)
        soundfile.write(tmp_path / f"{name}.wav", waves[name], 16000)
    names = sorted(LENGTHS)
    lines = {
        "wav.scp": [f"{name} {tmp_path / name}.wav" for name in names],
        "text": [f"{name} word" for name in names],
        "utt2spk": [f"{name} s" for name in names],
        "spk2utt": [f"s {' '.join(names)}"],
    }
    for name, content in lines.items():
        (tmp_path / name).write_text("".join(f"{line}\n" for line in content), encoding="utf-8")
    found = {item.id: item for item in read_datadir(tmp_path).utterances}
    return found, {name: LENGTHS[name] / 16000 for name in names}, waves


def _kaldi(samples, num_cepstra):
    options = knf.MfccOptions()
    options.frame_opts.dither = 0
    options.use_energy = False
    options.num_ceps = num_cepstra
    mfcc = knf.OnlineMfcc(options)
    mfcc.accept_waveform(16000, samples.astype(np.float32))
    mfcc.input_finished()
    return np.stack([mfcc.get_frame(i) for i in range(mfcc.num_frames_ready)])


@pytest.mark.parametrize("num_cepstra", [13, 5])
def test_compute_cepstra_when_kaldi_computes_them_alone_then_they_agree(speech, num_cepstra):
    utterances, durations, waves = speech
    found = compute_cepstra(utterances, durations, num_cepstra=num_cepstra)
    assert list(found) == sorted(waves)
    for name, samples in waves.items():
        expected = _kaldi(samples, num_cepstra)
        assert found[name].shape == (1 + (len(samples) - 400) // 160, num_cepstra)
        np.testing.assert_allclose(found[name], expected, atol=5e-3)


def test_compute_cepstra_when_it_goes_on_then_it_says_how_many_are_done(speech):
    utterances, durations, _ = speech
    seen = []
    compute_cepstra(utterances, durations, num_cepstra=2, on_batch=seen.append)
    assert seen[-1] == 4
    assert seen == sorted(seen)


def test_compute_cepstra_when_an_utterance_is_longer_than_a_batch_then_it_is_done_too(speech):
    utterances, durations, _ = speech
    found = compute_cepstra(utterances, {**durations, "s-a": 500.0}, num_cepstra=2)
    assert len(found) == 4


def test_compute_cepstra_when_there_is_no_utterance_then_data_error():
    with pytest.raises(DataError, match="there is no utterance"):
        compute_cepstra({}, {}, num_cepstra=13)


def test_compute_cepstra_when_there_are_too_many_cepstra_then_config_error(speech):
    with pytest.raises(ConfigError, match="24 cepstra cannot be taken from 23 mel filters"):
        compute_cepstra(*speech[:2], num_cepstra=24)


def test_grid_when_an_utterance_has_the_fewest_samples_then_it_has_a_frame():
    assert FrameGrid(sample_rate=16000, stride=160, min_samples=400) == KALDI_FRAMES
