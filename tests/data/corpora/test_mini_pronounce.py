from __future__ import annotations

import io
import json
import subprocess
import sys

import pytest

from speechlite.core.errors import EnvironmentProblem
from speechlite.data.corpora.mini import pronounce as module
from speechlite.data.corpora.mini.phones import ARPABET
from speechlite.data.corpora.mini.pronounce import main, pronounce


def answer(monkeypatch, *, status=0, out="", err=""):
    asked = []

    def run(command, **options):
        asked.append((command, options["input"]))
        return subprocess.CompletedProcess(command, status, out, err)

    monkeypatch.setattr(module.subprocess, "run", run)
    return asked


def test_words_when_said_have_the_phones_of_a_dictionary():
    pytest.importorskip("espeakng_loader")
    found = pronounce(["HELLO", "CAT", "THREE", "SHIP", "caf\u00e9"])
    # as in the CMU dictionary, but for the reduced vowel of HELLO's first variant
    assert found["CAT"] == ("K", "AE", "T")
    assert found["THREE"] == ("TH", "R", "IY")
    assert found["SHIP"] == ("SH", "IH", "P")
    assert found["HELLO"] == ("HH", "AH", "L", "OW")
    assert found["caf\u00e9"][0] == "K"
    assert all(set(phones) <= ARPABET for phones in found.values())


def test_words_when_the_accent_drops_the_r_lack_it():
    pytest.importorskip("espeakng_loader")
    assert pronounce(["CAR"])["CAR"] == ("K", "AA", "R")
    assert pronounce(["CAR"], voice="en-gb-x-rp")["CAR"] == ("K", "AA")


def test_words_when_they_cannot_be_said_are_left_out():
    pytest.importorskip("espeakng_loader")
    found = pronounce(["'", "", "--", "\u65e5\u672c", "\u043f\u0440\u0438", "A\0B", "A\nB", "A"])
    assert list(found) == ["A"]


def test_words_when_there_are_none_give_none():
    pytest.importorskip("espeakng_loader")
    assert pronounce([]) == {}


def test_words_when_said_one_by_one_or_together_are_the_same():
    pytest.importorskip("espeakng_loader")
    words = ["THE", "QUICK", "FOX"]
    together = pronounce(words)
    assert together == {word: pronounce([word])[word] for word in words}


def test_answers_when_read_belong_to_the_words_that_were_asked(monkeypatch):
    asked = answer(monkeypatch, out='["AA"]\n[]\n["B", "IY"]\n')
    assert pronounce(["x", "\u00e9", "z"]) == {"x": ("AA",), "z": ("B", "IY")}
    command, given = asked[0]
    assert command[-1] == "en-us"
    assert [json.loads(line) for line in given.splitlines()] == ["x", "\u00e9", "z"]


def test_voice_when_unknown_is_refused():
    with pytest.raises(
        EnvironmentProblem, match=r"voice 'fr', expected one of en-us, .*; change l"
    ):
        pronounce(["a"], voice="fr")


@pytest.mark.parametrize(
    ("err", "says"),
    [
        (
            "Traceback\nEnvironmentProblem: no library\n",
            r"eSpeak NG failed: Env.*: no library; run",
        ),
        ("", r"eSpeak NG failed: exit status -11; run pip install 'speechlite\[synth\]'"),
    ],
)
def test_engine_when_it_fails_is_quoted(monkeypatch, err, says):
    answer(monkeypatch, status=-11, err=err)
    with pytest.raises(EnvironmentProblem, match=says):
        pronounce(["a"])


def test_engine_when_missing_says_what_to_install(monkeypatch, tmp_path):
    # a package of the same name that cannot be imported, for the process that is started
    (tmp_path / "espeakng_loader.py").write_text("raise ImportError('broken')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(EnvironmentProblem, match=r"eSpeak NG failed: .*; run pip install"):
        pronounce(["a"])


def test_main_when_asked_answers_each_line_as_json(monkeypatch, capsys):
    pytest.importorskip("espeakng_loader")
    monkeypatch.setattr(sys, "argv", ["pronounce", "en-us"])
    monkeypatch.setattr(sys, "stdin", io.StringIO('"CAT"\n"\'"\n'))
    assert main() == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [
        ["K", "AE", "T"],
        [],
    ]
