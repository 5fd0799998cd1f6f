from __future__ import annotations

import pytest

from speechlite.core.errors import DataError
from speechlite.data.corpora.ctm import Mark, read_ctm, write_ctm


def test_ctm_when_written_reads_back_sorted(tmp_path):
    path = tmp_path / "phones.ctm"
    write_ctm(path, {"b": [Mark(0.5, 0.25, "S", 1)], "a": [Mark(0.0, 0.1, "T", 1)]})
    assert path.read_text() == "a 1 0.0000 0.1000 T\nb 1 0.5000 0.2500 S\n"
    assert read_ctm(path) == {"a": [Mark(0.0, 0.1, "T", 1)], "b": [Mark(0.5, 0.25, "S", 2)]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a 1 0.0 0.1\n", r"ctm:1: not a time-marked token"),
        ("a 1 0.0 0.1 T x\n", r"ctm:1: not a time-marked token"),
        ("a 1 0.0 long T\n", r"ctm:1: not a time-marked token"),
        ("a 1 -0.1 0.2 T\n", r"ctm:1: start -0.1 and duration 0.2 are not a stretch"),
        ("a 1 0.0 0.0 T\n", r"ctm:1: start 0.0 and duration 0.0 are not a stretch"),
        ("a 1 nan 0.1 T\n", r"ctm:1: start nan and duration 0.1 are not a stretch"),
        ("a 1 0.0 inf T\n", r"ctm:1: start 0.0 and duration inf are not a stretch"),
        ("a 1 0.0 0.3 T\na 1 0.2 0.1 S\n", r"ctm:2: begins at 0.2 s, before the mark above ends"),
        ("b 1 0.0 0.3 T\na 1 0.2 0.1 S\n", r"ctm:2: .*not in C byte order"),
        ("", r"ctm: is empty"),
    ],
)
def test_ctm_when_damaged_is_refused_with_its_line(tmp_path, text, message):
    path = tmp_path / "phones.ctm"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_ctm(path)
