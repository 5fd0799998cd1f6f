from __future__ import annotations

import itertools
import random
import time
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from speechlite.core.errors import DataError
from speechlite.engine.bootstrap import p_value
from speechlite.engine.statistics import (
    holm,
    is_non_inferior,
    nested_difference,
    nested_interval,
    paired_difference,
    ratio_interval,
)

ONE_SPEAKER_EACH = [(f"u{i:03d}", f"s{i:03d}", i % 4, 10 + i % 7) for i in range(120)]


def draw(rng, *, speakers, utterances=10, mean=0.08, spread=0.025, words=20, rates=None):
    if rates is None:
        rates = np.clip(rng.normal(mean, spread, speakers), 0.001, 1.0)
    return [
        (f"{p:02d}-{u}", f"{p:02d}", int(rng.binomial(words, rates[p])), words)
        for p in range(speakers)
        for u in range(utterances)
    ]


def test_ratio_interval_when_utterances_are_independent_then_agrees_with_scipy():
    numerators, denominators = np.array([[s[2], s[3]] for s in ONE_SPEAKER_EACH]).T
    peer = stats.bootstrap(
        (numerators, denominators),
        lambda n, d, axis: n.sum(axis) / d.sum(axis),
        paired=True,
        vectorized=True,
        n_resamples=20_000,
        method="percentile",
        random_state=np.random.default_rng(7),
    )
    found = ratio_interval(ONE_SPEAKER_EACH, resamples=20_000)
    # Monte Carlo error of a limit here is about 2e-4, the small-sample expansion about 1 %
    width = peer.confidence_interval.high - peer.confidence_interval.low
    assert abs(found["low"] - peer.confidence_interval.low) < 0.03 * width
    assert abs(found["high"] - peer.confidence_interval.high) < 0.03 * width
    assert found["value"] == pytest.approx(numerators.sum() / denominators.sum())


def test_ratio_interval_when_three_speakers_then_quantiles_match_all_27_resamples():
    scores = [("a", "x", 1, 10), ("b", "y", 4, 10), ("c", "z", 9, 20)]
    exact = sorted(
        sum(scores[i][2] for i in pick) / sum(scores[i][3] for i in pick)
        for pick in itertools.product(range(3), repeat=3)
    )
    # tail 1/27 and more is moved to 1.6e-7 by the expansion, so the limits are the extremes
    found = ratio_interval(scores)
    assert found["low"] == pytest.approx(exact[0])
    assert found["high"] == pytest.approx(exact[-1])


@pytest.mark.parametrize("speakers", [10, 40])
def test_ratio_interval_when_speakers_vary_then_covers_95_percent(speakers):
    rng = np.random.default_rng(3)
    hits = 0
    for trial in range(300):
        found = ratio_interval(draw(rng, speakers=speakers), resamples=500, seed=trial)
        hits += found["low"] <= 0.08 <= found["high"]
    low, high = stats.binom.interval(0.999, 300, 0.95)
    assert low <= hits <= high


def test_paired_difference_when_systems_are_equal_then_type_one_error_is_5_percent():
    rng = np.random.default_rng(4)
    rejected = 0
    for trial in range(300):
        rates = np.clip(rng.normal(0.08, 0.025, 40), 0.001, 1.0)
        first, second = (draw(rng, speakers=40, rates=rates) for _ in range(2))
        found = paired_difference(first, second, resamples=500, seed=trial)
        rejected += found["p_value"] < 0.05
    assert rejected <= stats.binom.ppf(0.999, 300, 0.05)


def test_p_value_when_interval_just_excludes_zero_then_equals_one_minus_level():
    rng = np.random.default_rng(5)
    first = draw(rng, speakers=20, mean=0.10)
    second = draw(rng, speakers=20, mean=0.08)
    p = paired_difference(first, second)["p_value"]
    wider = paired_difference(first, second, level=1 - 0.9 * p)
    narrower = paired_difference(first, second, level=1 - 1.1 * p)
    assert wider["low"] <= 0 <= wider["high"]
    assert not narrower["low"] <= 0 <= narrower["high"]


def test_p_value_when_one_speaker_then_is_one():
    assert p_value(np.array([1.0, 1.0]), 1) == 1.0


def test_ratio_interval_when_utterances_are_shuffled_then_is_identical():
    shuffled = list(ONE_SPEAKER_EACH)
    random.Random(1).shuffle(shuffled)
    assert ratio_interval(shuffled) == ratio_interval(ONE_SPEAKER_EACH)


def test_ratio_interval_when_scores_are_mappings_or_objects_then_is_the_same():
    names = ("id", "speaker", "numerator", "denominator")
    mappings = [dict(zip(names, score, strict=True)) for score in ONE_SPEAKER_EACH]
    objects = [SimpleNamespace(**mapping) for mapping in mappings]
    expected = ratio_interval(ONE_SPEAKER_EACH, resamples=100)
    assert ratio_interval(mappings, resamples=100) == expected
    assert ratio_interval(objects, resamples=100) == expected


def test_ratio_interval_when_one_speaker_then_says_why_there_is_no_interval():
    found = ratio_interval([("a", "x", 1, 10), ("b", "x", 2, 10)])
    assert found["value"] == pytest.approx(0.15)
    assert found["low"] is None
    assert found["why"] == "one speaker: nothing to resample"


def test_ratio_interval_when_a_speaker_counts_nothing_then_limits_are_finite():
    found = ratio_interval([("a", "x", 0, 0), ("b", "y", 1, 4)])
    assert np.isfinite([found["low"], found["high"]]).all()


def test_ratio_interval_when_2600_utterances_then_takes_under_300_ms():
    rng = np.random.default_rng(0)
    scores = draw(rng, speakers=40, utterances=65)
    start = time.perf_counter()
    ratio_interval(scores)
    assert time.perf_counter() - start < 0.3


def test_nested_interval_when_seeds_are_identical_then_equals_one_seed():
    one, three = ratio_interval(ONE_SPEAKER_EACH), nested_interval([ONE_SPEAKER_EACH] * 3)
    assert [three[k] for k in ("value", "low", "high")] == pytest.approx(
        [one[k] for k in ("value", "low", "high")]
    )


def test_nested_interval_when_seeds_differ_then_is_wider_than_over_speakers_alone():
    rng = np.random.default_rng(1)
    seeds = [draw(rng, speakers=40, rates=np.full(40, rate)) for rate in (0.05, 0.10, 0.15)]
    nested = nested_interval(seeds)
    alone = ratio_interval(seeds[1])
    assert nested["high"] - nested["low"] > 2 * (alone["high"] - alone["low"])


def test_paired_difference_when_one_makes_an_error_more_everywhere_then_is_exact():
    second = [(f"u{i}", f"s{i % 5}", 2, 10) for i in range(20)]
    first = [(name, speaker, count + 1, total) for name, speaker, count, total in second]
    found = paired_difference(first, second)
    assert [found[k] for k in ("delta", "low", "high")] == pytest.approx([0.1, 0.1, 0.1])
    assert found["probability_of_improvement"] == 0.0
    assert paired_difference(first, second, higher_is_better=True)[
        "probability_of_improvement"
    ] == pytest.approx(1.0)


def test_paired_difference_when_systems_are_identical_then_nothing_is_decided():
    found = paired_difference(ONE_SPEAKER_EACH, ONE_SPEAKER_EACH)
    assert (found["delta"], found["probability_of_improvement"]) == (0.0, 0.5)
    assert found["p_value"] == pytest.approx(1.0)


def test_nested_difference_when_seeds_have_known_differences_then_delta_is_their_mean():
    base = [(f"u{i}", f"s{i % 5}", 2, 10) for i in range(20)]
    worse = [(n, s, c + 1, t) for n, s, c, t in base]
    found = nested_difference([(worse, base), (base, base)])
    assert found["delta"] == pytest.approx(0.05)
    assert found["num_seeds"] == 2
    assert (found["low"], found["high"]) == pytest.approx((0.0, 0.1))


def test_paired_difference_when_utterances_differ_then_names_some():
    with pytest.raises(DataError, match="2 utterances are scored in one .*: 'u000', 'v'"):
        paired_difference(ONE_SPEAKER_EACH, [*ONE_SPEAKER_EACH[1:], ("v", "s", 1, 1)])


def test_paired_difference_when_speakers_differ_then_is_refused():
    with pytest.raises(DataError, match="'a' has speaker 'x' in one and 'y' in the other"):
        paired_difference([("a", "x", 1, 2)], [("a", "y", 1, 2)])


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([("a", "x", 1, 2), ("a", "x", 1, 2)], "'a' is scored twice"),
        ([("a", "x", float("nan"), 2)], "counts nan of 2.0"),
        ([("a", "x", 1, -2)], "counts 1.0 of -2.0"),
        ([("a", "x", 1, 0)], "no units were counted"),
        ([], "no units were counted"),
        ([("a", "x")], "a score lacks one of"),
        ([{"id": "a"}], "a score lacks one of"),
        ([3], "a score lacks one of"),
    ],
)
def test_ratio_interval_when_scores_are_malformed_then_says_what(scores, message):
    with pytest.raises(DataError, match=message):
        ratio_interval(scores)


def test_nested_interval_when_no_seed_then_is_refused():
    with pytest.raises(DataError, match="no scores were given"):
        nested_interval([])


def test_ratio_interval_when_level_is_out_of_range_then_is_refused():
    with pytest.raises(DataError, match=r"level is 95, expected a number in \(0, 1\)"):
        ratio_interval(ONE_SPEAKER_EACH, level=95, resamples=10)


def test_ratio_interval_when_no_resamples_then_is_refused():
    with pytest.raises(DataError, match="resamples is 0, expected >= 1"):
        ratio_interval(ONE_SPEAKER_EACH, resamples=0)


def test_holm_when_given_a_textbook_family_then_matches_the_hand_calculation():
    # sorted .005 .01 .03 .04 -> x4 .02, x3 .03, x2 .06, x1 .04 raised to .06
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_when_family_is_empty_then_is_empty():
    assert holm([]) == []


def test_holm_when_value_is_no_probability_then_is_refused():
    with pytest.raises(DataError, match="p value 1.5 is outside"):
        holm([1.5])


@pytest.mark.parametrize(
    ("low", "high", "higher", "expected"),
    [
        (-0.1, 0.4, False, True),
        (-0.1, 0.6, False, False),
        (-0.4, 0.9, True, True),
        (-0.6, 0.9, True, False),
        (0.1, 0.5, False, False),
    ],
)
def test_is_non_inferior_when_margin_is_half_then_the_worse_limit_decides(
    low, high, higher, expected
):
    difference = {"low": low, "high": high}
    assert is_non_inferior(difference, margin=0.5, higher_is_better=higher) is expected


def test_is_non_inferior_when_margin_is_not_positive_then_is_refused():
    with pytest.raises(DataError, match="margin is 0, expected > 0"):
        is_non_inferior({"low": 0.0, "high": 0.1}, margin=0)


def test_is_non_inferior_when_no_interval_then_is_refused():
    with pytest.raises(DataError, match="the difference has no interval"):
        is_non_inferior({"low": None, "high": None}, margin=1.0)
