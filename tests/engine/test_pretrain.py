from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from made_runs import (
    arguments,
    environment,
    leftovers,
    pretrain_config,
    snapshot,
    speechlite,
)
from safetensors.torch import load_file

from speechlite.core.errors import DataError, EnvironmentProblem, LockError
from speechlite.engine import training_run
from speechlite.engine.checkpoint import load_model
from speechlite.engine.directories import own_directory
from speechlite.engine.pretrain import pretrain
from speechlite.engine.training_run import Interrupted, is_further_process, set_threads


def weights(directory):
    return (directory / "model" / "model.safetensors").read_bytes()


def run_until_done(config, directory, registry):
    starts = 1
    while True:
        try:
            pretrain(config, directory, registry)
        except Interrupted:
            starts += 1
        else:
            return starts


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ((), (1,)),
        ((), (2, 3, 4, 5)),
        (("trainer.accumulate=2",), (1, 4)),
        (("encoder.random_depth=[1,3]", "trainer.accumulate=2"), (3, 5)),
        (("encoder.share_parameters=true", "encoder.random_depth=[1,3]"), (2, 5)),
        (("trainer.workers=2",), (3,)),
        (("encoder.dropout=0.5", "encoder.attention_dropout=0.3"), (3, 4)),
        (("trainer.precision=bf16-mixed",), (3,)),
    ],
)
def test_pretrain_when_stopped_and_resumed_ends_with_the_same_bytes(
    registry, tiny_config, tmp_path, stop_at, options, steps
):
    config = tiny_config(*options)
    pretrain(config, tmp_path / "whole", registry)
    stop_at(*steps)
    assert run_until_done(config, tmp_path / "stopped", registry) == len(steps) + 1
    assert weights(tmp_path / "stopped") == weights(tmp_path / "whole")


def test_pretrain_when_stopped_in_the_middle_of_an_epoch_sees_every_batch_once(
    registry, tiny_config, tmp_path, stop_at
):
    config = tiny_config("trainer.max_steps=9")
    pretrain(config, tmp_path / "whole", registry)
    stop_at(2, 5, 7)
    run_until_done(config, tmp_path / "stopped", registry)
    facts = [
        json.loads((tmp_path / name / "training.json").read_text()) for name in ("whole", "stopped")
    ]
    assert facts[0]["audio_hours_seen"] == pytest.approx(facts[1]["audio_hours_seen"], rel=1e-12)
    assert facts[0]["validations"] == facts[1]["validations"]


def test_pretrain_when_interrupted_says_how_to_go_on(registry, tiny_config, tmp_path, stop_at):
    stop_at(3)
    with pytest.raises(Interrupted, match="stopped by signal 15.*run the same command") as caught:
        pretrain(tiny_config(), tmp_path, registry)
    assert caught.value.exit_code == 128 + 15


def test_pretrain_keeps_the_model_with_the_lowest_validation_loss(
    registry, tiny_config, tmp_path, monkeypatch
):
    losses = iter([3.0, 1.0, 2.0, 1.0])
    seen = {}

    def fake(self):
        loss = next(losses)
        seen[loss] = seen.get(loss) or {
            name: value.clone() for name, value in self.module.model.state_dict().items()
        }
        return loss

    monkeypatch.setattr(training_run._Best, "_loss", fake)
    config = tiny_config("trainer.max_steps=8", "trainer.validate_every_steps=2")
    model = load_model(pretrain(config, tmp_path, registry), registry)
    assert all(torch.equal(value, seen[1.0][name]) for name, value in model.state_dict().items())
    facts = json.loads((tmp_path / "training.json").read_text())
    assert facts["best_step"] == 4
    assert facts["validations"] == [[2, 3.0], [4, 1.0], [6, 2.0], [8, 1.0]]


def test_pretrain_when_done_leaves_no_temporaries_and_no_candidates(
    registry, tiny_config, tmp_path
):
    (tmp_path / ".model.tmp-1-dead").mkdir()
    pretrain(tiny_config(), tmp_path, registry)
    assert not leftovers(tmp_path)
    assert not (tmp_path / "candidates").exists()


def test_pretrain_when_run_again_writes_nothing(registry, tiny_config, tmp_path, capfd):
    pretrain(tiny_config(), tmp_path, registry)
    before = snapshot(tmp_path)
    assert pretrain(tiny_config(), tmp_path, registry) == tmp_path / "model"
    assert snapshot(tmp_path) == before
    assert "up to date" in capfd.readouterr().err


@pytest.mark.parametrize("seed", [1, 2])
def test_pretrain_with_force_gives_the_same_weights_again(registry, tiny_config, tmp_path, seed):
    config = tiny_config(f"trainer.seed={seed}")
    pretrain(config, tmp_path, registry)
    before = weights(tmp_path)
    pretrain(config, tmp_path, registry, force=True)
    assert weights(tmp_path) == before


def test_pretrain_with_another_seed_gives_other_weights(registry, tiny_config, tmp_path):
    for seed in (1, 2):
        pretrain(tiny_config(f"trainer.seed={seed}"), tmp_path / str(seed), registry)
    assert weights(tmp_path / "1") != weights(tmp_path / "2")


def test_pretrain_with_other_options_never_resumes_a_run(
    registry, tiny_config, tmp_path, stop_at, capfd
):
    stop_at(3)
    with pytest.raises(Interrupted):
        pretrain(tiny_config(), tmp_path / "a", registry)
    changed = tiny_config("optimizer.learning_rate=0.02")
    pretrain(changed, tmp_path / "a", registry)
    assert "resuming" not in capfd.readouterr().err
    pretrain(changed, tmp_path / "b", registry)
    assert weights(tmp_path / "a") == weights(tmp_path / "b")


def test_pretrain_when_its_model_was_removed_trains_anew(registry, tiny_config, tmp_path, capfd):
    pretrain(tiny_config(), tmp_path, registry)
    before = weights(tmp_path)
    (tmp_path / "model" / "model.safetensors").unlink()
    pretrain(tiny_config(), tmp_path, registry)
    assert weights(tmp_path) == before
    assert "output model is missing or was changed" in capfd.readouterr().err


@pytest.mark.parametrize("place", ["copytree", "write"])
def test_pretrain_when_killed_while_finishing_can_go_on(
    registry, tiny_config, tmp_path, monkeypatch, place
):
    class Killed(BaseException):
        pass

    def die(*args, **kwargs):
        raise Killed

    with monkeypatch.context() as patch:
        target = training_run.shutil if place == "copytree" else training_run.Stamp
        patch.setattr(target, place, die)
        with pytest.raises(Killed):
            pretrain(tiny_config(), tmp_path / "a", registry)
    pretrain(tiny_config(), tmp_path / "a", registry)
    pretrain(tiny_config(), tmp_path / "b", registry)
    assert weights(tmp_path / "a") == weights(tmp_path / "b")


@pytest.mark.parametrize("damage", [lambda text: text[:100], lambda text: text[::-1]])
def test_pretrain_when_the_newest_checkpoint_is_damaged_goes_on_from_the_one_before(
    registry, tiny_config, tmp_path, stop_at, damage
):
    pretrain(tiny_config(), tmp_path / "whole", registry)
    stop_at(5)
    with pytest.raises(Interrupted):
        pretrain(tiny_config(), tmp_path / "a", registry)
    newest = max((tmp_path / "a" / "checkpoints").iterdir())
    newest.write_bytes(damage(newest.read_bytes()))
    pretrain(tiny_config(), tmp_path / "a", registry)
    assert weights(tmp_path / "a") == weights(tmp_path / "whole")


def test_pretrain_when_a_checkpoint_cannot_be_written_keeps_the_one_before(
    registry, tiny_config, tmp_path, monkeypatch
):
    from speechlite.engine import resume

    original = resume.replace_file

    def full(path):
        if "step-000000004" in path.name:
            raise EnvironmentProblem("cannot be written: disk full", remedy="free it", path=path)
        return original(path)

    with monkeypatch.context() as patch:
        patch.setattr(resume, "replace_file", full)
        with pytest.raises(EnvironmentProblem, match="disk full"):
            pretrain(tiny_config(), tmp_path / "a", registry)
    kept = [path.name[:14] for path in (tmp_path / "a" / "checkpoints").iterdir()]
    assert kept == ["step-000000002"]
    pretrain(tiny_config(), tmp_path / "a", registry)
    pretrain(tiny_config(), tmp_path / "b", registry)
    assert weights(tmp_path / "a") == weights(tmp_path / "b")


def test_pretrain_in_a_directory_in_use_is_refused(registry, tiny_config, tmp_path):
    with own_directory(tmp_path), pytest.raises(LockError, match=f"process {os.getpid()}"):
        pretrain(tiny_config(), tmp_path, registry)


def test_pretrain_with_missing_data_writes_nothing(registry, tiny_config, tmp_path):
    with pytest.raises(DataError, match="is missing"):
        pretrain(tiny_config(f"data.train=[{tmp_path}/no]"), tmp_path / "out", registry)
    assert not (tmp_path / "out").exists()


def test_pretrain_in_a_further_process_leaves_a_finished_run_alone(
    registry, tiny_config, tmp_path, monkeypatch
):
    pretrain(tiny_config(), tmp_path, registry)
    before = snapshot(tmp_path)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert is_further_process()
    pretrain(tiny_config(), tmp_path, registry)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(("rank", "expected"), [(None, False), ("0", False), ("3", True)])
def test_further_process_is_told_by_its_rank(monkeypatch, rank, expected):
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    if rank is not None:
        monkeypatch.setenv("RANK", rank)
    assert is_further_process() is expected


def test_set_threads_with_zero_takes_all_cores():
    set_threads(0)
    assert torch.get_num_threads() == len(os.sched_getaffinity(0))


@pytest.mark.slow
def test_pretrain_when_a_signal_arrives_saves_and_can_be_resumed(registry, speech, tmp_path):
    options = ("trainer.max_steps=90", "trainer.validate_every_steps=30")
    words = arguments(speech, *options)
    command = [sys.executable, "-m", "speechlite", "pretrain", *words, "--out_dir"]
    process = subprocess.Popen(
        [*command, str(tmp_path / "a")], stderr=subprocess.PIPE, text=True, env=environment()
    )
    # the first validation shows that training has begun
    while not (tmp_path / "a" / "candidates").exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, text = process.communicate(timeout=300)
    errors = [line for line in text.splitlines() if "error" in line]
    assert process.returncode == 143, text
    assert errors == [
        "speechlite: error: stopped by signal 15 after saving a checkpoint; "
        "run the same command again to go on"
    ]
    for name in ("a", "b"):
        pretrain(pretrain_config(registry, speech, *options), tmp_path / name, registry)
    assert weights(tmp_path / "a") == weights(tmp_path / "b")


SHARED = ("encoder.share_parameters=true", "encoder.random_depth=[1,3]")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        # sums over a batch are rounded in another order where it is parted
        (("encoder.random_depth=[1,3]", "trainer.accumulate=2"), 5e-6),
        (SHARED, 5e-6),
        ((*SHARED, "trainer.precision=bf16-mixed"), 1e-2),
    ],
)
def test_pretrain_on_two_processes_ends_with_the_weights_of_one(
    registry, speech, tmp_path, options, tolerance
):
    further = (
        "encoder.dropout=0.0",
        "encoder.attention_dropout=0.0",
        # a large epsilon keeps Adam from blowing up the rounding of gradients that are zero
        "optimizer.epsilon=0.001",
        *options,
    )
    pretrain(pretrain_config(registry, speech, *further), tmp_path / "1", registry)
    words = arguments(speech, *further, "trainer.devices=2")
    done = speechlite("pretrain", *words, "--out_dir", tmp_path / "2")
    assert done.returncode == 0, done.stderr
    one, two = (load_file(tmp_path / n / "model" / "model.safetensors") for n in "12")
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=0, atol=tolerance)
    facts = [json.loads((tmp_path / n / "training.json").read_text()) for n in "12"]
    assert facts[0]["audio_hours_seen"] == pytest.approx(facts[1]["audio_hours_seen"], rel=1e-9)
