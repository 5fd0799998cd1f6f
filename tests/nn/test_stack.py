"""Depth, sharing and collecting of hidden states in a stack of layers."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from scipy.stats import binomtest, chisquare
from torch import nn

from speechlite.core.errors import ConfigError
from speechlite.nn.feedforward import FeedForward
from speechlite.nn.stack import build_layers, draw_depth, layer_groups, run_layers


def _run(layers, *, num_layers=None, final_norm=None, valid_BS=None, width=3, layer_drop=0.0):
    frames_BSD = torch.arange(2.0 * 4 * width).view(2, 4, width)
    return frames_BSD, run_layers(
        layers,
        lambda layer, x_BSD: layer(x_BSD),
        frames_BSD,
        num_layers=num_layers,
        final_norm=final_norm,
        valid_BS=valid_BS,
        layer_drop=layer_drop,
    )


def _linears(depth):
    torch.manual_seed(1)
    return build_layers(lambda: nn.Linear(3, 3), depth, share_parameters=False)


def test_layers_when_shared_then_one_set_of_parameters_stands_at_every_depth():
    layers = build_layers(lambda: nn.Linear(3, 3), 5, share_parameters=True)
    assert len(layers) == 5
    assert sum(parameter.numel() for parameter in layers.parameters()) == 12


def test_layers_when_not_shared_then_each_has_its_own_parameters():
    assert sum(parameter.numel() for parameter in _linears(5).parameters()) == 5 * 12


def test_run_when_all_layers_execute_then_states_are_the_layers_applied_in_turn():
    layers = _linears(3)
    frames_BSD, hidden = _run(layers)
    expected = [frames_BSD]
    for layer in layers:
        expected.append(expected[-1] @ layer.weight.T + layer.bias)
    assert len(hidden) == 4
    for ours_BSD, expected_BSD in zip(hidden, expected, strict=True):
        torch.testing.assert_close(ours_BSD, expected_BSD)


@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_run_when_shallow_then_deeper_layers_are_never_called(depth):
    layers = _linears(3)
    calls = []
    for index, layer in enumerate(layers):
        layer.register_forward_hook(lambda *_, index=index: calls.append(index))
    _, hidden = _run(layers, num_layers=depth)
    assert calls == list(range(depth))
    assert len(hidden) == depth + 1


def test_run_when_shared_then_the_one_layer_is_called_once_for_each_depth():
    layers = build_layers(lambda: nn.Linear(3, 3), 6, share_parameters=True)
    calls = []
    layers[0].register_forward_hook(lambda *_: calls.append(1))
    _run(layers, num_layers=4)
    assert len(calls) == 4


def test_run_when_there_is_a_final_norm_then_only_the_last_state_has_passed_it():
    layers, norm = _linears(3), nn.LayerNorm(3)
    _, plain = _run(layers, num_layers=2)
    _, normed = _run(layers, num_layers=2, final_norm=norm)
    assert torch.equal(normed[1], plain[1])
    assert torch.equal(normed[2], norm(plain[2]))


def test_run_when_no_layer_executes_then_the_input_passes_no_norm():
    frames_BSD, hidden = _run(_linears(2), num_layers=0, final_norm=nn.LayerNorm(3))
    assert len(hidden) == 1
    assert torch.equal(hidden[0], frames_BSD)


def test_run_when_frames_are_padded_then_every_state_is_zero_beyond():
    valid_BS = torch.tensor([[True] * 4, [True, False, False, False]])
    _, hidden = _run(_linears(2), final_norm=nn.LayerNorm(3), valid_BS=valid_BS)
    for state_BSD in hidden[1:]:
        assert (state_BSD[1, 1:] == 0).all()
        assert (state_BSD[0] != 0).any(-1).all()


@pytest.mark.parametrize("depth", [-1, 4])
def test_run_when_the_stack_is_not_that_deep_then_it_says_the_range(depth):
    with pytest.raises(ConfigError, match=rf"num_layers is {depth}, expected 0 to 3; ask for no"):
        _run(_linears(3), num_layers=depth)


def test_gradient_when_parameters_are_shared_then_it_is_the_sum_over_depths():
    """Check Eq. 6 of Layer Reduction against a copy with parameters of its own at each depth."""
    torch.manual_seed(2)
    shared = build_layers(lambda: nn.Linear(3, 3), 4, share_parameters=True)
    copies = build_layers(lambda: nn.Linear(3, 3), 4, share_parameters=False)
    for copied in copies:
        copied.load_state_dict(shared[0].state_dict())
    for layers in (shared, copies):
        _run(layers)[1][-1].square().mean().backward()
    summed = sum(layer.weight.grad for layer in copies)
    torch.testing.assert_close(shared[0].weight.grad, summed)


def test_depth_when_no_range_is_given_then_all_layers_train():
    assert draw_depth(7, None, 8) is None


@pytest.mark.parametrize(("low", "high"), [(2, 8), (4, 8), (1, 1)])
def test_depth_when_drawn_over_many_seeds_then_it_is_uniform(low, high):
    counts = Counter(draw_depth(seed, [low, high], 8) for seed in range(7000))
    assert sorted(counts) == list(range(low, high + 1))
    assert chisquare(list(counts.values())).pvalue > 0.001 or low == high


def test_depth_when_the_seed_is_the_same_then_so_is_the_depth():
    draws = [[draw_depth(seed, [2, 8], 8) for seed in range(20)] for _ in range(2)]
    assert draws[0] == draws[1]


def test_depth_when_the_stack_was_cut_then_it_stays_within_what_is_left():
    assert {draw_depth(seed, [4, 8], 5) for seed in range(200)} == {4, 5}
    assert {draw_depth(seed, [4, 8], 3) for seed in range(20)} == {3}


@pytest.mark.parametrize("layer_drop", [0.2, 0.7])
def test_drop_when_layers_are_skipped_then_the_rate_is_the_asked_one(layer_drop):
    layers, calls = _linears(4), []
    for layer in layers:
        layer.register_forward_hook(lambda *_: calls.append(1))
    torch.manual_seed(4)
    for _ in range(300):
        _run(layers, layer_drop=layer_drop)
    assert binomtest(1200 - len(calls), 1200, layer_drop).pvalue > 0.001


def test_drop_when_a_layer_is_skipped_then_its_state_is_the_one_before():
    layers, calls = _linears(4), []
    for index, layer in enumerate(layers):
        layer.register_forward_hook(lambda *_, index=index: calls.append(index))
    torch.manual_seed(1)
    _, hidden = _run(layers, layer_drop=0.5)
    executed = set(calls)
    assert 0 < len(executed) < 4
    for index, layer in enumerate(layers):
        before_BSD = hidden[index]
        expected_BSD = layer(before_BSD) if index in executed else before_BSD
        assert torch.equal(hidden[index + 1], expected_BSD)


def test_drop_when_the_last_layer_is_skipped_then_the_final_norm_acts_once():
    torch.manual_seed(0)
    norm = nn.LayerNorm(3)
    frames_BSD, hidden = _run(_linears(2), layer_drop=1.0, final_norm=norm)
    assert torch.equal(hidden[1], frames_BSD)
    assert torch.equal(hidden[2], norm(frames_BSD))


def test_drop_when_it_is_off_then_no_random_number_is_drawn():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    layers = nn.ModuleList([nn.Identity()])
    _run(layers)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("shared", [True, False])
def test_groups_when_layers_are_shared_then_each_stands_once(shared):
    layers = build_layers(
        lambda: FeedForward(3, 5, activation="relu", dropout=0.0), 3, share_parameters=shared
    )
    names = [group.name for group in layer_groups(layers)]
    depths = [0] if shared else [0, 1, 2]
    assert names == [f"layers.{depth}.{kind}" for depth in depths for kind in ("units", "block")]


def test_groups_when_a_shared_layer_stands_among_others_then_its_first_depth_names_it():
    first, second = (FeedForward(3, 5, activation="relu", dropout=0.0) for _ in range(2))
    layers = nn.ModuleList([first, second, first])
    assert [group.name for group in layer_groups(layers)][::2] == [
        "layers.0.units",
        "layers.1.units",
    ]
    owned = {name for group in layer_groups(layers) for name, _, _ in group.slices}
    assert owned == {f"layers.{name}" for name, _ in layers.named_parameters()}
