"""EM of Gaussian mixtures against Kaldi's own accumulators, and splitting against its promises."""

from __future__ import annotations

import numpy as np
import pytest
from gmm_made import mixtures_with

from speechlite.hmm.acoustic_model import gaussians_of, mixtures_of
from speechlite.hmm.mixtures import (
    FramesByPdf,
    grow,
    log_likelihoods,
    posteriors,
    update_mixtures,
)
from speechlite.hmm.wheels import load_wheels

SIZES = [1, 3, 2, 4]
DIM = 5


def _copy(mixtures):
    return mixtures_of(gaussians_of(mixtures))


def _speech(*, num_frames=400, seed=1, num_pdfs=4, dim=DIM):
    generator = np.random.default_rng(seed)
    frames = (1.5 * generator.standard_normal((num_frames, dim))).astype(np.float32)
    return frames, generator.integers(0, num_pdfs, num_frames).astype(np.int32)


def _kaldi_update(mixtures, frames_SD, pdf_S, targets_SD=None):
    """Run Kaldi's own EM frame by frame, and return the log-likelihood of all frames."""
    khg = load_wheels().khg
    accumulators = khg.AccumAmDiagGmm()
    accumulators.init(model=mixtures, flags=15)
    total = 0.0
    for frame_D, pdf in zip(frames_SD, pdf_S.tolist(), strict=True):
        accumulators.accumulate_for_gmm(model=mixtures, data=frame_D, gmm_index=pdf, weight=1.0)
        total += mixtures.log_likelihood(pdf_index=pdf, data=frame_D)
    khg.mle_am_diag_gmm_update(
        config=khg.MleDiagGmmOptions(), amdiag_gmm_acc=accumulators, flags=15, am_gmm=mixtures
    )
    return total


def _assert_equal(mine, theirs, *, atol=1e-4):
    mine, theirs = gaussians_of(mine), gaussians_of(theirs)
    assert mine.pdf_G.tolist() == theirs.pdf_G.tolist()
    np.testing.assert_allclose(mine.weights_G, theirs.weights_G, atol=atol)
    np.testing.assert_allclose(mine.means_GD, theirs.means_GD, atol=atol)
    np.testing.assert_allclose(mine.variances_GD, theirs.variances_GD, atol=10 * atol)


def test_log_likelihoods_when_written_out_then_they_are_weighted_normal_densities():
    mixtures = mixtures_with([3], dim=2)
    mixture = mixtures.get_pdf(0)
    frames = np.array([[0.5, -1.0], [2.0, 0.0]], np.float32)
    weights, means = np.asarray(mixture.weights), np.asarray(mixture.means)
    variances = np.asarray(mixture.vars)
    for row, frame in enumerate(frames):
        for g in range(3):
            expected = np.log(weights[g])
            for d in range(2):
                expected -= 0.5 * np.log(2 * np.pi * variances[g, d])
                expected -= (frame[d] - means[g, d]) ** 2 / (2 * variances[g, d])
            assert log_likelihoods(mixture, frames)[row, g] == pytest.approx(expected, abs=1e-5)


def test_posteriors_when_kaldi_computes_them_then_they_agree():
    mixtures = mixtures_with([4], dim=DIM)
    mixture = mixtures.get_pdf(0)
    frames, _ = _speech(num_frames=30)
    mine, total = posteriors(mixture, frames)
    theirs = [mixture.component_posteriors(frame) for frame in frames]
    np.testing.assert_allclose(mine, np.stack([p.ravel() for _, p in theirs]), atol=2e-5)
    assert total == pytest.approx(sum(value for value, _ in theirs), rel=1e-5)


def test_posteriors_when_a_frame_is_far_from_all_then_they_still_sum_to_one():
    mixtures = mixtures_with([4], dim=DIM)
    mixture = mixtures.get_pdf(0)
    mine, total = posteriors(mixture, np.full((2, DIM), 1000.0, np.float32))
    np.testing.assert_allclose(mine.sum(1), 1.0, atol=1e-6)
    assert np.isfinite(total)


def test_frames_by_pdf_when_asked_for_a_density_then_it_gives_its_frames_in_order():
    features = [_speech(num_frames=n, seed=n)[0] for n in (7, 12)]
    pdfs = [_speech(num_frames=n, seed=n)[1] for n in (7, 12)]
    sorted_frames = FramesByPdf.of(features, pdfs, num_pdfs=6)
    together, pdf_S = np.concatenate(features), np.concatenate(pdfs)
    for pdf in range(6):
        rows = [together[i] for i in range(19) if pdf_S[i] == pdf]
        found = [row for part in sorted_frames.blocks(pdf) for row in sorted_frames.frames_SD[part]]
        assert np.array_equal(np.array(found), np.array(rows))
    assert np.array_equal(together[sorted_frames.order_S], sorted_frames.frames_SD)


def test_blocks_when_a_density_has_very_many_frames_then_they_cover_each_once():
    frames = np.zeros((150_000, 1), np.float32)
    pdf_S = np.repeat(np.arange(2, dtype=np.int32), [20_000, 130_000])
    sorted_frames = FramesByPdf.of([frames], [pdf_S], num_pdfs=2)
    parts = list(sorted_frames.blocks(1))
    assert len(parts) > 1
    assert [i for part in parts for i in range(part.start, part.stop)] == list(
        range(20_000, 150_000)
    )


def test_update_mixtures_when_kaldi_accumulates_frame_by_frame_then_they_agree():
    mine = mixtures_with(SIZES, dim=DIM)
    theirs = _copy(mine)
    frames, pdf_S = _speech()
    value, occupancy = update_mixtures(mine, FramesByPdf.of([frames], [pdf_S], num_pdfs=4))
    total = _kaldi_update(theirs, frames, pdf_S)
    _assert_equal(mine, theirs)
    assert value == pytest.approx(total / 400, rel=1e-5)
    assert occupancy.tolist() == np.bincount(pdf_S, minlength=4).tolist()


def test_update_mixtures_when_gaussians_have_few_frames_then_they_go_as_in_kaldi():
    mine = mixtures_with([8, 6], dim=2, scale=3.0)
    theirs = _copy(mine)
    frames, pdf_S = _speech(num_frames=120, num_pdfs=2, dim=2)
    update_mixtures(mine, FramesByPdf.of([frames], [pdf_S], num_pdfs=2))
    _kaldi_update(theirs, frames, pdf_S)
    assert mine.num_gauss < 14
    _assert_equal(mine, theirs)


def test_update_mixtures_when_a_density_has_no_frame_then_it_stays():
    mine = mixtures_with(SIZES, dim=DIM)
    before = _copy(mine)
    frames, _ = _speech()
    pdf_S = np.full(len(frames), 2, np.int32)
    _, occupancy = update_mixtures(mine, FramesByPdf.of([frames], [pdf_S], num_pdfs=4))
    assert occupancy.tolist() == [0.0, 0.0, 400.0, 0.0]
    for pdf in (0, 1, 3):
        means = np.asarray(before.get_pdf(pdf).means)
        for mean in np.asarray(mine.get_pdf(pdf).means):
            assert np.abs(means - mean).max(1).min() < 1e-6


def test_update_mixtures_when_repeated_then_the_likelihood_never_falls():
    mixtures = mixtures_with([3, 3], dim=2)
    frames, pdf_S = _speech(num_frames=600, num_pdfs=2, dim=2)
    sorted_frames = FramesByPdf.of([frames], [pdf_S], num_pdfs=2)
    values = [update_mixtures(mixtures, sorted_frames)[0] for _ in range(8)]
    assert all(b >= a - 1e-5 for a, b in zip(values, values[1:], strict=False))
    assert values[-1] > values[0] + 0.1


def test_update_mixtures_when_targets_are_given_then_the_moments_are_theirs():
    mixtures = mixtures_with([2], dim=2)
    frames, pdf_S = _speech(num_frames=300, num_pdfs=1, dim=2)
    targets = (3.0 * frames[:, ::-1] + 7.0).astype(np.float32)
    weights_SG, _ = posteriors(mixtures.get_pdf(0), frames)
    update_mixtures(mixtures, FramesByPdf.of([frames], [pdf_S], num_pdfs=1), targets_SD=targets)
    found = gaussians_of(mixtures)
    for g in range(2):
        mean = np.average(targets, axis=0, weights=weights_SG[:, g])
        spread = np.average((targets - mean) ** 2, axis=0, weights=weights_SG[:, g])
        np.testing.assert_allclose(found.means_GD[g], mean, rtol=1e-4)
        np.testing.assert_allclose(found.variances_GD[g], spread, rtol=1e-3)


def test_update_mixtures_when_all_are_to_stay_then_rare_gaussians_stay():
    mixtures = mixtures_with([8], dim=2, scale=5.0)
    frames, pdf_S = _speech(num_frames=40, num_pdfs=1, dim=2)
    update_mixtures(mixtures, FramesByPdf.of([frames], [pdf_S], num_pdfs=1), keep_rare=True)
    found = gaussians_of(mixtures)
    assert len(found.pdf_G) == 8
    assert found.weights_G.sum() == pytest.approx(1.0, abs=1e-4)


def test_grow_when_frames_allow_then_there_are_as_many_as_asked():
    mixtures = mixtures_with([1, 1, 1], dim=2)
    grow(mixtures, np.array([4000.0, 500.0, 500.0]), 12, power=0.5, seed=1)
    sizes = [mixtures.get_pdf(pdf).num_gauss for pdf in range(3)]
    assert sum(sizes) == mixtures.num_gauss == 12
    assert sizes[0] > sizes[1] == sizes[2]


@pytest.mark.parametrize("power", [0.25, 1.0])
def test_grow_when_power_is_set_then_shares_follow_a_greedy_loop(power):
    occupancy = [900.0, 300.0, 100.0, 41.0, 0.0]
    sizes = [1] * 5
    while sum(sizes) < 14:
        open_ = [p for p in range(5) if occupancy[p] >= 20 * (sizes[p] + 1)]
        best = max(open_, key=lambda p: occupancy[p] ** power / sizes[p])
        sizes[best] += 1
    mixtures = mixtures_with([1] * 5, dim=2)
    grow(mixtures, np.array(occupancy), 14, power=power, seed=1)
    assert [mixtures.get_pdf(pdf).num_gauss for pdf in range(5)] == sizes


def test_grow_when_frames_are_too_few_then_it_stops_early():
    mixtures = mixtures_with([1, 1], dim=2)
    grow(mixtures, np.array([65.0, 10.0]), 100, power=0.25, seed=1)
    assert [mixtures.get_pdf(pdf).num_gauss for pdf in range(2)] == [3, 1]


def test_grow_when_there_are_enough_already_then_nothing_changes():
    mixtures = mixtures_with(SIZES, dim=2)
    before = gaussians_of(mixtures)
    grow(mixtures, np.full(4, 1e4), 5, power=0.25, seed=1)
    after = gaussians_of(mixtures)
    assert all(np.array_equal(value, vars(after)[name]) for name, value in vars(before).items())


def test_grow_when_it_splits_then_halves_lie_on_both_sides_of_the_old_mean():
    mixtures = mixtures_with([1], dim=3)
    before = gaussians_of(mixtures)
    grow(mixtures, np.array([1000.0]), 2, power=0.25, seed=1)
    after = gaussians_of(mixtures)
    np.testing.assert_allclose(after.weights_G, [0.5, 0.5], atol=1e-6)
    np.testing.assert_allclose(after.means_GD.mean(0), before.means_GD[0], atol=1e-6)
    np.testing.assert_allclose(after.variances_GD, before.variances_GD.repeat(2, 0), rtol=1e-5)
    assert np.abs(after.means_GD[0] - after.means_GD[1]).max() > 0


def test_grow_when_it_splits_then_weights_of_each_density_sum_to_one():
    mixtures = mixtures_with(SIZES, dim=3)
    grow(mixtures, np.full(4, 1e4), 40, power=0.25, seed=1)
    found = gaussians_of(mixtures)
    sums = np.bincount(found.pdf_G, found.weights_G)
    np.testing.assert_allclose(sums, 1.0, atol=1e-5)
    # the constants belong to the new Gaussians
    frames, _ = _speech(num_frames=3, dim=3)
    for frame in frames:
        expected = mixtures_of(found).log_likelihood(pdf_index=1, data=frame)
        assert mixtures.log_likelihood(pdf_index=1, data=frame) == pytest.approx(expected, abs=1e-4)


def test_grow_when_the_seed_repeats_then_so_do_the_means():
    results = []
    for seed in (1, 1, 2):
        mixtures = mixtures_with([1, 2], dim=3)
        grow(mixtures, np.full(2, 1e4), 9, power=0.25, seed=seed)
        results.append(gaussians_of(mixtures).means_GD)
    assert np.array_equal(results[0], results[1])
    assert not np.array_equal(results[0], results[2])
