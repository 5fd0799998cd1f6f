"""Utterance normalisation against numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from speechlite.nn.cmvn import normalise_utterance


def _padded(lengths, *, seed=0):
    generator = torch.Generator().manual_seed(seed)
    features_BSF = 4 * torch.randn(len(lengths), max(lengths), 3, generator=generator) - 7
    for row, length in enumerate(lengths):
        features_BSF[row, length:] = 0
    return features_BSF


def test_normalise_when_numpy_does_it_then_it_is_equal():
    lengths = [50, 20, 5]
    features_BSF = _padded(lengths)
    ours_BSF = normalise_utterance(features_BSF, torch.tensor(lengths))
    for row, length in enumerate(lengths):
        valid = features_BSF[row, :length].double().numpy()
        expected = (valid - valid.mean(0)) / valid.std(0)
        np.testing.assert_allclose(ours_BSF[row, :length], expected, atol=1e-5)
        assert (ours_BSF[row, length:] == 0).all()


@pytest.mark.parametrize("value", [0.0, -15.942385, 123.456, 1000.1])
@pytest.mark.parametrize("frames", [1, 100, 2500])
def test_normalise_when_a_feature_is_constant_then_it_becomes_zero(value, frames):
    features_BSF = torch.full((1, frames, 2), value)
    features_BSF[..., 1] = torch.linspace(-1, 1, frames)
    normalised_BSF = normalise_utterance(features_BSF, torch.tensor([frames]))
    assert (normalised_BSF[..., 0] == 0).all()
    if frames > 1:
        torch.testing.assert_close(normalised_BSF[0, :, 1].std(correction=0), torch.tensor(1.0))


def test_normalise_when_a_padded_feature_is_constant_then_it_becomes_zero():
    features_BSF = torch.full((2, 100, 1), 123.456)
    features_BSF[1, 37:] = 0
    assert (normalise_utterance(features_BSF, torch.tensor([100, 37])) == 0).all()


def test_normalise_when_an_utterance_has_no_frame_then_zeros_come_back():
    assert (normalise_utterance(torch.zeros(1, 4, 3), torch.tensor([0])) == 0).all()


def test_normalise_when_padding_grows_then_valid_frames_stay():
    features_BSF = _padded([30])
    longer_BSF = torch.nn.functional.pad(features_BSF, (0, 0, 0, 25))
    torch.testing.assert_close(
        normalise_utterance(longer_BSF, torch.tensor([30]))[:, :30],
        normalise_utterance(features_BSF, torch.tensor([30])),
    )
