from __future__ import annotations

import pytest
from made_plugins import MadePlugin, installer
from made_recipe import PLUGIN

from speechlite.plugins.discovery import discover
from speechlite.plugins.registry import Registry


@pytest.fixture
def put(tmp_path, monkeypatch):
    yield from installer(tmp_path, monkeypatch.syspath_prepend)


@pytest.fixture
def registry_of(put):
    def make(*others: MadePlugin) -> Registry:
        return Registry(discover(entry_points=put([PLUGIN, *others]), environ={}))

    return make


@pytest.fixture
def registry(registry_of):
    return registry_of()
