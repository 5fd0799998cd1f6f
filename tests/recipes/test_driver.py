"""The driver reads its options, chooses its stages, and says what it would run."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

EGS = Path(__file__).resolve().parents[2] / "egs"
STAGES = ["data", "features", "pretrain", "compress", "evaluate", "dnn_hmm", "compare"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Return a copy of the recipe, beside a copy of what recipes share."""
    egs = tmp_path_factory.mktemp("tree") / "egs"
    shutil.copytree(EGS / "TEMPLATE", egs / "TEMPLATE")
    recipe = egs / "librispeech" / "layer_reduction"
    recipe.mkdir(parents=True)
    for name in ("conf", "local"):
        shutil.copytree(EGS / "librispeech" / "layer_reduction" / name, recipe / name)
    shutil.copy2(EGS / "librispeech" / "layer_reduction" / "run.sh", recipe)
    return recipe


def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([folder / "run.sh", *options], capture_output=True, text=True)


def stages_of(done: subprocess.CompletedProcess[str]) -> list[str]:
    return re.findall(r"^\S+ stage \d (\w+)$", done.stderr, re.MULTILINE)


def test_help_when_asked_shows_every_option_with_its_default(folder):
    done = run(folder, "--help")
    text = (folder / "run.sh").read_text() + (EGS / "TEMPLATE" / "driver.sh").read_text()
    names = re.findall(r"^([a-z_]+)=[^#\n]* # ", text, re.MULTILINE)
    assert done.returncode == 0
    assert len(names) > 15
    for name in names:
        assert re.search(rf"^  --{name} .*\(default: .+\)$", done.stdout, re.MULTILINE), name


def test_dry_run_when_all_stages_are_chosen_says_them_and_writes_nothing(folder):
    before = sorted(folder.rglob("*"))
    done = run(folder, "--dry_run")
    assert done.returncode == 0, done.stderr
    assert stages_of(done) == STAGES
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("options", "stages"),
    [
        (["--stage", "3", "--stop_stage", "4"], ["pretrain", "compress"]),
        (["--stage=pretrain", "--stop-stage=compress"], ["pretrain", "compress"]),
        (["--stage", "compare"], ["compare"]),
        (["--stop_stage", "1"], ["data"]),
    ],
)
def test_stages_when_given_by_number_or_name_are_the_ones_that_run(folder, options, stages):
    assert stages_of(run(folder, "--dry_run", *options)) == stages


def test_options_when_spelled_with_dashes_or_underscores_mean_the_same(folder):
    spelled = [["--corpus_seed", "7"], ["--corpus-seed", "7"], ["--corpus_seed=7"]]
    outputs = {
        re.sub(
            r"^\S+ stage|elapsed=\d+", "", run(folder, "--dry_run", "--stop_stage", "1", *o).stderr
        )
        for o in spelled
    }
    assert len(outputs) == 1
    assert "--seed 7" in outputs.pop()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--colour", "red"], "unknown option --colour; see --help"),
        (["--template", "x"], "unknown option --template; see --help"),
        (["--stage"], "option --stage has no value; write --stage VALUE"),
        (["pretrain"], "unexpected argument 'pretrain'; options begin with --"),
        (["--stage", "9"], "unknown stage '9'; the stages are: 1 data"),
        (["--stage", "4", "--stop_stage", "3"], "no stage from '4' to '3'"),
        (["--$(touch x)", "1"], "unknown option --$(touch x)"),
    ],
)
def test_options_when_one_is_wrong_exit_2_with_one_line(folder, options, message):
    done = run(folder, "--dry_run", *options)
    assert done.returncode == 2
    assert done.stderr.startswith(f"run.sh: error: {message}")
    assert done.stderr.count("\n") == 1


def test_stage_when_the_recipe_lacks_it_exits_2_and_names_those_it_has(folder, tmp_path):
    shutil.copytree(folder.parents[1], tmp_path / "egs")
    recipe = tmp_path / "egs" / folder.parent.name / folder.name
    script = recipe / "run.sh"
    script.write_text(script.read_text().replace(" dnn_hmm compare)", " compare)"))
    done = run(recipe, "--dry_run", "--stage", "dnn_hmm")
    assert done.returncode == 2
    message = "run.sh: error: this recipe has no stage dnn_hmm; its stages are: 1 data"
    assert done.stderr.startswith(message)


def test_values_when_they_hold_shell_code_are_quoted_not_run(folder):
    done = run(folder, "--dry_run", "--stop_stage", "1", "--data_root", "$(touch hit); `touch hit`")
    assert done.returncode == 0
    assert not (folder / "hit").exists()
    assert r"\$\(touch\ hit\)" in done.stderr
