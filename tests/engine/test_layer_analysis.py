from __future__ import annotations

import json
from html.parser import HTMLParser

import pytest
import torch

from speechlite.data.reader import UtteranceReader
from speechlite.engine.checkpoint import load_model, save_model
from speechlite.engine.layer_analysis import analyse_layers, layer_figures
from speechlite.engine.splits import frame_grid, read_split


@pytest.fixture
def analysed(make_model, registry, speech, tmp_path):
    source = tmp_path / "exp" / "full" / "seed1" / "pretrain" / "model"
    save_model(make_model(), source)
    analyse_layers(load_model(source, registry), source, [str(speech / "dev")])
    return source


def test_analysis_measures_the_distance_of_consecutive_layers(analysed, registry, speech):
    content = json.loads((analysed.parent / "layers.json").read_text())
    model = load_model(analysed, registry)
    split = read_split([str(speech / "dev")], frame_grid(model.frontend))
    reader = UtteranceReader(split.utterances, frame_grid(model.frontend), max_seconds=4.0)
    distances, cosines = [[], []], [[], []]
    for name in sorted(split.utterances):
        with torch.no_grad():
            states = model.encode(model.extract(reader.read([name]))).layers[1:]
        for pair in range(2):
            for a, b in zip(states[pair][0], states[pair + 1][0], strict=True):
                distances[pair].append(float(((a - b) ** 2).sum() ** 0.5))
                cosines[pair].append(float(a @ b / (a.norm() * b.norm())))
    for pair in range(2):
        assert content["l2"][pair] == pytest.approx(
            sum(distances[pair]) / len(distances[pair]), rel=1e-4
        )
        assert content["cosine"][pair] == pytest.approx(
            sum(cosines[pair]) / len(cosines[pair]), rel=1e-4
        )
    assert content["name"] == "full"


def test_analysis_embeds_fifty_frames_of_every_layer(analysed):
    content = json.loads((analysed.parent / "layers.json").read_text())
    assert [len(layer) for layer in content["embedding"]] == [50, 50, 50]


def test_analysis_when_done_already_writes_nothing(analysed, registry, speech):
    path = analysed.parent / "layers.json"
    before = path.stat().st_mtime_ns
    analyse_layers(load_model(analysed, registry), analysed, [str(speech / "dev")])
    assert path.stat().st_mtime_ns == before


@pytest.mark.parametrize("text", ["", "[]", "{}"])
def test_analysis_that_cannot_be_read_is_made_again(analysed, registry, speech, text):
    path = analysed.parent / "layers.json"
    path.write_text(text)
    analyse_layers(load_model(analysed, registry), analysed, [str(speech / "dev")])
    assert json.loads(path.read_text())["name"] == "full"


def test_figures_are_drawn_from_what_was_analysed(analysed, tmp_path):
    figures = layer_figures([tmp_path / "exp"])
    assert [title.split(" (")[0] for title, _, _ in figures] == [
        "Layer embeddings",
        "Layer transitions",
    ]
    for _, _, svg in figures:
        HTMLParser().feed(svg)
        assert svg.rstrip().endswith("</svg>")


def test_figures_without_an_analysis_are_none(tmp_path):
    (tmp_path / "layers.json").write_text("[")
    assert layer_figures([tmp_path]) == []
