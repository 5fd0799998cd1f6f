from __future__ import annotations

import pytest

from speechlite.core.errors import EnvironmentProblem
from speechlite.data.corpora.mini.lm_text import write_lm_text
from speechlite.data.corpora.mini.text import ScriptWriter, vocabulary


def lines_of(path):
    return path.read_text(encoding="utf-8").splitlines()


def transcripts(*, seed, count):
    writer = ScriptWriter(seed)
    return [" ".join(writer.write(held_out=False).words) for _ in range(count)]


def test_text_when_written_has_so_many_lines_of_training_words(tmp_path):
    assert write_lm_text(tmp_path / "lm.txt", num_utterances=200, seed=1) == 0
    lines = lines_of(tmp_path / "lm.txt")
    assert len(lines) == 200
    known = {word.upper() for word in vocabulary(held_out=False)}
    assert {word for line in lines for word in line.split()} <= known
    assert all(line == " ".join(line.split()) for line in lines)


def test_text_when_seeds_are_equal_is_equal_and_else_differs(tmp_path):
    for name, seed in (("one", 3), ("two", 3), ("three", 4)):
        write_lm_text(tmp_path / name, num_utterances=50, seed=seed)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert (tmp_path / "one").read_bytes() != (tmp_path / "three").read_bytes()


def test_text_when_the_corpus_has_the_same_seed_is_other_text(tmp_path):
    write_lm_text(tmp_path / "lm.txt", num_utterances=100, seed=1)
    shared = set(lines_of(tmp_path / "lm.txt")) & set(transcripts(seed=1, count=100))
    assert not shared


def test_text_when_sentences_are_held_out_leaves_their_lines_out_and_counts_them(tmp_path):
    write_lm_text(tmp_path / "all.txt", num_utterances=40, seed=1)
    every = lines_of(tmp_path / "all.txt")
    held_out = [f"BEFORE {every[4]} AFTER", every[7]]
    left_out = write_lm_text(
        tmp_path / "lm.txt", num_utterances=38, seed=1, held_out=iter(held_out)
    )
    assert left_out == 2
    assert lines_of(tmp_path / "lm.txt") == [
        line for number, line in enumerate(every) if number not in (4, 7)
    ]


def test_text_when_one_of_two_sentences_is_held_out_leaves_the_line_out(tmp_path):
    writer = ScriptWriter(1 + 1_000_003)
    script = next(
        s for s in iter(lambda: writer.write(held_out=False), None) if len(s.sentences) > 1
    )
    second = " ".join(script.sentences[1].replace(",", " ").replace(".", " ").upper().split())
    assert write_lm_text(tmp_path / "lm.txt", num_utterances=30, seed=1, held_out=[second]) == 1
    assert not any(second in line for line in lines_of(tmp_path / "lm.txt"))


def test_text_when_words_meet_over_the_border_of_two_transcripts_keeps_the_line(tmp_path):
    write_lm_text(tmp_path / "all.txt", num_utterances=9, seed=2)
    writer = ScriptWriter(2 + 1_000_003)
    script = next(
        s for s in iter(lambda: writer.write(held_out=False), None) if not s.sentences[1:]
    )
    assert " ".join(script.words) in lines_of(tmp_path / "all.txt")
    halves = [" ".join(script.words[:3]), " ".join(script.words[3:])]
    assert write_lm_text(tmp_path / "lm.txt", num_utterances=9, seed=2, held_out=halves) == 0
    assert lines_of(tmp_path / "lm.txt") == lines_of(tmp_path / "all.txt")


def test_text_when_no_line_is_wanted_is_empty(tmp_path):
    write_lm_text(tmp_path / "lm.txt", num_utterances=0, seed=1)
    assert (tmp_path / "lm.txt").read_bytes() == b""


def test_text_when_the_directory_is_missing_says_so(tmp_path):
    with pytest.raises(EnvironmentProblem, match="cannot be written"):
        write_lm_text(tmp_path / "no" / "lm.txt", num_utterances=1, seed=1)
