"""Claims are decided by intervals and ratios, and by nothing that is not there."""

from __future__ import annotations

import pytest
from made_records import make_scores, write_record

from speechlite.core.errors import ConfigError
from speechlite.engine.claims import decide_claims

SCORE = """
- claim: the first is better
  row: {row}
  baseline: B
  task: ctc
  metric: wer
  split: test_clean
  expect: {expect}
"""
COST = """
- claim: the first is cheaper
  row: A
  baseline: B
  cost: train.seconds_per_epoch
  reported_percent: 40
"""


@pytest.fixture
def records(tmp_path):
    for row, rate, seconds in (("A", 0.1, 60.0), ("B", 0.3, 100.0)):
        for seed in (1, 2):
            write_record(
                tmp_path / row / str(seed),
                make_scores(error_rate=rate, seed=seed),
                identity={"row": row, "seed": seed},
                cost={"train": {"seconds_per_epoch": seconds}},
            )
    return tmp_path


def _decide(folder, text):
    path = folder / "claims.yaml"
    path.write_text(text)
    return decide_claims(path, [folder])


def test_claim_when_the_interval_is_on_its_side_then_it_holds(records):
    ((claim, verdict, numbers),) = _decide(records, SCORE.format(row="A", expect="lower"))
    assert (claim, verdict) == ("the first is better", "holds")
    assert "2 seeds" in numbers
    assert numbers.startswith("-")


def test_claim_when_the_interval_is_on_the_other_side_then_it_does_not_hold(records):
    assert _decide(records, SCORE.format(row="A", expect="higher"))[0][1] == "does not hold"


def test_claim_when_a_row_is_missing_then_it_is_not_decided(records):
    assert _decide(records, SCORE.format(row="C", expect="lower"))[0][1] == "not decided"


def test_claim_when_on_a_cost_then_the_saving_is_the_ratio(records):
    ((_, verdict, numbers),) = _decide(records, COST)
    assert verdict == "holds"
    assert numbers == "40.0 % less; the paper reports 40 %"


def test_claim_when_a_key_is_wrong_then_both_forms_are_named(records):
    with pytest.raises(ConfigError, match="a claim has the keys .*expected"):
        _decide(records, "- claim: x\n  row: A\n")


def test_claims_when_not_a_list_then_it_is_refused(records):
    with pytest.raises(ConfigError, match="expected a list of claims"):
        _decide(records, "claim: x\n")


def test_claim_when_it_compares_two_tasks_of_a_row_then_scores_pair_by_utterance(tmp_path):
    for task, rate in (("dnn_hmm", 0.3), ("dnn_hmm_rescored", 0.1)):
        write_record(
            tmp_path / task,
            make_scores(error_rate=rate, seed=1),
            identity={"row": "A", "seed": 1, "task": task},
        )
    text = SCORE.format(row="A", expect="lower").replace("baseline: B", "baseline: A")
    text = text.replace("task: ctc", "task: dnn_hmm_rescored\n  baseline_task: dnn_hmm")
    assert "baseline_task" in text
    assert _decide(tmp_path, text)[0][1] == "holds"
