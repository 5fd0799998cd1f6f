from __future__ import annotations

from dataclasses import replace

import pytest
from made_records import make_record, make_scores, write_experiment, write_record

from speechlite.core.errors import DataError
from speechlite.core.result import Measure, Result
from speechlite.engine.compare import compare, front, load_records
from speechlite.engine.grouping import natural_order
from speechlite.engine.statistics import nested_difference, ratio_interval

WER = Measure("wer", "test_clean", 5.0, scorer="s", normaliser="n")


def quick(records, **options):
    return compare(records, resamples=200, **options)


def reported(row, *measures, table="Table 1", paper="LayerReduction"):
    identity = {"experiment": paper, "row": row, "table": table, "status": "done"}
    return Result(kind="reported", identity=identity, metrics=measures)


def as_task(record, old, new):
    task = new if record.identity["task"] == old else record.identity["task"]
    return replace(record, identity={**record.identity, "task": task})


def cell(comparison, row, key, block=0):
    found = comparison.blocks[block]
    names = [r.name for r in found.rows]
    return found.rows[names.index(row)].cells[found.column(key)]


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return load_records([write_experiment(tmp_path_factory.mktemp("exp"))])


@pytest.fixture(scope="module")
def comparison(records):
    return quick(records)


def test_compare_when_two_tasks_then_one_row_holds_both(comparison):
    (block,) = comparison.blocks
    assert [row.name[:5] for row in block.rows] == ["Exp.1", "Exp.3", "Exp.5"]
    scores = [column.key for column in block.columns if column.kind == "score"]
    assert scores == ["phone/acc/test_clean", "ctc/wer/test_clean"]


def test_compare_when_several_seeds_then_value_is_their_mean_and_each_is_kept(comparison):
    found = cell(comparison, "Exp.1 Conformer-8L", "ctc/wer/test_clean")
    assert [seed for seed, _ in found.by_seed] == ["0", "1"]
    assert found.value == pytest.approx(sum(value for _, value in found.by_seed) / 2)
    assert found.low < found.value < found.high


def test_compare_when_one_seed_then_interval_is_that_of_its_speakers(comparison):
    expected = ratio_interval(make_scores(error_rate=0.2), resamples=200)
    found = cell(comparison, "Exp.3 Conformer-5L + PSS", "ctc/wer/test_clean")
    assert found.low == pytest.approx(100 * expected["low"])
    assert comparison.blocks[0].rows[1].is_single_seed


def test_compare_when_baseline_is_default_then_differences_are_to_the_first_row(comparison):
    assert comparison.blocks[0].baseline == "Exp.1 Conformer-8L"
    found = cell(comparison, "Exp.5 Conformer-8L + PSS", "ctc/wer/test_clean").difference
    pairs = [
        (make_scores(error_rate=0.085, seed=seed), make_scores(error_rate=0.08, seed=seed))
        for seed in (0, 1)
    ]
    expected = nested_difference(pairs, resamples=200)
    assert found.delta == pytest.approx(100 * expected["delta"])
    assert found.seeds == ("0", "1")
    assert found.p_holm >= found.p_value
    assert cell(comparison, "Exp.1 Conformer-8L", "ctc/wer/test_clean").difference is None


def test_compare_when_baseline_is_named_then_it_is_used(records):
    comparison = quick(records, baseline="Exp.3 Conformer-5L + PSS")
    found = cell(comparison, "Exp.5 Conformer-8L + PSS", "ctc/wer/test_clean").difference
    assert found.delta < 0
    assert found.seeds == ("0",)


def test_compare_when_one_row_is_clearly_worse_then_it_has_no_mark(comparison):
    assert cell(comparison, "Exp.1 Conformer-8L", "ctc/wer/test_clean").marks == ("best",)
    assert cell(comparison, "Exp.3 Conformer-5L + PSS", "ctc/wer/test_clean").marks == ()


def test_compare_when_row_equals_the_best_then_both_are_best(tmp_path):
    for seed, row in enumerate(("A", "B")):
        scores = make_scores(error_rate=0.1)
        write_record(tmp_path / str(seed), scores, identity={"row": row, "seed": 0})
    comparison = quick(load_records([tmp_path]))
    assert cell(comparison, "B", "ctc/wer/test_clean").marks == ("best",)


def test_compare_when_rows_hardly_differ_then_the_second_is_tied(tmp_path):
    for row, seed in (("A", 5), ("B", 6)):
        scores = make_scores(error_rate=0.1, seed=seed)
        write_record(tmp_path / row, scores, identity={"row": row})
    comparison = quick(load_records([tmp_path]))
    marks = {cell(comparison, row, "ctc/wer/test_clean").marks for row in "AB"}
    assert marks == {("best",), ("tied",)}


@pytest.mark.parametrize(
    ("change", "because"),
    [
        ({"fingerprint": "other"}, "test_clean has fingerprint"),
        ({"measure": {"scorer": "made 2"}}, "scorer is 'made"),
        ({"measure": {"normaliser": "x 2"}}, "normaliser is"),
        ({"identity": {"row": "B", "task_version": "2"}}, "the task's version differs"),
    ],
)
def test_compare_when_records_do_not_compare_then_blocks_are_separate(tmp_path, change, because):
    scores = make_scores(error_rate=0.1)
    write_record(tmp_path / "a", scores, identity={"row": "A"})
    write_record(tmp_path / "b", scores, **{"identity": {"row": "B"}, **change})
    comparison = quick(load_records([tmp_path]))
    assert [[row.name for row in block.rows] for block in comparison.blocks] == [["A"], ["B"]]
    assert because in comparison.blocks[1].separate_because
    assert comparison.blocks[1].rows[0].cells[0].difference is None


def test_compare_when_seeds_of_one_row_have_other_data_then_they_are_not_averaged(tmp_path):
    scores = make_scores(error_rate=0.1)
    write_record(tmp_path / "a", scores, identity={"row": "A", "seed": 0})
    write_record(tmp_path / "b", scores, identity={"row": "A", "seed": 1}, fingerprint="other")
    comparison = quick(load_records([tmp_path]))
    assert [block.rows[0].seeds for block in comparison.blocks] == [("0",), ("1",)]


def test_compare_when_reported_values_match_then_they_stand_beside(records):
    printed = [
        reported(
            "Exp.1 Conformer-8L",
            Measure("wer", "ASR DNN-HMM, no rescoring", 7.8),
            Measure("wer", "ASR DNN-HMM, rescored", 5.77),
            Measure("acc", "phone classification", 72.7),
            Measure("params", "", 33.7, unit="M"),
            Measure("train_time", "", 8.47, unit="GPU h / epoch"),
            Measure("rtf", "", 0.506, unit="", why="CPU"),
        ),
        reported("Exp.1 Conformer-8L", WER, table="Table 9"),
    ]
    hybrid = [as_task(record, "ctc", "dnn_hmm") for record in records]
    plain, comparison = quick(hybrid), quick(hybrid, reported=printed)
    row = "Exp.1 Conformer-8L"
    keys = ("dnn_hmm/wer/test_clean", "phone/acc/test_clean", "params", "train_epoch", "rtf")
    assert [cell(comparison, row, key).reported for key in keys] == [7.8, 72.7, 33.7, 8.47, 0.506]
    column = comparison.blocks[0].columns[1]
    assert column.reported_title == "reported (ASR DNN-HMM, no rescoring; %)"
    # the paper has no CTC, and its two DNN-HMM columns are not mixed up
    assert cell(quick(records, reported=printed), row, "ctc/wer/test_clean").reported is None
    rescored = [as_task(record, "ctc", "dnn_hmm_rescored") for record in records]
    key = "dnn_hmm_rescored/wer/test_clean"
    assert cell(quick(rescored, reported=printed), row, key).reported == 5.77
    for _, row_, column_, found in plain.cells():
        other = cell(comparison, row_.name, column_.key)
        assert replace(other, reported=None, reported_why=None) == found


def test_compare_when_a_reported_system_was_not_run_then_its_row_is_missing(records):
    printed = [reported("MFCC", WER), reported("Exp.1 Conformer-8L", WER)]
    rows = quick(records, reported=printed).blocks[0].rows
    assert [(row.name, row.status) for row in rows[:2]] == [
        ("MFCC", "missing"),
        ("Exp.1 Conformer-8L", "done"),
    ]


def test_compare_when_no_row_is_reported_then_no_row_is_missing(records):
    rows = quick(records, reported=[reported("MFCC", WER)]).blocks[0].rows
    assert all(row.status == "done" for row in rows)


def test_compare_when_a_run_failed_then_its_row_says_why(tmp_path):
    write_record(tmp_path / "a", make_scores(error_rate=0.1), identity={"row": "A"})
    failed = {"row": "B", "status": "failed", "why": "out of memory"}
    write_record(tmp_path / "b", None, identity=failed, measure={"value": None})
    rows = quick(load_records([tmp_path])).blocks[0].rows
    assert [row.status for row in rows] == ["done", "failed: out of memory"]


def test_compare_when_one_seed_failed_then_the_row_notes_it():
    done = make_record((WER,), identity={"seed": 0})
    failed = make_record((), identity={"seed": 1, "status": "failed"}, notes="disk full")
    row = quick([done, failed]).blocks[0].rows[0]
    assert row.seeds == ("0",)
    assert row.notes == ("ctc, seed 1: failed: disk full",)


def test_compare_when_all_runs_failed_then_rows_are_still_shown():
    failed = make_record((), identity={"status": "failed"})
    assert quick([failed]).blocks[0].rows[0].status == "failed"


def test_compare_when_a_run_was_repeated_then_the_last_counts():
    runs = [
        make_record((replace(WER, value=value),), identity={"ended": ended, "run_id": ended})
        for value, ended in ((7.0, "2026-02"), (6.0, "2026-01"))
    ]
    comparison = quick(runs)
    assert comparison.blocks[0].rows[0].cells[0].value == 7.0
    assert "1 earlier run(s)" in comparison.blocks[0].rows[0].notes[0]


def test_compare_when_a_record_says_how_fast_decoding_was_then_a_column_shows_it():
    records = [
        make_record(
            (WER,),
            identity={"row": row},
            cost={"decoding": {"rtf": 0.02}},
            env={"device_fingerprint": device},
        )
        for row, device in (("A", "x"), ("B", "y"))
    ]
    comparison = quick(records, baseline="A")
    assert cell(comparison, "A", "decoding_rtf").value == 0.02
    assert cell(comparison, "B", "decoding_rtf").why == "measured on another device (y)"


def test_compare_when_devices_differ_then_rtf_is_shown_for_the_baselines_only():
    records = [
        make_record((WER,), identity={"row": row}, env={"device_fingerprint": device})
        for row, device in (("A", "x"), ("B", "y"), ("C", "y"), ("D", None))
    ]
    values = [cell(quick(records), row, "rtf") for row in "ABCD"]
    assert [value.value for value in values] == [0.0123, None, None, None]
    assert values[1].why == "measured on another device (y)"
    assert values[3].why == "measured on another device (not recorded)"
    assert cell(quick(records, baseline="B"), "C", "rtf").value == 0.0123


def test_compare_when_a_cost_is_absent_then_its_reason_is_kept():
    cost = {"params": {"total": None, "why": "not counted"}, "rtf": None, "why": {"rtf": "no CPU"}}
    comparison = quick([make_record((WER,), cost=cost)])
    row = "Exp.1 Conformer-8L"
    assert cell(comparison, row, "params").why == "not counted"
    assert cell(comparison, row, "rtf").why == "no CPU"
    assert cell(comparison, row, "bytes").value is None


def test_compare_when_value_is_no_ratio_then_there_is_no_interval(tmp_path):
    write_record(tmp_path, make_scores(error_rate=0.1), measure={"value": 50.0})
    found = quick(load_records([tmp_path])).blocks[0].rows[0].cells[0]
    assert found.low is None
    assert "not the ratio" in found.why


def test_compare_when_scores_are_missing_then_a_stored_interval_is_shown():
    ci = {"level": 0.95, "low": 4.0, "high": 6.0}
    found = quick([make_record((replace(WER, ci=ci),))]).blocks[0].rows[0].cells[0]
    assert (found.low, found.high) == (4.0, 6.0)
    bare = quick([make_record((WER,))]).blocks[0].rows[0].cells[0]
    assert "per-utterance scores are missing" in bare.why


def test_compare_when_one_speaker_then_says_there_is_no_interval(tmp_path):
    write_record(tmp_path, make_scores(error_rate=0.1, speakers=1, utterances=40))
    found = quick(load_records([tmp_path])).blocks[0].rows[0].cells[0]
    assert found.why == "no interval: one speaker: nothing to resample"


def test_compare_when_metric_is_null_then_its_reason_is_shown():
    measure = replace(WER, value=None, why="no decoder")
    assert quick([make_record((measure,))]).blocks[0].rows[0].cells[0].why == "no decoder"


def test_compare_when_table_2_has_layers_then_they_are_columns():
    records = [
        make_record(
            (replace(WER, value=value),),
            identity={"row": row, "table": "Table 2", "layer": layer},
        )
        for row, layer, value in (("M", "8", 3.0), ("M", "10", 4.0), ("N", "8", 5.0))
    ]
    printed = [reported("N SLI(8)", Measure("wer", "ctc", 9.0), table="Table 2")]
    (block,) = quick(records, reported=printed).blocks
    assert block.kind == "layers"
    assert [column.title for column in block.columns] == ["layer 8", "layer 10"]
    values = {row.name: [cell.value for cell in row.cells] for row in block.rows}
    assert values == {"M": [3.0, 4.0], "N": [5.0, None]}
    assert block.rows[[r.name for r in block.rows].index("N")].cells[0].reported == 9.0


def test_compare_when_a_row_has_two_layers_of_a_task_then_rows_say_which():
    records = [make_record((WER,), identity={"layer": layer}) for layer in ("5", "weighted")]
    names = [row.name for row in quick(records).blocks[0].rows]
    assert names == ["Exp.1 Conformer-8L, layer 5", "Exp.1 Conformer-8L, layer weighted"]


def test_compare_when_experiments_fill_one_table_then_rows_stand_together():
    records = [make_record((WER,), identity={"experiment": e, "row": e}) for e in ("1", "2")]
    (block,) = quick(records).blocks
    assert [row.name for row in block.rows] == ["1", "2"]


def test_compare_when_two_recipes_then_tables_stand_apart_unless_joined():
    records = [make_record((WER,), identity={"recipe": e, "row": e}) for e in ("E1", "E2")]
    assert [block.title for block in quick(records).blocks] == ["E1, Table 1", "E2, Table 1"]
    (joined,) = quick(records, joined=True).blocks
    assert [row.name for row in joined.rows] == ["E1", "E2"]


def test_compare_when_two_recipes_share_a_row_name_then_joined_rows_differ():
    records = [make_record((WER,), identity={"recipe": e, "row": "R"}) for e in ("E1", "E2")]
    (joined,) = quick(records, joined=True).blocks
    assert [row.name for row in joined.rows] == ["R (E1)", "R (E2)"]


def test_compare_when_a_row_has_no_name_then_model_and_chain_are_it():
    identity = {"row": None, "model": "base", "chain": "depth"}
    assert quick([make_record((WER,), identity=identity)]).blocks[0].rows[0].name == "base / depth"


def test_compare_when_metrics_are_named_then_others_are_left_out(records):
    keys = [column.key for column in quick(records, metrics=["wer"]).blocks[0].columns]
    assert "phone/acc/test_clean" not in keys


def test_compare_when_records_give_dates_then_facts_repeat_them(comparison):
    facts = dict(comparison.facts)
    assert facts["first run started"] == "2026-11-20T10:00:00"
    assert facts["commit"] == "0123abc"
    assert facts["seeds"] == "0, 1"


def test_compare_when_run_twice_then_is_equal(records, comparison):
    assert quick(list(reversed(records))) == comparison


def test_compare_when_worst_utterances_are_listed_then_they_are_sorted_and_capped(comparison):
    row = comparison.blocks[0].rows[1]
    ratios = [example.numerator / example.denominator for example in row.examples]
    assert row.examples_of == "CTC WER, test_clean"
    assert ratios == sorted(ratios, reverse=True)
    assert len(ratios) == 20


def test_front_when_points_are_given_then_matches_a_slow_search():
    points = {0: (1.0, 5.0), 1: (2.0, 3.0), 2: (2.0, 4.0), 3: (3.0, 3.0), 4: (4.0, 1.0)}
    assert front(points) == [0, 1, 4]


def test_natural_order_when_numbers_are_inside_then_sorts_by_value():
    names = ["Exp.10", "Exp.2", "A", "Exp.2b"]
    assert sorted(names, key=natural_order) == ["A", "Exp.2", "Exp.2b", "Exp.10"]


def test_compare_when_no_record_is_measured_then_is_refused():
    with pytest.raises(DataError, match="no measured record was given"):
        compare([reported("A", WER)])


def test_compare_when_baseline_is_unknown_then_lists_the_rows():
    with pytest.raises(DataError, match="no row is called 'x'; name one of: 'Exp.1 Conformer"):
        compare([make_record((WER,))], baseline="x")


def test_compare_when_metric_is_unknown_then_lists_the_metrics():
    with pytest.raises(DataError, match="no record has the metric 'x'; name one of: wer"):
        compare([make_record((WER,))], metrics=["x"])


def test_compare_when_rows_scored_other_utterances_then_names_rows_and_utterances(tmp_path):
    scores = make_scores(error_rate=0.1)
    write_record(tmp_path / "a", scores, identity={"row": "A"})
    write_record(tmp_path / "b", scores[1:], identity={"row": "B"})
    with pytest.raises(DataError, match="B and A, CTC WER, test_clean: 1 utterances .* 's00-u000'"):
        quick(load_records([tmp_path]))


def test_compare_when_seeds_scored_other_utterances_then_there_is_no_interval(tmp_path):
    scores = make_scores(error_rate=0.1)
    write_record(tmp_path / "a", scores, identity={"seed": 0})
    write_record(tmp_path / "b", scores[1:], identity={"seed": 1})
    found = quick(load_records([tmp_path])).blocks[0].rows[0].cells[0]
    assert found.low is None
    assert "1 utterances are scored in one and not in the other" in found.why
