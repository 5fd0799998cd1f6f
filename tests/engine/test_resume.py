from __future__ import annotations

import errno
import pickle

import pytest
import torch
from made_runs import leftovers

from speechlite.core.errors import CheckpointError, EnvironmentProblem
from speechlite.data import atomic
from speechlite.engine.resume import (
    DurableCheckpointIO,
    latest_checkpoint,
    step_path,
    sweep_temporaries,
)


@pytest.fixture
def save(tmp_path):
    def write(step, value=0.0):
        content = {"step": step, "weights": torch.full((50,), value)}
        DurableCheckpointIO().save_checkpoint(content, step_path(tmp_path, step))
        return latest_checkpoint(tmp_path)

    return write


def step_of(path):
    return DurableCheckpointIO().load_checkpoint(path)["step"]


def test_checkpoint_when_saved_comes_back_equal(save):
    content = DurableCheckpointIO().load_checkpoint(save(7, 1.5))
    assert content["step"] == 7
    assert torch.equal(content["weights"], torch.full((50,), 1.5))


def test_checkpoints_when_many_are_saved_leave_the_newest_two(save, tmp_path):
    for step in (5, 10, 100, 1000):
        save(step)
    assert [path.name[:14] for path in sorted(tmp_path.iterdir())] == [
        "step-000000100",
        "step-000001000",
    ]


def test_checkpoint_when_saved_twice_at_a_step_is_the_later_one(save, tmp_path):
    save(5, 1.0)
    path = save(5, 2.0)
    assert list(tmp_path.iterdir()) == [path]
    assert DurableCheckpointIO().load_checkpoint(path)["weights"][0] == 2.0


def test_latest_checkpoint_without_any_is_none(tmp_path):
    assert latest_checkpoint(tmp_path) is None
    assert latest_checkpoint(tmp_path / "missing") is None


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_latest_checkpoint_when_the_newest_is_truncated_is_the_one_before(save, share, capfd):
    save(5)
    newest = save(10)
    content = newest.read_bytes()
    newest.write_bytes(content[: int(share * len(content))])
    assert step_of(latest_checkpoint(newest.parent)) == 5
    assert f"{newest}: damaged" in capfd.readouterr().err


def test_latest_checkpoint_when_any_byte_of_the_newest_is_wrong_is_the_one_before(save):
    save(5)
    newest = save(10)
    content = newest.read_bytes()
    for place in range(0, len(content), len(content) // 100):
        flipped = bytearray(content)
        flipped[place] ^= 1 << place % 8
        newest.write_bytes(flipped)
        assert latest_checkpoint(newest.parent).name.startswith("step-000000005")


def test_latest_checkpoint_when_all_are_damaged_is_none(save):
    path = save(5)
    path.write_bytes(b"")
    assert latest_checkpoint(path.parent) is None


def test_latest_checkpoint_beside_files_of_other_names_ignores_them(save, tmp_path):
    (tmp_path / "step-000000099.ckpt").write_bytes(b"x")
    (tmp_path / ".step-000000098.0123456789abcdef.ckpt.tmp-1-a").write_bytes(b"x")
    assert step_of(save(5)) == 5


def test_save_when_the_disk_is_full_keeps_the_old_checkpoint(save, tmp_path, monkeypatch):
    save(5)

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(EnvironmentProblem, match="No space left on device"):
        save(10)
    assert step_of(latest_checkpoint(tmp_path)) == 5
    assert not leftovers(tmp_path)


def test_load_when_the_file_is_a_hostile_pickle_runs_nothing(tmp_path):
    canary = tmp_path / "canary"

    class Canary:
        def __reduce__(self):
            return (open, (str(canary), "w"))

    path = tmp_path / "step-000000001.0123456789abcdef.ckpt"
    path.write_bytes(pickle.dumps(Canary()))
    with pytest.raises(CheckpointError, match="cannot be read"):
        DurableCheckpointIO().load_checkpoint(path)
    assert not canary.exists()


def test_remove_checkpoint_when_it_is_gone_does_nothing(save):
    path = save(5)
    for _ in range(2):
        DurableCheckpointIO().remove_checkpoint(path)
    assert not path.exists()


def test_sweep_removes_temporary_files_and_directories_only(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / ".a.ckpt.tmp-1-b").write_text("")
    (tmp_path / ".model.tmp-1-b").mkdir()
    (tmp_path / ".model.tmp-1-b" / "f").write_text("")
    (tmp_path / ".model.old-1-b").mkdir()
    (tmp_path / ".lock").write_text("")
    (tmp_path / "model").mkdir()
    sweep_temporaries(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == [".lock", "checkpoints", "model"]
