"""A hundred random ragged architectures: cut, saved, loaded, and the same to the last bit."""

from __future__ import annotations

import pytest
import torch
from ragged_models import (
    build,
    cut_at_random,
    noise,
    random_kept,
    random_spec,
    registry,
    with_random_weights,
)

from speechlite.engine.build import replay_edits
from speechlite.engine.checkpoint import load_model, named_tensors, save_model
from speechlite.nn.pruning import cut

SEEDS = range(100)


def _states(model, lengths=(900, 700, 333)):
    waves = noise(lengths)
    with torch.no_grad():
        return model(waves.values, waves.lengths).layers


def _ragged(seed):
    return cut_at_random(with_random_weights(build(random_spec(seed)), seed), seed)


@pytest.mark.parametrize("seed", SEEDS)
def test_ragged_model_when_saved_and_loaded_then_it_is_bit_equal(seed, tmp_path):
    model = _ragged(seed)
    save_model(model, tmp_path / "model")
    loaded = load_model(tmp_path / "model", registry())
    tensors, reloaded = named_tensors(model), named_tensors(loaded)
    assert list(tensors) == list(reloaded)
    assert all(torch.equal(tensor, reloaded[name]) for name, tensor in tensors.items())
    assert loaded.edits == model.edits
    for state, expected in zip(_states(loaded), _states(model), strict=True):
        assert torch.equal(state, expected)


@pytest.mark.parametrize("seed", SEEDS)
def test_ragged_model_when_compared_to_its_gated_one_then_they_agree(seed):
    model = with_random_weights(build(random_spec(seed)), seed).double()
    kept = random_kept(model, seed)
    for group in model.prune_groups():
        if group.name in kept:
            gate_U = torch.zeros(group.size, dtype=torch.float64)
            gate_U[kept[group.name]] = 1.0
            group.gate(gate_U)
    waves = noise((900, 700, 333))
    waves = waves.values.double(), waves.lengths
    with torch.no_grad():
        gated = model(*waves).layers
        for group in model.prune_groups():
            group.gate(None)
        cut(model, model.prune_groups(), kept)
        smaller = model(*waves).layers
    for state, expected in zip(smaller, gated, strict=True):
        torch.testing.assert_close(state, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("seed", SEEDS[:20])
def test_ragged_model_when_cut_again_then_both_edits_load(seed, tmp_path):
    model = cut_at_random(_ragged(seed), seed + 1000)
    save_model(model, tmp_path / "model")
    loaded = load_model(tmp_path / "model", registry())
    assert len(loaded.edits) == 2
    for state, expected in zip(_states(loaded), _states(model), strict=True):
        assert torch.equal(state, expected)


def test_random_architectures_when_drawn_then_some_layers_have_no_heads_or_no_units():
    models = [_ragged(seed) for seed in SEEDS]
    layers = [layer for model in models for layer in model.encoder.layers]
    assert sum(layer.attention.query.out_features == 0 for layer in layers) > 20
    assert sum(layer.feedforward.expand.out_features == 0 for layer in layers) > 20


def test_ragged_model_when_its_edits_are_replayed_on_a_fresh_model_then_shapes_agree():
    model = _ragged(0)
    fresh = replay_edits(build(model.spec), model.edits, registry())
    assert {name: value.shape for name, value in named_tensors(fresh).items()} == {
        name: value.shape for name, value in named_tensors(model).items()
    }
