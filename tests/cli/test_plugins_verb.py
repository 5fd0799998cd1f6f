from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import pytest

from speechlite.cli.main import main


def test_plugins_lists_the_builtin_components(capsys):
    assert main(["plugins"]) == 0
    assert "encoder     conformer" in capsys.readouterr().out


def test_plugins_of_a_kind_lists_no_other(capsys):
    main(["plugins", "--kind", "head"])
    text = capsys.readouterr().out
    assert "head        phone" in text
    assert "encoder" not in text


def test_plugins_of_an_unknown_kind_exits_2(capsys):
    assert main(["plugins", "--kind", "vocoder"]) == 2


def test_plugins_json_is_json(capsys):
    assert main(["plugins", "--json"]) == 0
    assert "plugins" in json.loads(capsys.readouterr().out)


def test_plugins_check_of_an_unknown_name_exits_2(capsys):
    assert main(["plugins", "--check", "surely_absent"]) == 2
    assert "no component 'surely_absent'; see 'speechlite plugins'" in capsys.readouterr().err


def test_plugins_check_of_a_name_of_two_kinds_asks_for_the_kind(capsys, monkeypatch):
    from speechlite import Component
    from speechlite.cli import plugins
    from speechlite.plugins.records import Discovery, LoadedPlugin
    from speechlite.plugins.registry import Registry

    both = tuple(Component(kind, "thin", "a:B", "c:D", "e") for kind in ("encoder", "head"))
    plugin = LoadedPlugin("one", "1", "a", "a", both, (), (), 0.0, manager=None)
    monkeypatch.setattr(plugins, "open_registry", lambda: Registry(Discovery((plugin,))))
    assert main(["plugins", "--check", "thin"]) == 2
    assert "'thin' is the name of encoder and head; say which one" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["conformer"], ["conformer", "--kind", "encoder"]])
def test_plugins_check_runs_the_conformance_suite(monkeypatch, capsys, arguments):
    asked = []
    suite = SimpleNamespace(check_component=lambda kind, name: asked.append((kind, name)))
    monkeypatch.setitem(sys.modules, "speechlite.testing.conformance", suite)
    assert main(["plugins", "--check", *arguments]) == 0
    assert asked == [("encoder", "conformer")]
    assert capsys.readouterr().out == "encoder conformer conforms\n"
