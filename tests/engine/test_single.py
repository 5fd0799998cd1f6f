from __future__ import annotations

import json

import pytest
from made_runs import evaluate_arguments

from speechlite.config.compose import compose
from speechlite.core.errors import ConfigError, LockError
from speechlite.engine import single
from speechlite.engine.checkpoint import checkpoint_sha256
from speechlite.engine.directories import own_directory
from speechlite.engine.single import evaluate_checkpoint


@pytest.fixture
def run(registry, saved, speech, tmp_path):
    def evaluate(*further):
        config = compose(
            "evaluate", registry=registry, overrides=evaluate_arguments(speech, *further)
        )
        return evaluate_checkpoint(
            config, saved, tmp_path / "out", registry, row="My row", features=None
        )

    return evaluate


def test_record_of_a_single_checkpoint_says_what_it_is(run, saved):
    path = run("training.num_layers=2")
    record = json.loads(path.read_text())
    assert path.name == "phone.json"
    assert record["identity"]["row"] == record["identity"]["experiment"] == "My row"
    assert record["identity"]["model_sha256"] == checkpoint_sha256(saved)
    assert record["identity"]["layer"] == 2
    assert record["identity"]["chain"] == "none"
    assert set(record["cost"]) >= {"params", "storage", "macs", "rtf", "peak_memory"}
    assert record["provenance"]["inputs"].keys() == {str(saved)}


def test_record_of_a_single_checkpoint_names_the_files_of_its_search(run, saved, tmp_path):
    (tmp_path / "words").write_text("AB\nCA\n")
    words = f"head.lexicon={tmp_path / 'words'}"
    path = run(
        "task.labels=characters", "head=ctc", "head.recurrent_layers=0", "head.search=beam", words
    )
    record = json.loads(path.read_text())
    assert record["provenance"]["inputs"].keys() == {str(saved), str(tmp_path / "words")}
    assert record["provenance"]["search"]["words"] == 2


def test_single_evaluation_in_a_directory_in_use_fails_before_any_work(run, tmp_path, monkeypatch):
    monkeypatch.setattr(single, "evaluate", None)
    with own_directory(tmp_path / "out"), pytest.raises(LockError, match="in use by process"):
        run()


@pytest.mark.parametrize("name", ["../escape", "a/b", "", ".hidden"])
def test_single_evaluation_of_a_task_whose_name_is_no_file_name_is_an_error(run, name):
    with pytest.raises(ConfigError, match="expected letters, digits"):
        run(f"task.name='{name}'")
