from __future__ import annotations

from pathlib import Path

import jiwer
import numpy as np
import pytest

from speechlite.data.datadir import Utterance
from speechlite.engine.dnn_hmm.scoring import (
    Setting,
    best_setting,
    hypotheses,
    score_words,
    settings,
)
from speechlite.engine.splits import Split
from speechlite.hmm.config import DecodingOptions
from speechlite.hmm.lattice import ScoredLattice

NAMES = ("<eps>", "!SIL", "a", "b")


def two_ways(first, second):
    """Make a lattice of two sequences, each (words, acoustic cost, cost of the model)."""
    rows, states = [], 1
    end = 1 + len(first[0]) + len(second[0])
    for said, acoustic, model in (first, second):
        src = 0
        for word in said:
            rows.append((src, states, word, 0.0, 0.0))
            src, states = states, states + 1
        rows.append((src, end, -1, acoustic, model))
    table = np.array(rows)
    src, dst, word = (table[:, column].astype(np.int32) for column in (0, 1, 2))
    return ScoredLattice(src, dst, word, table[:, 3], table[:, 4], end + 1)


def split_of(**texts):
    utterances = {
        name: Utterance(name, "s", Path("x.flac"), None, None, text, 1.0, None)
        for name, text in texts.items()
    }
    return Split("dev", utterances, dict.fromkeys(texts, 1.0), ())


def test_settings_are_every_weight_with_every_penalty():
    options = DecodingOptions(lm_weights=[0.5, 2.0], word_penalties=[0.0, 1.0, -1.0])
    found = {(one.lm_weight, one.word_penalty) for one in settings(options)}
    assert found == {(w, p) for w in (0.5, 2.0) for p in (0.0, 1.0, -1.0)}


def test_hypotheses_follow_weight_and_penalty_and_leave_out_silence():
    lattice = two_ways(((2, 1, 3), 1.0, 5.0), ((2,), 4.0, 1.0))
    chosen = [Setting(0.5, 0.0), Setting(1.0, 0.0), Setting(0.5, 2.0)]
    texts = hypotheses({"u": lattice}, chosen, NAMES)
    assert texts == [{"u": "a b"}, {"u": "a"}, {"u": "a"}]


def test_score_words_counts_what_jiwer_counts_and_absent_utterances_as_deletions():
    references = {"u1": "a b c", "u2": "d e", "u3": "f g"}
    found = {"u1": "a x c c", "u2": "d e"}
    score = score_words(split_of(**references), found)
    expected = jiwer.wer(list(references.values()), [found.get(name, "") for name in references])
    assert score.value == pytest.approx(100 * expected)
    assert [one.id for one in score.scores] == ["u1", "u2", "u3"]
    assert score.scores[2].detail["del"] == 2


def test_score_words_ignores_further_spaces_in_transcripts():
    assert score_words(split_of(u1="  a\t b  "), {"u1": "a b"}).value == 0.0


def test_best_setting_equals_scoring_each_and_the_first_wins_a_tie():
    lattices = {
        "u1": two_ways(((2, 3), 1.0, 5.0), ((2,), 4.0, 1.0)),
        "u2": two_ways(((3,), 0.0, 3.0), ((2, 2), 2.0, 0.0)),
    }
    dev = split_of(u1="a", u2="a a")
    chosen = [Setting(w, p) for w in (0.1, 1.0, 2.0) for p in (0.0, 0.5)]
    rates = [score_words(dev, text).value for text in hypotheses(lattices, chosen, NAMES)]
    assert len(set(rates)) > 1
    setting, rate = best_setting(dev, lattices, chosen, NAMES)
    assert rate == min(rates)
    assert setting == chosen[rates.index(min(rates))]
