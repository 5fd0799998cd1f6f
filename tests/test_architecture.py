"""The project's own rules hold, and the checks that keep them find what breaks them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import check_docstrings
import check_layers
import pytest

ROOT = Path(__file__).resolve().parent.parent
LINT = ROOT / "tools" / "lint.sh"
CHECKS = ["format", "style", "types", "spelling", "shell", "layers", "docstrings", "recipes"]


def lint(*arguments: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path}
    return subprocess.run([LINT, *arguments], capture_output=True, text=True, env=environment)


@pytest.mark.slow
@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="lint.sh asks git for the files")
@pytest.mark.parametrize("check", CHECKS)
def test_lint_when_run_on_the_tree_finds_nothing(check):
    done = lint(check)
    assert done.returncode == 0, done.stdout + done.stderr


def test_lint_when_asked_lists_every_check():
    assert lint("--list").stdout.split() == CHECKS


def test_lint_when_a_check_is_unknown_says_which_there_are():
    done = lint("poetry")
    assert done.returncode == 2
    assert re.search("no check poetry; choose among: format style", done.stderr)


def findings_of_import(tmp_path, module: str, code: str) -> list[str]:
    path = tmp_path / "module.py"
    path.write_text(code)
    return check_layers.check_file(path, module, check_layers.layer_of(module))


@pytest.mark.parametrize(
    ("module", "code"),
    [
        ("speechlite.core.types", "import lightning"),
        ("speechlite.core.errors", "import torch"),
        ("speechlite.nn.stack", "from speechlite.encoders.config import ConformerConfig"),
        ("speechlite.nn.stack", "import soundfile"),
        ("speechlite.encoders.conformer", "from speechlite.heads.ctc import CtcHead"),
        ("speechlite.encoders.conformer", "from speechlite.engine import build"),
        ("speechlite.encoders.config", "import torch"),
        ("speechlite.plugins.listing", "import torch"),
        ("speechlite.plugins.listing", "from speechlite.core.model import SpeechModel"),
        ("speechlite.hookspecs", "from speechlite.encoders.conformer import ConformerEncoder"),
        ("speechlite.builtin", "import speechlite.encoders.conformer"),
        ("speechlite.config.compose", "from speechlite.core import model"),
        ("speechlite.engine.evaluate", "from speechlite.heads.ctc import CtcHead"),
        ("speechlite.engine.evaluate", "from speechlite.nn.stack import LayerStack"),
        ("speechlite.testing.fixtures", "from speechlite.engine.sweep import Sweep"),
    ],
)
def test_layers_when_an_arrow_is_broken_name_file_line_and_target(tmp_path, module, code):
    (finding,) = findings_of_import(tmp_path, module, f"'''Doc.'''\n{code}\n")
    assert re.search(rf"module\.py:2: {module} may not import", finding)


@pytest.mark.parametrize(
    "code",
    [
        "def run():\n    from speechlite.heads.ctc import CtcHead\n",
        "class A:\n    def run(self):\n        import speechlite.heads\n",
        "try:\n    import speechlite.heads\nexcept ImportError:\n    pass\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import speechlite.heads\n",
    ],
)
def test_layers_when_the_import_is_hidden_find_it_all_the_same(tmp_path, code):
    (finding,) = findings_of_import(tmp_path, "speechlite.engine.evaluate", code)
    assert "may not import speechlite.heads" in finding


def test_layers_when_a_verb_imports_the_engine_at_the_top_ask_for_a_function(tmp_path):
    code = "from speechlite.engine.pretrain import pretrain\n"
    (finding,) = findings_of_import(tmp_path, "speechlite.cli.pretrain", code)
    assert re.search("may import speechlite.engine.pretrain inside a function only", finding)
    inside = f"def run():\n    {code}"
    assert findings_of_import(tmp_path, "speechlite.cli.pretrain", inside) == []


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("from . import stack\n", "relative import; write the full name"),
        ("import importlib\nimportlib.import_module('x')\n", "may not import by name"),
    ],
)
def test_layers_when_an_import_is_odd_refuse_it(tmp_path, code, message):
    (finding,) = findings_of_import(tmp_path, "speechlite.nn.attention", code)
    assert re.search(message, finding)


def test_layers_when_a_folder_is_unknown_raise():
    with pytest.raises(KeyError, match="speechlite.helpers"):
        check_layers.layer_of("speechlite.helpers")


def table_rows(text: str) -> dict[str, tuple[str, str]]:
    rows = re.findall(r"^\| `([\w.*/]+)` \| (.*?) \| (.*?) \|$", text, re.MULTILINE)
    return {name: (project, packages) for name, project, packages in rows}


def names(cell: str) -> set[str]:
    return set(re.findall(r"`([\w.]+)`", cell))


@pytest.mark.parametrize("layer", check_layers.LAYERS)
def test_layers_when_documented_stand_as_they_are_checked(layer):
    rows = table_rows((ROOT / "docs" / "architecture.md").read_text())
    allowed = check_layers.LAYERS[layer]
    assert names(rows[layer][0]) == {*allowed.project, *allowed.later}
    assert names(rows[layer][1]) == set(allowed.packages or ())


GOOD = '''"""Doc."""
__all__ = ["LIMIT", "Box", "cut"]
LIMIT = 1
"""Largest number."""


class Box:
    """Hold a size.

    Args:
        size: in cm.
    """

    def __init__(self, size):
        self.size = size


def cut(box, *, depth: int) -> Box:
    """Return a smaller box.

    Args:
        box: what to cut.
        depth: in cm.

    Returns:
        The box.

    Raises:
        ValueError: if nothing is left.
    """
    if depth > box.size:
        raise ValueError(depth)
    return box
'''


def docstring_findings(tmp_path, code: str) -> list[str]:
    path = tmp_path / "module.py"
    path.write_text(code)
    return [finding.partition("module.py:")[2] for finding in check_docstrings.check_file(path)]


def test_docstrings_when_they_match_are_accepted(tmp_path):
    assert docstring_findings(tmp_path, GOOD) == []


@pytest.mark.parametrize(
    ("old", "new", "finding"),
    [
        ('"""Doc."""', "", "1: the module has no docstring"),
        ('__all__ = ["LIMIT", "Box", "cut"]', "", "1: the module has no __all__"),
        ('"""Largest number."""', "", "3: LIMIT: no docstring line"),
        ("size: in cm", "width: in cm", "7: Box: Args are (width), the signature has (size)"),
        ("        depth: in cm.\n", "", "18: cut: Args are (box), the signature has (box, depth)"),
        (
            "    Returns:\n        The box.\n",
            "",
            "18: cut: docstring has nothing, expected Returns",
        ),
        (") -> Box:", ") -> None:", "18: cut: docstring has Returns, expected nothing"),
        ("    return box\n", "    yield box\n", "18: cut: docstring has Returns, expected Yields"),
        ("ValueError: if", "KeyError: if", "18: cut: Raises lacks ValueError"),
    ],
)
def test_docstrings_when_one_does_not_match_name_its_line(tmp_path, old, new, finding):
    assert GOOD.count(old) == 1
    assert docstring_findings(tmp_path, GOOD.replace(old, new)) == [finding]


def test_docstrings_when_an_option_has_none_name_the_field(tmp_path):
    code = (
        '"""Doc."""\nfrom dataclasses import dataclass\n__all__ = ["GruConfig"]\n\n\n'
        '@dataclass(frozen=True)\nclass GruConfig:\n    """Options of it."""\n\n'
        '    layers: int = 1\n    """At least 1."""\n    dim: int = 8\n'
    )
    assert docstring_findings(tmp_path, code) == ["12: GruConfig.dim: no docstring line"]


def test_docstrings_when_a_function_has_none_name_it(tmp_path):
    code = '"""Doc."""\n__all__ = ["cut"]\n\n\ndef cut():\n    pass\n'
    assert docstring_findings(tmp_path, code) == ["5: cut: no docstring"]


def test_sections_when_text_follows_end_there():
    text = "Do.\n\nArgs:\n    one: a\n        two: b\n    three: c\n\nNote that\n    four: d\n"
    assert check_docstrings.sections(text) == {"Args": ["one", "three"]}
