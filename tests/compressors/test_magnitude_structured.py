"""Structure by magnitude, against norms computed a unit at a time."""

from __future__ import annotations

import json
import math

import pytest
import torch
from prunable_models import KINDS, model_of, num_parameters, states

from speechlite.compressors.config import MagnitudeStructuredConfig
from speechlite.compressors.magnitude_structured import MagnitudeStructured, unit_magnitudes
from speechlite.core.errors import ConfigError, PlanError
from speechlite.engine.operation_counts import count_macs
from speechlite.nn.pruning import indices_of

UNITS = "encoder.layers.1.feedforward.units"


def _chosen(**options):
    return MagnitudeStructured(MagnitudeStructuredConfig(**options))


def _cut(model, **options):
    chosen = _chosen(**options)
    plan = chosen.plan(model)
    return chosen.restructure(model, plan).eval(), plan


def _slow_magnitudes(block, unit):
    values = [
        *block.expand.weight[unit].tolist(),
        block.expand.bias[unit].item(),
        *block.contract.weight[:, unit].tolist(),
    ]
    return math.sqrt(sum(value**2 for value in values) / len(values))


def test_unit_magnitudes_when_units_are_inner_ones_then_they_are_relative_norms():
    model = model_of("base")
    block = model.encoder.layers[1].feedforward
    slow = [_slow_magnitudes(block, unit) for unit in range(40)]
    expected = [value / (sum(slow) / 40) for value in slow]
    found = unit_magnitudes(model, model.prune_groups())[UNITS]
    assert found.tolist() == pytest.approx(expected, rel=1e-5)


def test_unit_magnitudes_when_a_head_is_scaled_then_its_magnitude_grows_as_much():
    model = model_of("wavlm")
    attention = model.encoder.layers[0].attention
    with torch.no_grad():
        for projection in (attention.query, attention.key, attention.value):
            projection.weight.fill_(1.0)
            projection.bias.fill_(1.0)
            projection.weight[8:16] = 3.0
            projection.bias[8:16] = 3.0
        attention.output.weight.fill_(1.0)
        attention.output.weight[:, 8:16] = 3.0
        attention.bias_gate.scale.copy_(torch.tensor([1.0, 3.0, 1.0, 1.0]))
    name = "encoder.layers.0.attention.heads"
    found = unit_magnitudes(model, model.prune_groups())[name]
    assert (found / found[0]).tolist() == pytest.approx([1.0, 3.0, 1.0, 1.0])


def test_unit_magnitudes_when_all_weights_are_zero_then_they_are_zero():
    model = model_of("base")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    found = unit_magnitudes(model, model.prune_groups())
    assert not any(value.any() for value in found.values())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("target", [0.2, 0.5])
def test_plan_when_size_is_parameters_then_the_model_is_as_small_as_asked(kind, target):
    model = model_of(kind, feedforward=200)
    smaller, plan = _cut(model, target=target)
    sparsity = 1 - num_parameters(smaller) / num_parameters(model)
    assert sparsity == pytest.approx(plan["sparsity"], abs=1e-9)
    assert sparsity == pytest.approx(target, abs=0.05)
    assert all(bool(torch.isfinite(state).all()) for state in states(smaller))


def test_plan_when_size_is_macs_then_the_model_is_as_cheap_as_asked():
    model = model_of("base", feedforward=200)
    smaller, plan = _cut(model, target=0.4, target_of="macs", seconds=0.5)
    sparsity = 1 - count_macs(smaller, 0.5) / count_macs(model, 0.5)
    assert sparsity == pytest.approx(plan["sparsity"], abs=1e-9)
    assert sparsity == pytest.approx(0.4, abs=0.02)


def test_plan_when_only_units_may_go_then_the_smallest_of_all_layers_go():
    model = model_of("base")
    _, plan = _cut(model, target=0.1, prune=["units"])
    assert all(".feedforward." in name for name in plan["kept"])
    magnitudes = unit_magnitudes(model, model.prune_groups())
    kept, gone = [], []
    for layer in range(3):
        name = f"encoder.layers.{layer}.feedforward.units"
        stay = set(indices_of(plan["kept"].get(name, "0-39"), 40))
        for unit, value in enumerate(magnitudes[name].tolist()):
            (kept if unit in stay else gone).append(value)
    assert gone
    assert max(gone) <= min(kept)


def test_plan_when_units_are_zero_then_they_go_first_and_states_stay():
    model = model_of("base")
    block = model.encoder.layers[1].feedforward
    with torch.no_grad():
        for unit in (3, 4, 17):
            block.expand.weight[unit] = 0
            block.expand.bias[unit] = 0
            block.contract.weight[:, unit] = 0
    each = 2 * 32 + 1
    target = 3 * each / num_parameters(model)
    smaller, plan = _cut(model, target=target)
    assert plan["kept"] == {UNITS: "0-2,5-16,18-39"}
    for ours_BSD, expected_BSD in zip(states(smaller), states(model), strict=True):
        torch.testing.assert_close(ours_BSD, expected_BSD, rtol=0, atol=1e-5)


def test_plan_when_all_units_of_a_block_go_then_the_block_goes():
    model = model_of("base")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1.0)
    _, plan = _cut(model, target=(40 * 65 + 32) / num_parameters(model), prune=["units"])
    first = "encoder.layers.0.feedforward"
    assert plan["kept"] == {f"{first}.units": "", f"{first}.block": ""}


def test_plan_when_made_twice_then_it_is_the_same():
    plans = [_chosen(target=0.5).plan(model_of("large")) for _ in range(2)]
    assert plans[0] == plans[1] == json.loads(json.dumps(plans[0]))


def test_plan_when_the_target_is_below_half_a_unit_then_it_is_refused():
    with pytest.raises(PlanError, match=r"no unit would be cut; raise compressor\.target"):
        _chosen(target=1e-6).plan(model_of("base"))


def test_plan_when_only_units_may_go_then_no_block_of_heads_does():
    model = model_of("base")
    most = 3 * (40 * 65 + 32) / num_parameters(model)
    _, plan = _cut(model, target=most - 1e-3, prune=["units"])
    assert all(".feedforward." in name for name in plan["kept"])
    assert plan["sparsity"] == pytest.approx(most, abs=2e-3)


def test_plan_when_more_is_asked_for_than_may_go_then_it_is_refused():
    model = model_of("base")
    most = 3 * (40 * 65 + 32) / num_parameters(model)
    message = rf"target=0\.9, but all that may be pruned is {most:.3f} of the model's size; lower"
    with pytest.raises(PlanError, match=message):
        _chosen(target=0.9, prune=["units"]).plan(model)


def test_restructure_when_carried_out_then_the_given_model_is_unchanged():
    model = model_of("base")
    before = states(model)
    _cut(model, target=0.4)
    assert all(torch.equal(*pair) for pair in zip(states(model), before, strict=True))


def test_restructure_when_the_model_is_fresh_then_the_weights_fit():
    model = model_of("wavlm")
    smaller, plan = _cut(model, target=0.5)
    again = _chosen(target=0.5).restructure(model_of("wavlm", seed=1), plan).eval()
    again.load_state_dict(smaller.state_dict(), strict=True)
    assert all(torch.equal(*pair) for pair in zip(states(again), states(smaller), strict=True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": 0.0}, "target=0.0, seconds=10.0: expected a target between 0 and 1"),
        ({"target": 1.0}, "target=1.0, seconds=10.0: expected a target between 0 and 1"),
        ({"seconds": 0.0}, "target=0.75, seconds=0.0: expected a target"),
        ({"target_of": "bytes"}, "target_of='bytes', expected parameters or macs"),
        ({"prune": []}, r"prune=\[\], expected some of convolutions, heads, units"),
        ({"prune": ["blocks"]}, r"prune=\['blocks'\], expected some of convolutions"),
    ],
)
def test_config_when_an_option_is_wrong_then_it_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        MagnitudeStructuredConfig(**options)
