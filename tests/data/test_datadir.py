"""Tables round trip or are refused; a directory becomes utterances."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from good_directories import GOOD, MINIMAL, SEGMENTED, write_directory
from hypothesis import given
from hypothesis import strategies as st

from speechlite.core.errors import DataError, EnvironmentProblem, SpeechliteError
from speechlite.data import tables
from speechlite.data.datadir import DataDir, Utterance, read_datadir, read_table, write_table
from speechlite.data.problems import more, shown
from speechlite.data.tables import parse_table

LETTERS = st.characters(
    codec="utf-8",
    categories=("L", "N", "P", "S"),
)
WORDS = st.text(LETTERS, min_size=1, max_size=6).map(
    lambda text: unicodedata.normalize("NFC", text)
)
VALUES = st.lists(WORDS, min_size=1, max_size=4).map(
    lambda words: unicodedata.normalize("NFC", " ".join(words))
)


@given(rows=st.dictionaries(WORDS, VALUES, min_size=1, max_size=20))
def test_table_when_written_and_read_then_it_is_the_same(
    rows: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("table") / "text"
    write_table(path, rows)
    back = read_table(path)
    assert back == rows
    assert [key.encode() for key in back] == sorted(key.encode() for key in rows)


@given(rows=st.dictionaries(st.text(max_size=5), st.text(max_size=8), max_size=4))
def test_table_when_anything_is_written_then_it_returns_or_nothing_is_left(
    rows: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("table") / "text"
    try:
        write_table(path, rows)
    except DataError:
        assert list(path.parent.iterdir()) == []
    else:
        assert read_table(path) == rows


@given(data=st.binary(max_size=60))
def test_table_when_any_bytes_are_parsed_then_a_table_or_problems_with_one_line_each(
    data: bytes,
) -> None:
    table, problems = parse_table(Path("text"), data)
    assert (table is None) == bool(problems)
    assert all(str(problem).isprintable() for problem in problems)
    if table is not None:
        lines = [f"{key} {value}\n" for key, value in zip(table.keys, table.values, strict=True)]
        assert "".join(lines).encode() == data


def test_table_when_keys_differ_in_case_then_bytes_decide_the_order(tmp_path: Path) -> None:
    write_table(tmp_path / "t", {"b": "1", "B": "2", "a-1": "3", "a": "4", "\u00e9": "5"})
    assert (tmp_path / "t").read_bytes() == b"B 2\na 4\na-1 3\nb 1\n\xc3\xa9 5\n"


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        ({}, "is empty"),
        ({"a": ""}, "'a' has no value"),
        ({"": "a"}, "begins with a space"),
        ({"a b": "c"}, "a key contains a space, or a value a line break"),
        ({"a": "b\nc d"}, "a key contains a space, or a value a line break"),
        ({"a": "b "}, "ends in a space"),
        ({"a": " b"}, "more than one space"),
        ({"a": "b\tc"}, "a tab"),
        ({"a": "e\u0301"}, "normal form C"),
        ({"a": "\ud800"}, "is not UTF-8"),
    ],
)
def test_table_when_a_row_cannot_stand_then_the_old_file_stays(
    rows: dict[str, str], match: str, tmp_path: Path
) -> None:
    write_table(tmp_path / "t", {"old": "1"})
    with pytest.raises(DataError, match=match):
        write_table(tmp_path / "t", rows)
    assert read_table(tmp_path / "t") == {"old": "1"}
    assert [path.name for path in tmp_path.iterdir()] == ["t"]


def test_table_when_the_directory_is_absent_then_the_environment_is_named(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match="cannot be written: No such file"):
        write_table(tmp_path / "no" / "t", {"a": "b"})


def test_table_when_the_rename_fails_then_old_content_and_no_leftover(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_table(tmp_path / "t", {"old": "1"})

    def fail(source: object, target: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(EnvironmentProblem, match="No space left on device"):
        write_table(tmp_path / "t", {"new": "2"})
    assert [path.name for path in tmp_path.iterdir()] == ["t"]
    assert read_table(tmp_path / "t") == {"old": "1"}


def test_table_when_the_file_is_absent_then_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_table(tmp_path / "t")


def test_table_when_the_file_is_huge_then_it_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "t").write_text("a b\n")
    monkeypatch.setattr(tables, "MAX_FILE_BYTES", 3)
    with pytest.raises(DataError, match="has 4 bytes, at most 3 are read"):
        read_table(tmp_path / "t")


def test_table_when_a_line_is_bad_then_file_and_line_are_named(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("a 1\nb\n")
    with pytest.raises(DataError) as caught:
        read_table(tmp_path / "t")
    assert str(caught.value).startswith(f"{tmp_path}/t:2: key 'b' has no value; ")


def test_datadir_when_there_are_no_segments_then_each_recording_is_an_utterance(
    tmp_path: Path,
) -> None:
    data = read_datadir(write_directory(tmp_path, GOOD), need_text=True)
    first = Utterance("a-1", "a", Path("/audio/a-1.flac"), None, None, "HELLO WORLD", 1.5, 24000)
    assert data == DataDir(tmp_path, data.utterances)
    assert data.utterances[0] == first
    assert [utterance.id for utterance in data.utterances] == ["a-1", "a-2", "b-1"]


def test_datadir_when_there_are_segments_then_utterances_are_parts(tmp_path: Path) -> None:
    tables_ = {name: text for name, text in SEGMENTED.items() if name != "utt2dur"}
    utterance = read_datadir(write_directory(tmp_path, tables_)).utterances[1]
    assert utterance.audio_path == Path("/audio/call-1.flac")
    assert (utterance.start_seconds, utterance.end_seconds) == (2.25, 4.25)
    assert (utterance.duration_seconds, utterance.num_samples) == (2.0, None)


def test_datadir_when_it_is_minimal_then_what_is_unknown_is_none(tmp_path: Path) -> None:
    utterance = read_datadir(write_directory(tmp_path, MINIMAL)).utterances[2]
    assert utterance == Utterance("b-1", "b", Path("/audio/b-1.wav"), None, None, None, None, None)


def test_datadir_when_paths_are_relative_then_they_are_under_the_directory(tmp_path: Path) -> None:
    (tmp_path / "wav").mkdir()
    for name in ("a-1.flac", "a-2.flac", "b-1.wav"):
        (tmp_path / "wav" / name).touch()
    wav = MINIMAL["wav.scp"].replace("/audio/", "wav/")
    data = read_datadir(write_directory(tmp_path, {**MINIMAL, "wav.scp": wav}))
    assert data.utterances[0].audio_path == tmp_path / "wav/a-1.flac"


def test_datadir_when_text_is_needed_and_absent_then_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="text: does not exist; prepare the data again"):
        read_datadir(write_directory(tmp_path, MINIMAL), need_text=True)


def test_datadir_when_there_are_two_problems_then_the_first_is_raised_with_the_count(
    tmp_path: Path,
) -> None:
    write_directory(tmp_path, {**MINIMAL, "text": "a-1\na-2\nb-1 C\n"})
    with pytest.raises(DataError, match=r"text:1: .*\(1 more: 'speechlite data check") as caught:
        read_datadir(tmp_path)
    assert caught.value.exit_code == 3


def test_datadir_when_there_are_very_many_problems_then_at_least_is_said(tmp_path: Path) -> None:
    text = "".join(f"u{n:03d}\n" for n in range(100))
    write_directory(tmp_path, {**MINIMAL, "text": text})
    with pytest.raises(DataError, match="at least 49 more"):
        read_datadir(tmp_path)


def test_datadir_when_it_is_absent_then_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpeechliteError, match="no: does not exist"):
        read_datadir(tmp_path / "no")


def test_shown_when_text_would_steer_a_terminal_then_it_is_escaped() -> None:
    assert shown("\x1b[2Jx\u202e") == r"'\x1b[2Jx\u202e'"
    assert len(shown("y" * 1000)) == 62


def test_more_when_there_is_one_then_nothing_is_said() -> None:
    assert [more(1), more(3)] == ["", " (and 2 more)"]
