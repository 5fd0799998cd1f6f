from __future__ import annotations

import shutil

import pytest

from speechlite.cli.main import main


@pytest.fixture(scope="module")
def made(places, tmp_path_factory):
    out = tmp_path_factory.mktemp("units")
    words = [
        "frontend=mfcc",
        f"data.train=[{places / 'data' / 'train'}]",
        f"data.other=[{places / 'data' / 'dev'}]",
        "kmeans.clusters=5",
        "kmeans.starts=1",
        "kmeans.max_epochs=1",
        "threads=1",
    ]
    assert main(["units", "--out_dir", str(out), *words]) == 0
    return out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no place for the result; add --out_dir DIR, or --check DIR"),
        (["--out_dir", "{out}"], "error: neither of frontend and model given"),
        (["--out_dir", "{out}", "frontend=mfc"], "did you mean mfcc"),
        (["--out_dir", "{out}", "frontend=mfcc"], "data.train names no directory"),
        (["--out_dir", "{out}", "frontend=mfcc", "clusters=3"], "clusters"),
    ],
)
def test_units_that_cannot_work_are_one_line_and_leave_nothing(refuse, tmp_path, words, message):
    out = tmp_path / "out"
    assert message in refuse(["units", *(word.format(out=out) for word in words)], 2)
    assert not out.exists()


def test_check_of_good_units_says_so(made, capsys):
    assert main(["units", "--check", str(made)]) == 0
    assert capsys.readouterr().out == f"{made / 'dev'}: valid\n{made / 'train'}: valid\n"


def test_check_of_faulty_units_lists_all_faults_and_exits_3(made, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(made, copy)
    for split in ("train", "dev"):
        with (copy / split / "units").open("a") as stream:
            stream.write("x 1 9\ny 1 z\n")
    assert main(["units", "--check", str(copy / "train"), str(copy / "dev")]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert ["unit 9, the codebook has 0 to 4" in line for line in lines[::2]] == [True, True]
    assert ["not 'utterance unit unit ...'" in line for line in lines[1::2]] == [True, True]
    assert all(line.startswith(str(copy)) for line in lines)


def test_check_of_no_units_exits_3(tmp_path, capsys):
    assert main(["units", "--check", str(tmp_path / "no")]) == 3
    assert "units.json: is missing" in capsys.readouterr().out
