"""All steps of ``speechlite hmm`` over a recipe of tones."""

from __future__ import annotations

import shutil

import jiwer
import pytest
from made_recognition import STEPS, pretrain_words, records, words

from speechlite.cli.main import main
from speechlite.core.result import Result
from speechlite.engine.dnn_hmm.steps import read_report
from speechlite.engine.dnn_hmm.sweep import select_steps

MODELS = {"gmm_mono", "fbank"}


def ran(lines):
    """Return the names of the steps that ran, and those that were up to date."""
    told = [line.split(" ", 1)[1] for line in lines if line[:4].isdigit()]
    reasons = (": it has not run yet", ": changed: ", ": its output")
    did = {line.split(reason)[0] for line in told for reason in reasons if reason in line}
    return did, {line.removesuffix(": up to date") for line in told if "up to date" in line}


@pytest.fixture
def work(changing, run):
    """Give a recipe in which all steps ran with its own options, and a way to run them again."""

    def again(*overrides):
        status, lines = run(words(changing, STEPS, *overrides))
        assert status == 0, lines[-1]
        return ran(lines)

    again()
    return changing, again


def test_steps_write_a_record_of_both_tasks_for_each_model(finished):
    found = {
        (one["identity"]["model"], one["identity"]["task"], one["identity"]["row"])
        for one in records(finished[0])
    }
    assert found == {
        ("gmm_mono", "dnn_hmm", "GMM-HMM mono"),
        ("gmm_mono", "dnn_hmm_rescored", "GMM-HMM mono"),
        ("fbank", "dnn_hmm", "FBANK"),
        ("fbank", "dnn_hmm_rescored", "FBANK"),
    }


def test_records_hold_the_word_error_rate_that_jiwer_counts(finished):
    root = finished[0]
    text = dict(line.split(" ", 1) for line in (root / "data/test/text").read_text().splitlines())
    for path in root.glob("exp/**/record1.json"):
        record = Result.from_json(path.read_text())
        place = path.parents[1].parent
        name, task = path.parent.name.split("-")
        step = "rescore" if task.endswith("rescored") else "decode"
        lines = (place / path.parents[1].name / ".." / f"dnn_hmm-{name}").resolve() / step
        best = {}
        for line in (lines / "test.nbest.txt").read_text().splitlines():
            key, _, *said = line.split(" ")
            utterance, rank = key.rsplit("-", 1)
            if rank == "1":
                best[utterance] = " ".join(said)
        expected = jiwer.wer(
            [text[name] for name in sorted(text)], [best.get(name, "") for name in sorted(text)]
        )
        assert record.metrics[0].value == pytest.approx(100 * expected)


def test_recognition_of_tones_works_better_than_chance(finished):
    for record in records(finished[0]):
        assert record["metrics"][0]["value"] < 60.0


def test_steps_when_nothing_changed_are_all_up_to_date(finished, run):
    root, first = finished
    before = {p: p.stat().st_mtime_ns for p in root.rglob("*") if p.is_file() and p.suffix}
    status, lines = run(words(root))
    did, skipped = ran(lines)
    assert status == 0
    assert did == set()
    assert skipped == ran(first)[0]
    after = {p: p.stat().st_mtime_ns for p in root.rglob("*") if p.is_file() and p.suffix}
    assert after == before


def test_compare_reads_the_records(finished, capsys):
    assert main(["compare", str(finished[0] / "exp")]) == 0
    out = capsys.readouterr().out
    for text in ("records: 4", "GMM-HMM mono", "FBANK"):
        assert text in out


def test_records_say_what_decoding_cost(finished):
    for record in records(finished[0]):
        assert record["cost"]["decoding"]["beam"] in (8.0, 13.0)
        assert record["cost"]["decoding"]["rtf"] > 0


@pytest.mark.slow
def test_step_with_another_lm_weight_decodes_and_scores_again_and_trains_nothing(work):
    _, again = work
    did, skipped = again("decoding.lm_weights=[0.5,1.0,2.0]")
    assert {name.split()[0] for name in did} == {"decode", "GMM", "fbank"}
    assert {"lang", "lm", "tdnn fbank seed 1", "graph of tri3b seed 1"} <= skipped


@pytest.mark.slow
def test_step_with_other_network_training_leaves_gmms_and_their_decoding(work):
    _, again = work
    did, skipped = again("training.epochs=2")
    assert {"tdnn fbank seed 1", "decode fbank seed 1"} <= did
    assert not any(name.startswith(("gmm", "graph", "lang", "lm", "decode GMM")) for name in did)
    assert "decode GMM mono seed 1" in skipped


@pytest.mark.slow
def test_step_with_another_large_model_order_rescores_alone(work):
    _, again = work
    did, _ = again("lm.large_order=2")
    decoded = {"GMM mono seed 1 dnn_hmm", "fbank seed 1 dnn_hmm"}
    assert did - decoded == {
        "lm",
        "GMM mono seed 1 dnn_hmm_rescored",
        "fbank seed 1 dnn_hmm_rescored",
    }


@pytest.mark.slow
def test_step_with_one_more_test_directory_trains_and_composes_nothing(work):
    root, again = work
    shutil.copytree(root / "data/test", root / "data/more")
    did, skipped = again(f"task.test=[{root}/data/test,{root}/data/more]")
    assert "gmm alignment of more seed 1" in did
    assert "decode fbank seed 1" in did
    assert not any(name.startswith(("gmm mono", "gmm tri", "tdnn", "graph")) for name in did)
    assert {"lm", "gmm mono seed 1", "gmm tri3b seed 1", "tdnn fbank seed 1"} <= skipped
    parts = {p.name for p in (root / "exp/dnn_hmm/seed1/dnn_hmm-mono/decode").glob("*.lat")}
    assert parts == {"dev.lat", "test.lat", "more.lat"}


@pytest.mark.slow
def test_step_whose_output_was_damaged_runs_again(work):
    root, again = work
    graph = root / "exp/dnn_hmm/seed1/graph_mono/HCLG.fst"
    whole = graph.read_bytes()
    graph.write_bytes(whole[: len(whole) // 2])
    did, _ = again()
    assert "graph of mono seed 1" in did
    assert graph.read_bytes() == whole


@pytest.mark.slow
def test_decode_when_the_lexicon_changed_and_the_graph_did_not_refuses(work, refused):
    root, again = work
    lexicon = root / "lexicon.txt"
    before = lexicon.read_text()
    lexicon.write_text("AAA B\n" + before)
    # with another beam the step does not take the old lattices for its own
    error = refused(root, "lang,decode", "decoding.gmm_beams=[12.0]")
    lexicon.write_text(before)
    assert "graph_mono: the graph is not up to date: changed: " in error
    assert error.endswith("; run the step graph")


@pytest.mark.slow
def test_steps_with_two_seeds_share_words_and_language_models(recipe, run):
    assert run([*pretrain_words(recipe), "--seeds", "1,2"])[0] == 0
    status, lines = run([*words(recipe), "--seeds", "1,2"])
    assert status == 0
    did, _ = ran(lines)
    assert {"lang", "lm", "gmm mono seed 2", "tdnn fbank seed 2", "decode GMM mono seed 2"} <= did
    assert {one["identity"]["seed"] for one in records(recipe)} == {1, 2}
    assert len([line for line in lines if " lm: it has not run yet" in line]) == 1


@pytest.mark.slow
def test_steps_with_more_processes_find_the_same_words(finished, recipe, run):
    status, lines = run(words(recipe, STEPS, "decoding.workers=2"))
    assert status == 0, lines[-1]
    values = [[one["metrics"][0]["value"] for one in records(r)] for r in (finished[0], recipe)]
    assert values[0] == values[1]


@pytest.mark.slow
def test_steps_with_position_dependent_phones_and_letters_beyond_ascii_work(recipe, run):
    for table in recipe.glob("data/*/text"):
        table.write_text(table.read_text().replace("AB", "\u00c4\u00df").replace("CA", "\u8a9e"))
    (recipe / "lexicon.txt").write_text("\u00c4\u00df A\nBC C\n\u8a9e B\n", encoding="utf-8")
    status, lines = run(words(recipe, STEPS, "lang.position_dependent=true"))
    assert status == 0, lines[-1]
    report = recipe / "exp/dnn_hmm/seed1/dnn_hmm-mono/decode/test.errors.txt"
    assert "\u8a9e" in report.read_text(encoding="utf-8")


@pytest.mark.slow
def test_task_with_a_name_of_its_own_leaves_the_other_results(work):
    root, again = work
    again("task.name=other")
    names = {one["identity"]["task"] for one in records(root)}
    assert names == {"dnn_hmm", "dnn_hmm_rescored", "other", "other_rescored"}


# one bad thing each: the steps, the overrides, and what the error says
BAD = [
    ("lang,decod", [], "unknown steps ['decod']; choose among lang, lm, gmm, tdnn, graph"),
    (",", [], "no step is named; choose among lang"),
    ("lang", ["lang.lexicon=[]"], "lang.lexicon names no source of pronunciations; set"),
    ("lang", ["lang.lexicon=[{root}/none.txt]"], "none.txt: is missing"),
    ("lang", ["lang.lexicon=[alignments]"], "train: has no words.ctm, which lang.lexicon"),
    ("lang", ["lm.text=[{root}/none.txt]"], "none.txt: is missing"),
    ("lang", ["task.test=[]"], "task.test names no data directory; set task.test=[DIRECTORY"),
    ("lang", ["task.train=[]"], "task.train names no data directory"),
    ("lang", ["task.test=[{root}/data/dev]"], "two parts of the task are called dev; rename"),
    (
        "lang",
        ["task.test=[{root}/data/test,{root}/data/../data/test]"],
        "two parts of the task are called test",
    ),
    ("lang", ["task.test=[{root}/data/none]"], "data/none: is missing"),
    ("lm", [], "words.txt: is missing; run the stage that makes it"),
    ("gmm", [], "L.fst: is missing; run the stage that makes it"),
    ("graph", [], "L.fst: is missing"),
    ("tdnn", [], "alignments/train: is missing"),
    ("decode", [], "graph_mono: is missing"),
    ("rescore", [], "decode/report.json: is missing"),
    ("lang,lm", ["lm.small={root}/data"], "data: cannot be read"),
    ("lang,lm", ["lm.small={root}/lexicon.txt"], "lm/small.arpa: has no \\data\\ section"),
    ("lang,lm,gmm,tdnn", ["head=phone"], "head=phone does not score frames; choose head=tdnn"),
    (
        "lang,lm,gmm,tdnn",
        ["training.learning_rate=1e30", "training.clip_norm=0"],
        "at step 1; lower training.learning_rate",
    ),
]


@pytest.mark.parametrize(("steps", "overrides", "message"), BAD)
def test_steps_with_something_wrong_say_it_in_one_line(recipe, refused, steps, overrides, message):
    chosen = [text.format(root=recipe) for text in overrides]
    assert message in refused(recipe, steps, *chosen)


def test_steps_of_an_experiment_without_a_model_name_it(recipe, refused):
    shutil.rmtree(recipe / "exp/fbank")
    error = refused(recipe, "lang,lm,gmm,tdnn")
    assert "exp/fbank/seed1/pretrain/model: is missing; run the stage that makes it" in error


def test_select_steps_gives_them_in_their_order_and_once():
    assert select_steps("decode,lang,decode,,lm") == ["lang", "lm", "decode"]
    assert ",".join(select_steps("all")) == STEPS


def test_graph_reports_its_size_and_what_the_model_lacks(finished):
    report = read_report(finished[0] / "exp/dnn_hmm/seed1/graph_mono")
    assert report["num_states"] > 10
    assert report["missing_words"] == 0
