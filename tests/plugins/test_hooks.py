from __future__ import annotations

import re
from pathlib import Path

import pytest
from made_plugins import entry_points_in, forget_modules_of

from speechlite import hookspecs
from speechlite.plugins.discovery import discover
from speechlite.plugins.registry import Registry

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "plugins.md").read_text()
HOOKS = sorted(name for name in vars(hookspecs) if name.startswith("speechlite_"))


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_has_a_heading(hook):
    assert f"\n### `{hook}`\n" in DOCUMENT


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_has_a_test(hook):
    tests = "".join(path.read_text() for path in (ROOT / "tests").glob("*/*.py"))
    assert f"def {hook}(" in tests


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_public(hook):
    assert hook in hookspecs.__all__


@pytest.fixture
def documented(tmp_path, monkeypatch):
    """Install the plugin that the page shows."""
    blocks = re.findall(r"```\w+\n# (\S+)\n(.*?)```", DOCUMENT, re.DOTALL)
    files = dict(blocks)
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    record = tmp_path / "speechlite_thin-0.1.0.dist-info"
    record.mkdir()
    (record / "METADATA").write_text("Name: speechlite-thin\nVersion: 0.1.0\n")
    entry_points = files["setup.cfg"].partition("[options.entry_points]\n")[2]
    assert entry_points.split() == ["speechlite", "=", "thin", "=", "speechlite_thin"]
    (record / "entry_points.txt").write_text("[speechlite]\nthin = speechlite_thin\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield Registry(discover(entry_points=entry_points_in(tmp_path), environ={}))
    forget_modules_of(tmp_path)


def test_the_plugin_that_the_page_shows_works(documented):
    import torch

    component = documented.get("encoder", "thin")
    options = documented.config_class(component)(dim=6, layers=3)
    encoder = documented.load(component)(options)
    hidden = encoder(torch.ones(2, 5, 6), torch.tensor([5, 2]))
    assert len(hidden.layers) == 4
    assert float(hidden.layers[-1][1, 2:].detach().abs().sum()) == 0
