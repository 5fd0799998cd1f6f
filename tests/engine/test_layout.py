from __future__ import annotations

from dataclasses import replace

import pytest
from made_records import make_record, write_experiment

from speechlite.core.result import Measure, Result
from speechlite.engine.compare import compare, load_records
from speechlite.engine.layout import block_lines, grids, legend

WER = Measure("wer", "test_clean", 5.0)


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    folder = write_experiment(tmp_path_factory.mktemp("exp"))
    return compare(load_records([folder]), resamples=100)


def texts(grid):
    return [[cell.lines for cell in row] for row in grid.rows]


def test_grids_when_block_has_rows_then_scores_and_costs_stand_apart(comparison):
    titles = [grid.title for grid in grids(comparison.blocks[0])]
    assert titles == [
        "librispeech/layer_reduction, Table 1: scores",
        "librispeech/layer_reduction, Table 1: costs",
    ]


def test_grids_when_seeds_are_several_then_cell_holds_value_interval_and_seeds(comparison):
    value, interval, seeds = texts(grids(comparison.blocks[0])[0])[0][4]
    first, second = (float(text) for text in seeds.split(" / "))
    assert float(value) == pytest.approx((first + second) / 2, abs=0.011)
    assert interval.startswith("[")


def test_grids_when_row_is_the_baseline_then_it_says_so(comparison):
    assert texts(grids(comparison.blocks[0])[0])[0][0] == ("Exp.1 Conformer-8L (baseline)",)


def test_grids_when_one_seed_then_name_has_an_asterisk_and_difference_its_seed(comparison):
    row = texts(grids(comparison.blocks[0])[0])[1]
    assert row[0] == ("Exp.3 Conformer-5L + PSS *",)
    assert row[3][-1] == "on seed 0"
    assert any(line.startswith("Asterisk") for line in legend(comparison))


def test_grids_when_reasons_repeat_then_they_share_a_footnote():
    cost = {"why": {"rtf": "no clock", "macs": "no clock"}}
    grid = grids(compare([make_record((WER,), cost=cost)]).blocks[0])[1]
    assert grid.notes == ("no clock",)
    assert sum(cell.notes == (1,) for cell in grid.rows[0]) == 2


def test_grids_when_a_row_has_notes_then_its_name_refers_to_them():
    runs = [make_record((WER,), identity={"ended": ended}) for ended in ("1", "2")]
    grid = grids(compare(runs).blocks[0])[0]
    assert grid.rows[0][0].notes == (1,)
    assert "earlier run(s)" in grid.notes[0]


def test_grids_when_values_are_reported_then_a_column_and_the_legend_say_so():
    printed = Result(
        kind="reported",
        identity={"experiment": "P", "row": "Exp.1 Conformer-8L", "table": "Table 1"},
        metrics=(Measure("wer", "ctc", 7.8, why="as printed"), Measure("rtf", "", 0.5, unit="")),
    )
    comparison = compare([make_record((WER,))], reported=[printed])
    scores, costs = grids(comparison.blocks[0])
    assert [cell.lines for cell in scores.rows[0] if cell.kind == "reported"] == [("7.80",)]
    assert [cell.lines for cell in costs.rows[0] if cell.kind == "reported"] == [("0.5",)]
    assert "as printed" in scores.notes
    assert any(line.startswith("Reported columns") for line in legend(comparison))


def test_block_lines_when_block_stands_apart_then_say_what_differs(comparison):
    block = replace(comparison.blocks[0], separate_because="the task differs", notes=("a note",))
    assert block_lines(block) == [
        "Not comparable with the rows before: the task differs.",
        "a note",
    ]
