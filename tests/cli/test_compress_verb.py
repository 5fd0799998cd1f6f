"""speechlite compress: with and without training, one model and a sweep."""

from __future__ import annotations

import json

import pytest
from made_runs import compress_arguments, snapshot

from speechlite.cli.main import main

DISTIL = ("objective=distillation", "objective.layers=[0,1,3]")
PRUNE = ("compressor=l0_structured", "compressor.target=0.3", "compressor.warmup_steps=2")


@pytest.fixture
def run(capsys, places, tmp_path):
    """Compress the model; return what was printed."""

    def call(*words):
        given = ["compress", *words, "--model", places / "model", "--out_dir", tmp_path / "out"]
        assert main([str(word) for word in given]) == 0
        return capsys.readouterr().out

    return call


@pytest.mark.parametrize("words", [DISTIL, (*PRUNE, *DISTIL)], ids=["objective", "both"])
def test_compress_in_training_prints_the_model(run, places, tmp_path, words):
    assert run(*compress_arguments(places / "data", *words)) == f"{tmp_path}/out/model\n"
    facts = json.loads((tmp_path / "out" / "training.json").read_text())
    assert facts["steps"] == 6
    assert (tmp_path / "out" / "stamp.json").is_file()


def test_compress_in_training_when_run_again_writes_nothing(run, places, tmp_path):
    words = compress_arguments(places / "data", *PRUNE, *DISTIL)
    first = run(*words)
    before = snapshot(tmp_path)
    assert run(*words) == first
    assert snapshot(tmp_path) == before


def test_compress_by_a_primary_file_takes_its_choices(run, places, tmp_path):
    conf = tmp_path / "conf"
    conf.mkdir()
    (conf / "small.yaml").write_text("defaults:\n  - compressor: depth\n")
    run("--config_dir", conf, "--config", "small", "compressor.layers=1")
    assert "depth" in (tmp_path / "out" / "model" / "config.yaml").read_text()
    assert not (tmp_path / "out" / "training.json").exists()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (DISTIL, 2, "data.train names no directory; set data.train="),
        (
            ("objective=masked_prediction",),
            2,
            "masked_prediction needs label streams ['units'], and data.units is None",
        ),
        (("objective=distillation", "objective.layers=[0,4]"), 2, "distillation matches layers"),
        ((*DISTIL, "objective.teacher={root}/empty"), 3, "config.yaml: is missing"),
        ((*DISTIL, "objective.teacher={root}/no"), 3, "is missing"),
        (
            (*DISTIL, "compressor=student", "compressor.encoder={layer: 1}"),
            2,
            "which has no such options",
        ),
    ],
)
def test_compress_in_training_that_cannot_work_says_so_in_one_line(
    refuse, places, tmp_path, words, code, message
):
    words = [word.replace("{root}", str(places)) for word in words]
    is_without_data = message.startswith("data.train")
    given = words if is_without_data else compress_arguments(places / "data", *words)
    error = refuse(
        ["compress", *given, "--model", places / "model", "--out_dir", tmp_path / "out"], code
    )
    assert message in error
    assert not (tmp_path / "out" / "model").exists()
