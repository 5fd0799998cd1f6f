"""Learned structure: the size constraint, the target, and gated models against cut ones."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from prunable_models import (
    KINDS,
    REGISTRY,
    compressor,
    gated,
    model_of,
    num_parameters,
    states,
)

from speechlite.compressors.config import (
    DepthConfig,
    L0StructuredConfig,
    MagnitudeStructuredConfig,
    StudentConfig,
)
from speechlite.compressors.depth import Depth
from speechlite.compressors.magnitude_structured import MagnitudeStructured
from speechlite.compressors.sizes import parameters_of
from speechlite.compressors.student import Student
from speechlite.core.errors import ConfigError, PlanError
from speechlite.core.model import Edit, ModelSpec
from speechlite.engine.build import build_model
from speechlite.engine.checkpoint import load_model, save_model
from speechlite.engine.operation_counts import count_macs
from speechlite.nn.pruning import indices_of

EVERYTHING = ["convolutions", "heads", "units", "blocks"]


def _restructured(prepared, chosen):
    plan = chosen.plan(prepared)
    return chosen.restructure(prepared, plan).eval(), plan


def _all_close(ours, expected, tolerance=1e-5):
    for ours_BSD, expected_BSD in zip(ours, expected, strict=True):
        torch.testing.assert_close(ours_BSD, expected_BSD, rtol=0, atol=tolerance)


def _gated_by_plan(model, prepared, plan):
    """Return the model under the plan's gates: what stays has its typical multiplier."""
    other = copy.deepcopy(model)
    for group in other.prune_groups():
        if group.name in prepared.gates.names:
            kept = indices_of(plan["kept"].get(group.name, f"0-{group.size - 1}"), group.size)
            log_alpha_U = prepared.gates[group.name].log_alpha.detach()
            multiplier_U = torch.zeros(group.size)
            multiplier_U[kept] = torch.sigmoid(log_alpha_U * 1.2)[kept]
            group.gate(multiplier_U)
    return states(other)


def _penalty(sparsity, due, linear, quadratic):
    return linear * (sparsity - due) + quadratic * (sparsity - due) ** 2


def _expected_sparsity(prepared):
    """Return the expected part of a base model's parameters that is gone, by hand."""
    probability = {
        name: float(prepared.gates[name].probability().detach().double().mean())
        for name in prepared.gates.names
    }
    channels = [1.0, *(probability[f"frontend.stack.layers.{i}.channels"] for i in range(3))]
    left = 120 * channels[1] + 2 * 12 * channels[1]
    left += 12 * 16 * 3 * channels[1] * channels[2] + 16 * 20 * 3 * channels[2] * channels[3]
    left += 2 * 20 * channels[3] + 20 * 32 * channels[3] + 32
    total = 120 + 24 + 576 + 960 + 40 + 640 + 32
    positions = 32 * 8 * 8 + 8 + 32
    constants = positions + 64 + 3 * 128
    for layer in range(3):
        attention, feedforward = (
            f"encoder.layers.{layer}.{block}" for block in ("attention", "feedforward")
        )
        heads = probability[f"{attention}.heads"]
        units = probability[f"{feedforward}.units"]
        left += probability[f"{attention}.block"] * (heads * 4 * (4 * 32 * 8 + 3 * 8) + 32)
        left += probability[f"{feedforward}.block"] * (units * 40 * 65 + 32)
        total += 4 * (4 * 32 * 8 + 3 * 8) + 32 + 40 * 65 + 32
    return 1 - (left + constants) / (total + constants), total + constants


def test_penalty_when_multipliers_are_set_then_it_is_the_lagrangian_by_hand():
    chosen = compressor(target=0.6, warmup_steps=10)
    prepared = gated("base", chosen)
    sparsity, total = _expected_sparsity(prepared)
    assert total == num_parameters(model_of("base"))
    with torch.no_grad():
        prepared.constraint.linear.fill_(0.7)
        prepared.constraint.quadratic.fill_(3.0)
    for step, due in ((0, 0.06), (4, 0.3), (9, 0.6), (500, 0.6)):
        found = float(chosen.penalty(prepared, step).detach())
        assert found == pytest.approx(_penalty(sparsity, due, 0.7, 3.0), rel=1e-4)


def test_penalty_when_training_begins_then_it_is_zero_and_multipliers_have_gradients():
    chosen = compressor(target=0.5, warmup_steps=1)
    prepared = gated("base", chosen)
    penalty = chosen.penalty(prepared, 0)
    assert float(penalty.detach()) == 0.0
    penalty.backward()
    excess = _expected_sparsity(prepared)[0] - 0.5
    constraint = prepared.constraint
    found = [float(constraint.linear.grad), float(constraint.quadratic.grad)]
    assert found == pytest.approx([excess, excess**2], rel=1e-4)


def test_penalty_when_size_is_macs_then_it_counts_them():
    chosen = compressor(target=0.5, target_of="macs", seconds=0.3, warmup_steps=1)
    prepared = gated("base", chosen)
    with torch.no_grad():
        prepared.constraint.linear.fill_(1.0)
        for gate in prepared.gates.of_groups:
            gate.log_alpha.fill_(100.0)
    assert float(chosen.penalty(prepared, 0).detach()) == pytest.approx(-0.5, abs=1e-6)


def _train(chosen, prepared, *, steps, rate=0.1, loss=None):
    """Descend on the Lagrangian, climb on its multipliers."""
    gates = torch.optim.Adam(prepared.gates.parameters(), lr=rate)
    multipliers = torch.optim.Adam(prepared.constraint.parameters(), lr=rate, maximize=True)
    for step in range(steps):
        total = chosen.penalty(prepared, step)
        if loss is not None:
            total = total + loss(prepared)
        gates.zero_grad()
        multipliers.zero_grad()
        total.backward()
        gates.step()
        multipliers.step()


@pytest.mark.parametrize(("kind", "target"), [("base", 0.3), ("base", 0.7), ("conformer", 0.4)])
def test_lagrangian_when_followed_then_the_expected_sparsity_comes_to_the_target(kind, target):
    chosen = compressor(target=target, warmup_steps=50)
    torch.manual_seed(0)
    prepared = chosen.prepare(model_of(kind))
    _train(chosen, prepared, steps=600)
    sizes = prepared.sizes
    left = {name: prepared.gates[name].probability().detach().sum() for name in sizes.sizes}
    assert 1 - float(sizes(left)) / sizes.total == pytest.approx(target, abs=0.02)


def test_lagrangian_when_a_loss_pulls_gates_open_then_the_target_is_reached_all_the_same():
    chosen = compressor(target=0.5, warmup_steps=50)
    torch.manual_seed(0)
    prepared = chosen.prepare(model_of("base"))

    def loss(model):
        return -0.02 * sum(model.gates[name].probability().sum() for name in model.gates.names)

    _train(chosen, prepared, steps=500, loss=loss)
    assert _expected_sparsity(prepared)[0] == pytest.approx(0.5, abs=0.03)


def test_lagrangian_when_the_target_is_ahead_then_multipliers_climb_to_press_towards_it():
    chosen = compressor(target=0.7, warmup_steps=1)
    torch.manual_seed(0)
    prepared = chosen.prepare(model_of("base"))
    _train(chosen, prepared, steps=5)
    # the excess is negative, so that a rising penalty means a falling linear multiplier
    assert float(prepared.constraint.linear.detach()) < 0
    assert float(prepared.constraint.quadratic.detach()) > 0


def test_prepare_when_done_then_gates_and_multipliers_say_how_they_are_trained():
    prepared = compressor(learning_rate=0.03).prepare(model_of("base"))
    assert (prepared.gates.learning_rate, prepared.constraint.learning_rate) == (0.03, 0.03)
    assert prepared.constraint.maximise
    assert not getattr(prepared.gates, "maximise", False)


def test_prepare_when_done_then_units_and_others_start_at_their_rates():
    prepared = compressor(drop_rate=0.1, unit_drop_rate=0.3).prepare(model_of("base"))
    for name in prepared.gates.names:
        expected = 0.847 if name.endswith(".units") else 2.197
        start_U = prepared.gates[name].log_alpha.tolist()
        assert start_U == pytest.approx([expected] * len(start_U), abs=0.06)


@pytest.mark.parametrize(
    ("prune", "count"), [(["heads"], 3), (["convolutions"], 3), (["units", "blocks"], 9)]
)
def test_prepare_when_some_parts_may_be_pruned_then_only_they_have_gates(prune, count):
    prepared = compressor(target=0.05, prune=prune).prepare(model_of("base"))
    assert len(prepared.gates.names) == count


def test_compressor_when_it_prepares_a_second_model_then_sizes_are_of_that_one():
    chosen = compressor(target=0.5)
    small = gated(model_of("base"), chosen)
    chosen.penalty(small, 0)
    thin = gated(model_of("base", dim=16), chosen)
    smaller, plan = _restructured(thin, chosen)
    total = num_parameters(model_of("base", dim=16))
    assert 1 - num_parameters(smaller) / total == pytest.approx(plan["sparsity"], abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("target", [0.25, 0.6])
def test_restructure_when_a_plan_is_carried_out_then_it_computes_as_the_gates_did(kind, target):
    model = model_of(kind)
    chosen = compressor(target=target)
    prepared = gated(model, chosen, seed=1)
    smaller, plan = _restructured(prepared, chosen)
    _all_close(states(smaller), _gated_by_plan(model, prepared, plan))


@pytest.mark.parametrize("kind", KINDS)
def test_restructure_when_no_unit_was_corrected_then_it_computes_as_the_gated_model(kind):
    model = model_of(kind)
    prepared = gated(model, compressor(target=0.1), seed=3, spread=1.0)
    chosen = compressor(target=_open_sparsity(prepared))
    smaller, plan = _restructured(prepared, chosen)
    assert plan["corrected"] == 0
    _all_close(states(smaller), states(prepared))


def _open_sparsity(prepared):
    """Return the sparsity of what the gates leave, whose blocks and units agree."""
    off = {name: value == 0 for name, value in prepared.multipliers().items()}
    units = {name: ~mask for name, mask in off.items()}
    for name, mask in units.items():
        block = f"{name.rpartition('.')[0]}.block"
        if block in units:
            assert bool(mask.any()), "choose another seed"
            mask &= units[block]
    groups = prepared.prune_groups()
    sizes = parameters_of(prepared.without_gates(), groups)
    left = {name: mask.sum().double() for name, mask in units.items()}
    return 1 - float(sizes(left)) / sizes.total


@pytest.mark.parametrize("kind", ["base", "large", "wavlm", "conformer"])
@pytest.mark.parametrize("target", [0.3, 0.5, 0.75])
def test_plan_when_size_is_parameters_then_the_model_is_as_small_as_asked(kind, target):
    chosen = compressor(target=target)
    for seed in range(2):
        model = model_of(kind, feedforward=1200)
        smaller, plan = _restructured(gated(model, chosen, seed=seed), chosen)
        sparsity = 1 - num_parameters(smaller) / num_parameters(model)
        assert sparsity == pytest.approx(target, abs=0.005)
        assert sparsity == pytest.approx(plan["sparsity"], abs=1e-9)


@pytest.mark.parametrize("kind", ["base", "large", "wavlm", "conformer"])
@pytest.mark.parametrize("target", [0.3, 0.6])
def test_plan_when_size_is_macs_then_the_model_is_as_cheap_as_asked(kind, target):
    chosen = compressor(target=target, target_of="macs", seconds=0.5)
    model = model_of(kind, feedforward=1200)
    smaller, _ = _restructured(gated(model, chosen), chosen)
    sparsity = 1 - count_macs(smaller, 0.5) / count_macs(model, 0.5)
    assert sparsity == pytest.approx(target, abs=0.005)


def test_plan_when_made_then_it_is_plain_and_says_what_is_left():
    chosen = compressor(target=0.5)
    prepared = gated("base", chosen)
    plan = chosen.plan(prepared)
    assert json.loads(json.dumps(plan)) == plan
    assert set(plan) == {"kept", "left", "sparsity", "corrected"}
    assert len(plan["left"]) == 9


def test_plan_when_made_in_training_mode_then_it_is_the_same():
    chosen = compressor(target=0.5)
    prepared = gated("base", chosen)
    assert chosen.plan(prepared.train()) == chosen.plan(prepared.eval())


def test_plan_when_another_process_makes_it_then_it_is_the_same():
    prepared = gated("base", compressor(target=0.5))
    assert compressor(target=0.5).plan(prepared) == compressor(target=0.5).plan(prepared)


def test_plan_when_only_blocks_and_units_may_go_then_heads_go_with_their_block_only():
    chosen = compressor(target=0.4, prune=["units", "blocks"])
    model = model_of("base")
    prepared = gated(model, chosen)
    with torch.no_grad():
        prepared.gates["encoder.layers.1.attention.block"].log_alpha.fill_(-9.0)
    smaller, plan = _restructured(prepared, chosen)
    assert plan["kept"]["encoder.layers.1.attention.block"] == ""
    assert not any(name.endswith((".heads", ".channels")) for name in plan["kept"])
    _all_close(states(smaller), _gated_by_plan(model, prepared, plan))


@pytest.mark.parametrize("kind", KINDS)
def test_restructure_when_the_model_is_fresh_then_the_weights_fit(kind):
    chosen = compressor(target=0.5)
    smaller, plan = _restructured(gated(kind, chosen), chosen)
    fresh = compressor(target=0.5).restructure(model_of(kind, seed=9), json.loads(json.dumps(plan)))
    fresh.load_state_dict(smaller.state_dict(), strict=True)
    _all_close(states(fresh), states(smaller), tolerance=0)


def test_restructure_when_carried_out_then_the_gated_model_is_unchanged():
    chosen = compressor(target=0.5)
    prepared = gated("base", chosen)
    before = states(prepared)
    _restructured(prepared, chosen)
    _all_close(states(prepared), before, tolerance=0)


def test_restructure_when_the_model_is_plain_then_no_multiplier_goes_into_the_weights():
    chosen = compressor(target=0.5)
    _, plan = _restructured(gated("base", chosen), chosen)
    model = model_of("base")
    smaller = chosen.restructure(model, plan)
    name = "encoder.layers.0.feedforward.units"
    kept = indices_of(plan["kept"][name], 40)
    contract_DM = model.encoder.layers[0].feedforward.contract.weight
    ours_DM = smaller.encoder.layers[0].feedforward.contract.weight
    assert torch.equal(ours_DM, contract_DM[:, kept])


def _pruned(model, target, *, seed=0):
    chosen = compressor(target=target)
    smaller, plan = _restructured(gated(model, chosen, seed=seed), chosen)
    smaller.edits = (*model.edits, Edit({"name": "l0_structured", "target": target}, plan))
    return smaller


def _edited(compressor, choice, model):
    prepared = compressor.prepare(model)
    plan = compressor.plan(prepared)
    smaller = compressor.restructure(prepared, plan).eval()
    smaller.edits = (*model.edits, Edit(choice, plan))
    return smaller


def _shallow(model):
    return _edited(Depth(DepthConfig(layers=2)), {"name": "depth", "layers": 2}, model)


def _thin(model):
    options = {"encoder": {"layers": 2, "feedforward": 30}, "frontend": {}}
    return _edited(Student(StudentConfig(**options)), {"name": "student", **options}, model)


def _thin_only(model):
    options = {"encoder": {"feedforward": 30}, "frontend": {}}
    return _edited(Student(StudentConfig(**options)), {"name": "student", **options}, model)


def _by_magnitude(model):
    config = MagnitudeStructuredConfig(target=0.3)
    return _edited(
        MagnitudeStructured(config), {"name": "magnitude_structured", "target": 0.3}, model
    )


CHAINS = {
    "l0-l0": (lambda model: _pruned(model, 0.4), lambda model: _pruned(model, 0.3, seed=1)),
    "depth-l0": (_shallow, lambda model: _pruned(model, 0.4)),
    "l0-depth": (lambda model: _pruned(model, 0.4), _shallow),
    "student-l0": (_thin, lambda model: _pruned(model, 0.4)),
    "l0-student": (lambda model: _pruned(model, 0.4), _thin),
    "depth-student": (_shallow, _thin_only),
    "magnitude-l0": (_by_magnitude, lambda model: _pruned(model, 0.3)),
}


@pytest.mark.parametrize("kind", ["base", "large", "wavlm"])
@pytest.mark.parametrize("chain", CHAINS)
def test_chain_when_saved_then_it_loads_bit_equal(kind, chain, tmp_path):
    model = model_of(kind)
    for step in CHAINS[chain]:
        model = step(model)
    save_model(model, tmp_path / "model")
    loaded = load_model(tmp_path / "model", REGISTRY).eval()
    assert len(loaded.edits) == 2
    assert num_parameters(loaded) == num_parameters(model)
    _all_close(states(loaded), states(model), tolerance=0)


def test_chain_when_a_pruned_model_is_pruned_again_then_the_target_counts_from_there():
    first = _pruned(model_of("base", feedforward=600), 0.4)
    second = _pruned(first, 0.3, seed=1)
    left = num_parameters(second) / num_parameters(first)
    assert left == pytest.approx(0.7, abs=0.01)


def test_prepare_when_the_model_declares_no_units_then_it_is_refused():
    model = build_model(ModelSpec({"name": "fbank"}, {"name": "identity"}), REGISTRY)
    with pytest.raises(
        PlanError, match="the model declares no units to prune of .*; choose an enc"
    ):
        compressor().prepare(model)


def test_prepare_when_the_target_is_more_than_may_go_then_it_is_refused():
    with pytest.raises(PlanError, match=r"target=0.9, but all that may be pruned is 0\.\d+ of the"):
        compressor(target=0.9, prune=["heads"]).prepare(model_of("base"))


@pytest.mark.parametrize("method", ["plan", "penalty"])
def test_compressor_when_the_model_has_no_gates_then_it_is_refused(method):
    arguments = (0,) if method == "penalty" else ()
    message = "l0_structured was given a model without gates; give penalty and plan the model that"
    with pytest.raises(PlanError, match=message):
        getattr(compressor(), method)(model_of("base"), *arguments)


def test_plan_when_nothing_would_be_cut_then_it_is_refused():
    chosen = compressor(target=1e-6)
    prepared = gated("base", chosen)
    with torch.no_grad():
        for gate in prepared.gates.of_groups:
            gate.log_alpha.fill_(9.0)
    with pytest.raises(PlanError, match=r"no unit would be cut; raise compressor\.target"):
        chosen.plan(prepared)


@pytest.mark.parametrize("plan", [{}, {"kept": {}}, {"kept": {"encoder.layers.7.x": "0"}}])
def test_restructure_when_the_plan_does_not_fit_then_it_is_refused(plan):
    with pytest.raises(PlanError, match="the plan"):
        compressor().restructure(model_of("base"), plan)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": 0.0}, "target=0.0, drop_rate=0.01, unit_drop_rate=0.5: expected numbers betw"),
        ({"target": 1.0}, "target=1.0, drop_rate=0.01"),
        ({"drop_rate": 0.0}, "drop_rate=0.0, unit_drop_rate=0.5: expected numbers between 0 and 1"),
        ({"unit_drop_rate": 1.0}, "unit_drop_rate=1.0: expected numbers between 0 and 1"),
        ({"target_of": "bytes"}, "target_of='bytes', expected parameters or macs; change comp"),
        ({"prune": []}, r"prune=\[\], expected some of \['convolutions', 'heads'"),
        ({"prune": ["layers"]}, r"prune=\['layers'\], expected some of \['convolutions', 'heads'"),
        (
            {"warmup_steps": 0},
            "warmup_steps=0, learning_rate=0.02, seconds=10.0: expected positive",
        ),
        ({"learning_rate": 0.0}, "learning_rate=0.0, seconds=10.0: expected positive numbers"),
        ({"seconds": -1.0}, "seconds=-1.0: expected positive numbers; change compressor.warmup"),
    ],
)
def test_config_when_an_option_is_wrong_then_it_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        L0StructuredConfig(**options)


def test_config_when_left_at_its_defaults_then_it_is_dphuberts():
    config = L0StructuredConfig()
    assert (config.target, config.target_of, config.prune) == (0.75, "parameters", EVERYTHING)
    assert (config.warmup_steps, config.learning_rate) == (5000, 2e-2)
    assert (config.drop_rate, config.unit_drop_rate) == (0.01, 0.5)
