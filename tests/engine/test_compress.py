from __future__ import annotations

import pytest
import torch
from made_runs import choice, snapshot

from speechlite.compressors.depth import Depth
from speechlite.config.schema import CompressConfig
from speechlite.core.errors import CheckpointError, ConfigError, DataError, LockError, PlanError
from speechlite.engine.checkpoint import load_model, save_model
from speechlite.engine.compress import compress, compress_checkpoint
from speechlite.engine.directories import own_directory


@pytest.fixture
def config(registry):
    return lambda layers=2: CompressConfig(choice(registry, "compressor", "depth", layers=layers))


def states(model, **options):
    waves_BT = 0.1 * torch.randn(1, 8000, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return torch.stack(model(waves_BT, torch.tensor([8000]), **options).layers)


def test_compress_records_what_was_done_and_leaves_the_model_alone(make_model, registry, config):
    model = make_model()
    smaller = compress(config().compressor, model, registry)
    assert (model.num_layers, model.edits) == (3, ())
    assert [dict(edit.plan) for edit in smaller.edits] == [{"layers": 2}]
    assert smaller.edits[0].compressor == {"name": "depth", "layers": 2}


def test_compress_by_depth_executes_what_stopping_early_would(make_model, registry, config):
    model = make_model()
    assert torch.equal(
        states(compress(config().compressor, model, registry)), states(model, num_layers=2)
    )


def test_compress_when_nothing_would_change_is_an_error(make_model, registry, config):
    with pytest.raises(PlanError, match="would keep 3 layers of a model that has 3"):
        compress(config(3).compressor, make_model(), registry)


def test_compress_with_an_empty_plan_is_an_error(make_model, registry, config, monkeypatch):
    monkeypatch.setattr(Depth, "plan", lambda self, model: {})
    with pytest.raises(PlanError, match="depth found nothing to change in this model"):
        compress(config().compressor, make_model(), registry)


def test_compress_with_a_compressor_that_wants_data_is_an_error(
    make_model, registry, config, monkeypatch
):
    monkeypatch.setattr(Depth, "needs_batches", True)
    with pytest.raises(ConfigError, match="depth wants calibration data"):
        compress(config().compressor, make_model(), registry)


def test_compress_checkpoint_writes_one_that_loads(saved, registry, config, tmp_path):
    target = compress_checkpoint(config(), saved, tmp_path / "small", registry)
    assert target == tmp_path / "small" / "model"
    assert load_model(target, registry).num_layers == 2


def test_compress_checkpoint_again_writes_nothing(saved, registry, config, tmp_path, capfd):
    compress_checkpoint(config(), saved, tmp_path / "small", registry)
    before = snapshot(tmp_path)
    compress_checkpoint(config(), saved, tmp_path / "small", registry)
    assert snapshot(tmp_path) == before
    assert "up to date" in capfd.readouterr().err


def test_compress_checkpoint_of_a_changed_model_runs_again(
    saved, registry, config, tmp_path, make_model, capfd
):
    compress_checkpoint(config(), saved, tmp_path / "small", registry)
    save_model(make_model(seed=9), saved)
    compress_checkpoint(config(), saved, tmp_path / "small", registry)
    assert f"changed: {saved}" in capfd.readouterr().err


def test_compress_checkpoint_with_other_options_says_which(
    saved, registry, config, tmp_path, capfd
):
    compress_checkpoint(config(), saved, tmp_path / "small", registry)
    compress_checkpoint(config(1), saved, tmp_path / "small", registry)
    assert "changed: compressor.layers" in capfd.readouterr().err
    assert load_model(tmp_path / "small" / "model", registry).num_layers == 1


def test_compress_checkpoint_when_it_fails_keeps_the_older_result(
    saved, registry, config, tmp_path
):
    target = compress_checkpoint(config(), saved, tmp_path / "small", registry)
    before = snapshot(target)
    with pytest.raises(PlanError):
        compress_checkpoint(config(5), saved, tmp_path / "small", registry)
    assert snapshot(target) == before


def test_compress_checkpoint_without_a_model_writes_nothing(registry, config, tmp_path):
    with pytest.raises(DataError, match="is missing"):
        compress_checkpoint(config(), tmp_path / "no", tmp_path / "small", registry)
    assert not (tmp_path / "small").exists()


def test_compress_checkpoint_of_a_directory_without_one_is_an_error(registry, config, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="config.yaml: is missing"):
        compress_checkpoint(config(), tmp_path / "empty", tmp_path / "small", registry)


def test_compress_checkpoint_into_a_directory_in_use_is_refused(saved, registry, config, tmp_path):
    with own_directory(tmp_path / "small"), pytest.raises(LockError, match="in use by process"):
        compress_checkpoint(config(), saved, tmp_path / "small", registry)
