"""tools/setup.sh installs once, says in one line what failed, and leaves no stamp then."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = ("tools/setup.sh", "requirements.lock", "setup.cfg", "pyproject.toml")
# Stands in for the interpreter of .venv: notes each call, and fails where it is told to.
FAKE_PYTHON = """#!/bin/sh
echo "$*" >>calls
case "$*" in
*"$FAIL_ON"*) echo "WARNING: w" && echo "ERROR: no wheel for $FAIL_ON" && exit 1 ;;
esac
"""


@pytest.fixture
def tree(tmp_path) -> Path:
    for name in FILES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy2(ROOT / name, tmp_path / name)
    plugin = tmp_path / "plugins" / "one"
    plugin.mkdir(parents=True)
    (plugin / "setup.cfg").write_text("[metadata]\nname = one\n")
    binaries = tmp_path / ".venv" / "bin"
    binaries.mkdir(parents=True)
    for name in ("python", "pip"):
        (binaries / name).write_text(FAKE_PYTHON)
        (binaries / name).chmod(0o755)
    return tmp_path


def setup(tree: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [tree / "tools" / "setup.sh"],
        capture_output=True,
        text=True,
        env={**os.environ, "FAIL_ON": "nothing at all", **environment},
    )


def calls(tree: Path) -> list[str]:
    return (tree / "calls").read_text().splitlines()


def test_setup_when_run_installs_the_lock_then_speechlite_then_plugins(tree):
    assert setup(tree).returncode == 0
    wanted = ["--requirement requirements.lock", "--no-deps espnet==202511", "--editable ."]
    wanted += ["--editable plugins/one/", "-c"]
    assert all(part in call for part, call in zip(wanted, calls(tree), strict=True))


def test_setup_when_run_again_does_nothing(tree):
    setup(tree)
    again = setup(tree, FAIL_ON="pip")
    assert (again.returncode, again.stderr) == (0, "")


@pytest.mark.parametrize("name", [*FILES, "plugins/one/setup.cfg"])
def test_setup_when_a_file_has_changed_installs_again(tree, name):
    setup(tree)
    with (tree / name).open("a") as stream:
        stream.write("# changed\n")
    setup(tree)
    assert len(calls(tree)) == 10


@pytest.mark.parametrize("package", ["requirements.lock", "plugins/one"])
def test_setup_when_pip_fails_says_why_and_leaves_no_stamp(tree, package):
    setup(tree)
    (tree / "setup.cfg").write_text("changed\n")
    done = setup(tree, FAIL_ON=package)
    assert done.returncode == 5
    (line,) = done.stderr.splitlines()[1:]
    assert re.search(
        rf"setup\.sh: error: pip failed: no wheel for {package}; see .*setup\.log", line
    )
    assert not (tree / ".venv" / ".speechlite-setup").exists()


def test_setup_when_a_package_cannot_be_imported_says_so(tree):
    done = setup(tree, FAIL_ON="import torch")
    assert done.returncode == 5
    assert re.search(r"setup\.sh: error: an installed package cannot be imported", done.stderr)


def test_setup_when_the_interpreter_is_too_old_names_it(tree):
    shutil.rmtree(tree / ".venv")
    old = tree / "old_python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = setup(tree, PYTHON=str(old))
    assert done.returncode == 5
    assert re.search(r"old_python is not Python 3\.10 to 3\.12; set PYTHON to one", done.stderr)
    assert done.stderr.count("\n") == 1


def test_setup_when_the_interpreter_makes_no_venv_names_the_package(tree):
    shutil.rmtree(tree / ".venv")
    bare = tree / "bare_python"
    bare.write_text('#!/bin/sh\ncase "$*" in *ensurepip*) exit 1 ;; esac\n')
    bare.chmod(0o755)
    done = setup(tree, PYTHON=str(bare))
    assert done.returncode == 5
    assert re.search("cannot make virtual environments; on Debian: apt-get install", done.stderr)


def test_setup_when_the_tree_was_copied_says_so_and_removes_nothing(tree):
    setup(tree)
    before = sorted((tree / ".venv").rglob("*"))
    (tree / ".venv" / ".speechlite-place").write_text("/elsewhere\n")
    (tree / "setup.cfg").write_text("changed\n")
    done = setup(tree)
    assert done.returncode == 5
    assert re.search(r"\.venv was made for the tree /elsewhere; remove \.venv", done.stderr)
    assert set(before) <= set((tree / ".venv").rglob("*"))
    assert len(calls(tree)) == 5


def test_setup_when_run_through_links_serves_the_tree_behind_them(tree, tmp_path_factory):
    setup(tree)
    (tree / ".venv" / ".speechlite-place").write_text(f"{tree.resolve()}\n")
    linked = tmp_path_factory.mktemp("linked")
    for name in ("tools", "plugins", ".venv", "requirements.lock", "setup.cfg", "pyproject.toml"):
        (linked / name).symlink_to(tree / name)
    done = setup(linked)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(calls(tree)) == 5


def test_setup_when_venv_alone_is_a_link_refuses_to_change_it(tree, tmp_path_factory):
    other = tmp_path_factory.mktemp("other") / "venv"
    (tree / ".venv").rename(other)
    (tree / ".venv").symlink_to(other)
    before = sorted(other.rglob("*"))
    done = setup(tree)
    assert done.returncode == 5
    assert re.search(r"\.venv is a link; remove the link, then run this again", done.stderr)
    assert sorted(other.rglob("*")) == before


def test_setup_when_making_the_environment_fails_removes_nothing(tree):
    (tree / ".venv" / "bin" / "pip").unlink()
    (tree / ".venv" / "kept").write_text("kept")
    maker = tree / "maker"
    maker.write_text('#!/bin/sh\ncase "$*" in *"-m venv"*) exit 1 ;; esac\n')
    maker.chmod(0o755)
    done = setup(tree, PYTHON=str(maker))
    assert done.returncode == 5
    assert re.search(r"could not make \.venv; see the lines above", done.stderr)
    assert (tree / ".venv" / "kept").read_text() == "kept"


def test_lock_when_read_pins_every_requirement_of_setup_cfg():
    lock = (ROOT / "requirements.lock").read_text().lower().replace("_", "-")
    pinned = set(re.findall(r"^([\w.-]+)==", lock, re.MULTILINE))
    text = (ROOT / "setup.cfg").read_text()
    needed = set(re.findall(r"^    ([\w-]+)(?=>=|$)", text, re.MULTILINE)) - {"speechlite"}
    listed = text[text.index("install_requires") : text.index("[options.packages.find]")]
    extras = text[text.index("[options.extras_require]") : text.index("[options.entry_points]")]
    required = {name for name in needed if f"    {name}" in listed + extras}
    assert len(required) > 20
    assert required <= pinned
