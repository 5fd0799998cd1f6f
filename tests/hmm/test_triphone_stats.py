"""Statistics of triphone states against a loop over frames, likelihoods against scipy."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from gmm_made import mono_model, phonology
from scipy.stats import norm

from speechlite.hmm.alignment import equal_alignments
from speechlite.hmm.triphone_stats import (
    TriphoneStats,
    collect_stats,
    log_likelihood_gain,
    pooled_log_likelihood,
)


@pytest.fixture
def aligned():
    """Return a model, and alignments and features of a few utterances."""
    sound = phonology()
    model = mono_model(sound, dim=2)
    words = {"u": ["ab", "c"], "v": ["ba", "\u00e9t\u00e9", "c"], "w": ["ab", "c"]}
    ids = {name: [sound.lang.words[word] for word in said] for name, said in words.items()}
    found = equal_alignments(sound.compiler(model), dict.fromkeys(words, 60), ids)
    generator = np.random.default_rng(0)
    features = {n: generator.standard_normal((60, 2)).astype(np.float32) for n in found}
    return model, found, features


def _phones_by_loop(transitions_S, tables):
    """Cut phones where a phone's last state is left for another state."""
    runs = []
    for i, number in enumerate(transitions_S):
        fresh = i == 0 or (
            tables.is_final_T[transitions_S[:i]].any()
            and runs[-1]["left"]
            and not (tables.is_loop_T[number] and tables.state_T[number] == runs[-1]["state"])
        )
        if fresh:
            runs.append({"phone": int(tables.phone_T[number]), "frames": [], "left": False})
        runs[-1]["frames"].append(i)
        runs[-1]["state"] = tables.state_T[number]
        runs[-1]["left"] = runs[-1]["left"] or bool(tables.is_final_T[number])
    return runs


def test_collect_stats_when_counted_by_a_loop_then_they_agree(aligned):
    model, found, features = aligned
    silence = set(phonology().lang.silence_ids)
    expected = defaultdict(list)
    for name, transitions_S in found.items():
        runs = _phones_by_loop(transitions_S, model.tables)
        phones = [0, *(run["phone"] for run in runs), 0]
        for place, run in enumerate(runs):
            left, phone, right = phones[place : place + 3]
            if phone in silence:
                left = right = 0
            for frame in run["frames"]:
                pdf_class = int(model.tables.pdf_class_T[transitions_S[frame]])
                expected[left, phone, right, pdf_class].append(features[name][frame])
    stats = collect_stats(
        [(found[name], features[name]) for name in found], model.tables, context_free=silence
    )
    assert [tuple(key) for key in stats.contexts_K4.tolist()] == sorted(expected)
    for row, key in enumerate(sorted(expected)):
        frames = np.array(expected[key], np.float64)
        assert stats.counts_K[row] == len(frames)
        np.testing.assert_allclose(stats.sums_KD[row], frames.sum(0), atol=1e-9)
        np.testing.assert_allclose(stats.squares_KD[row], (frames**2).sum(0), atol=1e-9)
    assert stats.counts_K.sum() == 60 * len(found)


def test_collect_stats_when_no_phone_is_free_then_silence_has_context_too(aligned):
    model, found, features = aligned
    stats = collect_stats(
        [(found[name], features[name]) for name in found], model.tables, context_free=[]
    )
    silence = stats.contexts_K4[:, 1] == phonology().lang.phones["SIL"]
    if silence.any():
        assert stats.contexts_K4[silence][:, [0, 2]].any()


def test_part_when_rows_are_chosen_then_only_they_are_left(aligned):
    model, found, features = aligned
    stats = collect_stats(
        [(found[name], features[name]) for name in found], model.tables, context_free=[]
    )
    part = stats.part(np.array([2, 0]))
    assert part.contexts_K4.tolist() == [
        stats.contexts_K4[2].tolist(),
        stats.contexts_K4[0].tolist(),
    ]
    assert part.counts_K.tolist() == [stats.counts_K[2], stats.counts_K[0]]
    assert np.array_equal(part.sums_KD[1], stats.sums_KD[0])
    assert np.array_equal(part.squares_KD[1], stats.squares_KD[0])


def _moments(frames):
    return np.array(float(len(frames))), frames.sum(0), (frames**2).sum(0)


def test_pooled_log_likelihood_when_scipy_scores_frames_then_they_agree():
    frames = np.random.default_rng(1).standard_normal((50, 3)) * [1.0, 3.0, 0.5] + 2.0
    expected = norm(frames.mean(0), frames.std(0)).logpdf(frames).sum()
    assert pooled_log_likelihood(*_moments(frames)) == pytest.approx(expected)


def test_pooled_log_likelihood_when_the_variance_is_floored_then_scipy_agrees_still():
    frames = np.random.default_rng(1).standard_normal((50, 2)) * [0.02, 1.0]
    scale = np.array([0.1, frames[:, 1].std()])
    expected = norm(frames.mean(0), scale).logpdf(frames).sum()
    assert pooled_log_likelihood(*_moments(frames)) == pytest.approx(expected)


def test_pooled_log_likelihood_when_there_is_no_frame_then_it_is_zero():
    found = pooled_log_likelihood(np.array([0.0, 1.0]), np.zeros((2, 3)), np.zeros((2, 3)))
    assert found[0] == 0.0
    assert found[1] == pytest.approx(3 * norm(0, 0.1).logpdf(0))


def test_log_likelihood_gain_when_halves_are_scored_apart_then_it_is_the_difference():
    generator = np.random.default_rng(2)
    frames = [generator.standard_normal((n, 2)) + n for n in (5, 7, 3)]
    stats = TriphoneStats(
        np.zeros((3, 4), np.int32),
        np.array([float(len(f)) for f in frames]),
        np.stack([f.sum(0) for f in frames]),
        np.stack([(f**2).sum(0) for f in frames]),
    )
    questions = np.array([[1.0, 0, 0], [0, 1, 1], [1, 1, 1]])
    gains, smaller = log_likelihood_gain(stats, questions)
    both = [frames[0], np.concatenate(frames[1:]), np.concatenate(frames)]
    first, rest, whole = (norm(f.mean(0), f.std(0)).logpdf(f).sum() for f in both)
    np.testing.assert_allclose(gains, [first + rest - whole, first + rest - whole, 0], atol=1e-8)
    assert smaller.tolist() == [5.0, 5.0, 0.0]
