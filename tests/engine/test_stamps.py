from __future__ import annotations

import os

import pytest
from made_runs import leftovers

from speechlite.core.errors import DataError, EnvironmentProblem
from speechlite.engine import stamps
from speechlite.engine.stamps import Stamp, fingerprint


@pytest.fixture
def step(tmp_path):
    """Write an input and an output, and the stamp that joins them."""
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "deep" / "table").write_text("a 1\n")
    out = tmp_path / "out"
    (out / "model").mkdir(parents=True)
    (out / "model" / "weights").write_text("w")
    made = stamp_of(tmp_path)
    made.write(out, outputs=["model"])
    return tmp_path


CONFIG = {"encoder": {"name": "x", "dim": 4}, "lengths": [1, 2], "seed": 1}


def stamp_of(root, **changes):
    return Stamp.of({**CONFIG, **changes}, [root / "in"])


def test_reason_when_nothing_changed_is_none(step):
    assert stamp_of(step).reason_to_run(step / "out") is None


def test_reason_before_the_first_run_says_so(step, tmp_path):
    assert stamp_of(step).reason_to_run(tmp_path / "elsewhere") == "it has not run yet"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": 2}, "seed"),
        ({"seed": "1"}, "seed"),
        ({"lengths": [2, 1]}, "lengths"),
        ({"encoder": {"name": "x", "dim": 5}}, "encoder.dim"),
        ({"encoder": {"name": "x"}}, "encoder.dim"),
        ({"encoder": {"name": "x", "dim": 4, "heads": 2}}, "encoder.heads"),
        ({"new": False}, "new"),
    ],
)
def test_reason_when_an_option_changed_names_it(step, changes, named):
    assert stamp_of(step, **changes).reason_to_run(step / "out") == f"changed: {named}"


def test_reason_when_many_options_changed_names_five(step):
    changes = {f"option{i}": i for i in range(1, 8)}
    reason = stamp_of(step, **changes).reason_to_run(step / "out")
    assert reason == "changed: option1, option2, option3, option4, option5 ..."


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "deep" / "table").write_text("a 2\n"),
        lambda root: (root / "more").write_text(""),
        lambda root: (root / "deep" / "table").rename(root / "deep" / "other"),
        lambda root: (root / "deep" / "table").unlink(),
    ],
)
def test_reason_when_an_input_changed_names_it(step, change):
    change(step / "in")
    assert stamp_of(step).reason_to_run(step / "out") == f"changed: {step / 'in'}"


def test_reason_when_an_input_was_added_names_it(step):
    stamp = Stamp.of(CONFIG, [step / "in", step / "out"])
    assert stamp.reason_to_run(step / "out") == f"changed: {step / 'out'}"


@pytest.mark.parametrize(
    "change",
    [
        lambda model: (model / "weights").write_text("v"),
        lambda model: (model / "weights").unlink(),
        lambda model: (model / "spare").write_text(""),
    ],
)
def test_reason_when_an_output_changed_names_it(step, change):
    change(step / "out" / "model")
    reason = stamp_of(step).reason_to_run(step / "out")
    assert reason == "its output model is missing or was changed"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"config": 1, "inputs": 2, "outputs": 3}'])
def test_reason_when_the_stamp_is_damaged_says_so(step, text):
    (step / "out" / "stamp.json").write_text(text)
    assert stamp_of(step).reason_to_run(step / "out") == "its stamp is unreadable"


def test_fingerprint_of_nothing_is_an_error(tmp_path):
    with pytest.raises(DataError, match="is missing; run the stage that makes it"):
        fingerprint(tmp_path / "no")


def test_fingerprint_ignores_hidden_files_stamps_and_times(tmp_path):
    (tmp_path / "f").write_text("x")
    before = fingerprint(tmp_path)
    (tmp_path / ".lock").write_text("")
    (tmp_path / "stamp.json").write_text("")
    os.utime(tmp_path / "f", (1, 1))
    assert fingerprint(tmp_path) == before


def test_fingerprint_of_a_large_file_depends_on_its_size_and_time(tmp_path):
    file = tmp_path / "f"
    with file.open("wb") as stream:
        stream.truncate((64 << 20) + 1)
    first = fingerprint(file)
    os.utime(file, (1, 1))
    second = fingerprint(file)
    with file.open("wb") as stream:
        stream.truncate((64 << 20) + 2)
    os.utime(file, (1, 1))
    assert len({first, second, fingerprint(file)}) == 3


def test_stamp_when_the_write_fails_leaves_the_old_one(step, monkeypatch):
    before = (step / "out" / "stamp.json").read_text()

    def fail(*args, **kwargs):
        raise OSError("no")

    monkeypatch.setattr(stamps.json, "dumps", fail)
    with pytest.raises(EnvironmentProblem, match="cannot be written: no"):
        Stamp({}, {}).write(step / "out", outputs=[])
    assert (step / "out" / "stamp.json").read_text() == before
    assert not leftovers(step)
