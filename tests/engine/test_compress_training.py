"""Compression in training: what is written, resumed, skipped and refused."""

from __future__ import annotations

import json

import pytest
import torch
from made_runs import compress_arguments, compress_config, leftovers, snapshot, speechlite
from safetensors.torch import load_file

from speechlite.core.errors import ConfigError
from speechlite.engine.checkpoint import load_model, save_model
from speechlite.engine.compress import compress_checkpoint
from speechlite.engine.training_run import Interrupted

DISTIL = ("objective=distillation", "objective.layers=[0,1,3]")
PRUNE = (
    "compressor=l0_structured",
    "compressor.target=0.3",
    "compressor.warmup_steps=2",
    "compressor.learning_rate=0.1",
    *DISTIL,
)
STUDENT = ("compressor=student", "compressor.encoder={feedforward: 4}", *DISTIL)


@pytest.fixture
def training(registry, speech):
    """Compose a compression in training."""

    def make(*further):
        return compress_config(registry, speech, *further)

    return make


@pytest.fixture
def other(make_model, tmp_path):
    """Write a checkpoint of the tiny model with other weights."""
    path = tmp_path / "other" / "model"
    save_model(make_model(seed=9), path)
    return path


def weights(target):
    return (target / "model.safetensors").read_bytes()


def facts(directory):
    return json.loads((directory / "training.json").read_text())


def num_parameters(model):
    return sum(p.numel() for p in model.parameters())


def test_compress_under_an_objective_alone_keeps_the_shape_and_learns(
    saved, other, registry, training, tmp_path
):
    config = training(*DISTIL, f"objective.teacher={other}", "trainer.max_steps=12")
    target = compress_checkpoint(config, saved, tmp_path / "out", registry)
    before, after = load_model(saved, registry), load_model(target, registry)
    assert (after.num_layers, after.edits) == (3, ())
    assert num_parameters(after) == num_parameters(before)
    losses = [loss for _, loss in facts(tmp_path / "out")["validations"]]
    assert len(losses) == 4
    assert losses[-1] < losses[0]
    assert any(
        not torch.equal(value, before.state_dict()[name])
        for name, value in after.state_dict().items()
    )


def test_compress_under_an_objective_alone_keeps_the_weights_with_the_lowest_loss(
    saved, registry, training, tmp_path
):
    # the teacher itself has the lowest loss, and every step leads away from it
    config = training(*DISTIL, "optimizer.learning_rate=0.3", "trainer.validate_every_steps=1")
    compress_checkpoint(config, saved, tmp_path / "out", registry)
    found = facts(tmp_path / "out")
    losses = dict(found["validations"])
    assert losses[found["best_step"]] == min(losses.values())


def test_compress_without_a_named_teacher_takes_the_first_model_of_the_chain(
    saved, other, registry, training, tmp_path
):
    chained = compress_checkpoint(
        training(*DISTIL), saved, tmp_path / "chained", registry, first=other
    )
    alone = compress_checkpoint(training(*DISTIL), saved, tmp_path / "alone", registry)
    for target, teacher in ((chained, other), (alone, saved)):
        named = training(*DISTIL, f"objective.teacher={teacher}")
        expected = compress_checkpoint(named, saved, tmp_path / f"named {teacher}", registry)
        assert weights(target) == weights(expected)
    assert weights(chained) != weights(alone)


def test_compress_in_training_writes_a_smaller_checkpoint_that_loads(
    saved, registry, training, tmp_path
):
    config = training(*PRUNE, "trainer.max_steps=12")
    target = compress_checkpoint(config, saved, tmp_path / "out", registry)
    before, after = load_model(saved, registry), load_model(target, registry)
    (edit,) = after.edits
    assert edit.compressor["name"] == "l0_structured"
    sparsity = 1 - num_parameters(after) / num_parameters(before)
    assert sparsity == pytest.approx(edit.plan["sparsity"], abs=1e-6)
    assert sparsity == pytest.approx(0.3, abs=0.05)
    assert not any(name.startswith(("gates", "constraint")) for name, _ in after.named_modules())
    found = facts(tmp_path / "out")
    assert (found["steps"], found["best_step"]) == (12, 12)
    assert not (tmp_path / "out" / "candidates").exists()
    assert not leftovers(tmp_path)


def test_compress_of_a_compressed_model_adds_to_its_history(saved, registry, training, tmp_path):
    pruned = compress_checkpoint(training(*PRUNE), saved, tmp_path / "1", registry)
    trained = compress_checkpoint(training(*DISTIL), pruned, tmp_path / "2", registry, first=saved)
    depth = training("compressor=depth", "compressor.layers=2")
    cut = compress_checkpoint(depth, trained, tmp_path / "3", registry, first=saved)
    histories = [
        [edit.compressor["name"] for edit in load_model(path, registry).edits]
        for path in (pruned, trained, cut)
    ]
    assert histories == [["l0_structured"], ["l0_structured"], ["l0_structured", "depth"]]
    assert weights(pruned) != weights(trained)


@pytest.mark.parametrize("options", [DISTIL, PRUNE, STUDENT], ids=["objective", "l0", "student"])
@pytest.mark.parametrize("steps", [(1,), (2, 3, 5)])
def test_compress_in_training_when_stopped_and_resumed_ends_with_the_same_bytes(
    saved, registry, training, tmp_path, stop_at, options, steps
):
    config = training(*options)
    whole = compress_checkpoint(config, saved, tmp_path / "whole", registry)
    stop_at(*steps)
    for _ in steps:
        with pytest.raises(Interrupted):
            compress_checkpoint(config, saved, tmp_path / "stopped", registry)
    stopped = compress_checkpoint(config, saved, tmp_path / "stopped", registry)
    assert weights(stopped) == weights(whole)
    assert (stopped / "config.yaml").read_bytes() == (whole / "config.yaml").read_bytes()


def test_compress_in_training_again_writes_nothing(saved, registry, training, tmp_path, capfd):
    compress_checkpoint(training(*PRUNE), saved, tmp_path / "out", registry)
    before = snapshot(tmp_path)
    compress_checkpoint(training(*PRUNE), saved, tmp_path / "out", registry)
    assert snapshot(tmp_path) == before
    assert "up to date" in capfd.readouterr().err


@pytest.mark.parametrize(
    "option", ["objective.l1_weight=0.5", "compressor.target=0.2", "optimizer.learning_rate=0.02"]
)
def test_compress_in_training_with_another_option_trains_anew(
    saved, registry, training, tmp_path, capfd, option
):
    compress_checkpoint(training(*PRUNE), saved, tmp_path / "a", registry)
    changed = training(*PRUNE, option)
    compress_checkpoint(changed, saved, tmp_path / "a", registry)
    text = capfd.readouterr().err
    assert f"changed: {option.split('=')[0]}" in text
    assert "resuming" not in text
    compress_checkpoint(changed, saved, tmp_path / "b", registry)
    assert weights(tmp_path / "a" / "model") == weights(tmp_path / "b" / "model")


def test_compress_in_training_with_another_teacher_runs_again(
    saved, other, make_model, registry, training, tmp_path, capfd
):
    compress_checkpoint(training(*DISTIL), saved, tmp_path / "out", registry, first=other)
    save_model(make_model(seed=4), other)
    compress_checkpoint(training(*DISTIL), saved, tmp_path / "out", registry, first=other)
    assert f"changed: {other}" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["train", "valid"])
def test_compress_in_training_without_data_is_an_error(saved, registry, training, tmp_path, name):
    with pytest.raises(ConfigError, match=rf"data.{name} names no directory; set data.{name}=\["):
        compress_checkpoint(training(*DISTIL, f"data.{name}=[]"), saved, tmp_path / "out", registry)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("options", [DISTIL, (*DISTIL, "objective.layers=[0,1]"), STUDENT])
def test_compress_on_two_processes_ends_with_the_weights_of_one(
    registry, speech, tmp_path, make_model, options
):
    path = tmp_path / "plain" / "model"
    save_model(make_model(dropout=0.0, attention_dropout=0.0), path)
    # a large epsilon keeps Adam from blowing up the rounding of gradients that are zero
    further = (*options, "optimizer.epsilon=0.001")
    compress_checkpoint(compress_config(registry, speech, *further), path, tmp_path / "1", registry)
    words = compress_arguments(speech, *further, "trainer.devices=2")
    done = speechlite("compress", *words, "--model", path, "--out_dir", tmp_path / "2")
    assert done.returncode == 0, done.stderr
    one, two = (load_file(tmp_path / n / "model" / "model.safetensors") for n in "12")
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_compress_under_gates_on_two_processes_writes_a_smaller_checkpoint(
    saved, registry, speech, tmp_path
):
    words = compress_arguments(speech, *PRUNE, "trainer.devices=2")
    done = speechlite("compress", *words, "--model", saved, "--out_dir", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    after = load_model(tmp_path / "out" / "model", registry)
    assert num_parameters(after) < num_parameters(load_model(saved, registry))
