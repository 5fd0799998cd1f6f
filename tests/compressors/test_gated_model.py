"""Models under gates, against models whose multipliers are installed by hand."""

from __future__ import annotations

import copy

import pytest
import torch
from prunable_models import KINDS, compressor, gated, model_of, states

from speechlite.compressors.gated_model import GatedModel, Gates
from speechlite.core.types import Batch, Padded
from speechlite.testing.fixtures import waves


def _installed(model, multipliers):
    other = copy.deepcopy(model)
    for group in other.prune_groups():
        if group.name in multipliers:
            group.gate(multipliers[group.name])
    return states(other)


def _all_close(ours, expected, tolerance=1e-5):
    for ours_BSD, expected_BSD in zip(ours, expected, strict=True):
        torch.testing.assert_close(ours_BSD, expected_BSD, rtol=0, atol=tolerance)


@pytest.mark.parametrize("kind", KINDS)
def test_forward_when_in_eval_mode_then_typical_multipliers_are_installed(kind):
    model = model_of(kind)
    prepared = gated(model, compressor())
    multipliers = {name: prepared.gates[name].eval()() for name in prepared.gates.names}
    _all_close(states(prepared), _installed(model, multipliers), tolerance=0)


def test_forward_when_training_then_each_batch_has_multipliers_of_its_own():
    prepared = gated("base", compressor()).train()
    for module in (prepared.frontend, prepared.encoder):
        module.eval()
    sound = waves()
    first = prepared(sound.values, sound.lengths).layers[-1]
    second = prepared(sound.values, sound.lengths).layers[-1]
    assert not torch.equal(first, second)


def test_forward_when_training_then_every_gate_and_every_weight_has_gradients():
    prepared = gated("large", compressor(), spread=0.1).train()
    sound = waves()
    sum(layer.square().sum() for layer in prepared(sound.values, sound.lengths).layers).backward()
    for name in prepared.gates.names:
        if prepared.gates[name].log_alpha.numel() > 1:
            assert bool(prepared.gates[name].log_alpha.grad.any()), name
    missing = [name for name, p in prepared.encoder.named_parameters() if p.grad is None]
    assert not missing


def test_encode_when_features_come_from_a_cache_then_encoder_gates_hold():
    prepared = gated("conformer", compressor())
    sound = waves()
    with torch.no_grad():
        features = prepared.extract(Batch(ids=(), waves=sound))
        cached = prepared.encode(prepared.extract(Batch(ids=(), features=features)))
    _all_close(cached.layers, states(prepared), tolerance=0)


def test_project_when_extract_ran_then_the_last_channels_are_gated():
    model = model_of("base")
    prepared = gated(model, compressor())
    features = prepared.extract(Batch(ids=(), waves=waves()))
    dead_F = prepared.gates["frontend.stack.layers.2.channels"]() == 0
    assert 0 < int(dead_F.sum()) < len(dead_F)
    noisy = Padded(features.values + 7.0 * dead_F, features.lengths)
    torch.testing.assert_close(prepared.project(noisy).values, prepared.project(features).values)


def test_run_when_fewer_layers_are_asked_for_then_states_are_the_first_ones():
    prepared = gated("base", compressor())
    sound = waves()
    with torch.no_grad():
        shallow = prepared(sound.values, sound.lengths, num_layers=2).layers
    _all_close(shallow, states(prepared)[:3], tolerance=0)


def test_without_gates_when_the_model_ran_then_it_is_the_plain_model_again():
    model = model_of("wavlm")
    prepared = gated(model, compressor())
    states(prepared)
    plain = prepared.without_gates()
    assert type(plain) is type(model)
    _all_close(states(plain), states(model), tolerance=0)
    assert set(plain.state_dict()) == set(model.state_dict())


def test_without_gates_when_called_in_training_then_the_next_forward_is_gated_again():
    prepared = gated("base", compressor())
    before = states(prepared)
    prepared.without_gates()
    _all_close(states(prepared), before, tolerance=0)


def test_gated_model_when_built_then_the_given_model_is_left_alone():
    model = model_of("base")
    before = states(model)
    prepared = gated(model, compressor())
    states(prepared)
    with torch.no_grad():
        for parameter in prepared.parameters():
            parameter.zero_()
    _all_close(states(model), before, tolerance=0)


def test_gated_model_when_built_then_spec_and_history_are_the_models():
    model = model_of("base")
    prepared = gated(model, compressor())
    assert isinstance(prepared, GatedModel)
    assert (prepared.spec, prepared.edits) == (model.spec, model.edits)


@pytest.mark.parametrize("is_training", [True, False])
def test_multipliers_when_asked_for_then_they_are_typical_and_the_mode_stays(is_training):
    prepared = gated("base", compressor()).train(is_training)
    found = prepared.multipliers()
    assert prepared.gates.training == is_training
    expected = {name: prepared.gates[name].eval()() for name in prepared.gates.names}
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert not any(value.requires_grad for value in found.values())


def test_gates_when_built_then_each_group_has_one_with_its_rate():
    groups = model_of("base").prune_groups()
    torch.manual_seed(0)
    rates = {group.name: 0.5 if "units" in group.name else 0.01 for group in groups}
    gates = Gates(groups, drop_rates=rates, learning_rate=0.02)
    assert gates.names == tuple(group.name for group in groups)
    for group in groups:
        start_U = gates[group.name].log_alpha
        assert len(start_U) == group.size
        expected = 0.0 if "units" in group.name else 4.595
        assert start_U.tolist() == pytest.approx([expected] * group.size, abs=0.06)
    assert gates.learning_rate == 0.02


def test_gates_when_moved_to_a_state_then_they_are_taken_with_it():
    prepared = gated("base", compressor(), seed=1)
    other = gated("base", compressor(), seed=2)
    other.load_state_dict(prepared.state_dict())
    _all_close(states(other), states(prepared), tolerance=0)
