from __future__ import annotations

import shutil

import numpy as np
import pytest
from made_runs import PHONES

from speechlite.config.schema import TaskOptions
from speechlite.core.errors import ConfigError, DataError
from speechlite.data.reader import FrameGrid
from speechlite.engine.labels import read_labels
from speechlite.engine.splits import read_split

GRID = FrameGrid(16000, 160, 400)


def splits_of(root, *names, need_text=True):
    return {name: read_split([str(root / name)], GRID, need_text=need_text) for name in names}


@pytest.fixture
def own(speech, tmp_path):
    """Copy the data, to be changed."""
    shutil.copytree(speech, tmp_path / "speech")
    return tmp_path / "speech"


def test_phones_are_read_from_every_split(speech):
    space, rows = read_labels(TaskOptions(), splits_of(speech, "train", "dev"))
    assert space.symbols == PHONES
    assert len(rows) == 16
    assert all(row.min() >= 0 and row.max() < 4 for row in rows.values())


def test_phones_from_a_named_file_are_read_from_it(speech, tmp_path):
    file = tmp_path / "labels"
    file.write_text("u-1 0 2 1\n")
    task = TaskOptions(label_files=[str(file)])
    space, rows = read_labels(task, splits_of(speech, "dev"))
    assert space.symbols == ("0", "1", "2")
    np.testing.assert_array_equal(rows["u-1"], [0, 2, 1])


def test_phones_with_named_symbols_take_them(speech, tmp_path):
    (tmp_path / "labels").write_text("u-1 0 1\n")
    (tmp_path / "names").write_text("A 0\nB 1\nC 2\n")
    task = TaskOptions(label_files=[str(tmp_path / "labels")], symbols=str(tmp_path / "names"))
    assert read_labels(task, splits_of(speech, "dev"))[0].symbols == ("A", "B", "C")


def test_phones_without_a_file_of_labels_are_an_error(own):
    (own / "dev" / "phone_labels").unlink()
    with pytest.raises(DataError, match="there are no phone labels; run the data stage"):
        read_labels(TaskOptions(), splits_of(own, "train", "dev"))


@pytest.mark.parametrize("text", ["A 0\n", "A 0\nB 1\nC 3\nD 4\n"])
def test_phones_that_the_symbols_do_not_cover_are_an_error(own, text):
    for name in ("train", "dev"):
        (own / name / "phones.txt").write_text(text)
    with pytest.raises(DataError, match="the label files use 0 to 3"):
        read_labels(TaskOptions(), splits_of(own, "train", "dev"))


def test_phones_of_directories_labelled_apart_are_an_error(own):
    (own / "dev" / "phones.txt").write_text("SIL 0\nB 1\nA 2\nC 3\n")
    with pytest.raises(DataError, match="2 different phones.txt"):
        read_labels(TaskOptions(), splits_of(own, "train", "dev"))


def test_characters_are_those_of_the_training_text(speech):
    space, rows = read_labels(TaskOptions(labels="characters"), splits_of(speech, "train", "dev"))
    assert space.symbols == ("<blank>", " ", "A", "B", "C")
    name, utterance = next(iter(splits_of(speech, "dev")["dev"].utterances.items()))
    assert "".join(space.symbols[label] for label in rows[name]) == utterance.text


def test_characters_that_training_lacks_are_an_error(own):
    text = (own / "dev" / "text").read_text()
    (own / "dev" / "text").write_text(text.replace("AB", "AX"))
    with pytest.raises(DataError, match=r"has characters \['X'\] that the training text lacks"):
        read_labels(TaskOptions(labels="characters"), splits_of(own, "train", "dev"))


def test_labels_of_an_unknown_kind_are_an_error(speech):
    with pytest.raises(ConfigError, match=r"task.labels='words', expected one of \['phones', "):
        read_labels(TaskOptions(labels="words"), splits_of(speech, "train"))
