from __future__ import annotations

import os

import pytest

from speechlite.core.errors import DataError, EnvironmentProblem
from speechlite.data.corpora.directory import replace_datadir


def fill(path, text):
    with replace_datadir(path) as folder:
        (folder / "wav.scp").write_text(text)


def test_directory_when_complete_takes_its_name(tmp_path):
    fill(tmp_path / "deep" / "train", "a b\n")
    assert (tmp_path / "deep" / "train" / "wav.scp").read_text() == "a b\n"


def test_directory_when_made_again_is_replaced_whole(tmp_path):
    fill(tmp_path / "train", "a b\n")
    (tmp_path / "train" / "stale").write_text("")
    fill(tmp_path / "train", "c d\n")
    assert os.listdir(tmp_path / "train") == ["wav.scp"]
    assert os.listdir(tmp_path) == ["train"]


def test_directory_when_filling_fails_stays_as_it_was(tmp_path):
    fill(tmp_path / "train", "a b\n")
    with pytest.raises(ZeroDivisionError), replace_datadir(tmp_path / "train"):
        1 / 0  # noqa: B018  any failure
    assert (tmp_path / "train" / "wav.scp").read_text() == "a b\n"
    assert os.listdir(tmp_path) == ["train"]


def test_directory_when_something_else_stands_there_is_kept(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "thesis.tex").write_text("")
    with pytest.raises(DataError, match="exists and is not a data directory"):
        fill(tmp_path / "train", "a b\n")
    assert (tmp_path / "train" / "thesis.tex").exists()


def test_directory_when_parent_is_a_file_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentProblem, match="cannot be written"):
        fill(tmp_path / "file" / "train", "a b\n")
