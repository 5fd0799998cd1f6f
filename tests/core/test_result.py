"""Result records: the round trip, what is refused, and what must not be compared."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from speechlite.core.errors import DataError
from speechlite.core.result import SCHEMA, Measure, Result, incomparable_because

WER = Measure("wer", "test", 7.8, n=10, errors={"sub": 1}, scorer="k 1", normaliser="n 1")
RECORD = Result(
    kind="measured",
    identity={"run_id": "a", "task_version": 1},
    metrics=(WER, Measure("acc", "dev", 70.0, higher_is_better=True)),
    data={"test": {"fingerprint": "f"}},
)


def test_record_when_written_and_read_then_it_is_equal():
    assert Result.from_json(RECORD.to_json()) == RECORD


def test_record_when_written_then_it_is_canonical_json_with_its_schema():
    text = RECORD.to_json()
    assert text.endswith("}\n")
    assert json.loads(text)["schema"] == SCHEMA
    assert Result.from_json(text).to_json() == text
    assert list(json.loads(text)) == sorted(json.loads(text))


def test_record_when_a_value_is_not_a_number_then_it_is_not_written():
    with pytest.raises(ValueError, match="Out of range float"):
        replace(RECORD, metrics=(replace(WER, value=float("nan")),)).to_json()


def _content(**changes):
    return json.dumps({**json.loads(RECORD.to_json()), **changes})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "r.json: not valid JSON: .*; remove the file, or write it again"),
        ("[" * 100_000, "not valid JSON"),
        ("[]", f"schema is None, expected '{SCHEMA}'"),
        (_content(schema="speechlite.result/0"), "schema is 'speechlite.result/0', expected"),
        (_content(kind="guessed"), "kind is 'guessed', expected 'measured' or 'reported'"),
        (_content(colour="red"), "malformed record: .*colour"),
        (_content(metrics=[{"name": "wer"}]), "malformed record: .*split"),
        (_content(metrics=None), "malformed record"),
        (_content(metrics=["wer"]), "malformed record"),
        (json.dumps({"schema": SCHEMA}), "malformed record: 'metrics'"),
    ],
)
def test_record_when_the_text_is_wrong_then_it_says_what_and_where(text, message):
    with pytest.raises(DataError, match=message):
        Result.from_json(text, path="r.json")


def test_measure_when_asked_by_name_and_split_then_it_is_found():
    assert RECORD.measure("wer", "test") is WER
    assert RECORD.measure("wer") is WER
    assert RECORD.measure("wer", "dev") is None
    assert RECORD.measure("cer") is None


def test_comparison_when_all_agrees_then_nothing_stands_against_it():
    assert incomparable_because(RECORD, RECORD, "wer", "test") is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"kind": "reported"}, "one is measured, one is reported by a paper"),
        ({"metrics": ()}, "one has no wer on test"),
        ({"data": {"test": {"fingerprint": "g"}}}, "test has fingerprint f in one and g in"),
        ({"data": {}}, "test has fingerprint f in one and None in the other"),
        ({"metrics": (replace(WER, scorer="k 2"),)}, "scorer is 'k 1' in one and 'k 2'"),
        ({"metrics": (replace(WER, normaliser=None),)}, "normaliser is 'n 1' in one and None"),
        ({"identity": {"task_version": 2}}, "the task's version differs"),
    ],
)
def test_comparison_when_something_differs_then_it_is_named(changes, reason):
    assert reason in incomparable_because(RECORD, replace(RECORD, **changes), "wer", "test")


def test_comparison_when_both_lack_a_fingerprint_then_it_is_refused():
    bare = replace(RECORD, data={})
    assert "fingerprint None" in incomparable_because(bare, bare, "wer", "test")


def test_comparison_when_both_are_reported_then_there_is_nothing_to_resample():
    paper = replace(RECORD, kind="reported")
    assert "no per-utterance scores" in incomparable_because(paper, paper, "wer", "test")
