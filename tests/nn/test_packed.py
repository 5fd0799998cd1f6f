"""Packed layers against the layers that were trained, and those against float products."""

from __future__ import annotations

import random

import pytest
import torch
from torch.nn import functional

from speechlite.core.operations import plain_operations
from speechlite.nn import packed as packed_module
from speechlite.nn.packed import PackedLinear, packed
from speechlite.nn.quantized import QuantizedConv1d, QuantizedLinear, QuantizedProducts
from speechlite.nn.quantizers import weight_codes

BITS = [(1, 1), (1, 1), (1, 4), (2, 8), (8, 8), (4, 1), (1, 8)]


def _trained(layer, *inputs):
    """Start the scales, and take shifts away from zero."""
    for name, parameter in layer.named_parameters():
        if name in ("latent", "bias"):
            torch.nn.init.normal_(parameter)
        elif name.endswith("shift") and parameter.numel() > 1:
            torch.nn.init.normal_(parameter, std=0.1)
    layer.train()(*inputs)
    return layer.eval()


def _linear(seed):
    draw = random.Random(seed)
    width, outputs, rows = draw.randint(1, 200), draw.randint(1, 40), draw.randint(1, 9)
    weight_bits, activation_bits = draw.choice(BITS)
    signed = draw.random() < 0.6
    layer = QuantizedLinear(
        width,
        outputs,
        weight_bits=weight_bits,
        activation_bits=activation_bits,
        signed=signed,
        bias=draw.random() < 0.5,
    )
    values = torch.randn(2, rows, width)
    values = values if signed else values.relu()
    return _trained(layer, values), values


def _conv(seed):
    draw = random.Random(seed)
    groups = draw.choice([1, 1, 2, 4])
    inputs, outputs = groups * draw.randint(1, 20), groups * draw.randint(1, 10)
    if draw.random() < 0.4:
        groups = outputs = inputs
    kernel = draw.choice([1, 3, 5, 31, 67])
    weight_bits, activation_bits = draw.choice(BITS)
    signed = draw.random() < 0.6
    layer = QuantizedConv1d(
        inputs,
        outputs,
        kernel,
        stride=draw.choice([1, 2]),
        padding=kernel // 2,
        groups=groups,
        weight_bits=weight_bits,
        activation_bits=activation_bits,
        signed=signed,
        bias=draw.random() < 0.5,
    )
    values = torch.randn(2, inputs, draw.randint(1, 50))
    values = values if signed else values.relu()
    return _trained(layer, values), values


@pytest.mark.parametrize("make", [_linear, _conv])
def test_packed_when_a_thousand_shapes_are_drawn_then_results_are_bit_equal(make):
    torch.manual_seed(0)
    for seed in range(1000):
        layer, values = make(seed)
        stored = packed(layer).eval()
        with torch.no_grad():
            expected, counted = layer(values), stored(values)
            with plain_operations():
                plain = stored(values)
        assert torch.equal(counted, expected), seed
        assert torch.equal(plain, expected), seed


def test_products_when_packed_then_results_are_bit_equal():
    torch.manual_seed(0)
    draw = random.Random(1)
    for _ in range(150):
        heads, width, rows, columns = (draw.randint(1, size) for size in (4, 70, 70, 70))
        products = QuantizedProducts(heads, width, bits=draw.choice([1, 1, 4]))
        query, key, value = (
            torch.randn(2, heads, 3, frames, width) for frames in (rows, columns, columns)
        )
        products.train()
        products.mix(products.scores(query, key).softmax(-1), value)
        products.eval()
        for quantizer in (products.query, products.key, products.value):
            torch.nn.init.normal_(quantizer.shift, std=0.1)
        stored = packed(products).eval()
        with torch.no_grad():
            scores = products.scores(query, key)
            weights = scores.masked_fill(torch.rand(columns) < 0.3, -torch.inf).softmax(-1)
            weights = weights.nan_to_num()
            assert torch.equal(stored.scores(query, key), scores)
            assert torch.equal(stored.mix(weights, value), products.mix(weights, value))


def test_linear_when_written_with_values_of_codes_then_it_is_their_product():
    layer, values = _linear(3)
    codes, step = layer.input(values)
    weight, scale_O = weight_codes(layer.latent, layer.weight_bits)
    expected = functional.linear((codes * step).double(), (weight * scale_O[:, None]).double())
    if layer.bias is not None:
        expected = expected + layer.bias
    torch.testing.assert_close(layer(values).double(), expected, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("bits", [1, 2, 8])
def test_packed_when_its_bytes_are_counted_then_a_weight_takes_its_bits(bits):
    layer = QuantizedLinear(64, 24, weight_bits=bits, activation_bits=8)
    planes = packed(_trained(layer, torch.randn(3, 64))).weight.planes
    assert planes.dtype == torch.uint8
    assert planes.numel() * 8 == bits * 64 * 24


def test_packed_when_weights_are_loaded_then_what_was_prepared_is_made_again():
    layers = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        layers.append(
            packed(
                _trained(
                    QuantizedLinear(70, 5, weight_bits=1, activation_bits=1), torch.randn(4, 70)
                )
            ).eval()
        )
    values = torch.randn(4, 70)
    with torch.no_grad():
        expected = layers[1](values)
        assert not torch.equal(layers[0](values), expected)
        layers[0].load_state_dict(layers[1].state_dict())
        assert torch.equal(layers[0](values), expected)


def test_packed_when_gradients_are_asked_for_then_inputs_get_them():
    layer, values = _linear(0)
    values.requires_grad_()
    packed(layer).eval()(values).sum().backward()
    assert values.grad is not None


def test_linear_layer_counts_bits_only_where_that_is_faster(monkeypatch):
    layer = PackedLinear(64, 8, weight_bits=1, activation_bits=1).eval()
    values_NK = torch.randn(5, 64)
    with torch.no_grad():
        counted = layer(values_NK)
        monkeypatch.setattr(packed_module, "_counting_wins", lambda *facts: False)
        layer.choose_kernel(5)
        assert layer.kernel == "codes as float32"
        torch.testing.assert_close(layer(values_NK), counted)
    monkeypatch.undo()
    assert packed_module._counting_wins(64, 8, 5, 1) in (True, False)
