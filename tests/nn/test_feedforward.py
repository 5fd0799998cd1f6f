"""The feed-forward block against matrices and torchaudio's module."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional
from torchaudio.models.conformer import _FeedForwardModule

from speechlite.nn.feedforward import ACTIVATIONS, FeedForward
from speechlite.nn.pruning import cut

SLOW = {
    "relu": lambda x: x.clamp(min=0),
    "gelu": lambda x: x * 0.5 * (1 + torch.erf(x / math.sqrt(2))),
    "swish": lambda x: x / (1 + torch.exp(-x)),
}


def test_activations_when_listed_then_each_has_a_closed_form_here():
    assert set(ACTIVATIONS) == set(SLOW)


@pytest.mark.parametrize("activation", sorted(SLOW))
def test_feedforward_when_written_as_matrices_then_it_is_equal(activation):
    torch.manual_seed(1)
    block = FeedForward(4, 10, activation=activation, dropout=0.5).eval()
    frames_BSD = torch.randn(2, 3, 4)
    inner_BSM = SLOW[activation](frames_BSD @ block.expand.weight.T + block.expand.bias)
    expected_BSD = inner_BSM @ block.contract.weight.T + block.contract.bias
    torch.testing.assert_close(block(frames_BSD), expected_BSD)


def test_feedforward_when_torchaudio_has_the_same_weights_then_it_is_equal():
    block = FeedForward(4, 10, activation="swish", dropout=0.0)
    theirs = _FeedForwardModule(4, 10)
    theirs.sequential[1].load_state_dict(block.expand.state_dict())
    theirs.sequential[4].load_state_dict(block.contract.state_dict())
    frames_BSD = torch.randn(2, 3, 4)
    torch.testing.assert_close(block(functional.layer_norm(frames_BSD, (4,))), theirs(frames_BSD))


def test_feedforward_when_training_then_inner_activations_are_dropped():
    torch.manual_seed(1)
    block = FeedForward(4, 10, activation="relu", dropout=0.5)
    frames_BSD = torch.randn(2, 3, 4)
    assert not torch.equal(block(frames_BSD), block(frames_BSD))


def _block():
    torch.manual_seed(1)
    return FeedForward(4, 10, activation="gelu", dropout=0.0)


def test_gate_when_it_multiplies_units_then_inner_activations_are_scaled():
    block, frames_BSD, gate_M = _block(), torch.randn(2, 3, 4), torch.rand(10)
    inner_BSM = functional.gelu(block.expand(frames_BSD)) * gate_M
    block.unit_gate = gate_M
    torch.testing.assert_close(block(frames_BSD), block.contract(inner_BSM))


def test_gate_when_it_multiplies_the_block_then_the_bias_is_scaled_too():
    block, frames_BSD = _block(), torch.randn(2, 3, 4)
    plain_BSD = block(frames_BSD)
    block.block_gate = torch.tensor([0.3])
    torch.testing.assert_close(block(frames_BSD), 0.3 * plain_BSD)


def test_block_when_all_units_are_cut_then_the_bias_is_left():
    block, frames_BSD = _block(), torch.randn(2, 3, 4)
    cut(block, block.prune_groups(), {"units": []})
    torch.testing.assert_close(block(frames_BSD), block.contract.bias.expand(2, 3, 4))
    assert block.prune_groups() == ()


def test_block_when_it_is_cut_whole_then_nothing_is_left():
    block, frames_BSD = _block(), torch.randn(2, 3, 4)
    cut(block, block.prune_groups(), {"units": [], "block": []})
    assert not block(frames_BSD).any()
    assert sum(parameter.numel() for parameter in block.parameters()) == 0
    assert block.prune_groups() == ()
