"""The pitch tracker against a slow reference and against signals of known pitch."""

from __future__ import annotations

import kaldi_pitch_reference as reference
import numpy as np
import pytest
import torch

from speechlite.core.errors import ConfigError
from speechlite.nn.fbank import LogMelFilterbank
from speechlite.nn.pitch import KaldiPitch
from speechlite.nn.pitch_nccf import pitch_lags, windowed_sinc
from speechlite.nn.pitch_process import normalise_log_pitch, pitch_features, voicing_feature
from speechlite.nn.pitch_viterbi import best_paths


def _pulses(f0_hz: np.ndarray) -> np.ndarray:
    """Excite a damped resonance once a period of the given pitch, one value of it a sample."""
    phase = np.cumsum(f0_hz) / 16000
    pulses = np.diff(np.floor(phase), prepend=0.0)
    times = np.arange(320)
    ring = np.exp(-times / 40) * np.cos(2 * np.pi * 500 / 16000 * times)
    return np.convolve(pulses, ring)[: len(f0_hz)].astype(np.float32)


def _mixed(num_samples: int, *, seed: int = 0) -> np.ndarray:
    """Put a gliding voice between two stretches of noise."""
    rng = np.random.default_rng(seed)
    voice = _pulses(np.linspace(110, 180, num_samples))
    voice[: num_samples // 4] = 0
    voice[-num_samples // 4 :] = 0
    return (0.3 * voice + 0.01 * rng.standard_normal(num_samples)).astype(np.float32)


def _track(wave: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    waves_BT = torch.from_numpy(wave).unsqueeze(0)
    nccf_BS, pitch_BS, _ = KaldiPitch().track(waves_BT, torch.tensor([len(wave)]))
    return nccf_BS[0].numpy(), pitch_BS[0].numpy()


@pytest.fixture(scope="module")
def wave() -> np.ndarray:
    return _mixed(400 + 160 * 60)


def test_correlations_when_summed_by_a_loop_then_they_agree(wave: np.ndarray):
    tracked, free = KaldiPitch().correlation(torch.from_numpy(wave))
    slow_tracked, slow_free = reference.correlations(wave)
    np.testing.assert_allclose(tracked, slow_tracked, atol=1e-6)
    np.testing.assert_allclose(free, slow_free, atol=2e-5)


def test_correlations_when_the_wave_is_scaled_then_they_stay(wave: np.ndarray):
    correlation = KaldiPitch().correlation
    small, large = correlation(torch.from_numpy(wave)), correlation(torch.from_numpy(wave) * 32768)
    torch.testing.assert_close(small, large, atol=1e-5, rtol=0)


def test_correlations_when_a_loud_onset_follows_silence_then_they_stay_precise():
    wave = _mixed(4000)
    wave[:2000] *= 1e-4
    _, free = KaldiPitch().correlation(torch.from_numpy(wave))
    np.testing.assert_allclose(free, reference.correlations(wave)[1], atol=2e-4)


def test_pitch_when_tracked_by_the_slow_reference_then_it_agrees(wave: np.ndarray):
    tracked, free = reference.correlations(wave)
    path = reference.viterbi(reference.local_costs(reference.upsample(tracked)))
    nccf, pitch = _track(wave)
    np.testing.assert_allclose(pitch, 1 / reference.lag_grid()[path], rtol=1e-5)
    chosen = reference.upsample(free)[np.arange(len(path)), path]
    np.testing.assert_allclose(nccf, chosen, atol=2e-5)


def test_features_when_computed_by_the_slow_reference_then_they_agree(wave: np.ndarray):
    nccf, pitch = _track(wave)
    lengths_B = torch.tensor([len(wave)])
    ours_BS3, _ = KaldiPitch()(torch.from_numpy(wave).unsqueeze(0), lengths_B)
    expected = reference.features(nccf.astype(float), pitch.astype(float))
    np.testing.assert_allclose(ours_BS3[0], expected, atol=1e-5)


def test_features_when_longer_than_the_window_then_they_agree_with_a_loop():
    rng = np.random.default_rng(0)
    nccf, pitch = rng.uniform(-1, 1, 400), rng.uniform(60, 300, 400)
    arguments = (torch.from_numpy(x).unsqueeze(0) for x in (nccf, pitch))
    ours_BS3 = pitch_features(*arguments, torch.tensor([400]))
    np.testing.assert_allclose(ours_BS3[0], reference.features(nccf, pitch), atol=1e-8)


@pytest.mark.parametrize("f0_hz", [70.0, 120.0, 233.0, 350.0])
def test_pitch_when_the_voice_is_steady_then_it_is_within_1_percent(f0_hz: float):
    nccf, pitch = _track(_pulses(np.full(12000, f0_hz)))
    np.testing.assert_allclose(pitch[5:-5], f0_hz, rtol=0.01)
    assert nccf[5:-5].min() > 0.8


def test_pitch_when_the_voice_glides_then_it_follows_within_1_percent():
    f0_hz = 100 * 2 ** np.linspace(0, 1, 32000)
    _, pitch = _track(_pulses(f0_hz))
    # A frame compares 25 ms with the 25 ms one period later, so it measures the pitch half of that
    # later.
    period = 16000 / pitch
    centres = 160 * np.arange(len(pitch)) + 200 + period / 2
    expected = np.interp(centres, np.arange(len(f0_hz)), f0_hz)
    np.testing.assert_allclose(pitch[5:-5], expected[5:-5], rtol=0.01)


@pytest.mark.parametrize("sample_rate", [8000, 22050, 44100, 48000])
def test_pitch_when_the_rate_is_another_then_a_tone_keeps_its_pitch(sample_rate: int):
    times = torch.arange(sample_rate // 2) / sample_rate
    wave = sum(torch.sin(2 * torch.pi * 150 * k * times) / k for k in range(1, 6))
    tracker = KaldiPitch(sample_rate)
    _, pitch_BS, counts_B = tracker.track(wave.unsqueeze(0), torch.tensor([len(wave)]))
    bank = LogMelFilterbank(sample_rate, 23)
    assert counts_B.tolist() == bank(wave.unsqueeze(0), torch.tensor([len(wave)]))[1].tolist()
    torch.testing.assert_close(
        pitch_BS[0, 3:-5], torch.full_like(pitch_BS[0, 3:-5], 150.0), rtol=0.01, atol=0
    )


@pytest.mark.parametrize("extra", [0, 1, 156, 157, 159])
def test_pitch_when_paired_with_the_filterbank_then_frame_counts_agree(extra: int):
    lengths_B = torch.tensor([400 + 160 * 5 + extra, 400 + extra, 399])
    waves_BT = torch.randn(3, int(lengths_B.max()))
    features_BS3, counts_B = KaldiPitch()(waves_BT, lengths_B)
    expected_BSF, expected_B = LogMelFilterbank()(waves_BT, lengths_B)
    assert counts_B.tolist() == expected_B.tolist()
    assert features_BS3.shape[:2] == expected_BSF.shape[:2]


def test_pitch_when_padded_then_every_bit_inside_the_lengths_stays():
    waves = [torch.from_numpy(_mixed(length, seed=length)) for length in (5600, 3333, 9000)]
    lengths_B = torch.tensor([len(wave) for wave in waves])
    batch = torch.full((3, 9999), float("nan"))
    for row, wave in enumerate(waves):
        batch[row, : len(wave)] = wave
    tracker = KaldiPitch()
    features_BS3, counts_B = tracker(batch, lengths_B)
    for row, wave in enumerate(waves):
        alone_BS3, _ = tracker(wave.unsqueeze(0), lengths_B[row : row + 1])
        assert torch.equal(features_BS3[row, : counts_B[row]], alone_BS3[0])
        assert features_BS3[row, counts_B[row] :].eq(0).all()


def test_pitch_when_silent_then_features_are_finite():
    features_BS3, _ = KaldiPitch()(torch.zeros(1, 4000), torch.tensor([4000]))
    assert features_BS3.isfinite().all()
    assert features_BS3[..., 1:].abs().max() < 1e-6


def test_pitch_when_shorter_than_a_frame_then_there_are_no_frames():
    features_BS3, counts_B = KaldiPitch()(torch.randn(2, 300), torch.tensor([300, 0]))
    assert features_BS3.shape == (2, 0, 3)
    assert counts_B.tolist() == [0, 0]


def test_pitch_when_saved_then_it_has_no_state():
    assert KaldiPitch().state_dict() == {}


def test_best_paths_when_every_path_is_tried_then_the_cheapest_is_found():
    costs = torch.rand(3, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    lengths = [5, 3, 4]
    paths_BS = best_paths(costs, torch.tensor(lengths), jump_cost=0.07)
    for row, length in enumerate(lengths):
        every = np.stack(np.meshgrid(*[range(4)] * length), -1).reshape(-1, length)
        totals = [reference.path_cost(costs[row].numpy(), path, 0.07) for path in every]
        assert paths_BS[row, :length].tolist() == every[int(np.argmin(totals))].tolist()
        assert paths_BS[row, length:].eq(0).all()


def test_best_paths_when_there_is_no_utterance_then_there_is_no_path():
    paths_BS = best_paths(torch.zeros(0, 0, 4), torch.zeros(0, dtype=torch.int64), jump_cost=1.0)
    assert paths_BS.shape == (0, 0)


def test_pitch_lags_when_multiplied_up_one_by_one_then_they_agree():
    ours = pitch_lags(50.0, 400.0, step=0.005).numpy()
    np.testing.assert_allclose(ours, reference.lag_grid(), rtol=1e-12)


def test_windowed_sinc_when_evaluated_one_by_one_then_it_agrees():
    times = torch.linspace(-0.002, 0.002, 41, dtype=torch.float64)
    ours = windowed_sinc(times, cutoff_hz=2000.0, num_zeros=5)
    expected = [reference.sinc(time, 2000.0, 5) for time in times.tolist()]
    np.testing.assert_allclose(ours, expected, atol=1e-9)


def test_voicing_feature_when_fully_voiced_then_it_is_the_published_value():
    ours = voicing_feature(torch.tensor([[1.5, -2.0]], dtype=torch.float64))
    np.testing.assert_allclose(ours, [[1e-4**0.15 - 1, 2.0001**0.15 - 1]], rtol=1e-9)


def test_normalise_log_pitch_when_constant_then_it_is_0():
    lengths_B = torch.tensor([200, 3])
    normal_BS = normalise_log_pitch(torch.full((2, 200), 5.0), torch.rand(2, 200) + 0.1, lengths_B)
    assert normal_BS.abs().max() < 1e-6


def test_pitch_when_the_range_is_reversed_then_it_is_refused():
    with pytest.raises(ConfigError, match="pitch from 400 to 50 Hz"):
        KaldiPitch(min_f0=400, max_f0=50)


def test_pitch_when_the_filter_exceeds_the_resampled_band_then_it_is_refused():
    with pytest.raises(ConfigError, match="low-pass filter of 2500 Hz does not fit"):
        KaldiPitch(lowpass_hz=2500)
