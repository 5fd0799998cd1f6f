"""What every frontend does: features as the outside world computes them, padding, lengths."""

from __future__ import annotations

import kaldi_native_fbank as knf
import numpy as np
import pytest
import torch
from torchaudio.compliance import kaldi as compliance
from torchaudio.functional import compute_deltas

from speechlite.frontends.config import FbankConfig, FbankPitchConfig, MfccConfig
from speechlite.frontends.fbank import Fbank
from speechlite.frontends.fbank_pitch import FbankPitch
from speechlite.frontends.mfcc import Mfcc
from speechlite.nn.pitch import KaldiPitch

KINDS = {
    "fbank": (Fbank, FbankConfig),
    "fbank_pitch": (FbankPitch, FbankPitchConfig),
    "mfcc": (Mfcc, MfccConfig),
}
each_kind = pytest.mark.parametrize("kind", KINDS)


def _build(kind, *, dim=None, **options):
    torch.manual_seed(0)
    make, configure = KINDS[kind]
    return make(configure(**options), dim=dim)


def _waves(lengths, *, padding=0.0):
    waves_BT = torch.full((len(lengths), max(lengths)), padding)
    for row, length in enumerate(lengths):
        generator = torch.Generator().manual_seed(row)
        tone = torch.sin(torch.arange(length) * (2 * torch.pi * (120 + 40 * row) / 16000))
        waves_BT[row, :length] = 0.1 * tone + 0.02 * torch.randn(length, generator=generator)
    return waves_BT, torch.tensor(lengths)


def _kaldi(kind, wave_T):
    """Let Kaldi's own arithmetic compute the features of one utterance."""
    options = knf.MfccOptions() if kind == "mfcc" else knf.FbankOptions()
    options.frame_opts.dither = 0
    options.mel_opts.num_bins = 23 if kind == "mfcc" else 80
    if kind == "mfcc":
        options.use_energy = False
    computer = knf.OnlineMfcc(options) if kind == "mfcc" else knf.OnlineFbank(options)
    computer.accept_waveform(16000, wave_T.numpy())
    computer.input_finished()
    return np.stack([computer.get_frame(i) for i in range(computer.num_frames_ready)])


@each_kind
def test_features_when_kaldi_computes_them_then_they_agree(kind):
    features_BSF, _ = _build(kind, normalise="none").extract(*_waves([8000]))
    expected = _kaldi(kind, _waves([8000])[0][0])
    assert np.abs(features_BSF[0, :, : expected.shape[1]].numpy() - expected).max() < 2e-3


def test_pitch_when_taken_from_its_module_then_it_stands_behind_the_energies():
    waves = _waves([8000, 5000])
    features_BSF, _ = _build("fbank_pitch", normalise="none").extract(*waves)
    assert torch.equal(features_BSF[..., 80:], KaldiPitch()(*waves)[0])
    assert torch.equal(features_BSF[..., :80], _build("fbank", normalise="none").extract(*waves)[0])


@pytest.mark.parametrize("order", [0, 1, 2])
def test_mfcc_when_deltas_are_asked_for_then_they_are_torchaudios(order):
    features_BSF, _ = _build("mfcc", normalise="none", delta_order=order).extract(*_waves([8000]))
    parts = [torch.from_numpy(_kaldi("mfcc", _waves([8000])[0][0]))]
    for _ in range(order):
        parts.append(compute_deltas(parts[-1].T).T)
    expected_SF = torch.cat(parts, dim=1)
    assert features_BSF.shape[2] == 13 * (1 + order)
    # the second order of torchaudio repeats deltas at the ends, Kaldi's repeats cepstra
    inner = slice(4, -4)
    torch.testing.assert_close(features_BSF[0, inner], expected_SF[inner], atol=2e-3, rtol=0)


@each_kind
def test_features_when_normalised_then_each_has_mean_zero_and_deviation_one(kind):
    features_BSF, lengths_B = _build(kind).extract(*_waves([8000, 4000]))
    for row, length in enumerate(lengths_B.tolist()):
        valid = features_BSF[row, :length].double()
        assert valid.mean(0).abs().max() < 1e-4
        torch.testing.assert_close(
            valid.std(0, correction=0), torch.ones_like(valid[0]), atol=1e-3, rtol=0
        )


@each_kind
def test_features_when_batched_then_each_utterance_is_as_if_alone(kind):
    frontend, lengths = _build(kind, dim=6).eval(), [8000, 5000, 400]
    batched_BSF, counts_B = frontend.extract(*_waves(lengths))
    for row, length in enumerate(lengths):
        wave_1T = _waves(lengths)[0][row : row + 1, :length]
        alone_1SF, count = frontend.extract(wave_1T, torch.tensor([length]))
        assert counts_B[row] == count[0]
        torch.testing.assert_close(
            batched_BSF[row, : int(count)], alone_1SF[0], atol=1e-5, rtol=1e-5
        )
        assert (batched_BSF[row, int(count) :] == 0).all()


@each_kind
def test_features_when_there_is_nan_beyond_the_lengths_then_nothing_changes(kind):
    frontend = _build(kind)
    clean_BSF, _ = frontend.extract(*_waves([4000, 2000]))
    dirty_BSF, _ = frontend.extract(*_waves([4000, 2000], padding=torch.nan))
    assert torch.equal(clean_BSF, dirty_BSF)


@each_kind
@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100])
def test_frontend_when_asked_then_its_frames_are_as_it_says(kind, rate):
    frontend = _build(kind, sample_rate=rate)
    shortest, stride = frontend.min_samples, frontend.stride
    lengths = [shortest - 1, shortest, shortest + stride - 1, shortest + stride]
    features_BSF, counts_B = frontend.extract(*_waves(lengths))
    assert counts_B.tolist() == [0, 1, 1, 2]
    assert features_BSF.shape == (4, 2, frontend.num_features)
    assert frontend.sample_rate == rate


@each_kind
def test_frontend_when_given_a_width_then_frames_have_it(kind):
    frontend = _build(kind, dim=6)
    frames_BSD, counts_B = frontend(*_waves([4000, 2000]))
    features_BSF, lengths_B = frontend.extract(*_waves([4000, 2000]))
    assert frames_BSD.shape == (2, 23, 6)
    assert torch.equal(counts_B, lengths_B)
    assert torch.equal(frames_BSD, frontend.project(features_BSF))
    frames_BSD.square().sum().backward()
    assert all(parameter.grad is not None for parameter in frontend.parameters())


@each_kind
def test_frontend_when_given_no_width_then_features_are_the_frames(kind):
    frontend = _build(kind)
    frames_BSD, _ = frontend(*_waves([2000]))
    assert torch.equal(frames_BSD, frontend.extract(*_waves([2000]))[0])
    assert not list(frontend.parameters())


@each_kind
def test_frontend_when_run_then_the_waves_are_unchanged(kind):
    waves_BT, lengths_B = _waves([3000, 1000])
    before_BT = waves_BT.clone()
    _build(kind).extract(waves_BT, lengths_B)
    assert torch.equal(waves_BT, before_BT)
    assert lengths_B.tolist() == [3000, 1000]


def test_fbank_when_torchaudio_computes_it_at_8_khz_then_it_agrees():
    waves_BT, lengths_B = _waves([4000])
    features_BSF, _ = _build("fbank", sample_rate=8000, num_mels=40, normalise="none").extract(
        waves_BT, lengths_B
    )
    expected = compliance.fbank(waves_BT, num_mel_bins=40, dither=0.0, sample_frequency=8000.0)
    torch.testing.assert_close(features_BSF[0], expected, atol=1e-3, rtol=0)
