"""The Conformer layer against a transcription of its equations, and its published sizes."""

from __future__ import annotations

import pytest
import torch
from small_encoders import build, frames
from torch import nn
from torchaudio.models.conformer import _FeedForwardModule

from speechlite.core.model import ModelSpec, SpeechModel
from speechlite.encoders.config import ConformerConfig
from speechlite.encoders.conformer import ConformerEncoder, ConformerLayer
from speechlite.frontends.config import FbankPitchConfig
from speechlite.frontends.fbank_pitch import FbankPitch
from speechlite.nn.positional import relative_positions
from speechlite.objectives.config import ReconstructionConfig
from speechlite.objectives.reconstruction import Reconstruction

LAYER = 4_214_784
ENDS = 45_056
PREDICTOR = 42_579


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _model(**options) -> SpeechModel:
    """Build the published model on the meta device: its shapes without its memory."""
    with torch.device("meta"):
        encoder = ConformerEncoder(ConformerConfig(**options))
    frontend = FbankPitch(FbankPitchConfig(), dim=encoder.dim)
    return SpeechModel(frontend, encoder, spec=ModelSpec({}, {}))


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({}, LAYER),
        ({"convolution_bias": False}, 4_212_736),
        # one more norm and one more feed-forward: 6.316 M
        ({"macaron": True}, LAYER + 2 * 512 + 2 * 512 * 2048 + 512 + 2048),
    ],
)
def test_layer_when_of_layer_reductions_size_then_its_count_is_the_papers(options, count):
    assert _count(_model(layers=1, **options).encoder.layers[0]) == count


@pytest.mark.parametrize(
    ("options", "count", "millions"),
    [
        ({}, 8 * LAYER + ENDS, "33.763"),
        ({"convolution_bias": False}, 33_746_944, "33.747"),
        ({"share_parameters": True}, LAYER + ENDS, "4.260"),
        ({"share_parameters": True, "convolution_bias": False}, 4_257_792, "4.258"),
    ],
)
def test_model_when_built_by_default_then_it_has_the_published_size(options, count, millions):
    model = _model(**options)
    assert _count(model) == count
    assert f"{_count(model) / 1e6:.3f}" == millions
    assert (model.num_layers, model.dim) == (8, 512)


def test_layers_when_counted_alone_then_they_have_33_718_k_parameters():
    assert f"{_count(_model().encoder.layers) / 1e6:.3f}" == "33.718"


@pytest.mark.parametrize(("shared", "millions"), [(False, "33.806"), (True, "4.302")])
def test_model_when_the_predictor_is_counted_then_sizes_are_the_papers(shared, millions):
    model = _model(share_parameters=shared)
    predictor = Reconstruction(ReconstructionConfig(), model=model)
    assert _count(predictor) == PREDICTOR
    assert f"{(_count(model) + PREDICTOR) / 1e6:.3f}" == millions


def _norm(x_BSD, norm):
    centred = x_BSD - x_BSD.mean(-1, keepdim=True)
    return (
        centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * norm.weight + norm.bias
    )


def _mapped(x_BSD, feedforward, norm):
    inner = _norm(x_BSD, norm) @ feedforward.expand.weight.T + feedforward.expand.bias
    return inner * inner.sigmoid() @ feedforward.contract.weight.T + feedforward.contract.bias


@pytest.mark.parametrize("kind", ["conformer", "macaron"])
def test_layer_when_written_out_then_it_is_eq_1_of_gulati(kind):
    layer = build(kind).eval().layers[1]
    frames_BSD, _ = frames([6, 6])
    positions_PD = relative_positions(6, 8, like=frames_BSD)
    x_BSD, scale = frames_BSD, 1.0
    if kind == "macaron":
        scale = 0.5
        x_BSD = x_BSD + scale * _mapped(x_BSD, layer.macaron, layer.macaron_norm)
    x_BSD = x_BSD + layer.attention(_norm(x_BSD, layer.attention_norm), positions_PD, None)
    x_BSD = x_BSD + layer.convolution(_norm(x_BSD, layer.convolution_norm), None)
    x_BSD = x_BSD + scale * _mapped(x_BSD, layer.feedforward, layer.feedforward_norm)
    expected_BSD = _norm(x_BSD, layer.final_norm)
    ours_BSD = layer(frames_BSD, positions_PD, None)
    torch.testing.assert_close(ours_BSD, expected_BSD, atol=1e-5, rtol=1e-5)


def test_macaron_when_torchaudio_has_the_same_weights_then_half_steps_are_equal():
    layer = build("macaron").eval().layers[0]
    theirs = _FeedForwardModule(8, 12).eval()
    theirs.sequential[0].load_state_dict(layer.macaron_norm.state_dict())
    theirs.sequential[1].load_state_dict(layer.macaron.expand.state_dict())
    theirs.sequential[4].load_state_dict(layer.macaron.contract.state_dict())
    frames_BSD, _ = frames([4])
    torch.testing.assert_close(layer.macaron(layer.macaron_norm(frames_BSD)), theirs(frames_BSD))


def test_layer_when_without_macaron_then_there_is_one_feedforward_and_four_norms():
    layer = build("conformer").layers[0]
    assert isinstance(layer, ConformerLayer)
    assert (layer.macaron, layer.macaron_norm) == (None, None)
    assert sum(isinstance(module, nn.LayerNorm) for module in layer.modules()) == 4
    assert layer.feedforward_scale == 1.0
