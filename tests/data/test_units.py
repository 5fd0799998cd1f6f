from __future__ import annotations

import json

import numpy as np
import pytest
from made_units import GRID, edit, write_codewords, write_good

from speechlite.core.errors import DataError
from speechlite.data.codebook import read_codebook
from speechlite.data.units import labels_at_frames, read_facts, read_units, scan_units


@pytest.fixture
def folder(tmp_path):
    return write_good(tmp_path)


def first_line(folder, split="train"):
    return (folder / split / "units").read_text().splitlines()[0]


@pytest.mark.parametrize("label_rate", [50.0, 100.0, 100 / 3])
@pytest.mark.parametrize("frame_rate", [25.0, 50.0, 100.0])
def test_labels_at_frames_takes_the_label_whose_time_is_nearest(label_rate, frame_rate):
    labels_L = np.arange(40)
    taken_S = labels_at_frames(labels_L, 60, label_rate_hz=label_rate, frame_rate_hz=frame_rate)
    for frame, label in enumerate(taken_S):
        # the later of two that are equally near
        offsets = [abs(n / label_rate - frame / frame_rate) for n in range(40)]
        nearest = max(n for n in range(40) if offsets[n] <= min(offsets) + 1e-9)
        assert label == nearest


def test_labels_at_frames_of_half_the_rate_takes_every_label_equally_often():
    taken_S = labels_at_frames(np.arange(5), 9, label_rate_hz=50.0, frame_rate_hz=100.0)
    assert taken_S.tolist() == [0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_read_units_gives_what_was_written(folder):
    classes, units, rate_hz = read_units(folder, ["train", "dev"])
    assert classes.stream == "units"
    assert classes.symbols == ("0", "1", "2", "3", "4")
    assert rate_hz == 100.0
    name, *labels = first_line(folder).split()
    assert units[name].tolist() == [int(label) for label in labels]
    assert units[name].dtype == np.int16
    assert sorted(units) == ["a-1", "a-2", "b-1", "c-1", "c-2"]


def test_read_units_of_a_missing_split_says_which_file(folder):
    with pytest.raises(DataError, match=r"units/test/units.json: is missing; make the units"):
        read_units(folder, ["test"])


def test_read_units_of_another_codebook_is_refused(folder):
    write_codewords(folder, seed=1)
    with pytest.raises(DataError, match="units of codebook '.{8}', expected '.{8}'; make"):
        read_units(folder, ["train"])


def test_read_units_of_another_rate_is_refused(folder):
    edit(folder / "dev" / "units.json", "100.0", "50.0")
    edit(folder / "dev" / "units.json", '"stride_samples": 160', '"stride_samples": 320')
    with pytest.raises(DataError, match="400 samples every 320 at 16000 Hz, expected 400 samples"):
        read_units(folder, ["dev"])


def test_read_units_of_one_split_twice_is_refused(folder):
    with pytest.raises(DataError, match="utterance 'a-1' is in two of the splits"):
        read_units(folder, ["train", "train"])


def test_read_units_of_a_faulty_file_says_where(folder):
    edit(folder / "dev" / "units", "c-2", "c-1")
    with pytest.raises(DataError, match=r"dev/units:2: utterance 'c-1' stands twice; keep one"):
        read_units(folder, ["dev"])


@pytest.mark.parametrize(
    ("text", "line", "cause"),
    [
        ("", None, "is empty"),
        ("a 1 2\n\nb 1\n", 2, "not 'utterance unit unit ...': ''"),
        ("a 1 2\nb\n", 2, "not 'utterance unit unit ...': 'b'"),
        ("a 1 2.5\n", 1, "not 'utterance unit unit ...': 'a 1 2.5'"),
        ("a 1 -2\n", 1, "not 'utterance unit unit ...': 'a 1 -2'"),
        ("a 1  2\n", 1, "not 'utterance unit unit ...': 'a 1  2'"),
        ("a 1 2\r\n", 1, "not 'utterance unit unit ...': 'a 1 2\\r'"),
        ("a 1 99999999999999999999\n", 1, "not 'utterance unit unit ...'"),
        ("a 1 2\nb 1 5\n", 2, "unit 5, the codebook has 0 to 4"),
        ("a 1 2\na 1 2\n", 2, "utterance 'a' stands twice"),
    ],
)
def test_scan_units_of_a_faulty_file_names_line_and_cause(tmp_path, text, line, cause):
    path = tmp_path / "units"
    path.write_text(text, newline="")
    _, _, (problem,) = scan_units(path, num_units=5)
    assert problem.line == line
    assert problem.cause.startswith(cause)


@pytest.mark.parametrize("content", [None, b"a \xff\n"])
def test_scan_units_that_cannot_be_read_says_so(tmp_path, content):
    path = tmp_path / "units"
    if content is not None:
        path.write_bytes(content)
    _, _, (problem,) = scan_units(path, num_units=5)
    assert problem.cause.startswith("no units can be read")


def test_scan_units_lists_all_faults_up_to_the_limit(tmp_path):
    path = tmp_path / "units"
    path.write_text("a 1\n" + "b x\n" * 9)
    assert [p.line for p in scan_units(path, num_units=5)[2]] == list(range(2, 11))
    assert len(scan_units(path, num_units=5, limit=4)[2]) == 4


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"schema": "speechlite.units/1"', '"schema": "x"', "not of schema speechlite.units/1"),
        ("{", "[", "cannot be read"),
        ('"stride_samples": 160', '"stride_samples": 0', "names no frames"),
        ('"stride_samples": 160', '"stride_samples": 320', "rate_hz is 100.0, its frames have 50"),
        ('"data": ', '"date": ', "names no codebook, or no data directory"),
    ],
)
def test_read_facts_that_are_damaged_says_how(folder, old, new, message):
    edit(folder / "train" / "units.json", old, new)
    with pytest.raises(DataError, match=message):
        read_facts(folder / "train")


def test_read_codebook_gives_what_was_written(folder):
    codebook = read_codebook(folder)
    expected_CF = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    assert np.array_equal(codebook.codewords, expected_CF)
    assert codebook.grid == GRID
    assert codebook.source == {"frontend": {}}


def test_read_codebook_without_codewords_says_so(folder):
    (folder / "codebook.safetensors").write_bytes(b"")
    with pytest.raises(DataError, match="no codewords can be read"):
        read_codebook(folder)


def test_read_codebook_of_other_codewords_says_so(folder, tmp_path):
    write_codewords(tmp_path / "other", seed=1)
    other = tmp_path / "other" / "codebook.safetensors"
    (folder / "codebook.safetensors").write_bytes(other.read_bytes())
    with pytest.raises(DataError, match="does not have the SHA-256 that codebook.json names"):
        read_codebook(folder)


def test_read_codebook_that_is_empty_says_so(tmp_path):
    with pytest.raises(DataError, match=r"the codebook is empty: codewords \(0, 3\)"):
        write_codewords(tmp_path, clusters=0)


def test_codebook_json_names_what_the_codewords_are(folder):
    content = json.loads((folder / "codebook.json").read_text())
    assert (content["clusters"], content["dim"], content["rate_hz"]) == (5, 3, 100.0)
