from __future__ import annotations

import json

import pytest
from made_records import make_scores, write_experiment, write_record

from speechlite.core.errors import DataError
from speechlite.core.result import Measure
from speechlite.engine.record_files import load_records, load_reported, read_scores

HEADER = "paper,table,system,metric,task,value,unit,note\n"
SCORES = make_scores(error_rate=0.1, speakers=2, utterances=2)


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_load_records_when_given_a_directory_then_finds_every_results_folder(tmp_path):
    write_experiment(tmp_path)
    assert len(load_records([tmp_path])) == 10


def test_load_records_when_given_a_pattern_then_expands_it_and_reads_each_once(tmp_path):
    write_experiment(tmp_path)
    found = load_records([str(tmp_path / "row0_*"), tmp_path / "row0_0"])
    assert len(found) == 4


def test_read_scores_when_record_was_loaded_then_returns_its_lines(tmp_path):
    record = load_records([write_record(tmp_path, SCORES)])[0]
    scores = read_scores(record.metrics[0])
    assert [s.id for s in scores] == [s["id"] for s in SCORES]
    assert scores[0].detail["reference"] == "SOME WORDS"


def test_read_scores_when_measure_has_no_file_then_is_empty():
    assert read_scores(Measure("wer", "test", 1.0)) == ()


def test_load_records_when_place_is_missing_then_says_so(tmp_path):
    with pytest.raises(DataError, match="absent: no such file or directory"):
        load_records([tmp_path / "absent"])


def test_load_records_when_directory_has_no_record_then_says_so(tmp_path):
    with pytest.raises(DataError, match=r"holds no results/\*\.json; run the evaluate stage"):
        load_records([tmp_path])


def test_load_records_when_scores_were_changed_then_is_refused(tmp_path):
    path = write_record(tmp_path, SCORES)
    path.with_suffix(".jsonl").write_text("{}\n")
    with pytest.raises(DataError, match="jsonl: the SHA-256 of the per-utterance scores"):
        load_records([path])


def test_load_records_when_scores_are_missing_then_is_refused(tmp_path):
    path = write_record(tmp_path, SCORES)
    path.with_suffix(".jsonl").unlink()
    with pytest.raises(DataError, match="jsonl: cannot be read: No such file"):
        load_records([path])


@pytest.mark.parametrize("name", ["../../x.jsonl", "/etc/passwd"])
def test_load_records_when_scores_lie_elsewhere_then_is_refused(tmp_path, name):
    path = write_record(tmp_path, SCORES)
    edit(path, lambda content: content["metrics"][0].update(per_utterance=name))
    with pytest.raises(DataError, match="expected a file beside the record"):
        load_records([path])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["metrics"][0].update(value="5"), "wer on test_clean is '5', expected"),
        (lambda c: c["metrics"][0].update(value=True), "wer on test_clean is True, expected"),
        (lambda c: c["metrics"][0].update(value=float("nan")), "is nan, expected a finite"),
        (lambda c: c["metrics"][0].update(split=3), "name, split or unit is not text"),
        (lambda c: c["metrics"][0].update(per_utterance=3), "wer: a file name is not text"),
        (lambda c: c["metrics"][0].update(ci=3), "wer: ci is not a mapping"),
        (lambda c: c.update(cost=[]), "cost is not a mapping"),
        (lambda c: c["data"].update(test_clean=1), "data.test_clean is not a mapping"),
        (lambda c: c["identity"].update(row=["x"]), r"identity.row is \['x'\], expected text"),
        (lambda c: c.update(schema="x"), "schema is 'x'"),
    ],
)
def test_load_records_when_record_is_malformed_then_names_file_and_field(tmp_path, change, message):
    path = write_record(tmp_path, SCORES)
    edit(path, change)
    with pytest.raises(DataError, match=message) as caught:
        load_records([path])
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "malformed score: JSONDecodeError"),
        ('{"id": "a"}', "malformed score: KeyError: 'speaker'"),
        ("[1]", "malformed score: TypeError"),
        ('{"id": 1, "speaker": 1, "numerator": NaN, "denominator": 1}', "is not finite"),
    ],
)
def test_load_records_when_a_score_is_malformed_then_names_the_line(tmp_path, line, message):
    import hashlib

    path = write_record(tmp_path, SCORES)
    scores = path.with_suffix(".jsonl")
    scores.write_text(scores.read_text() + line + "\n")
    digest = hashlib.sha256(scores.read_bytes()).hexdigest()
    edit(path, lambda content: content["metrics"][0].update(per_utterance_sha256=digest))
    with pytest.raises(DataError, match=rf"jsonl:5: .*{message}"):
        load_records([path])


def test_load_records_when_record_is_not_utf8_then_says_so(tmp_path):
    path = write_record(tmp_path, SCORES)
    path.write_bytes(b"\xff")
    with pytest.raises(DataError, match="json: not UTF-8 text"):
        load_records([path])


def test_load_records_when_file_is_huge_then_is_refused(tmp_path):
    path = write_record(tmp_path, SCORES)
    with path.open("r+b") as stream:
        stream.truncate(300 * 1024 * 1024)
    with pytest.raises(DataError, match="larger than 268435456 bytes"):
        load_records([path])


def test_load_reported_when_table_is_good_then_gives_a_record_a_system(tmp_path):
    path = tmp_path / "reported.csv"
    path.write_text(
        HEADER
        + "P4,Table 1,Exp.1,params,,33.7,M,\n"
        + 'P4,Table 1,Exp.1,wer,"ASR, rescored",5.77,%,5-gram\n'
        + "P4,Table 1,Exp.2,steps,,15k,,\n"
        + "P4,Table 1,Exp.2,acc,phone,,%,\n"
    )
    first, second = load_reported(path)
    assert (first.kind, first.identity["row"], first.identity["table"]) == (
        "reported",
        "Exp.1",
        "Table 1",
    )
    assert [m.value for m in first.metrics] == [33.7, 5.77]
    assert first.metrics[1].split == "ASR, rescored"
    assert [m.why for m in second.metrics] == ["printed as 15k", "not stated in the paper"]
    assert second.metrics[1].higher_is_better


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n", r":1: columns are \['a', 'b'\], expected paper,table"),
        ("", ":1: columns are None, expected"),
        (HEADER + "a,b\n", ":2: expected 8 fields"),
        (HEADER + "a,b,c,d,e,1,f,g,h\n", ":2: expected 8 fields"),
        (HEADER + '"a"b,b,c,d,e,1,f,g\n', "not CSV"),
    ],
)
def test_load_reported_when_table_is_malformed_then_names_the_line(tmp_path, text, message):
    path = tmp_path / "reported.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        load_reported(path)
