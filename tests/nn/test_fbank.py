"""The filterbank against Kaldi's own arithmetic, and its independence of padding."""

from __future__ import annotations

import kaldi_native_fbank as knf
import numpy as np
import pytest
import torch
import torchaudio.compliance.kaldi as compliance

from speechlite.core.errors import ConfigError
from speechlite.nn.fbank import (
    LogMelFilterbank,
    _blocks,
    _fill_log_mels_,
    frame_counts,
    mel_filters,
    povey_window,
)


def _wave(num_samples: int, *, seed: int = 0) -> torch.Tensor:
    """Make noise with a slow envelope, a tone and an offset: loud, quiet and biased frames."""
    generator = torch.Generator().manual_seed(seed)
    times = torch.arange(num_samples) / 16000
    envelope = 0.001 + 0.1 * torch.sin(5 * times).square()
    noise = torch.randn(num_samples, generator=generator)
    return envelope * noise + 0.05 * torch.sin(2 * torch.pi * 440 * times) + 0.02


def _kaldi(wave: torch.Tensor, *, sample_rate: int = 16000, num_mels: int = 80) -> np.ndarray:
    options = knf.FbankOptions()
    options.frame_opts.dither = 0
    options.frame_opts.samp_freq = sample_rate
    options.mel_opts.num_bins = num_mels
    bank = knf.OnlineFbank(options)
    bank.accept_waveform(sample_rate, wave.numpy())
    bank.input_finished()
    return np.stack([bank.get_frame(i) for i in range(bank.num_frames_ready)])


def _features(bank: LogMelFilterbank, wave: torch.Tensor) -> torch.Tensor:
    features_BSF, _ = bank(wave.unsqueeze(0), torch.tensor([len(wave)]))
    return features_BSF[0]


def test_fbank_when_kaldi_computes_the_same_then_they_agree():
    wave = _wave(32000)
    difference = np.abs(_features(LogMelFilterbank(), wave).numpy() - _kaldi(wave))
    assert difference.max() < 1e-3


def test_fbank_when_torchaudio_computes_the_same_then_they_agree():
    wave = _wave(32000)
    expected = compliance.fbank(wave.unsqueeze(0), num_mel_bins=80, dither=0.0)
    torch.testing.assert_close(_features(LogMelFilterbank(), wave), expected, atol=1e-3, rtol=0)


def test_fbank_when_computed_in_float64_then_the_mean_error_is_that_of_float32():
    wave = _wave(16000)
    samples = wave.double().numpy()
    frames = np.stack([samples[s : s + 400] for s in range(0, 16000 - 399, 160)])
    frames -= frames.mean(1, keepdims=True)
    emphasised = frames - 0.97 * np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
    power = np.abs(np.fft.rfft(emphasised * povey_window(400).numpy(), 512)) ** 2
    filters = mel_filters(80, 512, sample_rate=16000, low_hz=20, high_hz=8000).numpy()
    expected = np.log(np.maximum(power @ filters, np.finfo("f4").eps))
    error = np.abs(_features(LogMelFilterbank(), wave).numpy() - expected)
    assert error.mean() < 1e-5
    assert error.max() < 1e-3


def test_fbank_when_the_rate_is_8_khz_then_it_agrees_with_kaldi():
    wave = _wave(8000)
    ours = _features(LogMelFilterbank(8000, 40), wave).numpy()
    assert np.abs(ours - _kaldi(wave, sample_rate=8000, num_mels=40)).max() < 1e-3


def test_fbank_when_scaled_to_16_bits_then_it_agrees_with_kaldi_on_scaled_samples():
    wave = _wave(16000)
    ours = _features(LogMelFilterbank(scale=32768.0), wave).numpy()
    assert np.abs(ours - _kaldi(wave * 32768)).max() < 1e-3


def test_fbank_when_there_is_more_than_one_block_then_frames_equal_those_alone():
    wave = _wave(400 + 160 * 600)
    bank = LogMelFilterbank()
    whole = _features(bank, wave)
    alone = _features(bank, wave[160 * 512 : 160 * 512 + 400])
    torch.testing.assert_close(whole[512:513], alone, atol=1e-5, rtol=0)


def test_fbank_when_utterances_share_a_block_then_they_equal_those_alone():
    waves = torch.stack([_wave(2000, seed=seed) for seed in range(3)])
    bank = LogMelFilterbank()
    # Devices other than the CPU take all utterances at once; so do these calls.
    (block,) = _blocks([11, 11, 11], together=True)
    together_RSF = torch.zeros(3, 11, 80)
    squares = bank._squared_spectrum(waves, torch.zeros(3, 11, 512))
    products = [(first, n, k, bank.filters[k, first : first + n]) for first, n, k in bank._products]
    _fill_log_mels_(together_RSF[block[0], block[1] : block[2]], squares, products)
    alone_RSF = torch.stack([_features(bank, wave) for wave in waves])
    torch.testing.assert_close(together_RSF, alone_RSF, atol=1e-5, rtol=0)


@pytest.mark.parametrize("padding", [0.0, 1e6, float("nan")])
def test_fbank_when_padded_then_every_bit_inside_the_lengths_stays(padding: float):
    lengths = [16000, 7321, 400]
    waves = [_wave(length, seed=length) for length in lengths]
    batch = torch.full((3, 20000), padding)
    for row, wave in enumerate(waves):
        batch[row, : len(wave)] = wave
    bank = LogMelFilterbank()
    features_BSF, counts_B = bank(batch, torch.tensor(lengths))
    for row, wave in enumerate(waves):
        assert torch.equal(features_BSF[row, : counts_B[row]], _features(bank, wave))


def test_fbank_when_utterances_differ_in_length_then_frames_outside_are_zero():
    features_BSF, counts_B = LogMelFilterbank()(torch.randn(2, 2000), torch.tensor([2000, 720]))
    assert counts_B.tolist() == [11, 3]
    assert features_BSF[1, 3:].eq(0).all()


def test_fbank_when_shorter_than_a_frame_then_there_are_no_frames():
    features_BSF, counts_B = LogMelFilterbank()(torch.randn(2, 399), torch.tensor([399, 0]))
    assert features_BSF.shape == (2, 0, 80)
    assert counts_B.tolist() == [0, 0]


def test_fbank_when_silent_then_every_value_is_the_floor():
    features = _features(LogMelFilterbank(), torch.zeros(800))
    torch.testing.assert_close(features, torch.full_like(features, np.log(np.finfo("f4").eps)))


def test_fbank_when_run_then_the_waveform_is_unchanged():
    waves_BT = _wave(4000).unsqueeze(0)
    before = waves_BT.clone()
    LogMelFilterbank()(waves_BT, torch.tensor([4000]))
    assert torch.equal(waves_BT, before)


def test_fbank_when_saved_then_it_has_no_state():
    assert LogMelFilterbank().state_dict() == {}


@pytest.mark.parametrize("num_samples", [0, 399, 400, 559, 560, 16000])
def test_frame_counts_when_frames_are_cut_by_a_loop_then_they_agree(num_samples: int):
    starts = [s for s in range(0, num_samples, 160) if s + 400 <= num_samples]
    counts = frame_counts(torch.tensor([num_samples]), frame_samples=400, shift_samples=160)
    assert counts.tolist() == [len(starts)]


def test_povey_window_when_compared_with_its_formula_then_it_agrees():
    expected = [(0.5 - 0.5 * np.cos(2 * np.pi * n / 399)) ** 0.85 for n in range(400)]
    np.testing.assert_allclose(povey_window(400).numpy(), expected, atol=1e-12)


def test_mel_filters_when_built_by_a_loop_then_they_agree():
    def mel(hertz: float) -> float:
        return 1127 * np.log(1 + hertz / 700)

    step = (mel(8000) - mel(20)) / 24
    expected = np.zeros((257, 23))
    for k in range(256):
        for f in range(23):
            centre = mel(20) + (f + 1) * step
            expected[k, f] = max(0.0, 1 - abs(mel(k * 31.25) - centre) / step)
    ours = mel_filters(23, 512, sample_rate=16000, low_hz=20, high_hz=8000)
    np.testing.assert_allclose(ours.numpy(), expected, atol=1e-9)


def test_fbank_when_the_band_is_empty_then_it_is_refused():
    with pytest.raises(ConfigError, match="do not fit a rate of 8000 Hz"):
        LogMelFilterbank(8000, high_hz=7000)


def test_fbank_when_the_shift_is_below_a_sample_then_it_is_refused():
    with pytest.raises(ConfigError, match="cannot be cut"):
        LogMelFilterbank(frame_shift_ms=0.01)


def test_fbank_when_preemphasis_is_above_1_then_it_is_refused():
    with pytest.raises(ConfigError, match=r"preemphasis 1.5 is outside \[0, 1\]"):
        LogMelFilterbank(preemphasis=1.5)
