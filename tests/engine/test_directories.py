from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys

import pytest
from made_runs import leftovers

from speechlite.core.errors import EnvironmentProblem, LockError
from speechlite.engine.directories import new_directory, own_directory, sha256_of

OWNER = """\
import sys, time
from pathlib import Path
from speechlite.engine.directories import own_directory
with own_directory(Path(sys.argv[1])):
    print("owned", flush=True)
    sys.stdin.read()
"""


def test_sha256_of_a_file_is_hashlibs(tmp_path):
    content = bytes(range(256)) * 9000
    (tmp_path / "f").write_bytes(content)
    assert sha256_of(tmp_path / "f") == hashlib.sha256(content).hexdigest()


def test_new_directory_when_the_block_ends_well_appears(tmp_path):
    with new_directory(tmp_path / "a" / "b") as path:
        (path / "f").write_text("x")
        assert not (tmp_path / "a" / "b").exists()
    assert (tmp_path / "a" / "b" / "f").read_text() == "x"
    assert not leftovers(tmp_path)


def test_new_directory_when_the_block_fails_leaves_the_old_one(tmp_path):
    old = tmp_path / "d"
    old.mkdir()
    (old / "f").write_text("old")
    with pytest.raises(ZeroDivisionError), new_directory(old) as path:  # noqa: PT012 (it fails late)
        (path / "f").write_text("new")
        raise ZeroDivisionError
    assert (old / "f").read_text() == "old"
    assert not leftovers(tmp_path)


def test_new_directory_when_it_replaces_one_leaves_nothing_of_it(tmp_path):
    old = tmp_path / "d"
    old.mkdir()
    (old / "gone").write_text("old")
    with new_directory(old) as path:
        (path / "f").write_text("new")
    assert [item.name for item in old.iterdir()] == ["f"]


def test_new_directory_when_its_parent_is_a_file_is_an_error(tmp_path):
    (tmp_path / "f").write_text("")
    with (
        pytest.raises(EnvironmentProblem, match="cannot be written"),
        new_directory(tmp_path / "f" / "d"),
    ):
        pass


def test_own_directory_when_another_process_owns_it_names_that_process(tmp_path):
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert owner.stdout.readline() == "owned\n"
    message = f"in use by process {owner.pid} on {socket.gethostname()}"
    with pytest.raises(LockError, match=message), own_directory(tmp_path):
        pass
    owner.communicate("")
    with own_directory(tmp_path):
        pass


def test_own_directory_when_its_owner_was_killed_is_free(tmp_path):
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    owner.stdout.readline()
    owner.kill()
    owner.communicate()
    with own_directory(tmp_path):
        assert str(os.getpid()) in (tmp_path / ".owner").read_text()


def test_own_directory_when_the_owner_is_not_noted_says_another_process(tmp_path):
    with own_directory(tmp_path):
        (tmp_path / ".owner").write_text("{")
        with pytest.raises(LockError, match="another process"), own_directory(tmp_path):
            pass


def test_own_directory_when_it_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "f").write_text("")
    with (
        pytest.raises(EnvironmentProblem, match="cannot be written"),
        own_directory(tmp_path / "f" / "d"),
    ):
        pass
