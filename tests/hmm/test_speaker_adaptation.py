"""Transforms of speakers: whose frames count, and that they undo a known distortion."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from gmm_made import mixtures_with, mono_model, phonology

from speechlite.hmm.features import Transforms
from speechlite.hmm.speaker_adaptation import silence_weights, speaker_transforms
from speechlite.hmm.training_set import TrainingSet

DIM = 2
SPLICED = Transforms("lda", 0)


@pytest.fixture
def model():
    """Return a model whose features are the cepstra as they are."""
    return replace(mono_model(phonology(), dim=DIM, scale=4.0), transforms=SPLICED)


def _speech(model, distortions, *, num_frames=700):
    """Draw an utterance of each speaker along random densities, and distort it."""
    generator = np.random.default_rng(0)
    cepstra, pdfs = {}, {}
    for speaker, (matrix, offset) in distortions.items():
        pdf_S = generator.integers(0, model.num_pdfs, num_frames).astype(np.int32)
        means = np.stack([np.asarray(model.mixtures.get_pdf(int(p)).means)[0] for p in pdf_S])
        scales = np.stack([np.asarray(model.mixtures.get_pdf(int(p)).vars)[0] for p in pdf_S])
        plain = means + np.sqrt(scales) * generator.standard_normal(means.shape)
        cepstra[f"{speaker}-u"] = (plain @ np.transpose(matrix) + offset).astype(np.float32)
        pdfs[f"{speaker}-u"] = pdf_S
    speakers = {name: name.removesuffix("-u") for name in cepstra}
    return TrainingSet(cepstra, speakers, {name: [1] for name in cepstra}), pdfs


PLAIN = (np.eye(2), np.zeros(2))
BENT = (np.array([[1.3, 0.2], [-0.3, 0.8]]), np.array([1.0, -2.0]))


def test_silence_weights_when_asked_then_only_densities_of_silence_weigh_less(model):
    found = silence_weights(model, phonology().lang, weight=0.25)
    tables = model.tables
    for pdf in range(model.num_pdfs):
        phones = set(tables.phone_T[1:][tables.pdf_T[1:] == pdf].tolist())
        silent = phones <= set(phonology().lang.silence_ids)
        assert found[pdf] == (0.25 if silent else 1.0)
    assert silence_weights(model, phonology().lang).min() == 0.0


def test_speaker_transforms_when_a_speaker_is_distorted_then_it_is_undone(model):
    data, pdfs = _speech(model, {"plain": PLAIN, "bent": BENT})
    weights_P = np.ones(model.num_pdfs, np.float32)
    found = speaker_transforms(model, data, pdfs, weights_P=weights_P)
    inverse = np.linalg.inv(BENT[0])
    expected = np.concatenate([inverse, -(inverse @ BENT[1])[:, None]], axis=1)
    np.testing.assert_allclose(found.speakers["bent"], expected, atol=0.15)
    np.testing.assert_allclose(found.speakers["plain"], np.eye(2, 3), atol=0.15)
    assert (found.kind, found.context) == ("lda", 0)


def test_speaker_transforms_when_estimated_from_adapted_features_then_they_replace_not_add(model):
    data, pdfs = _speech(model, {"bent": BENT})
    weights_P = np.ones(model.num_pdfs, np.float32)
    first = speaker_transforms(model, data, pdfs, weights_P=weights_P)
    again = speaker_transforms(replace(model, transforms=first), data, pdfs, weights_P=weights_P)
    np.testing.assert_allclose(again.speakers["bent"], first.speakers["bent"], atol=1e-3)


def test_speaker_transforms_when_a_speaker_has_too_little_or_no_alignment_then_there_is_none(model):
    data, pdfs = _speech(model, {"much": BENT, "unaligned": BENT})
    little, little_pdfs = _speech(model, {"little": BENT}, num_frames=499)
    both = TrainingSet(
        {**data.cepstra, **little.cepstra},
        {**data.speakers, **little.speakers},
        {**data.words, **little.words},
    )
    known = {"much-u": pdfs["much-u"], **little_pdfs}
    weights_P = np.ones(model.num_pdfs, np.float32)
    found = speaker_transforms(model, both, known, weights_P=weights_P)
    assert list(found.speakers) == ["much"]


def test_speaker_transforms_when_all_is_silence_then_there_is_none(model):
    data, pdfs = _speech(model, {"bent": BENT})
    weights_P = np.zeros(model.num_pdfs, np.float32)
    assert speaker_transforms(model, data, pdfs, weights_P=weights_P).speakers == {}


def test_speaker_transforms_when_a_twin_judges_then_its_posteriors_count(model):
    sizes = [2] * model.num_pdfs
    mixed = replace(model, mixtures=mixtures_with(sizes, dim=DIM, scale=4.0))
    data, pdfs = _speech(mixed, {"bent": BENT})
    weights_P = np.ones(model.num_pdfs, np.float32)
    twin = replace(mixed, mixtures=mixtures_with(sizes, dim=DIM, scale=4.0, seed=8))
    alone = speaker_transforms(mixed, data, pdfs, weights_P=weights_P)
    judged = speaker_transforms(mixed, data, pdfs, weights_P=weights_P, speaker_independent=twin)
    same = speaker_transforms(mixed, data, pdfs, weights_P=weights_P, speaker_independent=mixed)
    assert np.abs(alone.speakers["bent"] - judged.speakers["bent"]).max() > 1e-3
    np.testing.assert_allclose(alone.speakers["bent"], same.speakers["bent"], atol=1e-6)
