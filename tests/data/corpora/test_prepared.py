"""Two corpora never mix in one folder."""

from __future__ import annotations

import pytest

from speechlite.core.errors import DataError
from speechlite.data.corpora.prepared import forget_other_corpus, remember_corpus


def _prepared(tmp_path):
    for name in ("train", "mine"):
        (tmp_path / name).mkdir()
    remember_corpus(tmp_path, {"corpus": "mini"}, [tmp_path / "train"])


def test_forget_when_the_request_is_the_same_then_everything_stays(tmp_path):
    _prepared(tmp_path)
    forget_other_corpus(tmp_path, {"corpus": "mini"})
    assert (tmp_path / "train").is_dir()


def test_forget_when_the_request_differs_then_only_what_was_made_goes(tmp_path):
    _prepared(tmp_path)
    forget_other_corpus(tmp_path, {"corpus": "kaldi"})
    assert not (tmp_path / "train").exists()
    assert (tmp_path / "mine").is_dir()


def test_forget_when_nothing_was_prepared_then_nothing_happens(tmp_path):
    (tmp_path / "train").mkdir()
    forget_other_corpus(tmp_path, {"corpus": "kaldi"})
    assert (tmp_path / "train").is_dir()


def test_forget_when_a_record_names_another_folder_then_it_is_not_touched(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "data").mkdir()
    remember_corpus(tmp_path / "data", {"corpus": "mini"}, [])
    record = tmp_path / "data" / ".prepared.json"
    record.write_text('{"request": {}, "directories": ["../outside"]}')
    forget_other_corpus(tmp_path / "data", {"corpus": "kaldi"})
    assert outside.is_dir()


def test_forget_when_the_record_is_damaged_then_it_says_what_to_do(tmp_path):
    (tmp_path / ".prepared.json").write_text("{")
    with pytest.raises(DataError, match="is unreadable; remove the folder"):
        forget_other_corpus(tmp_path, {"corpus": "mini"})
