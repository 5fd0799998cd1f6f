"""The whole recipe on the tiny corpus with a model of a few thousand parameters."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from recipe_runs import copy_recipes, run_tiny

MODEL = "defaults: [conformer]\ndim: 16\nfeedforward: 32\nlayers: 3\nheads: 2\n"
PRETRAIN = "trainer.max_steps=6 trainer.validate_every_steps=3 trainer.threads=1"
EVALUATE = "training.max_steps=4 training.validate_every_steps=2 training.threads=1"
NETWORK = "defaults: [tdnn]\ndim: 8\n"
STAGES = ("mono", "tri1", "tri2b", "tri3b")
HMM = " ".join(
    [
        *(f"gmm.{name}.iterations=2 gmm.{name}.realign=[1]" for name in STAGES),
        *(f"gmm.{name}.gaussians=160" for name in STAGES),
        *(f"gmm.{name}.leaves=130" for name in STAGES[1:]),
        "gmm.tri2b.transform_iterations=[1] gmm.tri3b.transform_iterations=[1]",
        "lm.text=[] lm.large_order=3 training.epochs=1 training.threads=1",
        "decoding.beams=[5] decoding.gmm_beams=[6] decoding.workers=1",
    ]
)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """Copy the recipes, with small chains, into a tree that uses the running environment."""
    folder = copy_recipes(tmp_path_factory.mktemp("speechlite")) / "layer_reduction"
    (folder / "conf" / "encoder" / "conformer_mini.yaml").write_text(MODEL)
    (folder / "conf" / "head" / "tdnn_mini.yaml").write_text(NETWORK)
    experiments = folder / "conf" / "experiments.yaml"
    text = experiments.read_text().replace("compressor.layers=5", "compressor.layers=2")
    experiments.write_text(text.replace("random_depth=[2,8]", "random_depth=[1,3]"))
    return folder


def _all_stages(folder, *arguments):
    overrides = ("--pretrain_overrides", PRETRAIN, "--evaluate_overrides", EVALUATE)
    return run_tiny(folder, "--tasks", "phone,ctc", *overrides, "--hmm_overrides", HMM, *arguments)


def _times(folder):
    kept = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]
    hidden = (".lock", ".owner", ".generating.lock", ".prepared.json")
    return {path: path.stat().st_mtime_ns for path in kept if path.name not in hidden}


@pytest.mark.slow
def test_recipe_when_run_twice_then_it_reports_and_then_repeats_nothing(recipe):
    first = _all_stages(recipe)
    assert first.returncode == 0, first.stderr[-3000:]
    assert "Successfully finished. [elapsed=" in first.stderr.splitlines()[-1]
    results = (recipe / "exp" / "mini" / "RESULTS.md").read_text()
    for row in ("FBANK", "Exp.1 Conformer-8L", "Exp.7"):
        assert row in results
    report = (recipe / "exp" / "mini" / "report.html").read_text()
    assert "<script" not in report
    assert "Layer transitions" in report
    records = sorted((recipe / "exp").rglob("record1.json"))
    content = [json.loads(path.read_text()) for path in records]
    tasks = Counter(record["identity"]["task"] for record in content)
    # the GMM-HMMs of two stages are recognised with, too
    assert tasks == {"phone": 3, "ctc": 3, "dnn_hmm": 5, "dnn_hmm_rescored": 5}

    models = sorted((recipe / "exp").rglob("model.safetensors"))
    before = _times(recipe / "exp") | _times(recipe / "dump")
    second = _all_stages(recipe, "--stage", "features", "--stop_stage", "dnn_hmm")
    assert second.returncode == 0, second.stderr[-3000:]
    assert before.items() <= (_times(recipe / "exp") | _times(recipe / "dump")).items()
    assert len(models) == 4

    changed = run_tiny(
        recipe,
        *("--stage", "pretrain", "--stop_stage", "pretrain"),
        *("--pretrain_overrides", PRETRAIN.replace("max_steps=6", "max_steps=7")),
    )
    assert changed.returncode == 0, changed.stderr[-3000:]
    assert "changed: trainer.max_steps" in changed.stderr


def test_recipe_when_the_data_is_missing_then_the_stage_that_makes_it_is_named(tmp_path, recipe):
    done = run_tiny(
        recipe, "--stage", "evaluate", "--stop_stage", "evaluate", "--exp_dir", "nowhere"
    )
    assert done.returncode == 3, done.stderr
    assert done.stderr.splitlines()[-1].startswith("speechlite: error:")
