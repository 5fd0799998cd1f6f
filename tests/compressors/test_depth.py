"""Depth reduction: bit-equal to a shallow forward, and errors instead of silence."""

from __future__ import annotations

import pytest
import torch

from speechlite.compressors.config import DepthConfig
from speechlite.compressors.depth import Depth
from speechlite.core.errors import ConfigError, PlanError
from speechlite.core.model import Edit, ModelSpec, SpeechModel
from speechlite.engine.build import build_model
from speechlite.engine.checkpoint import load_model, named_tensors, save_model
from speechlite.plugins.discovery import discover
from speechlite.plugins.registry import Registry

ENCODER = {"name": "conformer", "dim": 8, "layers": 4, "heads": 2, "feedforward": 8}


@pytest.fixture(scope="module")
def registry():
    return Registry(discover())


def _model(registry, *, encoder=None, **options) -> SpeechModel:
    torch.manual_seed(0)
    spec = ModelSpec({"name": "fbank", "num_mels": 6}, {**(encoder or ENCODER), **options})
    return build_model(spec, registry).eval()


def _waves():
    generator = torch.Generator().manual_seed(0)
    return 0.1 * torch.randn(2, 4000, generator=generator), torch.tensor([4000, 2500])


def _shallow(model, layers):
    depth = Depth(DepthConfig(layers=layers))
    return depth.restructure(model, depth.plan(model))


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_depth_when_carried_out_then_outputs_are_bit_equal_to_a_shallow_forward(
    registry, shared, layers
):
    model = _model(registry, share_parameters=shared)
    expected = model(*_waves(), num_layers=layers).layers
    ours = _shallow(model, layers)(*_waves()).layers
    assert len(ours) == layers + 1
    for ours_BSD, expected_BSD in zip(ours, expected, strict=True):
        assert torch.equal(ours_BSD, expected_BSD)


def test_depth_when_carried_out_then_the_given_model_is_unchanged(registry):
    model = _model(registry)
    before = {name: tensor.clone() for name, tensor in named_tensors(model).items()}
    shallow = _shallow(model, 2)
    with torch.no_grad():
        for parameter in shallow.parameters():
            parameter.zero_()
    assert model.num_layers == 4
    assert all(torch.equal(before[name], tensor) for name, tensor in named_tensors(model).items())


def test_depth_when_layers_are_not_shared_then_parameters_of_dropped_ones_are_gone(registry):
    model = _model(registry)
    sizes = [sum(p.numel() for p in m.parameters()) for m in (model, _shallow(model, 1))]
    layer = sum(p.numel() for p in model.encoder.layers[0].parameters())
    assert sizes[0] - sizes[1] == 3 * layer


def test_depth_when_layers_are_shared_then_they_stay_shared(registry):
    shallow = _shallow(_model(registry, share_parameters=True), 3)
    assert shallow.num_layers == 3
    assert len(set(shallow.encoder.layers)) == 1


def test_depth_when_random_depth_trains_on_then_it_stays_within_what_is_left(registry):
    shallow = _shallow(_model(registry, random_depth=[2, 4]), 3)
    assert {shallow.encoder.draw_depth(seed) for seed in range(60)} == {2, 3}


@pytest.mark.parametrize("shared", [True, False])
def test_checkpoint_when_of_a_shallow_model_then_it_loads_bit_equal(registry, tmp_path, shared):
    model = _model(registry, share_parameters=shared)
    shallow = _shallow(model, 2)
    shallow.edits = (Edit({"name": "depth", "layers": 2}, {"layers": 2}),)
    save_model(shallow, tmp_path / "model")
    loaded = load_model(tmp_path / "model", registry)
    assert (loaded.num_layers, loaded.edits) == (2, shallow.edits)
    expected = model(*_waves(), num_layers=2).layers[-1]
    assert torch.equal(loaded(*_waves()).layers[-1], expected)


def test_checkpoint_when_layers_are_shared_then_they_are_stored_once(registry, tmp_path):
    sizes = []
    for layers in (1, 4):
        model = _model(registry, share_parameters=True, layers=layers)
        save_model(model, tmp_path / str(layers))
        sizes.append((tmp_path / str(layers) / "model.safetensors").stat().st_size)
    assert sizes[0] == sizes[1]
    loaded = load_model(tmp_path / "4", registry)
    assert len(set(loaded.encoder.layers)) == 1
    assert torch.equal(loaded(*_waves()).layers[-1], model(*_waves()).layers[-1])


def test_plan_when_made_then_it_is_plain(registry):
    assert Depth(DepthConfig(layers=2)).plan(_model(registry)) == {"layers": 2}


@pytest.mark.parametrize("layers", [4, 5])
def test_plan_when_it_would_change_nothing_then_it_is_refused(registry, layers):
    message = f"would keep {layers} layers of a model that has 4; choose compressor.layers below 4"
    with pytest.raises(PlanError, match=message):
        Depth(DepthConfig(layers=layers)).plan(_model(registry))


def test_plan_when_the_model_has_no_layers_then_it_is_refused(registry):
    model = _model(registry, encoder={"name": "identity"})
    with pytest.raises(PlanError, match="keep 1 layers of a model that has 0"):
        Depth(DepthConfig(layers=1)).plan(model)


@pytest.mark.parametrize(
    "plan", [{}, {"layers": 0}, {"layers": 4}, {"layers": "2"}, {"layers": 2.0}, {"layers": True}]
)
def test_restructure_when_the_plan_does_not_fit_then_it_is_refused(registry, plan):
    message = r"the plan keeps .* layers of a model that has 4; use the plan with the model"
    with pytest.raises(PlanError, match=message):
        Depth(DepthConfig(layers=2)).restructure(_model(registry), plan)


@pytest.mark.parametrize("layers", [0, -1])
def test_config_when_no_layer_would_stay_then_it_is_refused(layers):
    message = f"layers={layers}, expected at least 1; change compressor.layers"
    with pytest.raises(ConfigError, match=message):
        DepthConfig(layers=layers)


def test_config_when_left_at_its_default_then_it_is_sli_5():
    assert DepthConfig().layers == 5
