from __future__ import annotations

import json

import pytest
from made_runs import arguments, evaluate_arguments, snapshot

from speechlite.cli.main import main


@pytest.fixture
def run(capsys):
    """Run a command line that must work; return what it printed."""

    def call(*words):
        assert main([str(word) for word in words]) == 0
        return capsys.readouterr().out

    return call


def test_verbs_from_data_to_comparison_work_on_each_others_output(run, places, tmp_path):
    data = places / "data"
    trained = run("pretrain", *arguments(data), "--out_dir", tmp_path / "full").strip()
    small = run(
        "compress", "compressor=depth", "compressor.layers=1", "--model", trained,
        "--out_dir", tmp_path / "small",
    ).strip()  # fmt: skip
    quick = ("audio_seconds=[1]", "rtf_seconds=1", "repeats=1", "warmup=0")
    macs = [
        json.loads(run("profile", "--model", model, *quick))["macs"]["per_second_audio"]
        for model in (trained, small)
    ]
    assert macs[1] < macs[0]
    for row, model in (("Full", trained), ("Small", small)):
        out = tmp_path / "exp" / row
        words = evaluate_arguments(data)
        printed = run("evaluate", *words, "--model", model, "--row", row, "--out_dir", out)
        assert printed.strip() == str(out / "results" / "phone.json")
    table = run("compare", tmp_path / "exp")
    assert "Full" in table
    assert "Small" in table


def test_pretrain_when_run_again_prints_the_model_and_writes_nothing(run, places, tmp_path):
    words = ["pretrain", *arguments(places / "data"), "--out_dir", tmp_path / "a"]
    first = run(*words)
    before = snapshot(tmp_path)
    assert run(*words) == first == f"{tmp_path}/a/model\n"
    assert snapshot(tmp_path) == before


def test_dump_prints_the_stores_that_pretrain_reads(run, places, tmp_path):
    choices = ["frontend=fbank", "frontend.num_mels=8", "encoder=identity"]
    overrides = [word for c in (*choices, "objective=reconstruction") for word in ("--override", c)]
    printed = run(
        "data", "dump", places / "data/train", places / "data/dev",
        "--out_dir", tmp_path / "dump", *overrides,
    )  # fmt: skip
    assert printed.split() == [f"{tmp_path}/dump/train", f"{tmp_path}/dump/dev"]
    words = arguments(places / "data", f"data.features={tmp_path / 'dump'}")
    assert run("pretrain", *words, "--out_dir", tmp_path / "a")
