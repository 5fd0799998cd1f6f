from __future__ import annotations

import os
from pathlib import Path

import pytest

from speechlite.data.corpora.mini import generate


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory):
    pytest.importorskip("espeakng_loader")
    root = tmp_path_factory.mktemp("tiny")
    generate(root, size="tiny", seed=1, workers=2)
    return root


@pytest.fixture(scope="session")
def real_data():
    folder = os.environ.get("SPEECHLITE_REAL_DATA")
    if not folder:
        pytest.skip("SPEECHLITE_REAL_DATA does not name a folder of real speech")
    return Path(folder)
