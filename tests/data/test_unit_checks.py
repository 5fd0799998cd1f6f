from __future__ import annotations

import shutil

import pytest
from made_units import edit, write_codewords, write_good

from speechlite.core.errors import DataError
from speechlite.data.unit_checks import lint_units, unit_directories


@pytest.fixture
def folder(tmp_path):
    return write_good(tmp_path)


def lint(folder):
    return [str(problem) for problem in lint_units([folder / "train", folder / "dev"])]


def change_line(path, utterance, change):
    lines = [line.split() for line in path.read_text().splitlines()]
    changed = [change(line) if line[0] == utterance else line for line in lines]
    path.write_text("".join(" ".join(line) + "\n" for line in changed if line))


def test_lint_of_right_units_finds_nothing(folder):
    assert lint(folder) == []


@pytest.mark.parametrize("change", [lambda line: line[:-2], lambda line: [*line, "0", "0"]])
def test_lint_of_two_labels_more_or_fewer_finds_nothing(folder, change):
    change_line(folder / "train" / "units", "a-1", change)
    assert lint(folder) == []


@pytest.mark.parametrize(
    ("change", "count"),
    [
        (lambda line: line[:-3], 95),
        (lambda line: [*line, "0", "0", "0"], 101),
        (lambda line: [line[0], *line[1::2]], 49),
    ],
)
def test_lint_of_another_rate_names_the_line_and_both_numbers(folder, change, count):
    change_line(folder / "train" / "units", "a-1", change)
    (line,) = lint(folder)
    assert f"train/units:1: utterance 'a-1' has {count} units for 98 frames; make" in line


def test_lint_of_an_utterance_without_units_names_it(folder):
    change_line(folder / "train" / "units", "a-2", lambda line: [])
    (line,) = lint(folder)
    assert "train/units: utterance 'a-2' has no units; make" in line


def test_lint_of_an_utterance_of_one_frame_without_units_finds_nothing(folder):
    change_line(folder / "train" / "units", "b-1", lambda line: [])
    assert lint(folder) == []


def test_lint_of_an_utterance_that_the_data_has_not_names_it(folder):
    with (folder / "dev" / "units").open("a") as stream:
        stream.write("x-1 0 1\n")
    (line,) = lint(folder)
    assert "dev/units:3: utterance 'x-1' is not in " in line


def test_lint_lists_problems_of_all_directories(folder):
    edit(folder / "train" / "units", "a-1 ", "a-1 5 ")
    change_line(folder / "dev" / "units", "c-2", lambda line: [*line, "1.5"])
    first, second = lint(folder)
    assert "train/units:1: unit 5, the codebook has 0 to 4" in first
    assert "dev/units:2: not 'utterance unit unit ...': 'c-2 " in second


def test_lint_of_an_empty_file_says_so(folder):
    (folder / "dev" / "units").write_text("")
    (line,) = lint(folder)
    assert "dev/units: is empty" in line


def test_lint_of_units_without_a_codebook_says_so(folder):
    (folder / "codebook.json").unlink()
    assert all("codebook.json: is missing" in line for line in lint(folder))
    assert len(lint(folder)) == 2


def test_lint_of_train_and_valid_units_of_different_codebooks_says_which(folder, tmp_path):
    other = tmp_path / "other"
    sha256 = write_codewords(other, seed=1)
    shutil.copytree(folder / "dev", other / "dev")
    old = write_codewords(tmp_path / "again")
    edit(other / "dev" / "units.json", old, sha256)
    (problem,) = lint_units([folder / "train", other / "dev"])
    assert f"units of codebook '{sha256[:8]}', expected '{old[:8]}'" in str(problem)


def test_lint_of_a_codebook_that_was_fitted_anew_says_so(folder):
    write_codewords(folder, seed=1)
    assert ["units of codebook" in line for line in lint(folder)] == [True, True]


def test_lint_of_units_whose_data_is_gone_says_so(folder, tmp_path):
    shutil.rmtree(tmp_path / "data" / "dev")
    (line,) = lint(folder)
    assert "data/dev: does not exist" in line


def test_lint_of_no_units_says_so(folder):
    (problem,) = lint_units([folder / "test"])
    assert "test/units.json: is missing" in str(problem)


def test_lint_stops_at_the_limit(folder):
    (folder / "dev" / "units").write_text("c-1 x\n" * 60)
    assert len(lint_units([folder / "dev"], limit=7)) == 7


def test_unit_directories_of_a_codebook_are_those_beside_it(folder):
    assert unit_directories(folder) == [folder / "dev", folder / "train"]
    assert unit_directories(folder / "dev") == [folder / "dev"]


def test_unit_directories_of_a_codebook_alone_is_refused(tmp_path):
    write_codewords(tmp_path)
    with pytest.raises(DataError, match="holds a codebook, and no units"):
        unit_directories(tmp_path)
