"""Eight-bit layers against float products and torch's own rounding."""

from __future__ import annotations

import copy

import pytest
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
    assert error < 0.03


def test_int8_when_computed_otherwise_then_it_is_the_same():
    layer, values = Int8Linear.of(nn.Linear(64, 32)), torch.randn(2, 9, 64)
    with torch.no_grad():
        expected = layer(values)
        with plain_operations():
            plain = layer(values)
    trained = layer(values.requires_grad_())
    torch.testing.assert_close(plain, expected, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(trained.detach(), expected, atol=1e-6, rtol=1e-6)


def test_int8_when_a_row_is_large_or_no_number_then_the_others_stay():
    layer, values = Int8Linear.of(nn.Linear(16, 8)), torch.randn(4, 16)
    with torch.no_grad():
        expected = layer(values)
        for odd in (1e6, torch.nan):
            values[2, 3] = odd
            changed = layer(values)
            assert torch.equal(changed[[0, 1, 3]], expected[[0, 1, 3]])
            assert bool(torch.isnan(changed[2]).all()) == (odd != odd)


def test_int8_when_trained_on_then_inputs_get_the_gradient_of_the_rounded_layer():
    layer, values = Int8Linear.of(nn.Linear(16, 8)), torch.randn(3, 16, requires_grad=True)
    layer(values).sum().backward()
    weight = layer.weight.float() * layer.scale[:, None]
    torch.testing.assert_close(values.grad, weight.sum(0).expand(3, -1), atol=1e-5, rtol=1e-5)


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


@pytest.mark.parametrize("inputs", range(1, 20))
def test_int8_when_few_inputs_are_left_then_the_product_is_that_of_its_codes(inputs):
    layer, values = Int8Linear.of(nn.Linear(inputs, 7)), torch.randn(50, inputs)
    with torch.no_grad():
        with plain_operations():
            expected = layer(values)
        for _ in range(20):
            torch.testing.assert_close(layer(values), expected, atol=1e-6, rtol=1e-6)
