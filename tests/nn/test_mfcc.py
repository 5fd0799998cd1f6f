"""Cepstra against Kaldi's own arithmetic and deltas against a loop."""

from __future__ import annotations

import kaldi_native_fbank as knf
import numpy as np
import pytest
import scipy.fft
import torch

from speechlite.core.errors import ConfigError
from speechlite.nn.mfcc import Mfcc, add_deltas, cepstral_lifter, cosine_transform


def _wave(num_samples: int, *, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    times = torch.arange(num_samples) / 16000
    noise = torch.randn(num_samples, generator=generator)
    return 0.05 * noise * (1.1 + torch.sin(9 * times)) + 0.01


def _kaldi(wave: torch.Tensor, *, use_energy: bool) -> np.ndarray:
    options = knf.MfccOptions()
    options.frame_opts.dither = 0
    options.use_energy = use_energy
    options.energy_floor = 0
    mfcc = knf.OnlineMfcc(options)
    mfcc.accept_waveform(16000, wave.numpy())
    mfcc.input_finished()
    return np.stack([mfcc.get_frame(i) for i in range(mfcc.num_frames_ready)])


@pytest.mark.parametrize("use_energy", [False, True])
def test_mfcc_when_kaldi_computes_the_same_then_they_agree(use_energy: bool):
    wave = _wave(24000)
    cepstra_BSC, _ = Mfcc(use_energy=use_energy)(wave.unsqueeze(0), torch.tensor([24000]))
    difference = np.abs(cepstra_BSC[0].numpy() - _kaldi(wave, use_energy=use_energy))
    assert difference.max() < 2e-3


def test_mfcc_when_padded_then_every_bit_inside_the_lengths_stays():
    wave = _wave(8000)
    mfcc = Mfcc(use_energy=True)
    alone_BSC, counts_B = mfcc(wave.unsqueeze(0), torch.tensor([8000]))
    batch = torch.full((2, 20000), float("nan"))
    batch[0, :8000], batch[1, :20000] = wave, _wave(20000, seed=1)
    padded_BSC, _ = mfcc(batch, torch.tensor([8000, 20000]))
    assert torch.equal(padded_BSC[0, : counts_B[0]], alone_BSC[0])
    assert padded_BSC[0, counts_B[0] :].eq(0).all()


def test_mfcc_when_shorter_than_a_frame_then_there_are_no_frames():
    cepstra_BSC, counts_B = Mfcc(use_energy=True)(torch.zeros(1, 100), torch.tensor([100]))
    assert cepstra_BSC.shape == (1, 0, 13)
    assert counts_B.tolist() == [0]


def test_mfcc_when_more_cepstra_than_mels_are_wanted_then_it_is_refused():
    with pytest.raises(ConfigError, match="24 cepstra cannot be taken from 23 mel filters"):
        Mfcc(num_ceps=24)


def test_cosine_transform_when_scipy_computes_the_same_then_they_agree():
    expected = scipy.fft.dct(np.eye(23), norm="ortho")[:, :13]
    np.testing.assert_allclose(cosine_transform(13, 23).numpy(), expected, atol=1e-12)


def test_cepstral_lifter_when_strength_is_0_then_it_is_1():
    assert cepstral_lifter(5, strength=0).tolist() == [1.0] * 5


def _slow_delta(features: np.ndarray, window: int) -> np.ndarray:
    """Regress a line over each window of frames, at any index, ends repeated."""
    num_frames = len(features)
    norm = 2 * sum(n * n for n in range(1, window + 1))
    out = np.zeros_like(features)
    for t in range(num_frames):
        for n in range(-window, window + 1):
            out[t] += n * features[min(max(t + n, 0), num_frames - 1)] / norm
    return out


def test_add_deltas_when_regressed_by_a_loop_then_the_first_order_agrees():
    features = torch.randn(1, 12, 3, dtype=torch.float64)
    ours = add_deltas(features, torch.tensor([12]), order=1, window=2)
    np.testing.assert_allclose(ours[0, :, 3:], _slow_delta(features[0].numpy(), 2), atol=1e-12)


def test_add_deltas_when_the_ends_are_repeated_by_hand_then_the_second_order_agrees():
    features = torch.randn(1, 9, 2, dtype=torch.float64)
    extended = np.pad(features[0].numpy(), ((4, 4), (0, 0)), mode="edge")
    expected = _slow_delta(_slow_delta(extended, 2), 2)[4:-4]
    ours = add_deltas(features, torch.tensor([9]))
    np.testing.assert_allclose(ours[0, :, 4:], expected, atol=1e-12)


def test_add_deltas_when_padded_then_each_utterance_repeats_its_own_end():
    features = torch.randn(2, 10, 2)
    lengths = torch.tensor([10, 6])
    ours = add_deltas(features, lengths)
    alone = add_deltas(features[1:, :6], lengths[1:])
    assert torch.equal(ours[1, :6], alone[0])
    assert ours[1, 6:].eq(0).all()


def test_add_deltas_when_there_are_no_frames_then_only_the_width_grows():
    assert add_deltas(torch.zeros(2, 0, 4), torch.tensor([0, 0])).shape == (2, 0, 12)


def test_add_deltas_when_the_window_is_empty_then_it_is_refused():
    with pytest.raises(ConfigError, match="deltas of order 2 over a window of 0 frames"):
        add_deltas(torch.zeros(1, 4, 2), torch.tensor([4]), window=0)
