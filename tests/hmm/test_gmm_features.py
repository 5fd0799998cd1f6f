"""Features of GMMs: means by speaker, spliced frames and transforms against loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from speechlite.hmm.features import Transforms, normalise_speakers, splice, transformed
from speechlite.nn.mfcc import add_deltas


def _frames(num_frames, *, dim=2, seed=0):
    return np.random.default_rng(seed).standard_normal((num_frames, dim)).astype(np.float32)


def test_normalise_speakers_when_frames_are_joined_then_each_speaker_has_mean_zero():
    cepstra = {f"u{n}": _frames(n + 2, seed=n) + n for n in range(5)}
    speakers = {"u0": "a", "u1": "b", "u2": "a", "u3": "b", "u4": "c"}
    found = normalise_speakers(cepstra, speakers)
    assert list(found) == list(cepstra)
    for speaker in "abc":
        names = [name for name in cepstra if speakers[name] == speaker]
        mean = np.concatenate([cepstra[name] for name in names]).mean(0, dtype=np.float64)
        for name in names:
            assert found[name].dtype == np.float32
            np.testing.assert_allclose(found[name], cepstra[name] - mean, atol=1e-6)


def test_normalise_speakers_when_it_ends_then_the_input_is_as_before():
    values = _frames(4)
    before = values.copy()
    normalise_speakers({"u": values}, {"u": "s"})
    assert np.array_equal(values, before)


def test_normalise_speakers_when_an_utterance_has_no_frame_then_it_stays_empty():
    found = normalise_speakers({"u": _frames(0), "v": _frames(3)}, {"u": "s", "v": "s"})
    assert found["u"].shape == (0, 2)
    alone = normalise_speakers({"u": _frames(0)}, {"u": "s"})
    assert alone["u"].shape == (0, 2)


@pytest.mark.parametrize("context", [0, 1, 3])
@pytest.mark.parametrize("num_frames", [1, 2, 6])
def test_splice_when_joined_by_a_loop_then_they_agree(num_frames, context):
    values = _frames(num_frames)
    expected = []
    for place in range(num_frames):
        row = []
        for offset in range(-context, context + 1):
            row += values[min(max(place + offset, 0), num_frames - 1)].tolist()
        expected.append(row)
    assert np.array_equal(splice(values, context), np.array(expected, np.float32))


def test_transformed_when_the_kind_is_deltas_then_derivatives_follow():
    values = _frames(9)
    found = transformed(values, Transforms("deltas"), speaker="s")
    expected = add_deltas(torch.tensor(values)[None], torch.tensor([9]))[0].numpy()
    assert np.array_equal(found, expected)
    # the slope by Kaldi's formula, far from the ends
    slope = sum(n * (values[4 + n] - values[4 - n]) for n in (1, 2)) / 10
    np.testing.assert_allclose(found[4, 2:4], slope, atol=1e-6)


def test_transformed_when_the_kind_is_lda_then_spliced_frames_are_projected():
    values = _frames(5)
    lda_DC = np.random.default_rng(1).standard_normal((3, 6)).astype(np.float32)
    found = transformed(values, Transforms("lda", 1, lda_DC), speaker="s")
    for row, joined in zip(found, splice(values, 1), strict=True):
        np.testing.assert_allclose(row, lda_DC @ joined, atol=1e-5)
    without = transformed(values, Transforms("lda", 1), speaker="s")
    assert np.array_equal(without, splice(values, 1))


@pytest.mark.parametrize("kind", ["deltas", "lda"])
def test_transformed_when_a_speaker_has_a_transform_then_only_theirs_is_applied(kind):
    affine = np.random.default_rng(2).standard_normal((6, 7)).astype(np.float32)
    values = _frames(4)
    plain = Transforms(kind, 1)
    adapted = Transforms(kind, 1, speakers={"s": affine})
    before = transformed(values, plain, speaker="s")
    after = transformed(values, adapted, speaker="s")
    for row, old in zip(after, before, strict=True):
        np.testing.assert_allclose(row, affine[:, :6] @ old + affine[:, 6], atol=1e-5)
    assert np.array_equal(transformed(values, adapted, speaker="other"), before)


@pytest.mark.parametrize("num_frames", [1, 2])
def test_transformed_when_an_utterance_is_very_short_then_kaldi_can_take_it(num_frames):
    for transforms in (Transforms("deltas"), Transforms("lda", 3)):
        found = transformed(np.asfortranarray(_frames(num_frames)), transforms, speaker="s")
        assert found.shape[0] == num_frames
        assert found.dtype == np.float32
        assert found.flags["C_CONTIGUOUS"]
        assert np.isfinite(found).all()
