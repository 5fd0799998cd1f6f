"""What must be quick imports nothing heavy: no torch, and where promised no Hydra either."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import speechlite

PACKAGE = Path(speechlite.__file__).parent
HEAVY = ("torch", "lightning", "lhotse", "numpy", "hydra", "omegaconf", "scipy", "sklearn", "yaml")
LIGHT_MODULES = [
    "speechlite",
    "speechlite.core",
    "speechlite.core.component",
    "speechlite.core.errors",
    "speechlite.core.result",
    "speechlite.hookspecs",
    "speechlite.builtin",
    "speechlite.plugins.command",
    "speechlite.plugins.discovery",
    "speechlite.plugins.listing",
    "speechlite.plugins.loading",
    "speechlite.plugins.records",
    "speechlite.plugins.registry",
    "speechlite.cli.main",
    "speechlite.cli.registry",
    "speechlite.config.schema",
    "speechlite.config.typed",
]
TORCH_FREE_MODULES = [
    "speechlite.config.compose",
    "speechlite.cli.plugins",
    "speechlite.cli.config",
    "speechlite.frontends.config",
    "speechlite.encoders.config",
    "speechlite.objectives.config",
    "speechlite.compressors.config",
    "speechlite.heads.config",
]


def imported_by(script: str) -> set[str]:
    print_names = "import sys; sys.stderr.write(' '.join(sys.modules))"
    command = [sys.executable, "-c", f"{script}\n{print_names}"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in run.stderr.split()}


def test_light_modules_when_imported_load_nothing_heavy():
    names = imported_by("\n".join(f"import {name}" for name in LIGHT_MODULES))
    assert names.isdisjoint(HEAVY)


def test_torch_free_modules_when_imported_load_no_torch():
    names = imported_by("\n".join(f"import {name}" for name in TORCH_FREE_MODULES))
    assert names.isdisjoint({"torch", "lightning", "lhotse"})


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["plugins"], ["plugins", "--json"]]
)
def test_quick_commands_when_run_load_nothing_heavy(arguments):
    names = imported_by(f"from speechlite.cli.main import main\nassert main({arguments}) == 0")
    assert names.isdisjoint(HEAVY)


def test_help_when_run_imports_no_verb():
    script = (
        "from speechlite.cli.main import main\nmain(['--help'])\nimport sys\n"
        "verbs = [name for name in sys.modules if name.startswith('speechlite.cli.')]\n"
        "assert verbs == ['speechlite.cli.main'], verbs"
    )
    imported_by(script)


@pytest.mark.parametrize("path", sorted((PACKAGE / "cli").glob("*.py")), ids=lambda path: path.stem)
def test_verbs_when_imported_load_no_torch(path):
    if path.stem == "__init__":
        return
    names = imported_by(f"import speechlite.cli.{path.stem}")
    assert names.isdisjoint({"torch", "lightning", "lhotse"})


def _top_level_imports(path: Path) -> set[str]:
    names = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


@pytest.mark.parametrize("folder", ["plugins", "config", "cli"])
def test_torch_free_folders_have_no_import_of_torch_at_the_top(folder):
    for path in (PACKAGE / folder).glob("*.py"):
        assert "torch" not in _top_level_imports(path), path
