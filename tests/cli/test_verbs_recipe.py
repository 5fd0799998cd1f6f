from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

RECIPE = Path(__file__).parents[2] / "egs/librispeech/layer_reduction"


def run_sh(*words):
    return subprocess.run(
        ["bash", str(RECIPE / "run.sh"), *words],
        capture_output=True,
        text=True,
        timeout=60,
        env=dict(os.environ),
    )


def files():
    return {path for path in RECIPE.rglob("*") if "exp" not in path.parts[-6:]}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--stages", "1"], "unknown option --stages; see --help"),
        (["--stage"], "option --stage has no value; write --stage VALUE"),
        (["1"], "unexpected argument '1'; options begin with --, see --help"),
        (["--stage", "9"], "unknown stage '9'; the stages are: 1 data"),
        (["--stage", "0"], "unknown stage '0'"),
        (["--stage", ""], "unknown stage ''"),
        (["--stage", "-1"], "unknown stage '-1'"),
        (["--stage", "train"], "unknown stage 'train'"),
        (["--stop_stage", "end"], "unknown stage 'end'"),
        (["--stage", "dnn_hmm", "--hmm_steps"], "option --hmm_steps has no value"),
        (["--stage", "4", "--stop_stage", "2"], "no stage from '4' to '2'"),
        (["--stage=compare", "--stop-stage=data"], "no stage from 'compare' to 'data'"),
        (["--PATH", "x"], "unknown option --PATH"),
        (["--template=x"], "unknown option --template"),
        (["--a b", "x"], "unknown option --a b"),
        (["--=x"], "unknown option --"),
        (["--stage;id", "1"], "unknown option --stage;id"),
    ],
)
def test_recipe_with_wrong_options_is_one_line_and_exits_2(words, message):
    before = files()
    done = run_sh(*words)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"run.sh: error: {message}")
    assert files() == before


@pytest.mark.parametrize(
    "words",
    [
        ["--stage", "1", "--stop_stage", "2", "--dry_run"],
        ["--stage=data", "--stop-stage=features", "--dry-run=true"],
        ["--dry_run", "true", "--stop-stage", "2"],
    ],
)
def test_recipe_in_a_dry_run_says_what_it_would_do_and_writes_nothing(words):
    before = files()
    done = run_sh(*words)
    assert done.returncode == 0, done.stderr
    assert "stage 1 data" in done.stderr
    assert "+ speechlite data dump" in done.stderr
    assert "pretrain --config" not in done.stderr
    assert files() == before


def test_recipe_with_help_lists_every_option_with_its_default():
    done = run_sh("--help")
    assert done.returncode == 0
    for text in ("--stop_stage", "(default: compare)", "--experiments", "Stages: data features"):
        assert text in done.stdout
