from __future__ import annotations

import xml.etree.ElementTree as ET

import matplotlib
import numpy as np
import pytest
from hostile_text import HOSTILE
from made_records import make_record

from speechlite.core.errors import DataError
from speechlite.core.result import Measure
from speechlite.engine.compare import compare
from speechlite.engine.compare_run import comparison_figures
from speechlite.engine.comparison import Comparison
from speechlite.engine.plots import (
    layer_embedding,
    layer_table,
    layer_transitions,
    training_curves,
)
from speechlite.engine.score_plots import line_points, pareto, score_lines

CURVES = {"A": {"l2": [1.0, 2.0], "cosine": [0.5, 0.6]}}


def wer(value):
    return (Measure("wer", "test_clean", value, scorer="s"),)


def layers(name="M"):
    records = [
        make_record(wer(value), identity={"row": name, "table": "Table 2", "layer": layer})
        for layer, value in (("5", 4.0), ("6", 5.0))
    ]
    return compare(records).blocks[0]


def rows():
    costs = ({"storage": {"bytes_on_disk": size}} for size in (1e6, 2e6, 3e6))
    return compare(
        [
            make_record(wer(value), identity={"row": name}, cost=cost)
            for name, value, cost in zip("ABC", (5.0, 4.0, 6.0), costs, strict=True)
        ]
    )


def draw_all(name):
    comparison = compare([make_record(wer(5.0), identity={"row": name})])
    return [
        pareto(comparison),
        layer_table(layers(name)),
        layer_transitions({name: CURVES["A"]}),
        layer_embedding({name: np.zeros((2, 3, 2))}),
        training_curves({name: ([1, 2], [3.0, 4.0])}, x_label=name, y_label=name),
    ]


def test_plots_when_drawn_then_are_svg_without_script_or_date():
    for text in draw_all("A"):
        root = ET.fromstring(text)
        tags = {element.tag.rpartition("}")[2] for element in root.iter()}
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert not tags & {"script", "foreignObject", "image", "date"}


def test_plots_when_drawn_twice_under_other_settings_then_bytes_are_identical():
    first = draw_all("A")
    with matplotlib.rc_context({"font.size": 20, "svg.hashsalt": "x", "axes.grid": False}):
        assert draw_all("A") == first


def test_plots_when_drawn_then_the_users_settings_stay():
    before = dict(matplotlib.rcParams)
    draw_all("A")
    assert dict(matplotlib.rcParams) == before


@pytest.mark.slow
@pytest.mark.parametrize("text", HOSTILE[::5])
def test_plots_when_names_are_hostile_then_svg_is_well_formed(text):
    for figure in draw_all(text):
        ET.fromstring(figure)


def test_plots_when_a_name_looks_like_mathematics_then_is_drawn_as_text():
    assert ET.fromstring(training_curves({"$\\frac{": ([1], [1.0])})) is not None


def test_pareto_when_a_row_is_dominated_then_it_is_grey():
    grey, blue = "#8c8c8c", "#0072b2"
    text = pareto(rows()).lower()
    only_front = pareto(compare([make_record(wer(5.0))])).lower()
    assert grey in text
    assert blue in text
    assert only_front.count(grey) < text.count(grey)


def test_pareto_when_a_block_has_one_point_then_the_larger_block_is_drawn_alone():
    costs = {"storage": {"bytes_on_disk": 1e6}}
    others = [
        make_record(wer(5.0), identity={"row": row}, cost=costs, fingerprint=mark)
        for row, mark in (("A", "x"), ("B", "x"), ("C", "y"))
    ]
    two = compare(others[:2])
    height = ET.fromstring(pareto(two)).get("height")
    assert ET.fromstring(pareto(compare(others))).get("height") == height


def test_pareto_when_no_row_has_both_then_is_refused():
    with pytest.raises(DataError, match="no row has both 'bytes' and a score"):
        pareto(compare([make_record(wer(5.0), cost={})]))


def sparsities():
    """Return a table of two lines, and a model that both start from."""
    points = [
        ("dense", None, 100, 4.0),
        ("50 % one-shot", "one-shot", 50, 6.0),
        ("90 % one-shot", "one-shot", 10, 9.0),
        ("50 % tuned", "tuned", 50, 4.5),
    ]
    return compare(
        [
            make_record(
                wer(value),
                identity={"row": row, "table": "Figure 1", "recipe": "r", "line": line},
                cost={"params": {"nonzero": nonzero * 1e6, "total": 1e8}},
            )
            for row, line, nonzero, value in points
        ]
    ).blocks[0]


def test_score_lines_when_rows_name_lines_then_points_are_in_the_order_of_cost():
    block = sparsities()
    points = line_points(block, "nonzero")
    assert {name: [x for x, _ in of] for name, of in points.items()} == {
        "one-shot": [10.0, 50.0],
        "tuned": [50.0],
    }
    text = score_lines(block)
    assert ET.fromstring(text) is not None
    assert text == score_lines(block)


def test_score_lines_when_no_row_is_of_a_line_then_is_refused():
    with pytest.raises(DataError, match="no row of a line has both"):
        score_lines(rows().blocks[0])


def test_comparison_when_rows_make_a_line_then_it_is_among_the_figures():
    block = sparsities()
    made = Comparison((block,), ())
    assert block.title in [title for title, _, _ in comparison_figures(made)]
    assert rows().blocks[0].title not in [title for title, _, _ in comparison_figures(rows())]


def test_layer_table_when_block_has_no_layers_then_is_refused():
    with pytest.raises(
        DataError, match="librispeech/layer_reduction, Table 1 has no inference layers"
    ):
        layer_table(rows().blocks[0])


def test_layer_transitions_when_a_curve_is_missing_then_is_refused():
    with pytest.raises(DataError, match=r"A has the curves \['l2'\], expected cosine and l2"):
        layer_transitions({"A": {"l2": [1.0]}})


def test_layer_embedding_when_shape_is_wrong_then_is_refused():
    with pytest.raises(DataError, match=r"A has points of shape \(3, 2\), expected \(L, S, 2\)"):
        layer_embedding({"A": np.zeros((3, 2))})


def test_training_curves_when_lengths_differ_then_is_refused():
    with pytest.raises(DataError, match="A has 2 positions and 1 values"):
        training_curves({"A": ([1, 2], [1.0])})


@pytest.mark.parametrize("draw", [layer_transitions, layer_embedding, training_curves])
def test_plots_when_there_is_no_model_then_are_refused(draw):
    with pytest.raises(DataError, match="there is nothing to draw"):
        draw({})
