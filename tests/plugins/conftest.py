from __future__ import annotations

import pytest
from made_plugins import installer


@pytest.fixture
def put(tmp_path, monkeypatch):
    yield from installer(tmp_path, monkeypatch.syspath_prepend)
