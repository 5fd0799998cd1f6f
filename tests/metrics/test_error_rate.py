"""Error rates against jiwer and by hand."""

from __future__ import annotations

import random

import jiwer
import pytest

from speechlite.core.types import Batch
from speechlite.metrics.error_rate import ErrorRate


def _score(references, hypotheses, *, name="wer"):
    names = tuple(f"u{index}" for index in range(len(references)))
    metric = ErrorRate(name, lambda batch: list(references))
    return metric.score(list(hypotheses), Batch(names, speakers=("s",) * len(names)))


def _pairs(count=60):
    generator = random.Random(0)
    words = ["a", "bb", "ccc", "d", "ee"]
    texts = [
        " ".join(generator.choice(words) for _ in range(generator.randint(1, 9)))
        for _ in range(2 * count)
    ]
    return texts[:count], texts[count:]


def test_wer_when_jiwer_counts_then_errors_and_words_are_equal():
    references, hypotheses = _pairs()
    scores = _score(references, hypotheses)
    for score, reference, hypothesis in zip(scores, references, hypotheses, strict=True):
        theirs = jiwer.process_words(reference, hypothesis)
        assert score.numerator == theirs.substitutions + theirs.deletions + theirs.insertions
        assert score.denominator == len(reference.split())
        counts = [score.detail[kind] for kind in ("sub", "del", "ins")]
        assert sum(counts) == score.numerator
    rate = sum(s.numerator for s in scores) / sum(s.denominator for s in scores)
    assert abs(rate - jiwer.wer(references, hypotheses)) < 1e-12


def test_cer_when_jiwer_counts_then_the_rate_is_equal():
    references, hypotheses = _pairs()
    scores = _score(references, hypotheses, name="cer")
    rate = sum(s.numerator for s in scores) / sum(s.denominator for s in scores)
    assert abs(rate - jiwer.cer(references, hypotheses)) < 1e-12


@pytest.mark.parametrize(
    ("reference", "hypothesis", "kind", "errors"),
    [
        ("a b c", "a x c", "sub", 1),
        ("a b c", "a c", "del", 1),
        ("a c", "a b c d", "ins", 2),
        ("a b", "", "del", 2),
        ("", "a", "ins", 1),
        ("a  b", "a b", "sub", 0),
    ],
)
def test_wer_when_one_kind_of_error_is_made_then_it_is_named(reference, hypothesis, kind, errors):
    (score,) = _score([reference], [hypothesis])
    assert score.numerator == errors
    assert {name: score.detail[name] for name in ("sub", "del", "ins")} == {
        **{"sub": 0, "del": 0, "ins": 0},
        kind: errors,
    }
    assert score.denominator == len(reference.split())


def test_wer_when_scored_then_texts_names_and_the_scorer_are_kept():
    metric = ErrorRate("wer", lambda batch: ["a b"])
    (score,) = metric.score(["a"], Batch(("u",), speakers=("s",)))
    assert (score.id, score.speaker) == ("u", "s")
    assert (score.detail["reference"], score.detail["hypothesis"]) == ("a b", "a")
    assert (metric.name, metric.higher_is_better) == ("wer", False)
    assert metric.scorer.startswith("kaldialign ")


def test_wer_when_predictions_are_missing_then_it_is_not_silent():
    with pytest.raises(ValueError, match="shorter"):
        _score(["a", "b"], ["a"])
