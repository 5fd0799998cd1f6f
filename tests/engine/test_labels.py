from __future__ import annotations

import shutil

import numpy as np
import pytest
from made_runs import PHONES

from speechlite.config.schema import TaskOptions
from speechlite.core.errors import ConfigError, DataError, EnvironmentProblem
from speechlite.core.types import LabelSpace
from speechlite.data.reader import FrameGrid
from speechlite.engine import labels as module
from speechlite.engine.labels import describe_labels, read_labels
from speechlite.engine.splits import read_split
from speechlite.engine.stamps import fingerprint

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


def subwords(**options):
    return TaskOptions(labels="subwords", **{"subword_units": 6, **options})


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_subwords_join_to_the_transcripts(own, kind):
    splits = splits_of(own, "train", "dev")
    space, rows = read_labels(subwords(subword_type=kind), splits)
    assert (space.stream, len(space.symbols)) == ("subwords", 7)
    for split in splits.values():
        for name, utterance in split.utterances.items():
            joined = "".join(space.symbols[label] for label in rows[name])
            assert joined.replace(space.word_mark, " ").strip() == utterance.text


def test_subwords_are_trained_once_and_kept_beside_the_training_data(own, monkeypatch):
    before = fingerprint(own / "train")
    first = read_labels(subwords(), splits_of(own, "train", "dev"))
    (model,) = (own / "train" / ".subwords").iterdir()
    monkeypatch.setattr(module, "train_subwords", None)
    again = read_labels(subwords(), splits_of(own, "train", "dev"))
    assert first[0] == again[0]
    named = subwords(subword_units=None, subword_model=str(model))
    assert read_labels(named, splits_of(own, "train", "dev"))[0] == first[0]
    # a stage that reads the data is not run again for it
    assert fingerprint(own / "train") == before


def test_subwords_are_trained_anew_where_text_or_options_change(own):
    read_labels(subwords(), splits_of(own, "train"))
    read_labels(subwords(subword_type="bpe"), splits_of(own, "train"))
    read_labels(subwords(subword_units=5), splits_of(own, "train"))
    text = (own / "train" / "text").read_text()
    (own / "train" / "text").write_text(text.replace("AB", "AAB"))
    read_labels(subwords(), splits_of(own, "train"))
    assert len(list((own / "train" / ".subwords").iterdir())) == 4


def test_subwords_are_those_of_the_training_text_alone(own):
    space, _ = read_labels(subwords(), splits_of(own, "train", "dev"))
    text = (own / "dev" / "text").read_text()
    (own / "dev" / "text").write_text(text.replace("AB", "BA"))
    assert read_labels(subwords(), splits_of(own, "train", "dev"))[0] == space


def test_subwords_that_training_lacks_are_an_error(own):
    text = (own / "dev" / "text").read_text()
    (own / "dev" / "text").write_text(text.replace("AB", "AX"))
    with pytest.raises(DataError, match=r"has characters \['X'\] that no subword unit has"):
        read_labels(subwords(), splits_of(own, "train", "dev"))


def test_subwords_that_are_too_many_are_an_error_and_leave_nothing(own):
    with pytest.raises(ConfigError, match="500 unigram units are more than the training text has"):
        read_labels(subwords(subword_units=500), splits_of(own, "train"))
    assert not (own / "train" / ".subwords").exists()


def test_subwords_where_they_cannot_be_kept_are_an_error(own):
    (own / "train" / ".subwords").write_text("")
    with pytest.raises(EnvironmentProblem, match="subword units cannot be kept here: File exists"):
        read_labels(subwords(), splits_of(own, "train"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": "subwords"}, "labels=subwords with neither, expected one of subword_units and"),
        (
            {"labels": "subwords", "subword_units": 9, "subword_model": "m"},
            "labels=subwords with subword_units and subword_model, expected one of",
        ),
        ({"labels": "subwords", "subword_units": 0}, "subword_units=0, expected at least 1"),
        ({"subword_units": 9}, "subword_units is set, labels=phones does not use it"),
        ({"labels": "characters", "subword_model": "m"}, "subword_model is set, labels=characters"),
        ({"subword_type": "word"}, "subword_type='word', expected unigram or bpe; change task.sub"),
    ],
)
def test_subwords_with_options_that_do_not_fit_are_an_error(options, message):
    with pytest.raises(ConfigError, match=message):
        TaskOptions(**options)


def test_description_of_labels_changes_with_a_symbol():
    first, second = (describe_labels(LabelSpace("s", ("<blank>", end))) for end in "ab")
    assert (first["stream"], first["classes"]) == ("s", 2)
    assert first["sha256"] != second["sha256"]
