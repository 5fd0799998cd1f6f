"""Eight-bit layers against float products and torch's own rounding."""

from __future__ import annotations

import copy

import torch
from torch import nn

from speechlite.core.operations import plain_operations
from speechlite.nn.int8 import Int8Linear


def test_int8_when_weights_are_rounded_then_they_are_torchs_own():
    linear = nn.Linear(30, 12)
    layer = Int8Linear.of(linear)
    scale_O = linear.weight.detach().abs().amax(1) / 127
    theirs = torch.quantize_per_channel(
        linear.weight.detach(), scale_O.double(), torch.zeros(12), 0, torch.qint8
    )
    assert torch.equal(layer.weight, theirs.int_repr())


def test_int8_when_run_then_it_is_near_the_layer_of_full_precision():
    linear, values = nn.Linear(64, 32), torch.randn(2, 9, 64)
    layer = Int8Linear.of(linear)
    with torch.no_grad():
        expected = linear(values)
        error = (layer(values) - expected).abs().max() / expected.abs().max()
        with plain_operations():
            plain = (layer(values) - expected).abs().max() / expected.abs().max()
    assert plain < 0.01
    assert error < 0.04


def test_int8_when_copied_or_loaded_then_outputs_are_bit_equal():
    layer, values = Int8Linear.of(nn.Linear(16, 8)), torch.randn(3, 16)
    other = Int8Linear(16, 8, bias=True)
    with torch.no_grad():
        expected = layer(values)
        other(values)
        other.load_state_dict(layer.state_dict())
        assert torch.equal(other(values), expected)
        assert torch.equal(copy.deepcopy(layer)(values), expected)


def test_int8_when_there_is_no_bias_or_no_row_then_it_runs():
    layer = Int8Linear.of(nn.Linear(16, 8, bias=False))
    with torch.no_grad():
        assert layer(torch.randn(0, 16)).shape == (0, 8)
        assert layer(torch.randn(2, 3, 16)).shape == (2, 3, 8)
