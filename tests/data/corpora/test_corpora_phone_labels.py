from __future__ import annotations

import numpy as np
import pytest

from speechlite.core.errors import DataError
from speechlite.data.corpora.ctm import read_ctm
from speechlite.data.corpora.phone_labels import (
    read_phone_labels,
    read_phones,
    read_utterance_list,
    write_phone_labels,
)

CTM = "a 1 0.0150 0.0200 T\na 1 0.0350 0.0300 AH\nb 1 0.0000 0.0500 S\n"


@pytest.fixture
def ctm(tmp_path):
    path = tmp_path / "phones.ctm"
    path.write_text(CTM)
    return path


def test_labels_when_written_name_the_phone_at_each_frames_centre(ctm, tmp_path):
    # Centres: 12.5, 22.5, 32.5, 42.5, 52.5, 62.5, 72.5 ms.
    ids = write_phone_labels(ctm, {"a": 7}, tmp_path / "labels")
    assert ids == {"SIL": 0, "AH": 1, "S": 2, "T": 3}
    assert (tmp_path / "labels").read_text() == "a 0 3 3 1 1 1 0\n"


def test_labels_when_compared_with_a_slow_loop_are_equal(tmp_path):
    rng = np.random.default_rng(0)
    edges = np.sort(rng.choice(np.arange(1, 9999), 80, replace=False)) / 10000 * 2
    lines = [
        f"u 1 {start:.4f} {end - start:.4f} P{number % 7}\n"
        for number, (start, end) in enumerate(zip(edges[::2], edges[1::2], strict=True))
    ]
    path = tmp_path / "phones.ctm"
    path.write_text("".join(lines))
    ids = write_phone_labels(path, {"u": 200}, tmp_path / "labels")
    expected = []
    for frame in range(200):
        centre = (frame * 160 + 200) / 16000
        inside = [m.token for m in read_ctm(path)["u"] if m.start <= centre < m.end]
        expected.append(ids[inside[0]] if inside else 0)
    assert read_phone_labels(tmp_path / "labels")["u"].tolist() == expected


def test_labels_when_written_read_back_as_int16(ctm, tmp_path):
    write_phone_labels(ctm, {"a": 7, "b": 3}, tmp_path / "labels")
    labels = read_phone_labels(tmp_path / "labels")
    assert list(labels) == ["a", "b"]
    assert labels["b"].dtype == np.int16
    assert labels["b"].tolist() == [2, 2, 2]


def test_phones_when_written_beside_are_sorted_and_read_back(ctm, tmp_path):
    ids = write_phone_labels(ctm, {"a": 7}, tmp_path / "labels")
    assert (tmp_path / "phones.txt").read_text() == "AH 1\nS 2\nSIL 0\nT 3\n"
    assert read_phones(tmp_path / "phones.txt") == ids


def test_labels_when_ids_are_given_use_them(ctm, tmp_path):
    given = {"SIL": 0, "T": 5, "AH": 6, "S": 7}
    write_phone_labels(ctm, {"a": 7}, tmp_path / "labels", phones=given)
    assert (tmp_path / "labels").read_text() == "a 0 5 5 6 6 6 0\n"


def test_labels_when_phone_has_no_id_are_refused_with_the_line(ctm, tmp_path):
    with pytest.raises(DataError, match=r"phones.ctm:2: phone 'AH' has no id"):
        write_phone_labels(ctm, {"a": 7}, tmp_path / "labels", phones={"SIL": 0, "T": 1})
    assert not (tmp_path / "labels").exists()


def test_labels_when_utterance_has_no_phones_are_refused(ctm, tmp_path):
    with pytest.raises(DataError, match="utterance c has no phones"):
        write_phone_labels(ctm, {"a": 7, "c": 2}, tmp_path / "labels")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a 1 2\nb\n", r"labels:2: not 'utterance id id id ...': 'b'"),
        ("a 1 x 2\n", r"labels:1: not 'utterance id id id ...'"),
        ("a 1  2\n", r"labels:1: not 'utterance id id id ...'"),
        ("a 1 -2\n", r"labels:1: not 'utterance id id id ...'"),
        ("a 1 2.5\n", r"labels:1: not 'utterance id id id ...'"),
        ("a 1\n\nb 1\n", r"labels:2: not 'utterance id id id ...'"),
        ("a 1\nb 2\na 3\n", r"labels:3: utterance a stands twice"),
        ("a 1 32768\n", r"labels:1: id 32768 is out of range"),
        ("a 99999999999999999999999\n", r"labels:1: id \d+ is out of range"),
        ("", r"labels: is empty"),
    ],
)
def test_labels_when_damaged_are_refused_with_their_line(tmp_path, text, message):
    path = tmp_path / "labels"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_phone_labels(path)


def test_labels_when_missing_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"labels: cannot be read"):
        read_phone_labels(tmp_path / "labels")


def test_labels_when_unsorted_are_read_in_their_order(tmp_path):
    (tmp_path / "labels").write_text("b 1\na 2 3\n")
    assert list(read_phone_labels(tmp_path / "labels")) == ["b", "a"]


@pytest.mark.parametrize("value", ["1", "x"])
def test_phones_when_ids_are_not_distinct_numbers_are_refused(tmp_path, value):
    (tmp_path / "phones.txt").write_text(f"A 1\nB {value}\n")
    with pytest.raises(DataError, match=rf"phones.txt:2: '{value}' is not an id of its own"):
        read_phones(tmp_path / "phones.txt")


def test_list_when_read_keeps_its_order(tmp_path):
    (tmp_path / "train_split.txt").write_text("b\na\n")
    assert read_utterance_list(tmp_path / "train_split.txt") == ["b", "a"]


@pytest.mark.parametrize("text", ["a\na\n", "a\nb c\n", "a\n\n"])
def test_list_when_damaged_is_refused_with_its_line(tmp_path, text):
    (tmp_path / "train_split.txt").write_text(text)
    with pytest.raises(DataError, match=r"train_split.txt:2: not an utterance id of its own"):
        read_utterance_list(tmp_path / "train_split.txt")
