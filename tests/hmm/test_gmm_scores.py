"""Scores of all densities at once against Kaldi's one at a time."""

from __future__ import annotations

import numpy as np
import pytest
from gmm_made import mixtures_with

from speechlite.hmm.gmm_scores import GmmScorer


@pytest.mark.parametrize("sizes", [[1], [1, 4, 2, 1], [3, 3]])
def test_gmm_scorer_when_kaldi_scores_one_by_one_then_they_agree(sizes):
    mixtures = mixtures_with(sizes, dim=4)
    frames = np.random.default_rng(3).standard_normal((9, 4)).astype(np.float32) * 2
    found = GmmScorer(mixtures)(frames)
    expected = [
        [mixtures.log_likelihood(pdf_index=pdf, data=frame) for pdf in range(len(sizes))]
        for frame in frames
    ]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.array(expected), atol=2e-4)


def test_gmm_scorer_when_a_frame_is_far_away_then_scores_are_finite():
    found = GmmScorer(mixtures_with([2, 3], dim=2))(np.full((1, 2), 300.0, np.float32))
    assert found.shape == (1, 2)
    assert np.isfinite(found).all()


def test_gmm_scorer_when_there_is_no_frame_then_it_gives_none():
    found = GmmScorer(mixtures_with([2, 3], dim=2))(np.zeros((0, 2), np.float32))
    assert found.shape == (0, 2)


def test_gmm_scorer_when_the_mixtures_change_afterwards_then_it_keeps_its_copy():
    mixtures = mixtures_with([2, 3], dim=2)
    scorer, frames = GmmScorer(mixtures), np.ones((1, 2), np.float32)
    before = scorer(frames)
    mixtures.get_pdf(0).set_means(np.full((2, 2), 9.0, np.float32))
    mixtures.get_pdf(0).compute_gconsts()
    assert np.array_equal(scorer(frames), before)
