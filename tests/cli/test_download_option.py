"""Downloading asks which subsets, before anything is fetched."""

from __future__ import annotations

import re

from speechlite.cli.main import main


def test_download_when_no_subset_is_named_asks_for_them(tmp_path, capsys):
    arguments = ["data", "prepare", "--corpus", "librispeech", "--download"]
    code = main([*arguments, "--out_dir", str(tmp_path / "data")])
    assert code == 2
    assert re.search("--download without --subsets; name what to download", capsys.readouterr().err)
    assert list(tmp_path.iterdir()) == []
