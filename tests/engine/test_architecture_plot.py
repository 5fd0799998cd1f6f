"""Figures of what width pruning has left, read back from their SVG."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
import yaml

from speechlite.engine import architecture_plot
from speechlite.engine.architecture_plot import architecture_figures

LEFT = {
    "frontend.layers.0.channels": [3, 8],
    "frontend.layers.1.channels": [8, 8],
    "encoder.layers.0.attention.heads": [2, 4],
    "encoder.layers.1.attention.heads": [0, 4],
    "encoder.layers.0.feedforward.units": [10, 16],
    "encoder.layers.1.feedforward.units": [16, 16],
}


def write_model(root, name, edits, *, seed=1):
    directory = root / f"seed{seed}" / name / "model"
    directory.mkdir(parents=True)
    content = {"spec": {}, "edits": edits}
    (directory / "config.yaml").write_text(yaml.safe_dump(content))
    return directory


def edit(left=LEFT, **plan):
    return {"compressor": {"name": "l0_structured"}, "plan": {"kept": {}, "left": left, **plan}}


@pytest.fixture
def panels(monkeypatch):
    """Note the panels that are drawn: title, and numbers by layer."""
    drawn = []
    original = architecture_plot._draw_panel

    def note(panel, counts, title):
        drawn.append((title, counts))
        original(panel, counts, title)
        heights = sorted(patch.get_height() for patch in panel.patches)
        assert heights == sorted(number for pair in counts.values() for number in pair)

    monkeypatch.setattr(architecture_plot, "_draw_panel", note)
    return drawn


def test_figure_of_a_pruned_model_has_a_panel_for_each_kind_of_units(tmp_path, panels):
    write_model(tmp_path, "small", [edit()])
    ((title, caption, svg),) = architecture_figures([tmp_path])
    assert title == "Architecture of small"
    assert "small, first seed" in caption
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert panels == [
        ("channels", {0: [3, 8], 1: [8, 8]}),
        ("heads", {0: [2, 4], 1: [0, 4]}),
        ("units", {0: [10, 16], 1: [16, 16]}),
    ]


def test_figure_of_a_model_without_pruned_convolutions_has_no_panel_for_them(tmp_path, panels):
    left = {name: count for name, count in LEFT.items() if name.startswith("encoder")}
    write_model(tmp_path, "small", [edit(left)])
    assert len(architecture_figures([tmp_path])) == 1
    assert [title for title, _ in panels] == ["heads", "units"]


def test_figure_adds_up_the_blocks_of_a_macaron_layer(tmp_path, panels):
    left = {
        f"encoder.layers.0.{block}.units": count
        for block, count in (("macaron", [3, 8]), ("feedforward", [5, 8]))
    }
    write_model(tmp_path, "small", [edit(left)])
    architecture_figures([tmp_path])
    assert panels == [("units", {0: [8, 16]})]


def test_figure_shows_the_last_of_several_prunings(tmp_path, panels):
    later = {"encoder.layers.0.attention.heads": [1, 2]}
    depth = {"compressor": {"name": "depth"}, "plan": {"layers": 1}}
    write_model(tmp_path, "small", [edit(), edit(later), depth])
    architecture_figures([tmp_path])
    assert panels == [("heads", {0: [1, 2]})]


def test_figures_of_several_seeds_show_the_first(tmp_path, panels):
    for seed, heads in ((2, 3), (1, 2)):
        left = {"encoder.layers.0.attention.heads": [heads, 4]}
        write_model(tmp_path, "small", [edit(left)], seed=seed)
    assert len(architecture_figures([tmp_path])) == 1
    assert panels == [("heads", {0: [2, 4]})]


def test_figures_are_one_for_each_chain(tmp_path):
    for name in ("b", "a"):
        write_model(tmp_path, name, [edit()])
    titles = [title for title, _, _ in architecture_figures([tmp_path])]
    assert titles == ["Architecture of a", "Architecture of b"]


def test_figures_are_the_same_each_time(tmp_path):
    write_model(tmp_path, "small", [edit()])
    assert architecture_figures([tmp_path]) == architecture_figures([tmp_path])


@pytest.mark.parametrize(
    "edits",
    [
        [],
        [{"compressor": {"name": "depth"}, "plan": {"layers": 1}}],
        [edit({})],
        # blocks alone leave nothing to count
        [edit({"encoder.layers.0.attention.spare": [1, 2]})],
    ],
)
def test_models_without_counts_have_no_figure(tmp_path, edits):
    write_model(tmp_path, "small", edits)
    assert architecture_figures([tmp_path]) == []


def test_model_that_is_being_written_has_no_figure(tmp_path):
    write_model(tmp_path, ".small.tmp-1", [edit()])
    assert architecture_figures([tmp_path]) == []
