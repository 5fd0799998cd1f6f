"""Recipes in a tree of their own, run on the tiny corpus."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
OUTPUTS = ("data", "dump", "exp", "downloads", "data_real", "dump_real")


def copy_recipes(root):
    """Copy the recipes into a tree that uses the running environment, and return their folder."""
    shutil.copytree(ROOT / "egs", root / "egs", ignore=shutil.ignore_patterns(*OUTPUTS))
    # the environment of these tests is set up already, and a copy of the tree would make its own
    setup = root / "tools" / "setup.sh"
    setup.parent.mkdir()
    setup.write_text("#!/bin/sh\n")
    setup.chmod(0o755)
    return root / "egs" / "librispeech"


def run_in(folder, *command):
    """Run a command of a recipe in its folder."""
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PATH": path},
    )


def run_tiny(folder, *arguments):
    """Run a recipe on the tiny corpus."""
    return run_in(folder, "./run.sh", "--size", "tiny", *arguments)
