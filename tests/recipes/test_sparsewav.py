"""SparseWAV: the recipe from synthesis to report, on tiny models."""

from __future__ import annotations

import json
import string

import pytest
from recipe_runs import copy_recipes, run_in, run_tiny

FRONTEND = "defaults: [conv_waveform]\nchannels: [4, 4, 8, 8, 8, 8, 8]\nproject_equal: false\n"
SHORT = "trainer.threads=1 trainer.max_steps={} trainer.validate_every_steps=2"
SMALLER = {"dim: 128": "dim: 16", "layers: 6": "layers: 2", "feedforward: 512": "feedforward: 24"}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = copy_recipes(tmp_path_factory.mktemp("speechlite")) / "sparsewav"
    (folder / "conf/frontend/compact_mini.yaml").write_text(FRONTEND)
    encoder = folder / "conf/encoder/transformer_mini.yaml"
    text = encoder.read_text()
    for large, small in SMALLER.items():
        text = text.replace(large, small)
    encoder.write_text(text)
    units = folder / "conf/units_mfcc_mini.yaml"
    units.write_text(units.read_text().replace("clusters: 100", "clusters: 8"))
    pruning = folder / "conf/compressor/obs_paper.yaml"
    pruning.write_text(f"{pruning.read_text()}probes: 1\nsensitivity_batches: 1\n")
    return folder


@pytest.mark.slow
def test_recipe_when_run_then_pruned_models_stand_beside_the_dense_one(recipe):
    done = run_tiny(
        recipe,
        *("--pretrain_overrides", SHORT.format(4), "--compress_overrides", SHORT.format(2)),
        *("--evaluate_overrides", "training.threads=1"),
        *("--experiments", "dense,obs75,one75,magnitude75"),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    records = {}
    for path in (recipe / "exp").rglob("record*.json"):
        record = json.loads(path.read_text())
        records[record["identity"]["row"]] = record
    dense, sparse = (records[name]["cost"]["params"] for name in ("dense", "OBS"))
    tuned = records["OBS + mixed sparsity + improved saliency + post-pruning finetune"]
    assert dense["total"] == sparse["total"] == tuned["cost"]["params"]["total"]
    assert tuned["cost"]["params"]["nonzero"] < 0.8 * dense["nonzero"]
    assert records["magnitude"]["config"]["values"]["training"]["own_head"] is True
    results = (recipe / "exp/mini/RESULTS.md").read_text()
    for text in ("*57.95*", "Fine-tuning under frozen masks recovers", "OBS loses less"):
        assert text in results


@pytest.mark.slow
def test_published_recogniser_when_imported_then_its_own_head_is_scored(recipe):
    transformers = pytest.importorskip("transformers")
    config = transformers.Wav2Vec2Config(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        conv_dim=[8] * 7,
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
        vocab_size=29,
        pad_token_id=0,
    )
    transformers.Wav2Vec2ForCTC(config).save_pretrained(recipe / "published")
    symbols = ["<pad>", "|", "'", *string.ascii_uppercase]
    vocabulary = {symbol: index for index, symbol in enumerate(symbols)}
    (recipe / "published" / "vocab.json").write_text(json.dumps(vocabulary))
    data = run_tiny(recipe, "--stage", "data", "--stop_stage", "data")
    assert data.returncode == 0, data.stderr[-3000:]
    options = ["trainer.threads=1", "trainer.max_steps=2", "trainer.validate_every_steps=2"]
    done = run_in(recipe, "local/published.sh", "published", "mini", *options)
    assert done.returncode == 0, done.stderr[-3000:]
    results = (recipe / "exp/published/published/RESULTS.md").read_text()
    for text in ("*57.95*", "*7.11*", "60 %, fine-tuned"):
        assert text in results
    without = run_in(recipe, "local/published.sh")
    assert (without.returncode, without.stderr.split(":")[0]) == (2, "usage")
