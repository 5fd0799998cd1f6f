"""HuBERT and DPHuBERT from synthesis to the report, with models of a few thousand parameters."""

from __future__ import annotations

import json

import pytest
from recipe_runs import copy_recipes, run_tiny

FRONTEND = "defaults: [conv_waveform]\nchannels: [8, 8, 8, 8, 8, 8, 8]\n"
ENCODER = (
    "defaults: [transformer]\ndim: 16\nlayers: 12\nheads: 4\nfeedforward: 24\nnorm: post\n"
    "positions: convolution\nposition_kernel: 8\nposition_groups: 4\n"
)
GATES = "defaults: [l0_structured]\ntarget: 0.5\nwarmup_steps: 2\nlearning_rate: 0.1\n"
SHORT = "trainer.threads=1 trainer.max_steps={} trainer.validate_every_steps=2"
EVALUATE = "training.max_steps=4 training.validate_every_steps=2 training.threads=1"


@pytest.fixture(scope="module")
def recipes(tmp_path_factory):
    root = copy_recipes(tmp_path_factory.mktemp("speechlite"))
    for name in ("hubert", "dphubert"):
        conf = root / name / "conf"
        (conf / "frontend" / "conv_mini.yaml").write_text(FRONTEND)
        (conf / "encoder" / "hubert_mini.yaml").write_text(ENCODER)
        units = conf / "units_mfcc_mini.yaml"
        units.write_text(units.read_text().replace("clusters: 100", "clusters: 8"))
    layer = root / "hubert" / "conf" / "units_layer_mini.yaml"
    layer.write_text(layer.read_text().replace("clusters: 100", "clusters: 6"))
    conf = root / "dphubert" / "conf"
    (conf / "compressor" / "l0_mini.yaml").write_text(GATES)
    return root


@pytest.mark.slow
def test_hubert_when_run_then_both_iterations_are_compared(recipes):
    folder = recipes / "hubert"
    done = run_tiny(
        folder,
        *("--pretrain_overrides", SHORT.format(4), "--evaluate_overrides", EVALUATE),
        *("--tasks", "phone"),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    results = (folder / "exp" / "mini" / "RESULTS.md").read_text()
    for row in ("FBANK", "HuBERT untrained", "HuBERT, iteration 1", "HuBERT, iteration 2"):
        assert row in results
    first, second = (
        json.loads((folder / "dump" / "units" / name / "codebook.json").read_text())
        for name in ("mfcc", "iteration2")
    )
    assert first["sha256"] != second["sha256"]


@pytest.mark.slow
def test_dphubert_when_run_then_the_pruned_model_is_half_the_teacher(recipes):
    folder = recipes / "dphubert"
    done = run_tiny(
        folder,
        *("--pretrain_overrides", SHORT.format(4), "--evaluate_overrides", EVALUATE),
        *("--compress_overrides", SHORT.format(6)),
        *("--experiments", "teacher,dphubert,no_step2", "--tasks", "phone"),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    params = {}
    for path in (folder / "exp").rglob("record1.json"):
        record = json.loads(path.read_text())
        params[record["identity"]["row"]] = record["cost"]["params"]["total"]
    assert params["DPHuBERT"] == params["w/o training step 2"]
    assert params["DPHuBERT"] / params["HuBERT Base"] == pytest.approx(0.5, abs=0.005 + 0.02)
    assert "Architecture of dphubert" in (folder / "exp" / "mini" / "report.html").read_text()
    # step 1 belongs to both experiments and ran once
    assert done.stderr.count("step1: it has not run yet") == 1
