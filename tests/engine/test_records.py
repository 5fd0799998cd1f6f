from __future__ import annotations

import hashlib
import json

import pytest
from made_runs import evaluate_arguments

from speechlite.config.compose import compose, config_hash
from speechlite.core.result import Result
from speechlite.engine.evaluate import evaluate
from speechlite.engine.records import environment, write_record

IDENTITY = {
    "recipe": "r",
    "experiment": "e",
    "row": "Row",
    "table": "Table 1",
    "layer": None,
    "model": "m",
    "model_sha256": "0" * 64,
    "chain": "none",
    "seed": 3,
    "started": "2026-01-01T00:00:00+00:00",
}


@pytest.fixture(scope="module")
def written(registry, speech, tmp_path_factory):
    """Evaluate once and write the record."""
    import torch
    from made_runs import choice

    from speechlite.engine.build import build_model, model_spec

    torch.manual_seed(0)
    spec = model_spec(
        choice(registry, "frontend", "fbank", num_mels=8),
        choice(registry, "encoder", "conformer", dim=8, layers=2, heads=2, feedforward=16),
    )
    config = compose(
        "evaluate",
        registry=registry,
        overrides=evaluate_arguments(
            speech, "task.labels=characters", "head=ctc", "head.recurrent_layers=0", "task.name=ctc"
        ),
    )
    result = evaluate(config, build_model(spec, registry), registry)
    directory = tmp_path_factory.mktemp("records")
    path = write_record(
        directory,
        "record1",
        result,
        config=config,
        identity=IDENTITY,
        cost={"params": {"total": 1}},
        inputs={"data": "abc"},
        registry=registry,
    )
    return path, config, result


def test_record_has_every_field_of_the_schema(written):
    record = json.loads(written[0].read_text())
    assert record["schema"] == "speechlite.result/1"
    assert record["kind"] == "measured"
    expected = {*IDENTITY, "run_id", "task", "task_version", "status", "ended"}
    assert set(record["identity"]) == expected
    assert set(record["code"]) == {"version", "git_commit", "dirty", "plugins"}
    assert set(record["data"]) == {"train", "test"}
    expected = {"inputs", "dev", "best_step", "seconds", "search", "labels"}
    assert set(record["provenance"]) == expected
    assert record["seeds"] == {"head": 1, "model": 3}


def test_record_can_be_read_back(written):
    path, config, result = written
    record = Result.from_json(path.read_text())
    measure = record.measure("wer", "test")
    assert measure.value == pytest.approx(result.tests[0].value)
    assert record.config["resolved_sha256"] == config_hash(config)
    assert record.config["values"]["head"]["name"] == "ctc"


def test_record_names_scorer_and_normaliser(written):
    (measure,) = json.loads(written[0].read_text())["metrics"]
    assert measure["scorer"].startswith("kaldialign ")
    assert measure["normaliser"] == "speechlite.whitespace 1"


def test_scores_lie_beside_the_record_under_their_hash(written):
    path, _, result = written
    (measure,) = json.loads(path.read_text())["metrics"]
    content = (path.parent / measure["per_utterance"]).read_bytes()
    assert hashlib.sha256(content).hexdigest() == measure["per_utterance_sha256"]
    rows = [json.loads(line) for line in content.splitlines()]
    assert [row["id"] for row in rows] == [score.id for score in result.tests[0].scores]


def test_scores_sum_to_the_value_and_the_errors(written):
    path = written[0]
    (measure,) = json.loads(path.read_text())["metrics"]
    rows = [
        json.loads(line)
        for line in (path.parent / measure["per_utterance"]).read_text().splitlines()
    ]
    errors = sum(row["numerator"] for row in rows)
    words = sum(row["denominator"] for row in rows)
    assert measure["value"] == pytest.approx(100 * errors / words)
    assert measure["n"] == words
    assert sum(measure["errors"].values()) == errors
    assert measure["ci"]["low"] <= measure["value"] <= measure["ci"]["high"]


def test_environment_names_the_machine(monkeypatch):
    facts = environment()
    assert facts["cores"] >= 1
    assert facts["cpu"]
    assert len(facts["device_fingerprint"]) == 16
    monkeypatch.setattr("platform.node", lambda: "elsewhere")
    assert environment()["device_fingerprint"] != facts["device_fingerprint"]


def test_environment_without_proc_names_the_machine_all_the_same(monkeypatch, tmp_path):
    from speechlite.engine import records

    monkeypatch.setattr(records, "Path", lambda name: tmp_path / "no")
    assert environment()["cpu"]
