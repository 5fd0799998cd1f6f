"""Phonetic trees on statistics whose best splits are known, and questions against brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import norm

from speechlite.core.errors import ConfigError
from speechlite.hmm.phonetic_tree import grow_tree, phone_questions
from speechlite.hmm.tree_bytes import open_tree
from speechlite.hmm.triphone_stats import TriphoneStats

SILENCE, SPEECH = [[1]], [[2], [3], [4], [5]]


def _stats(mean_of, *, count=50, dim=2, phones=(2, 3, 4, 5), classes=3, spread=0.3, seed=0):
    """Draw frames of every triphone state; ``mean_of(left, phone, right, class)`` is its mean."""
    generator = np.random.default_rng(seed)
    keys = [(0, 1, 0, k) for k in range(5)]
    sides = [0, 1, *phones]
    keys += list(itertools.product(sides, phones, sides, range(classes)))
    frames = {
        key: mean_of(*key) + spread * generator.standard_normal((count, dim))
        for key in sorted(keys)
    }
    stats = TriphoneStats(
        np.array(list(frames), np.int32),
        np.array([float(len(f)) for f in frames.values()]),
        np.stack([f.sum(0) for f in frames.values()]),
        np.stack([(f**2).sum(0) for f in frames.values()]),
    )
    return stats, frames


def _grow(stats, **options):
    given = {
        "silence_groups": SILENCE,
        "speech_groups": SPEECH,
        "position_sets": [],
        "silence_classes": 5,
        "speech_classes": 3,
        "num_leaves": 40,
        **options,
    }
    return grow_tree(stats, **given)


def _by_phone(left, phone, right, pdf_class):
    return np.array([10.0 * phone, 3.0 * pdf_class])


def _score(frames):
    return norm(frames.mean(0), np.maximum(frames.std(0), 0.1)).logpdf(frames).sum()


def _naive_questions(frames, groups, *, middle=1):
    """Join the two sets that lose least likelihood, over and over, on the frames themselves."""
    sets = {}
    for group in groups:
        parts = [f for key, f in frames.items() if key[1] in group and key[3] == middle]
        if parts:
            sets[frozenset(group)] = np.concatenate(parts)
    questions = list(sets)
    while len(sets) > 2:

        def loss(pair):
            first, second = (sets[one] for one in pair)
            return _score(first) + _score(second) - _score(np.concatenate([first, second]))

        first, second = min(itertools.combinations(sets, 2), key=loss)
        sets[first | second] = np.concatenate([sets.pop(first), sets.pop(second)])
        questions.append(first | second)
    return questions


@pytest.mark.parametrize("seed", range(4))
def test_phone_questions_when_joined_naively_then_the_sets_agree(seed):
    means = 2.0 * np.random.default_rng(seed).standard_normal((8, 2))
    phones = (2, 3, 4, 5, 6, 7)
    stats, frames = _stats(
        lambda le, p, r, k: means[p] + 0.1 * k, phones=phones, count=4, seed=seed
    )
    groups = [[1], [2, 7], [3], [4], [5], [6]]
    assert set(phone_questions(stats, groups)) == set(_naive_questions(frames, groups))


def test_phone_questions_when_a_group_never_occurred_then_it_is_in_no_set():
    stats, _ = _stats(_by_phone)
    found = phone_questions(stats, [[1], *SPEECH, [9]])
    assert all(9 not in one for one in found)
    assert found[:5] == [frozenset({phone}) for phone in range(1, 6)]


def test_phone_questions_when_two_pairs_are_alike_then_the_pairs_arise():
    centres = {1: 50.0, 2: 0.0, 3: 1.0, 4: 20.0, 5: 21.0}
    stats, _ = _stats(lambda left, phone, right, k: np.array([centres[phone], 0.0]))
    found = phone_questions(stats, [[1], *SPEECH])
    assert {frozenset({2, 3}), frozenset({4, 5})} <= set(found)
    assert frozenset({1, 2, 3, 4, 5}) not in found


def _compute(tree, left, phone, right, pdf_class):
    found, pdf = tree.compute([left, phone, right], pdf_class)
    assert found
    return pdf


def test_grow_tree_when_one_split_pays_then_it_is_the_one_made():
    # the phones 2 and 3 on the left change the middle of phone 4, nothing else changes anything
    def mean(left, phone, right, k):
        changed = phone == 4 and k == 1 and left in (2, 3)
        # alike phones make {2, 3} a question
        return np.array([[0, 40, 0, 1, 20, 21][phone] + 6.0 * changed, 3.0 * k])

    stats, _ = _stats(mean)
    grown = _grow(stats, num_leaves=5 + 12 + 1)
    tree = open_tree(grown.content)
    assert tree.num_pdfs == 18
    for left, right in itertools.product(range(6), range(6)):
        same = _compute(tree, left, 4, right, 1) == _compute(tree, 2, 4, 2, 1)
        assert same == (left in (2, 3))
        for phone, k in [(2, 0), (3, 1), (4, 0), (5, 2)]:
            assert _compute(tree, left, phone, right, k) == _compute(tree, 0, phone, 0, k)


def test_grow_tree_when_leaves_allow_more_then_splits_come_best_first():
    # three contexts matter, by different amounts
    def mean(left, phone, right, k):
        step = 5.0 * (phone == 2 and k == 0 and left == 5)
        step += 20.0 * (phone == 3 and k == 1 and right == 4)
        return np.array([10.0 * phone + step, k])

    stats, _ = _stats(mean)
    one = open_tree(_grow(stats, num_leaves=18).content)
    assert _compute(one, 2, 3, 4, 1) != _compute(one, 2, 3, 5, 1)
    assert _compute(one, 5, 2, 2, 0) == _compute(one, 4, 2, 2, 0)
    two = open_tree(_grow(stats, num_leaves=19).content)
    assert _compute(two, 5, 2, 2, 0) != _compute(two, 4, 2, 2, 0)


def _coloured(left, phone, right, k):
    return np.array([10.0 * phone + 1.3 * left * (left > 1), 0.7 * right + k])


@pytest.mark.parametrize("num_leaves", [17, 25, 60])
def test_grow_tree_when_it_ends_then_there_are_no_more_leaves_than_asked(num_leaves):
    stats, _ = _stats(_coloured)
    assert open_tree(_grow(stats, num_leaves=num_leaves).content).num_pdfs == num_leaves


def test_grow_tree_when_a_split_would_make_a_small_leaf_then_it_is_not_made():
    stats, frames = _stats(_coloured)
    grown = _grow(stats, num_leaves=1000, min_count=700.0)
    tree = open_tree(grown.content)
    counts = np.zeros(tree.num_pdfs)
    for key, part in frames.items():
        counts[_compute(tree, *key)] += len(part)
    assert counts.tolist() == grown.counts_P.tolist()
    assert tree.num_pdfs > 17
    # silence has few frames, but its leaves are roots
    assert sorted(counts)[5] >= 700.0


def test_grow_tree_when_silence_depends_on_context_then_it_is_not_split_all_the_same():
    stats, _ = _stats(_coloured)
    extra = TriphoneStats(
        np.array([[2, 1, 2, 1], [3, 1, 3, 1]], np.int32),
        np.full(2, 500.0),
        np.array([[0.0, 0.0], [50_000.0, 0.0]]),
        np.array([[500.0, 500.0], [5_000_500.0, 500.0]]),
    )
    both = TriphoneStats(
        **{name: np.concatenate([part, vars(extra)[name]]) for name, part in vars(stats).items()}
    )
    tree = open_tree(_grow(both, num_leaves=200).content)
    pdfs = {_compute(tree, left, 1, right, 1) for left in range(6) for right in range(6)}
    assert len(pdfs) == 1


def test_grow_tree_when_gaussians_are_given_then_they_are_the_moments_of_each_leaf():
    stats, frames = _stats(_coloured)
    grown = _grow(stats, num_leaves=40)
    tree = open_tree(grown.content)
    of_leaf = [[] for _ in range(tree.num_pdfs)]
    for key, part in frames.items():
        of_leaf[_compute(tree, *key)].append(part)
    for pdf, parts in enumerate(of_leaf):
        together = np.concatenate(parts)
        np.testing.assert_allclose(grown.means_PD[pdf], together.mean(0), atol=1e-8)
        np.testing.assert_allclose(grown.variances_PD[pdf], together.var(0), atol=1e-8)


def test_grow_tree_when_a_phone_never_occurred_then_its_leaves_get_all_frames():
    stats, frames = _stats(_by_phone)
    grown = _grow(stats, speech_groups=[*SPEECH, [6]])
    tree = open_tree(grown.content)
    everything = np.concatenate(list(frames.values()))
    pdf = _compute(tree, 2, 6, 0, 1)
    assert grown.counts_P[pdf] == 0.0
    np.testing.assert_allclose(grown.means_PD[pdf], everything.mean(0), atol=1e-8)
    np.testing.assert_allclose(grown.variances_PD[pdf], everything.var(0), atol=1e-6)


def test_grow_tree_when_phones_share_a_root_then_they_share_leaves():
    stats, _ = _stats(_coloured)
    grown = _grow(stats, speech_groups=[[2, 3], [4, 5]], num_leaves=30)
    tree = open_tree(grown.content)
    for left, right, k in itertools.product(range(6), range(6), range(3)):
        assert _compute(tree, left, 2, right, k) == _compute(tree, left, 3, right, k)
        assert _compute(tree, left, 4, right, k) == _compute(tree, left, 5, right, k)


def test_grow_tree_when_places_in_the_word_differ_then_shared_roots_are_split_by_them():
    def mean(left, phone, right, k):
        return np.array([30.0 * (phone > 3) + 4.0 * (phone in (3, 5)), k])

    stats, _ = _stats(mean)
    grown = _grow(
        stats,
        speech_groups=[[2, 3], [4, 5]],
        position_sets=[frozenset({2, 4}), frozenset({3, 5})],
        num_leaves=5 + 6 + 6,
    )
    tree = open_tree(grown.content)
    for k in range(3):
        assert _compute(tree, 0, 2, 0, k) != _compute(tree, 0, 3, 0, k)
        assert _compute(tree, 0, 4, 0, k) != _compute(tree, 0, 5, 0, k)


def test_grow_tree_when_repeated_then_the_bytes_are_the_same():
    stats, _ = _stats(_coloured)
    assert _grow(stats).content == _grow(stats).content


def test_grow_tree_when_there_is_no_question_then_roots_are_leaves():
    stats, _ = _stats(lambda left, phone, right, k: np.array([phone, k]))
    middles = stats.contexts_K4[:, 3] == 1
    grown = _grow(stats.part(~middles))
    assert open_tree(grown.content).num_pdfs == 17


@pytest.mark.parametrize("num_leaves", [1, 16])
def test_grow_tree_when_fewer_leaves_than_roots_are_asked_then_config_error(num_leaves):
    stats, _ = _stats(_by_phone)
    with pytest.raises(ConfigError, match=f"leaves={num_leaves}, but 17 states of phones"):
        _grow(stats, num_leaves=num_leaves)


def test_grow_tree_when_no_leaves_are_asked_then_states_are_not_split():
    stats, _ = _stats(_coloured)
    assert open_tree(_grow(stats, num_leaves=0).content).num_pdfs == 17
