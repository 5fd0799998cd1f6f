"""LDA, MLLT and fMLLR against scikit-learn, known distortions and numerical gradients."""

from __future__ import annotations

import numpy as np
import pytest
from gmm_made import mixtures_with
from scipy.optimize import approx_fprime
from scipy.stats import ortho_group
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from speechlite.core.errors import DataError
from speechlite.hmm.acoustic_model import Gaussians, gaussians_of, mixtures_of
from speechlite.hmm.mixtures import FramesByPdf, posteriors
from speechlite.hmm.transforms import (
    estimate_fmllr,
    estimate_lda,
    estimate_mllt,
    transform_means,
)


def _classes(*, num_pdfs=4, dim=6, num_frames=800, seed=0):
    """Draw classes that share a full covariance; the last class never occurs."""
    generator = np.random.default_rng(seed)
    means = 2.0 * generator.standard_normal((num_pdfs, dim))
    mixing = generator.standard_normal((dim, dim))
    pdf_S = generator.integers(0, num_pdfs - 1, num_frames).astype(np.int32)
    noise = generator.standard_normal((num_frames, dim)) @ mixing
    return pdf_S, (means[pdf_S] + noise + 3.0).astype(np.float32)


def _within(pdf_S, values_SD):
    centred = values_SD.astype(np.float64).copy()
    for pdf in np.unique(pdf_S):
        centred[pdf_S == pdf] -= centred[pdf_S == pdf].mean(0)
    return centred.T @ centred / len(centred)


def _halves(pdf_S, frames_SC):
    return [(pdf_S[:300], frames_SC[:300]), (pdf_S[300:], frames_SC[300:])]


def test_estimate_lda_when_scikit_learn_does_it_then_the_directions_agree():
    pdf_S, frames = _classes()
    mine = estimate_lda(_halves(pdf_S, frames), num_pdfs=4, dim=2)
    theirs = LinearDiscriminantAnalysis(solver="eigen").fit(frames, pdf_S).scalings_[:, :2].T
    cosines = (mine * theirs).sum(1) / np.linalg.norm(mine, axis=1) / np.linalg.norm(theirs, axis=1)
    np.testing.assert_allclose(np.abs(cosines), 1.0, atol=1e-4)


def test_estimate_lda_when_applied_then_the_covariance_within_classes_is_the_identity():
    pdf_S, frames = _classes()
    lda_DC = estimate_lda(_halves(pdf_S, frames), num_pdfs=4, dim=6)
    assert lda_DC.dtype == np.float32
    np.testing.assert_allclose(_within(pdf_S, frames @ lda_DC.T), np.eye(6), atol=1e-3)


def test_estimate_lda_when_applied_then_directions_come_in_order_of_class_spread():
    pdf_S, frames = _classes()
    projected = frames @ estimate_lda(_halves(pdf_S, frames), num_pdfs=4, dim=6).T
    ratios = projected.var(0) / np.diag(_within(pdf_S, projected))
    assert all(a >= b - 1e-3 for a, b in zip(ratios, ratios[1:], strict=False))
    assert ratios[0] > 2.0


@pytest.mark.parametrize("count", [0, 1, 6])
def test_estimate_lda_when_frames_are_too_few_then_data_error(count):
    pdf_S, frames = _classes()
    with pytest.raises(DataError, match=f"{count} frames are too few to estimate LDA from"):
        estimate_lda([(pdf_S[:count], frames[:count])], num_pdfs=4, dim=2)


def test_estimate_lda_when_there_is_no_utterance_then_data_error():
    with pytest.raises(DataError, match="0 frames are too few"):
        estimate_lda([], num_pdfs=4, dim=2)


def test_estimate_lda_when_more_features_are_asked_than_there_are_then_data_error():
    pdf_S, frames = _classes()
    with pytest.raises(DataError, match="7 features cannot be taken from 6"):
        estimate_lda([(pdf_S, frames)], num_pdfs=4, dim=7)


def test_estimate_lda_when_all_frames_are_equal_then_data_error():
    frames = np.ones((50, 3), np.float32)
    with pytest.raises(DataError, match="do not vary"):
        estimate_lda([(np.zeros(50, np.int32), frames)], num_pdfs=2, dim=2)


def _moments(frames_SD, pdf_S, *, num_pdfs):
    """Return single Gaussians with the diagonal moments of each class."""
    parts = [frames_SD[pdf_S == pdf] for pdf in range(num_pdfs)]
    return mixtures_of(
        Gaussians(
            pdf_G=np.arange(num_pdfs, dtype=np.int32),
            weights_G=np.ones(num_pdfs, np.float32),
            means_GD=np.stack([part.mean(0) for part in parts]).astype(np.float32),
            variances_GD=np.stack([part.var(0) for part in parts]).astype(np.float32),
        )
    )


def _log_likelihood(mixtures, pdf_S, frames_SD):
    pairs = zip(pdf_S.tolist(), frames_SD, strict=True)
    return sum(mixtures.log_likelihood(pdf_index=pdf, data=frame) for pdf, frame in pairs)


def _rotated(*, num_frames=6000, dim=3, seed=0):
    """Draw two classes with different diagonal covariances, and mix their features."""
    generator = np.random.default_rng(seed)
    pdf_S = generator.integers(0, 2, num_frames).astype(np.int32)
    spread = np.array([[1.0, 3.0, 0.4], [2.0, 0.5, 1.5]])[:, :dim]
    plain = generator.standard_normal((num_frames, dim)) * spread[pdf_S] + 2.0 * pdf_S[:, None]
    mixing = ortho_group.rvs(dim, random_state=seed + 1) + 0.2
    return pdf_S, (plain @ mixing.T).astype(np.float32), mixing


def _iterate_mllt(pdf_S, frames, *, rounds):
    """Estimate MLLT and diagonal Gaussians in turns; return all transforms and likelihoods."""
    total, values = np.eye(frames.shape[1]), []
    for _ in range(rounds):
        moved = (frames @ total.T).astype(np.float32)
        mixtures = _moments(moved, pdf_S, num_pdfs=2)
        value = _log_likelihood(mixtures, pdf_S, moved) / len(frames)
        values.append(value + np.log(abs(np.linalg.det(total))))
        total = estimate_mllt(mixtures, FramesByPdf.of([moved], [pdf_S], num_pdfs=2)) @ total
    return total, values


def test_estimate_mllt_when_features_were_mixed_then_it_unmixes_them():
    pdf_S, frames, mixing = _rotated()
    total, values = _iterate_mllt(pdf_S, frames, rounds=12)
    assert all(b >= a - 1e-4 for a, b in zip(values, values[1:], strict=False))
    assert values[-1] > values[0] + 0.1
    # up to order and scale of the rows
    unmixed = np.abs(total @ mixing)
    unmixed /= unmixed.max(1, keepdims=True)
    assert sorted(unmixed.argmax(1)) == [0, 1, 2]
    assert np.sort(unmixed, axis=1)[:, :-1].max() < 0.1


def test_estimate_mllt_when_covariances_are_diagonal_then_it_changes_nothing():
    generator = np.random.default_rng(0)
    frames = generator.standard_normal((500, 3))
    frames -= frames.mean(0)
    # no correlation is left at all
    frames = (np.linalg.svd(frames, full_matrices=False)[0] * [9.0, 20.0, 40.0]).astype(np.float32)
    pdf_S = np.zeros(500, np.int32)
    mixtures = _moments(frames, pdf_S, num_pdfs=1)
    found = estimate_mllt(mixtures, FramesByPdf.of([frames], [pdf_S], num_pdfs=1))
    np.testing.assert_allclose(found, np.eye(3), atol=1e-3)


def _mllt_objective(mixtures, pdf_S, frames):
    """Write out the expected log-likelihood as a function of the transform."""
    parts = []
    for pdf in range(mixtures.num_pdfs):
        mixture = mixtures.get_pdf(pdf)
        data = frames[pdf_S == pdf].astype(np.float64)
        weights, _ = posteriors(mixture, data.astype(np.float32))
        for g in range(mixture.num_gauss):
            mean, variance = np.asarray(mixture.means)[g], np.asarray(mixture.vars)[g]
            parts.append((weights[:, g].astype(np.float64), data - mean, variance))

    def value(flat):
        matrix = flat.reshape(frames.shape[1], -1)
        total = len(frames) * np.log(abs(np.linalg.det(matrix)))
        for weight_S, centred, variance in parts:
            total -= 0.5 * (weight_S[:, None] * (centred @ matrix.T) ** 2 / variance).sum()
        return total / len(frames)

    return value


def test_estimate_mllt_when_found_then_the_objective_rose_and_its_gradient_is_zero():
    pdf_S, frames, _ = _rotated(num_frames=600)
    mixtures = mixtures_with([2, 3], dim=3)
    found = estimate_mllt(mixtures, FramesByPdf.of([frames], [pdf_S], num_pdfs=2))
    value = _mllt_objective(mixtures, pdf_S, frames)
    flat = found.astype(np.float64).ravel()
    assert value(flat) > value(np.eye(3).ravel())
    assert np.abs(approx_fprime(flat, value, 1e-6)).max() < 1e-3


def test_transform_means_when_applied_then_means_move_and_variances_stay():
    mixtures = mixtures_with([2, 1], dim=3)
    before = gaussians_of(mixtures)
    matrix = np.random.default_rng(2).standard_normal((3, 3)).astype(np.float32)
    transform_means(mixtures, matrix)
    after = gaussians_of(mixtures)
    for old, new in zip(before.means_GD, after.means_GD, strict=True):
        np.testing.assert_allclose(new, matrix @ old, atol=1e-5)
    np.testing.assert_allclose(after.variances_GD, before.variances_GD, rtol=1e-6)
    # the constants belong to the new means
    frame = np.ones(3, np.float32)
    expected = mixtures_of(after).log_likelihood(pdf_index=0, data=frame)
    assert mixtures.log_likelihood(pdf_index=0, data=frame) == pytest.approx(expected, abs=1e-4)


def _drawn(mixtures, *, num_frames=4000, seed=0):
    """Draw frames from mixtures; return their densities and features."""
    generator = np.random.default_rng(seed)
    found = gaussians_of(mixtures)
    pdf_S = generator.integers(0, mixtures.num_pdfs, num_frames).astype(np.int32)
    frames = []
    for pdf in pdf_S:
        rows = np.flatnonzero(found.pdf_G == pdf)
        weights = found.weights_G[rows].astype(np.float64)
        g = generator.choice(rows, p=weights / weights.sum())
        noise = generator.standard_normal(found.means_GD.shape[1])
        frames.append(found.means_GD[g] + np.sqrt(found.variances_GD[g]) * noise)
    return pdf_S, np.array(frames, np.float32)


def _distorted(mixtures, **options):
    """Return densities, distorted frames and the affine map that repairs them."""
    pdf_S, plain = _drawn(mixtures, **options)
    matrix = np.array([[1.2, 0.3, 0.0], [-0.2, 0.8, 0.1], [0.1, 0.0, 1.1]])
    offset = np.array([0.7, -0.4, 0.2])
    repair = np.concatenate([matrix, offset[:, None]], axis=1)
    frames = (plain - offset) @ np.linalg.inv(matrix).T
    return pdf_S, frames.astype(np.float32), repair


def _fmllr(mixtures, pdf_S, frames, **options):
    weights_P = options.pop("weights_P", np.ones(mixtures.num_pdfs, np.float32))
    half = len(frames) // 2
    utterances = [
        (pdf_S[part], frames[part], frames[part])
        for part in np.split(np.arange(len(frames)), [half])
    ]
    return estimate_fmllr(mixtures, utterances, weights_P=weights_P, **options)


def _applied(affine, frames):
    return (frames @ affine[:, :-1].T + affine[:, -1]).astype(np.float32)


def test_estimate_fmllr_when_features_were_distorted_then_it_repairs_them():
    mixtures = mixtures_with([1] * 8, dim=3, scale=4.0)
    pdf_S, frames, repair = _distorted(mixtures)
    found = _fmllr(mixtures, pdf_S, frames)
    np.testing.assert_allclose(found, repair, atol=0.08)


def test_estimate_fmllr_when_features_fit_already_then_it_is_near_the_identity():
    mixtures = mixtures_with([1] * 8, dim=3, scale=4.0)
    found = _fmllr(mixtures, *_drawn(mixtures))
    np.testing.assert_allclose(found, np.eye(3, 4), atol=0.08)


def _fmllr_objective(mixtures, pdf_S, frames, judged, weights_P):
    parts = []
    for pdf in range(mixtures.num_pdfs):
        inside = pdf_S == pdf
        if not inside.any():
            continue
        weights, _ = posteriors(judged.get_pdf(pdf), frames[inside])
        mixture = mixtures.get_pdf(pdf)
        for g in range(mixture.num_gauss):
            mean, variance = np.asarray(mixture.means)[g], np.asarray(mixture.vars)[g]
            weight_S = weights[:, g].astype(np.float64) * weights_P[pdf]
            parts.append((weight_S, frames[inside].astype(np.float64), mean, variance))
    count = sum(part[0].sum() for part in parts)

    def value(flat):
        affine = flat.reshape(frames.shape[1], -1)
        total = count * np.log(abs(np.linalg.det(affine[:, :-1])))
        for weight_S, data, mean, variance in parts:
            error = data @ affine[:, :-1].T + affine[:, -1] - mean
            total -= 0.5 * (weight_S[:, None] * error**2 / variance).sum()
        return total / count

    return value


@pytest.mark.parametrize("silence_weight", [1.0, 0.0])
def test_estimate_fmllr_when_found_then_the_objective_rose_and_its_gradient_is_zero(silence_weight):
    mixtures = mixtures_with([2, 3, 1, 2], dim=3, scale=2.0)
    other = mixtures_with([2, 3, 1, 2], dim=3, scale=2.0, seed=5)
    pdf_S, frames, _ = _distorted(mixtures, num_frames=900)
    weights_P = np.array([silence_weight, 1.0, 1.0, 1.0], np.float32)
    for judged in (mixtures, other):
        found = _fmllr(
            mixtures,
            pdf_S,
            frames,
            weights_P=weights_P,
            posterior_mixtures=judged,
            num_iterations=400,
        )
        value = _fmllr_objective(mixtures, pdf_S, frames, judged, weights_P)
        flat = found.astype(np.float64).ravel()
        assert value(flat) > value(np.eye(3, 4).ravel())
        assert np.abs(approx_fprime(flat, value, 1e-6)).max() < 3e-3


def test_estimate_fmllr_when_applied_then_the_likelihood_rises():
    mixtures = mixtures_with([2, 3, 1, 2], dim=3, scale=3.0)
    pdf_S, frames, _ = _distorted(mixtures, num_frames=800)
    found = _fmllr(mixtures, pdf_S, frames)
    moved = _applied(found, frames)
    jacobian = len(frames) * np.log(abs(np.linalg.det(found[:, :-1].astype(np.float64))))
    after = _log_likelihood(mixtures, pdf_S, moved) + jacobian
    assert after > _log_likelihood(mixtures, pdf_S, frames) + 10.0


def test_estimate_fmllr_when_silence_weighs_nothing_then_its_frames_do_not_matter():
    mixtures = mixtures_with([1] * 4, dim=3, scale=3.0)
    pdf_S, frames, _ = _distorted(mixtures, num_frames=900)
    weights_P = np.array([0.0, 1.0, 1.0, 1.0], np.float32)
    spoiled = frames.copy()
    spoiled[pdf_S == 0] += 5.0
    first = _fmllr(mixtures, pdf_S, frames, weights_P=weights_P)
    second = _fmllr(mixtures, pdf_S, spoiled, weights_P=weights_P)
    np.testing.assert_allclose(first, second, atol=1e-5)


def test_estimate_fmllr_when_frames_are_too_few_then_there_is_none():
    mixtures = mixtures_with([1] * 4, dim=3)
    pdf_S, frames = _drawn(mixtures, num_frames=60)
    assert _fmllr(mixtures, pdf_S, frames, min_count=61) is None
    assert _fmllr(mixtures, pdf_S, frames, min_count=60) is not None
    assert estimate_fmllr(mixtures, [], weights_P=np.ones(4, np.float32)) is None


def test_estimate_fmllr_when_weighted_frames_are_too_few_then_there_is_none():
    mixtures = mixtures_with([1] * 4, dim=3)
    pdf_S, frames = _drawn(mixtures, num_frames=600)
    weights_P = np.array([0.0, 0.0, 0.0, 1.0], np.float32)
    assert _fmllr(mixtures, pdf_S, frames, weights_P=weights_P, min_count=500) is None


@pytest.mark.parametrize("constant", [[0, 1, 2], [1]])
def test_estimate_fmllr_when_a_speaker_is_digital_silence_then_there_is_none(constant):
    mixtures = mixtures_with([1] * 4, dim=3)
    pdf_S, frames = _drawn(mixtures, num_frames=600)
    frames[:, constant] = 0.25
    assert _fmllr(mixtures, pdf_S, frames) is None
