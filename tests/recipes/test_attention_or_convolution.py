"""Attention or Convolution: the sizes of its models, and the recipe from synthesis to report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from recipe_runs import copy_recipes, run_tiny

from speechlite.config.compose import compose
from speechlite.engine.build import build_model, model_spec
from speechlite.testing.fixtures import installed_registry

CONF = Path(__file__).parents[2] / "egs/librispeech/attention_or_convolution/conf"
FRONTEND = "defaults: [conv_waveform]\nchannels: [4, 4, 8, 8, 8, 8, 8]\nproject_equal: false\n"
SHORT = "trainer.threads=1 trainer.max_steps={} trainer.validate_every_steps=2"
EVALUATE = "training.max_steps=4 training.validate_every_steps=2 training.threads=1"
SMALLER = {
    "dim: 96": "dim: 16",
    "feedforward: 384": "feedforward: 24",
    "layers: [0, 2, 5, 8]": "layers: [0, 2]",
}


@pytest.mark.parametrize(
    ("encoder", "parameters"),
    [
        ("vanilla", 92_211_328),
        ("conformer", 32_967_616),
        ("squeezeformer", 33_010_240),
        ("sparseformer_dn", 15_203_456),
        ("sparseformer_sw", 29_294_208),
    ],
)
def test_encoder_when_of_full_size_then_its_parameters_are_those_of_table_1(encoder, parameters):
    registry = installed_registry()
    config = compose(
        "pretrain",
        registry=registry,
        config_dir=CONF,
        config_name="pretrain_full",
        overrides=[f"encoder={encoder}_full"],
    )
    with torch.device("meta"):
        model = build_model(model_spec(config.frontend, config.encoder), registry)
    count = sum(parameter.numel() for parameter in model.parameters())
    # the table counts the projection to the codewords' width as well
    assert count + (model.dim + 1) * 256 == parameters


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = copy_recipes(tmp_path_factory.mktemp("speechlite")) / "attention_or_convolution"
    (folder / "conf/frontend/compact_mini.yaml").write_text(FRONTEND)
    for path in (folder / "conf").glob("*/*_mini.yaml"):
        text = path.read_text()
        for large, small in SMALLER.items():
            text = text.replace(large, small)
        path.write_text(text)
    units = folder / "conf/units_mfcc_mini.yaml"
    units.write_text(units.read_text().replace("clusters: 100", "clusters: 8"))
    return folder


@pytest.mark.slow
def test_recipe_when_run_then_binary_models_stand_beside_the_papers_costs(recipe):
    done = run_tiny(
        recipe,
        *("--pretrain_overrides", SHORT.format(4), "--evaluate_overrides", EVALUATE),
        *("--compress_overrides", SHORT.format(4)),
        *("--experiments", "squeezeformer,binary_squeezeformer,binary_sparseformer_dn"),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    costs = {}
    for path in (recipe / "exp").rglob("record1.json"):
        record = json.loads(path.read_text())
        costs[record["identity"]["row"]] = record["cost"]
    dense, binary = costs["Squeeze-XS"], costs["BQ-Squeeze-XS"]
    assert binary["macs"]["per_second_audio"] == dense["macs"]["per_second_audio"]
    assert binary["bops"]["per_second_audio"] < dense["bops"]["per_second_audio"]
    assert binary["storage"]["bytes_on_disk"] < dense["storage"]["bytes_on_disk"]
    assert dense["paper"]["bop_binary"] == 0 < binary["paper"]["bop_binary"]
    results = (recipe / "exp/mini/RESULTS.md").read_text()
    for text in ("BQ-Sparseformer-DN-S", "paper's A100 time", "*12.1*"):
        assert text in results
