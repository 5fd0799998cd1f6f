from __future__ import annotations

import gzip
import json
import shutil

import numpy as np
import pytest
import soundfile
from made_recognition import words
from made_runs import RATE
from safetensors.numpy import load_file, save_file

from speechlite.core.errors import DataError, EnvironmentProblem
from speechlite.engine.dnn_hmm import graph as graph_step
from speechlite.engine.dnn_hmm.gmm import read_alignments
from speechlite.engine.dnn_hmm.steps import read_report, run_step, write_lines, write_report
from speechlite.engine.stamps import Stamp


def stamp(**config):
    return lambda: Stamp.of(config, [])


def test_run_step_runs_once_and_again_when_its_options_change(tmp_path):
    calls = []

    def run():
        calls.append(1)
        return [write_lines(tmp_path / "step" / "out.txt", ["a", "\u00df"])]

    assert run_step("made", tmp_path / "step", stamp(a=1), run) is True
    assert run_step("made", tmp_path / "step", stamp(a=1), run) is False
    assert run_step("made", tmp_path / "step", stamp(a=2), run) is True
    (tmp_path / "step" / "out.txt").unlink()
    assert run_step("made", tmp_path / "step", stamp(a=2), run) is True
    assert len(calls) == 3
    assert (tmp_path / "step" / "out.txt").read_bytes() == "a\n\u00df\n".encode()


def test_run_step_that_fails_runs_again(tmp_path):
    def fail():
        raise DataError("made to fail", remedy="do not")

    with pytest.raises(DataError, match="made to fail"):
        run_step("made", tmp_path / "step", stamp(a=1), fail)
    assert run_step("made", tmp_path / "step", stamp(a=1), lambda: []) is True


def test_report_is_read_as_it_was_written(tmp_path):
    facts = {"wer": 1.5, "rtf": {"t\u00e9st": 0.25}, "none": None}
    assert write_report(tmp_path, facts) == "report.json"
    assert read_report(tmp_path) == facts


@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff\xfe"])
def test_report_that_is_missing_or_damaged_names_the_file(tmp_path, content):
    if content is not None:
        (tmp_path / "report.json").write_bytes(content)
    with pytest.raises(DataError, match=r"report.json: is missing or unreadable; run the step"):
        read_report(tmp_path)


def test_alignments_that_are_missing_or_damaged_name_the_step(tmp_path):
    message = r"alignments.safetensors: cannot be read \(.*\); run the step gmm again"
    with pytest.raises(DataError, match=message):
        read_alignments(tmp_path)
    (tmp_path / "alignments.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(DataError, match=message):
        read_alignments(tmp_path)


def test_lang_reports_words_outside_the_lexicon_by_part_with_their_counts(recipe, run):
    (recipe / "lexicon.txt").write_text("AB A\nCA B\n")
    status, lines = run(words(recipe, "lang"))
    assert status == 0
    lang = recipe / "exp/dnn_hmm/lang"
    for part in ("train", "dev", "test"):
        text = (recipe / "data" / part / "text").read_text().split()
        number, total = text.count("BC"), sum(text.count(word) for word in ("AB", "BC", "CA"))
        assert (lang / f"oov_words_{part}.txt").read_text() == f"BC {number}\n"
        facts = read_report(lang)[f"outside_{part}"]
        assert facts == {"tokens": number, "of": total, "types": 1}
        assert any(f"{part} has {number} of {total} words outside" in line for line in lines)


def test_lang_with_a_lexicon_of_other_spelling_refuses_it(recipe, refused):
    (recipe / "lexicon.txt").write_text("ab A\nbc C\nca B\n")
    error = refused(recipe, "lang")
    assert "no word of train is in the lexicon, " in error
    assert error.endswith("spelling in lang.lexicon")


def test_lang_takes_pronunciations_of_an_earlier_source_before_a_later_one(recipe, run):
    (recipe / "more.txt").write_text("AB X X\nNEU X\n")
    sources = f"lang.lexicon=[{recipe}/lexicon.txt,{recipe}/more.txt]"
    status, lines = run(words(recipe, "lang", sources))
    assert status == 0
    rows = (recipe / "exp/dnn_hmm/lang/lexiconp.txt").read_text().split("\n")
    rows = [row.split() for row in rows]
    found = [(row[0], float(row[1]), row[2:]) for row in rows if row and row[0] in ("AB", "NEU")]
    assert found == [("AB", 1.0, ["A"]), ("NEU", 1.0, ["X"])]
    assert any("lang: 1 words from" in line for line in lines)


def test_lang_of_alignments_learns_how_words_were_said(recipe, run):
    for table in recipe.glob("data/*/phones.ctm"):
        names = {"A": "AB", "B": "CA", "C": "BC"}
        rows = [line.split() for line in table.read_text().splitlines()]
        lines = [" ".join([*row[:4], names[row[4]]]) for row in rows]
        table.with_name("words.ctm").write_text("\n".join(lines) + "\n")
    assert run(words(recipe, "lang", "lang.lexicon=[alignments]"))[0] == 0
    rows = (recipe / "exp/dnn_hmm/lang/lexiconp.txt").read_text().split("\n")
    rows = [row.split() for row in rows]
    found = {row[0]: (float(row[1]), row[2:]) for row in rows if row}
    expected = {"AB": (1.0, ["A"]), "BC": (1.0, ["C"]), "CA": (1.0, ["B"])}
    assert found.items() >= expected.items()


ARPA = (
    "\\data\\\nngram 1=4\nngram 2=1\n\n\\1-grams:\n-0.5\tAB\t-0.1\n-0.5\tBC\t-0.1\n"
    "-99\t<s>\t-0.1\n-1\t</s>\n\n\\2-grams:\n-0.3\tAB BC\n\n\\end\\\n"
)


def test_lm_takes_a_compressed_file_and_counts_the_words_it_lacks(recipe, run):
    (recipe / "lm.arpa.gz").write_bytes(gzip.compress(ARPA.encode()))
    status, lines = run(words(recipe, "lang,lm", f"lm.small={recipe}/lm.arpa.gz"))
    assert status == 0
    assert (recipe / "exp/dnn_hmm/lm/small.arpa").read_text() == ARPA
    count = (recipe / "data/dev/text").read_text().split().count("CA")
    assert any(f"{count} unknown words left out: CA ..." in line for line in lines)
    assert read_report(recipe / "exp/dnn_hmm/lm")["unknown_small"] == {"CA": count}


def damaged(content):
    """Return bytes whose head is that of gzip and whose inner part is not."""
    whole = bytearray(gzip.compress(content))
    whole[20:28] = bytes(255 - one for one in whole[20:28])
    return bytes(whole)


@pytest.mark.parametrize(
    "content",
    [ARPA.encode(), gzip.compress(ARPA.encode())[:40], damaged(50 * ARPA.encode()), b""],
)
def test_lm_of_a_damaged_compressed_file_names_it(recipe, refused, content):
    (recipe / "lm.arpa.gz").write_bytes(content)
    error = refused(recipe, "lang,lm", f"lm.small={recipe}/lm.arpa.gz")
    assert ".arpa" in error
    assert "cannot be read (" in error or "has no \\data\\ section" in error


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "there is no sentence to estimate from; name a text with words"),
        (b"\xff\xfe", "text.txt: cannot be read ('utf-8'"),
    ],
)
def test_lm_of_a_text_without_sentences_says_so(recipe, refused, text, message):
    (recipe / "text.txt").write_bytes(text)
    assert message in refused(recipe, "lang,lm", f"lm.text=[{recipe}/text.txt]")


def shorten(directory, count, samples):
    """Replace the first utterances of a directory by noise; return their names."""
    (directory / "phones.ctm").unlink()
    shutil.rmtree(directory / "phone_labels", ignore_errors=True)
    tables = {
        name: dict(line.split(" ", 1) for line in (directory / name).read_text().splitlines())
        for name in ("wav.scp", "utt2dur", "utt2num_samples")
    }
    names = sorted(tables["wav.scp"])[:count]
    for name in names:
        file = directory / f"{name}-short.flac"
        soundfile.write(file, 0.1 * np.random.default_rng(0).standard_normal(samples), RATE)
        values = (str(file), f"{samples / RATE:.6f}", str(samples))
        for table, value in zip(tables.values(), values, strict=True):
            table[name] = value
    for name, table in tables.items():
        (directory / name).write_text("".join(f"{k} {v}\n" for k, v in sorted(table.items())))
    return names


@pytest.mark.slow
@pytest.mark.parametrize("samples", [400, 800])
def test_utterances_too_short_for_their_words_are_counted_at_every_step(recipe, run, samples):
    names = [shorten(recipe / "data" / p, 1, samples)[0] for p in ("train", "dev", "test")]
    status, lines = run(words(recipe))
    assert status == 0, lines[-1]
    seed = recipe / "exp/dnn_hmm/seed1"
    reason = "no path: too short or too unlikely"
    for part, name in zip(("train", "dev", "test"), names, strict=True):
        excluded = seed / "alignments" / part / "excluded.txt"
        assert excluded.read_text() == f"{name} {reason}\n"
        assert name not in load_file(excluded.with_name("alignments.safetensors"))
        assert any(f"gmm: {part}: 1 utterances left out, see {excluded}" in one for one in lines)
    # nothing is left out of the scores
    for result in seed.glob("results/*/record1.test.jsonl"):
        rows = [json.loads(line) for line in result.read_text().splitlines()]
        assert names[2] in {row.get("id") for row in rows}
    lost = (seed / "dnn_hmm-mono/decode/not_decoded.txt").read_text().splitlines()
    assert all(line.endswith(" no final state survived") for line in lost)
    if samples == 400:
        assert f"{names[2]} no final state survived" in lost
        assert any("paths are cut off before a final state" in line for line in lines)


def test_utterances_below_a_frame_are_left_out_and_counted(recipe, run):
    shorten(recipe / "data/test", 1, 100)
    status, lines = run(words(recipe, "lang,lm,gmm"))
    assert status == 0, lines[-1]
    assert any("test: left out 1 utterances below 400 samples" in line for line in lines)


def test_training_data_too_short_for_all_their_words_are_refused(recipe, refused):
    shorten(recipe / "data/train", 99, 560)
    error = refused(recipe, "lang,lm,gmm")
    assert "none of 12 utterances has as many frames as its transcript needs" in error


@pytest.mark.parametrize("part", ["dev", "test"])
def test_part_too_short_for_all_its_words_is_named(recipe, refused, part):
    shorten(recipe / "data" / part, 99, 560)
    error = refused(recipe, "lang,lm,gmm")
    assert f"no utterance of {part} could be aligned; train the GMMs on fitting" in error


def test_graph_takes_what_the_page_cache_holds_for_free_memory():
    with open("/proc/meminfo", encoding="ascii") as stream:
        rows = dict(line.split(":") for line in stream)
    available = int(rows["MemAvailable"].split()[0]) * 1024
    total = int(rows["MemTotal"].split()[0]) * 1024
    assert graph_step._free_bytes() == pytest.approx(available, abs=0.1 * total)


def test_graph_that_does_not_fit_into_memory_is_refused(recipe, run, refused, monkeypatch):
    assert run(words(recipe, "lang,lm,gmm"))[0] == 0
    monkeypatch.setattr(graph_step, "_free_bytes", lambda: 1000)
    assert "GB to build, 0.0 GB are free; decode with a pruned" in refused(recipe, "graph")
    assert not list(recipe.glob("exp/**/HCLG.fst"))


def test_graph_that_cannot_be_written_leaves_no_half_of_it(recipe, run, refused, monkeypatch):
    assert run(words(recipe, "lang,lm,gmm"))[0] == 0

    def full(path, fst):
        raise EnvironmentProblem("cannot be written", remedy="make room", path=path)

    monkeypatch.setattr(graph_step, "write_fst", full)
    assert "HCLG.fst: cannot be written; make room" in refused(recipe, "graph")
    assert not list(recipe.glob("exp/**/graph_*/stamp.json"))


def test_alignments_cover_all_utterances_of_their_part(finished):
    seed = finished[0] / "exp/dnn_hmm/seed1/alignments"
    for part in ("train", "dev", "test"):
        found = read_alignments(seed / part)
        names = (finished[0] / "data" / part / "text").read_text().splitlines()
        assert set(found) == {line.split()[0] for line in names}
        for name, transitions in found.items():
            assert transitions.min() > 0, name


def test_alignments_are_read_as_they_were_written(tmp_path):
    expected = {"u1": np.array([1, 2, 3], np.int32), "\u00df": np.array([4], np.int32)}
    save_file(expected, tmp_path / "alignments.safetensors")
    found = read_alignments(tmp_path)
    assert {name: one.tolist() for name, one in found.items()} == {"u1": [1, 2, 3], "\u00df": [4]}
