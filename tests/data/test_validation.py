"""Whole data directories: every fault is found with its place, and good ones pass."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from bad_directories import BAD, Bad
from good_directories import GOOD, GOOD_DIRECTORIES, MINIMAL, with_tables, write_directory

from speechlite.core.errors import DataError, UsageError
from speechlite.data.datadir import read_datadir
from speechlite.data.validation import Problem, check_datadir


@pytest.mark.parametrize("bad", BAD, ids=[bad.name for bad in BAD])
def test_check_when_one_fault_is_made_then_its_file_and_line_are_named(
    bad: Bad, tmp_path: Path
) -> None:
    write_directory(tmp_path, bad.base)
    bad.spoil(tmp_path)
    problems = check_datadir(tmp_path)
    place = (tmp_path / bad.file, bad.line)
    assert place in [(problem.path, problem.line) for problem in problems]
    assert len(problems) <= 3
    with pytest.raises(DataError, match=bad.match) as caught:
        read_datadir(tmp_path)
    assert caught.value.exit_code == 3
    assert (caught.value.path, caught.value.line) == place
    assert "\n" not in str(caught.value)
    assert str(caught.value).isprintable()


def test_bad_directories_when_counted_then_names_differ_and_there_are_over_sixty() -> None:
    assert len({bad.name for bad in BAD}) == len(BAD) >= 60


@pytest.mark.parametrize("name", GOOD_DIRECTORIES)
def test_check_when_the_directory_is_good_then_nothing_is_found(name: str, tmp_path: Path) -> None:
    tables = GOOD_DIRECTORIES[name]
    assert all(unicodedata.is_normalized("NFC", text) for text in tables.values())
    assert check_datadir(write_directory(tmp_path, tables)) == []


def test_good_directories_when_counted_then_there_are_over_twenty() -> None:
    assert len(GOOD_DIRECTORIES) >= 20


def test_check_when_the_path_is_absent_then_one_problem(tmp_path: Path) -> None:
    assert [str(p) for p in check_datadir(tmp_path / "no")] == [
        f"{tmp_path}/no: does not exist; name a directory that holds wav.scp, utt2spk and spk2utt"
    ]


def test_check_when_the_path_is_a_file_then_one_problem(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert [p.cause for p in check_datadir(tmp_path / "file")] == ["is not a directory"]


def test_check_when_text_is_required_then_its_absence_is_a_problem(tmp_path: Path) -> None:
    write_directory(tmp_path, MINIMAL)
    problems = check_datadir(tmp_path, text="required")
    assert [(p.path.name, p.cause) for p in problems] == [("text", "does not exist")]


def test_check_when_text_is_left_out_then_its_faults_do_not_matter(tmp_path: Path) -> None:
    write_directory(tmp_path, with_tables(MINIMAL, text="\n"))
    assert check_datadir(tmp_path, text="none") == []


def test_check_when_the_text_mode_is_unknown_then_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="text mode 'yes' is unknown"):
        check_datadir(tmp_path, text="yes")


def test_check_when_the_limit_is_zero_then_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="limit of 0 problems"):
        check_datadir(tmp_path, limit=0)


def test_check_when_several_files_have_faults_then_all_are_listed(tmp_path: Path) -> None:
    write_directory(tmp_path, GOOD)
    (tmp_path / "text").write_text("a-1 A\na-2\nb-1\n")
    (tmp_path / "utt2dur").write_text("a-1 nan\na-2 1\nb-1 -1\n")
    places = [(p.path.name, p.line) for p in check_datadir(tmp_path)]
    assert places == [("text", 2), ("text", 3), ("utt2dur", 1), ("utt2dur", 3)]


def test_check_when_there_are_more_than_the_limit_then_it_stops(tmp_path: Path) -> None:
    write_directory(tmp_path, GOOD)
    (tmp_path / "text").write_text("a-1\na-2\nb-1\n")
    assert len(check_datadir(tmp_path, limit=2)) == 2


def test_check_when_one_of_many_recordings_is_gone_then_one_line(tmp_path: Path) -> None:
    ids = [f"u{n:04d}" for n in range(2000)]
    tables = {
        "wav.scp": "r2 /audio/r2.flac\n",
        "segments": "".join(f"{i} {'r1' if i < 'u1990' else 'r2'} 0.0 1.0\n" for i in ids),
        "utt2spk": "".join(f"{i} s\n" for i in ids),
        "spk2utt": f"s {' '.join(ids)}\n",
    }
    (problem,) = check_datadir(write_directory(tmp_path, tables))
    assert (problem.path.name, problem.line) == ("segments", 1)
    assert "recording 'r1' is not in wav.scp (and 1989 more)" in problem.cause


def test_check_when_an_utterance_is_only_in_utt2spk_then_one_line_names_the_files(
    tmp_path: Path,
) -> None:
    write_directory(tmp_path, with_tables(GOOD, utt2spk=GOOD["utt2spk"] + "b-2 b\n"))
    (tmp_path / "spk2utt").write_text("a a-1 a-2\nb b-1 b-2\n")
    (problem,) = check_datadir(tmp_path)
    assert (problem.path.name, problem.line) == ("utt2spk", 4)
    assert "is not in wav.scp, text, utt2dur, utt2num_samples" in problem.cause


def test_check_when_an_utterance_is_gone_from_utt2spk_only_then_one_line_and_spk2utt(
    tmp_path: Path,
) -> None:
    write_directory(tmp_path, {**MINIMAL, "text": GOOD["text"], "utt2spk": "a-1 a\na-2 a\n"})
    spk2utt, wav = check_datadir(tmp_path)
    assert (spk2utt.path.name, spk2utt.line) == ("spk2utt", 2)
    assert (wav.path.name, wav.line) == ("wav.scp", 3)
    assert "'b-1' is not in utt2spk (also here: text)" in wav.cause


def test_problem_when_shown_then_it_reads_file_line_cause_remedy() -> None:
    problem = Problem(Path("data/text"), 3, "empty line", "remove it")
    assert str(problem) == "data/text:3: empty line; remove it"


def test_check_when_a_relative_name_is_too_long_then_it_is_one_problem(tmp_path: Path) -> None:
    write_directory(
        tmp_path, with_tables(MINIMAL, wav__scp=f"a-1 {'x' * 300}.wav\na-2 /x\nb-1 /y\n")
    )
    (problem,) = check_datadir(tmp_path)
    assert (problem.path.name, problem.line) == ("wav.scp", 1)


def test_check_when_it_is_quick_then_no_decoder_is_imported(tmp_path: Path) -> None:
    write_directory(tmp_path, GOOD)
    program = (
        "import json, sys; from speechlite.data.validation import check_datadir;"
        "found = check_datadir(sys.argv[1]);"
        "print(json.dumps([len(found), *sorted({'torch', 'numpy', 'soundfile'} & {*sys.modules})]))"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert json.loads(output) == [0]


REAL = os.environ.get("SPEECHLITE_REAL_DATA")


@pytest.mark.skipif(REAL is None, reason="SPEECHLITE_REAL_DATA names no folder of real speech")
@pytest.mark.parametrize("name", ["fsdd/data/train", "fsdd/data/test", "ljspeech/data/all"])
def test_check_when_paths_are_relative_to_the_corpus_then_prepare_is_advised(name: str) -> None:
    problems = check_datadir(Path(str(REAL)) / name)
    assert [(p.path.name, p.line) for p in problems] == [("wav.scp", 1)]
    assert "speechlite data prepare --corpus kaldi" in problems[0].remedy
