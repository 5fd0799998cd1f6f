from __future__ import annotations

import pytest
from made_records import make_record, write_experiment

from speechlite.core.errors import DataError, UsageError
from speechlite.core.result import Measure
from speechlite.engine.compare import compare, load_records
from speechlite.engine.condition import Condition, parse_condition, rows_that_meet


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    folder = write_experiment(tmp_path_factory.mktemp("exp"))
    return compare(load_records([folder]), resamples=100)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("wer.delta > 0.3", Condition("wer", "delta", ">", 0.3)),
        ("rtf.value<=1e-2", Condition("rtf", "value", "<=", 0.01)),
        (
            " ctc/wer/test_clean.delta_low >= -1 ",
            Condition("ctc/wer/test_clean", "delta_low", ">=", -1.0),
        ),
    ],
)
def test_parse_condition_when_text_is_good_then_gives_its_parts(text, expected):
    assert parse_condition(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "wer", "wer > 1", "wer.delta", "wer.delta == 1", "__import__('os').system('x') > 1"]
    + ["wer.delta > x", "wer.delta > 1 or 1", "wer.delta > nan", "wer.delta > inf"],
)
def test_parse_condition_when_text_is_no_condition_then_is_refused(text):
    with pytest.raises(UsageError, match="is not a condition; write for example"):
        parse_condition(text)


def test_parse_condition_when_field_is_unknown_then_lists_the_fields():
    with pytest.raises(UsageError, match="names the field 'x'; name one of: value, low"):
        parse_condition("wer.x > 1")


def test_parse_condition_when_number_is_malformed_then_is_refused():
    with pytest.raises(UsageError, match=r"'1\.2\.3' is not a number"):
        parse_condition("wer.value > 1.2.3")


def test_parse_condition_when_number_overflows_then_is_refused():
    with pytest.raises(UsageError, match="'1e999' is not finite"):
        parse_condition("wer.value > 1e999")


def test_rows_that_meet_when_a_row_is_worse_then_names_it(comparison):
    met = rows_that_meet(comparison, parse_condition("wer.delta > 5"))
    assert len(met) == 1
    assert "Exp.3 Conformer-5L + PSS: ctc/wer/test_clean.delta = " in met[0]


def test_rows_that_meet_when_no_row_is_worse_then_is_empty(comparison):
    assert rows_that_meet(comparison, parse_condition("wer.delta > 99")) == []


@pytest.mark.parametrize("field", ["value", "low", "high", "delta_low", "delta_high", "p"])
def test_rows_that_meet_when_limit_is_far_then_every_field_can_be_asked(comparison, field):
    assert rows_that_meet(comparison, parse_condition(f"wer.{field} > -1e6"))


def test_rows_that_meet_when_column_is_unknown_then_lists_the_columns(comparison):
    with pytest.raises(UsageError, match="no column is called 'x'; name one of: acc, phone/acc"):
        rows_that_meet(comparison, parse_condition("x.value > 1"))


def test_rows_that_meet_when_nothing_can_be_decided_then_is_an_error():
    comparison = compare([make_record((Measure("wer", "test_clean", 5.0),))])
    with pytest.raises(DataError, match="no row has wer.delta, so nothing can be decided"):
        rows_that_meet(comparison, parse_condition("wer.delta > 1"))
