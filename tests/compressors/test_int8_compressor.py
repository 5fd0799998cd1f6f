"""The compressor of eight-bit linear layers: plans, what it leaves alone, and refusals."""

from __future__ import annotations

import copy

import pytest
import torch
from quantised_models import KINDS, are_equal, leaves_of, model_of, states
from safetensors.torch import load_file
from torch import nn

from speechlite.compressors.config import BinaryConfig, Int8Config
from speechlite.compressors.int8 import Int8
from speechlite.core.errors import ConfigError, PlanError
from speechlite.core.model import Edit
from speechlite.engine.checkpoint import save_model
from speechlite.nn.int8 import Int8Linear
from speechlite.testing.fixtures import waves


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def int8(**options):
    return Int8(Int8Config(**options))


def compressed(model, **options):
    compressor = int8(**options)
    return compressor.restructure(model, compressor.plan(model)).eval()


@pytest.mark.parametrize("kind", KINDS)
def test_plan_when_made_then_it_names_every_linear_layer_once(kind):
    model = model_of(kind)
    linear = [name for name, module in model.named_modules() if type(module) is nn.Linear]
    assert int8().plan(model) == {"leaves": linear}


def test_plan_when_parts_and_keep_are_given_then_they_choose():
    leaves = int8(parts=["encoder"], keep=["attention", r"layers\.0"]).plan(model_of("relu"))
    expected = [
        f"encoder.layers.{n}.feedforward.{p}" for n in (1, 2) for p in ("expand", "contract")
    ]
    assert leaves == {"leaves": expected}


def test_plan_when_a_layer_has_no_weights_then_it_is_left_out():
    model = model_of("transformer")
    forward = model.encoder.layers[0].feedforward
    forward.expand = nn.Linear(16, 1)
    forward.expand.weight = nn.Parameter(torch.zeros(0, 16))
    forward.expand.bias = nn.Parameter(torch.zeros(0))
    forward.contract.weight = nn.Parameter(torch.zeros(16, 0))
    leaves = int8().plan(model)["leaves"]
    assert not [name for name in leaves if name.startswith("encoder.layers.0.feedforward")]
    assert bool(torch.isfinite(states(compressed(model))[-1]).all())


@pytest.mark.parametrize("kind", KINDS)
def test_int8_when_batched_then_each_utterance_is_as_if_alone(kind):
    # in float64, so that no rounding reaches the middle between two codes
    model = compressed(model_of(kind)).double()
    waves_BT = torch.randn(2, 4000, dtype=torch.float64)
    waves_BT[1, 3000:] = 0
    with torch.no_grad():
        batched = model(waves_BT, torch.tensor([4000, 3000]))
        alone = model(waves_BT[1:, :3000], torch.tensor([3000]))
    length = int(alone.lengths[0])
    for state_BSD, alone_1SD in zip(batched.layers, alone.layers, strict=True):
        torch.testing.assert_close(state_BSD[1, :length], alone_1SD[0], rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_int8_when_run_then_it_is_near_the_model(kind):
    model = model_of(kind)
    ours, expected = states(compressed(model))[-1], states(model)[-1]
    assert (ours - expected).abs().mean() < 0.05 * expected.abs().mean()


def test_int8_when_layers_are_shared_then_they_stay_shared():
    smaller = compressed(model_of("shared"))
    assert len(set(smaller.encoder.layers)) == 1
    assert all(
        name.startswith(("frontend", "encoder.layers.0")) for name in leaves_of(smaller, Int8Linear)
    )


def test_int8_when_copied_and_loaded_in_inference_mode_then_it_computes_what_was_loaded():
    smaller, model = compressed(model_of("conformer")), model_of("conformer")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.1)
    other = compressed(model)
    assert not are_equal(smaller, other)
    with torch.inference_mode():
        copied = copy.deepcopy(smaller)
        assert are_equal(copied, smaller)
        for model in (copied, smaller):
            model.load_state_dict(other.state_dict())
            assert are_equal(model, other)


def test_int8_when_frozen_and_copied_then_the_copy_is_frozen():
    smaller = compressed(model_of("transformer")).requires_grad_(False)
    assert not any(p.requires_grad for p in copy.deepcopy(smaller).parameters())


def test_int8_when_gradients_are_asked_for_then_biases_and_norms_get_them():
    smaller = compressed(model_of("conformer"))
    states(smaller)
    sound = waves()
    smaller.train()(sound.values, sound.lengths).layers[-1].square().mean().backward()
    assert all(p.grad is not None for n, p in smaller.named_parameters() if "position" not in n)


def test_checkpoint_when_of_eight_bits_then_a_weight_takes_a_byte(tmp_path):
    model = model_of("transformer")
    plan = int8().plan(model)
    smaller = int8().restructure(model, plan)
    smaller.edits = (Edit({"name": "int8"}, plan),)
    save_model(smaller, tmp_path / "model")
    tensors = load_file(tmp_path / "model" / "model.safetensors")
    name = "encoder.layers.0.feedforward.expand"
    sizes = {key: t.numel() * t.element_size() for key, t in tensors.items() if name in key}
    assert sizes == {f"{name}.weight": 16 * 24, f"{name}.scale": 4 * 24, f"{name}.bias": 4 * 24}


def test_plan_when_all_layers_were_replaced_then_it_is_refused():
    message = r"no linear layer in \['frontend', 'encoder'\] is left in full precision; change"
    with pytest.raises(PlanError, match=message):
        int8().plan(compressed(model_of("transformer")))


@pytest.mark.parametrize(
    "plan", [{}, {"leaves": []}, {"leaves": "encoder"}, {"leaves": 3}, {"a": 1}]
)
def test_restructure_when_the_plan_names_no_leaves_then_it_is_refused(plan):
    with pytest.raises(PlanError, match="expected the names of leaves; use the plan that"):
        int8().restructure(model_of("transformer"), plan)


@pytest.mark.parametrize(
    ("name", "found"),
    [("encoder.layers.0.attention.core.products", "Products"), ("nothing", "no module")],
)
def test_restructure_when_a_leaf_is_not_linear_then_it_is_refused(name, found):
    with pytest.raises(PlanError, match=f"the plan replaces {name}, which is {found} in this"):
        int8().restructure(model_of("transformer"), {"leaves": [name]})


@pytest.mark.parametrize("config", [BinaryConfig, Int8Config])
def test_config_when_no_part_is_named_then_it_is_refused(config):
    with pytest.raises(ConfigError, match=r"parts=\[\], expected names of modules .* change"):
        config(parts=[])


@pytest.mark.parametrize("config", [BinaryConfig, Int8Config])
def test_config_when_keep_is_no_regular_expression_then_it_is_refused(config):
    with pytest.raises(
        ConfigError, match=r"'\(' is no regular expression .* change compressor.keep"
    ):
        config(keep=["("])
