"""The compressor of one bit, or of a few: plans, training, stored codes, padding and refusals."""

from __future__ import annotations

import copy
import re

import pytest
import torch
from quantised_models import (
    KINDS,
    are_equal,
    binary,
    far_from_zero,
    leaves_of,
    model_of,
    states,
    train,
    trained,
)
from safetensors.torch import load_file
from torch import nn

from speechlite.compressors.config import BinaryConfig
from speechlite.core.errors import ConfigError, PlanError
from speechlite.core.model import Edit, ModelSpec
from speechlite.engine.build import build_model
from speechlite.engine.checkpoint import load_model, save_model
from speechlite.nn.packed import PackedConv1d, PackedLinear
from speechlite.nn.packed_products import PackedProducts
from speechlite.nn.quantized import QuantizedConv1d, QuantizedLinear, QuantizedProducts
from speechlite.testing.fixtures import installed_registry, waves

TRAINED = (QuantizedLinear, QuantizedConv1d, QuantizedProducts)
PACKED = (PackedLinear, PackedConv1d, PackedProducts)
LAYER = "encoder.layers.0"
ATTENTION = ["query", "key", "value", "output"]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_plan_when_made_of_a_conformer_then_it_names_every_product_of_each_layer():
    expected = {f"{LAYER}.attention.{part}" for part in [*ATTENTION, "position", "core.products"]}
    expected |= {f"{LAYER}.feedforward.{part}" for part in ("expand", "contract")}
    expected |= {f"{LAYER}.convolution.{part}" for part in ("expand", "depthwise", "contract")}
    model = model_of("conformer")
    plan = binary().plan(model)
    own = {name for name in plan["leaves"] if name.startswith(LAYER)}
    assert own == expected
    assert len(plan["leaves"]) == 3 * len(expected)
    assert (plan["weight_bits"], plan["activation_bits"], plan["packed"]) == (1, 1, True)


def test_plan_when_activations_are_relu_then_the_layers_that_read_them_are_unsigned():
    plan = binary().plan(model_of("relu"))
    assert plan["unsigned"] == [f"encoder.layers.{n}.feedforward.contract" for n in range(3)]
    assert binary().plan(model_of("transformer"))["unsigned"] == []


def test_plan_when_parts_and_keep_are_given_then_they_choose():
    model = model_of("squeezeformer")
    plan = binary(parts=["encoder.reduction", "encoder.recovery"]).plan(model)
    names = ["reduction.depthwise", "reduction.pointwise", "recovery"]
    assert sorted(plan["leaves"]) == sorted(f"encoder.{name}" for name in names)
    plan = binary(keep=["products$", r"layers\.[12]\.", "forward"]).plan(model)
    assert all(name.startswith(f"{LAYER}.") for name in plan["leaves"])
    assert not [name for name in plan["leaves"] if "feedforward" in name or "products" in name]


def test_plan_when_a_part_is_no_module_then_it_is_refused():
    message = r"the model has no \['encoder.layer', 'head'\]; change compressor.parts"
    with pytest.raises(PlanError, match=message):
        binary(parts=["encoder.layer", "encoder", "head"]).plan(model_of("transformer"))


def test_plan_when_nothing_can_be_quantised_then_it_is_refused():
    with pytest.raises(
        PlanError, match=r"no convolution in \['encoder.dropout'\] can be quantised"
    ):
        binary(parts=["encoder.dropout"]).plan(model_of("transformer"))


def test_plan_when_attention_is_left_out_then_products_stay():
    model = model_of("transformer")
    prepared = binary(attention=False).prepare(model)
    assert not leaves_of(prepared, QuantizedProducts)
    assert len(leaves_of(prepared, QuantizedLinear)) == 3 * 6


def test_plan_when_a_block_has_no_heads_or_units_then_it_is_left_out():
    model = model_of("transformer")
    attention, forward = model.encoder.layers[0].attention, model.encoder.layers[0].feedforward
    for part, size in ((attention.query, 0), (attention.key, 0), (attention.value, 0)):
        part.weight, part.bias = (nn.Parameter(p[:size].detach()) for p in (part.weight, part.bias))
        part.out_features = size
    forward.expand.weight = nn.Parameter(forward.expand.weight[:0].detach())
    forward.expand.bias = nn.Parameter(forward.expand.bias[:0].detach())
    for part in (attention.output, forward.contract):
        part.weight = nn.Parameter(part.weight[:, :0].detach())
        part.in_features = 0
    compressor = binary()
    prepared = compressor.prepare(model)
    plan = compressor.plan(prepared)
    assert not [name for name in plan["leaves"] if name.startswith(LAYER)]
    assert are_equal(prepared, compressor.restructure(prepared, plan))


def test_prepare_when_done_then_the_given_model_is_unchanged():
    model = model_of("conformer")
    before = states(model)
    prepared = binary().prepare(model)
    train(prepared, model, steps=1)
    assert all(torch.equal(a, b) for a, b in zip(before, states(model), strict=True))
    assert not leaves_of(model, TRAINED)


def test_prepare_when_started_then_latent_weights_are_the_models():
    model = model_of("conformer")
    prepared = binary().prepare(model)
    for name, module in model.named_modules():
        if type(module) in (nn.Linear, nn.Conv1d) and name.startswith("encoder.layers."):
            assert torch.equal(prepared.get_submodule(name).latent, module.weight)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", [(1, 1), (1, 8), (3, 2)])
def test_restructure_when_trained_then_codes_compute_the_same_bit_for_bit(kind, bits):
    prepared, compressor = trained(kind, weight_bits=bits[0], activation_bits=bits[1])
    smaller = compressor.restructure(prepared, compressor.plan(prepared))
    assert not leaves_of(smaller, (QuantizedLinear, QuantizedConv1d))
    assert len(leaves_of(smaller, PACKED)) == len(leaves_of(prepared, TRAINED))
    assert are_equal(prepared, smaller)


def test_restructure_when_not_packed_then_the_layers_that_train_stay():
    prepared, compressor = trained("conformer", pack=False)
    plan = compressor.plan(prepared)
    larger = compressor.restructure(prepared, plan)
    assert not leaves_of(larger, PACKED)
    assert are_equal(prepared, larger)
    assert plan["packed"] is False


def test_binary_when_gone_on_from_more_bits_then_it_starts_from_the_weights_behind_them():
    first, compressor = trained("conformer", weight_bits=1, activation_bits=8, pack=False)
    further = binary().prepare(compressor.restructure(first, compressor.plan(first)))
    for name, module in first.named_modules():
        if isinstance(module, QuantizedLinear):
            ours = further.get_submodule(name)
            assert torch.equal(ours.latent, module.latent)
            assert torch.equal(ours.input.shift, module.input.shift)
            assert (ours.input.bits, bool(ours.input.started)) == (1, False)
            assert bool(module.input.started)


def alone_and_together(encoder, lengths, *, dtype):
    """Return by how much frames of each utterance differ when it is alone."""
    generator = torch.Generator().manual_seed(3)
    frames = torch.randn(len(lengths), max(lengths), 16, generator=generator, dtype=dtype)
    with torch.no_grad():
        together = encoder(frames, torch.tensor(lengths)).layers
        differences = []
        for row, length in enumerate(lengths):
            alone = encoder(frames[row : row + 1, :length], torch.tensor([length])).layers
            differences += [
                (a[0] - b[row, :length]).abs().max().item()
                for a, b in zip(alone, together, strict=True)
            ]
    return max(differences)


@pytest.mark.parametrize("kind", KINDS)
def test_binary_when_padded_then_every_utterance_is_as_alone(kind):
    """In float64: there, no rounding comes near enough to a threshold to turn a bit over."""
    prepared, compressor = trained(kind)
    far_from_zero(prepared)
    smaller = compressor.restructure(prepared, compressor.plan(prepared))
    for model in (prepared, smaller):
        encoder = copy.deepcopy(model.encoder).double().eval()
        assert alone_and_together(encoder, [37, 20, 9], dtype=torch.float64) < 1e-9


@pytest.mark.parametrize("kind", ["window", "strided", "fixed"])
def test_sparse_binary_when_longer_than_the_dense_kernel_takes_then_padding_changes_nothing(kind):
    prepared, compressor = trained(kind, steps=1)
    far_from_zero(prepared)
    packed = compressor.restructure(prepared, compressor.plan(prepared))
    frames, lengths_B = torch.randn(2, 431, 16), torch.tensor([431, 405])
    with torch.no_grad():
        expected = prepared.eval().encoder(frames, lengths_B).layers
        ours = packed.eval().encoder(frames, lengths_B).layers
    assert all(torch.equal(a, b) for a, b in zip(expected, ours, strict=True))
    encoder = copy.deepcopy(packed.encoder).double()
    assert alone_and_together(encoder, [431, 405], dtype=torch.float64) < 1e-9


def test_binary_when_trained_then_the_loss_falls():
    model = model_of("conformer")
    losses = train(binary().prepare(model), model, steps=25)
    assert sum(losses[-5:]) / 5 < 0.8 * losses[0]


@pytest.mark.parametrize("kind", KINDS)
def test_binary_when_trained_then_gradients_reach_weights_scales_and_shifts(kind):
    model = model_of(kind)
    prepared = binary().prepare(model)
    train(prepared, model, steps=1)
    for name, parameter in prepared.named_parameters():
        # a product that reads the same shift everywhere has a gradient that the softmax cancels
        if name.startswith("encoder.layers."):
            assert parameter.grad is not None, name
            assert bool(torch.isfinite(parameter.grad).all()), name
    kinds = ("latent", "input.scale", "input.shift", "query.scale", "weights.scale")
    for kind in kinds:
        found = [p.grad for n, p in prepared.named_parameters() if n.endswith(kind)]
        assert any(bool(gradient.any()) for gradient in found), kind


def test_binary_when_layers_are_shared_then_they_stay_shared(tmp_path):
    prepared, compressor = trained("shared")
    plan = compressor.plan(prepared)
    smaller = compressor.restructure(prepared, plan)
    for model in (prepared, smaller):
        assert len(set(model.encoder.layers)) == 1
    assert all(name.startswith(LAYER) for name in plan["leaves"])
    smaller.edits = (Edit({"name": "binary"}, plan),)
    save_model(smaller, tmp_path / "model")
    loaded = load_model(tmp_path / "model", installed_registry())
    assert len(set(loaded.encoder.layers)) == 1
    assert are_equal(loaded, smaller)


@pytest.mark.parametrize("pack", [True, False])
def test_binary_when_under_autocast_then_it_runs_and_trains(pack):
    prepared, compressor = trained("conformer", pack=pack)
    smaller = compressor.restructure(prepared, compressor.plan(prepared))
    sound = waves()
    with torch.autocast("cpu", torch.bfloat16):
        with torch.no_grad():
            state = smaller.eval()(sound.values, sound.lengths).layers[-1]
        loss = smaller.train()(sound.values, sound.lengths).layers[-1].float().square().mean()
    loss.backward()
    assert bool(torch.isfinite(state).all())
    gradients = [p.grad for p in smaller.parameters() if p.grad is not None]
    assert gradients
    assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients)


@pytest.mark.parametrize("bits", [1, 8])
def test_packed_when_run_in_inference_mode_first_then_it_trains_on(bits):
    prepared, compressor = trained("conformer", activation_bits=bits)
    smaller = compressor.restructure(prepared, compressor.plan(prepared)).eval()
    sound = waves()
    with torch.inference_mode():
        smaller(sound.values, sound.lengths)
    smaller.train()(sound.values, sound.lengths).layers[-1].square().mean().backward()
    assert smaller.encoder.layers[0].feedforward.expand.input.scale.grad is not None


def test_packed_when_copied_and_loaded_in_inference_mode_then_it_computes_what_was_loaded():
    prepared, compressor = trained("conformer")
    smaller = compressor.restructure(prepared, compressor.plan(prepared))
    far_from_zero(prepared)
    train(prepared, model_of("conformer"), steps=2)
    other = compressor.restructure(prepared, compressor.plan(prepared))
    assert not are_equal(smaller, other)
    with torch.inference_mode():
        copied = copy.deepcopy(smaller)
        assert are_equal(copied, smaller)
        for model in (copied, smaller):
            model.load_state_dict(other.state_dict())
            assert are_equal(model, other)


def test_packed_when_copied_then_the_copy_is_its_own():
    prepared, compressor = trained("conformer")
    smaller = compressor.restructure(prepared, compressor.plan(prepared))
    before = states(smaller)
    copied = copy.deepcopy(smaller)
    assert are_equal(copied, smaller)
    copied.encoder.layers[0].feedforward.expand.weight.planes.bitwise_not_()
    assert not torch.equal(states(copied)[-1], before[-1])
    assert torch.equal(states(smaller)[-1], before[-1])


def test_checkpoint_when_of_one_bit_then_a_weight_takes_an_eighth_of_a_byte(tmp_path):
    prepared, compressor = trained("transformer")
    plan = compressor.plan(prepared)
    smaller = compressor.restructure(prepared, plan)
    smaller.edits = (Edit({"name": "binary"}, plan),)
    save_model(smaller, tmp_path / "model")
    name = f"{LAYER}.feedforward.expand"
    tensors = load_file(tmp_path / "model" / "model.safetensors")
    own = {key: value for key, value in tensors.items() if key.startswith(name)}
    sizes = {key[len(name) + 1 :]: t.numel() * t.element_size() for key, t in own.items()}
    # 16 inputs, 24 outputs; the flag of a quantiser that has started is one byte
    assert sizes == {
        "weight.planes": 16 * 24 // 8,
        "weight.scale": 4 * 24,
        "bias": 4 * 24,
        "input.scale": 4,
        "input.shift": 4 * 16,
        "input.started": 1,
    }


def test_binary_when_of_a_waveform_frontend_then_it_runs_as_trained():
    torch.manual_seed(0)
    stack = {"name": "conv_waveform", "channels": [12, 16], "kernels": [10, 3], "strides": [5, 4]}
    model = build_model(ModelSpec(stack, KINDS["transformer"]), installed_registry()).eval()
    compressor = binary(parts=["frontend", "encoder"])
    prepared = compressor.prepare(model)
    train(prepared, model, steps=1)
    smaller = compressor.restructure(prepared, compressor.plan(prepared))
    assert leaves_of(smaller.frontend, PackedConv1d)
    assert are_equal(prepared, smaller)
    with torch.inference_mode():
        sound = waves()
        ours = smaller(sound.values, sound.lengths).layers[-1]
    torch.testing.assert_close(ours, states(smaller)[-1], rtol=0, atol=1e-5)


def test_binary_when_the_model_is_packed_then_it_is_refused():
    prepared, compressor = trained("transformer")
    smaller = compressor.restructure(prepared, compressor.plan(prepared))
    with pytest.raises(PlanError, match=r"can be quantised; .* packed layers stay as they are"):
        binary().prepare(smaller)


@pytest.mark.parametrize(
    "change",
    [
        {"weight_bits": "1"},
        {"weight_bits": 9},
        {"weight_bits": True},
        {"activation_bits": 0},
        {"activation_bits": None},
        {"packed": "no"},
        {"leaves": []},
        {"leaves": "encoder"},
        {"leaves": None},
        {"unsigned": ["nothing"]},
        {"unsigned": 3},
    ],
)
def test_restructure_when_values_of_the_plan_are_wrong_then_it_is_refused(change):
    model = model_of("transformer")
    plan = {**binary().plan(model), **change}
    message = "expected 1 to 8 bits, true or false, names of leaves, and some of them; use the plan"
    with pytest.raises(PlanError, match=message):
        binary().restructure(model, plan)


@pytest.mark.parametrize("plan", [{}, {"leaves": ["a"]}])
def test_restructure_when_the_plan_lacks_keys_then_it_is_refused(plan):
    message = re.escape(f"the plan has {sorted(plan)}, expected ['activation_bits', 'leaves'")
    with pytest.raises(PlanError, match=message):
        binary().restructure(model_of("transformer"), plan)


@pytest.mark.parametrize(
    ("name", "found"),
    [("encoder.layers.9.feedforward.expand", "no module"), ("encoder", "TransformerEncoder")],
)
def test_restructure_when_a_leaf_is_not_there_then_it_is_refused(name, found):
    model = model_of("transformer")
    plan = {**binary().plan(model), "leaves": [name]}
    with pytest.raises(PlanError, match=f"the plan replaces {name}, which is {found} in this"):
        binary().restructure(model, plan)


@pytest.mark.parametrize(
    "bits", [{"weight_bits": 0}, {"weight_bits": 9}, {"activation_bits": 0}, {"activation_bits": 9}]
)
def test_config_when_bits_are_out_of_range_then_it_is_refused(bits):
    with pytest.raises(ConfigError, match="expected 1 to 8; change compressor.weight_bits or"):
        BinaryConfig(**bits)
