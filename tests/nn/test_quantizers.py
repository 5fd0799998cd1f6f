"""Codes, scales and gradients of few bits, against the formulas of BiT."""

from __future__ import annotations

import math

import pytest
import torch

from speechlite.nn.quantizers import ActivationQuantizer, code_limits, weight_codes


def _quantizer(bits, *, signed, scale=0.5, shift=0.1):
    quantizer = ActivationQuantizer(bits, signed=signed).double()
    with torch.no_grad():
        quantizer.scale.fill_(scale)
        quantizer.shift.fill_(shift)
    return quantizer.eval()


@pytest.mark.parametrize(
    ("bits", "signed", "limits"),
    [(1, True, (-1, 1)), (1, False, (0, 1)), (4, True, (-8, 7)), (8, False, (0, 255))],
)
def test_limits_when_bits_are_given_then_codes_fill_them(bits, signed, limits):
    assert code_limits(bits, signed=signed) == limits
    values = torch.linspace(-500, 500, 20001, dtype=torch.float64)
    codes, _ = _quantizer(bits, signed=signed)(values)
    assert (codes.min().item(), codes.max().item()) == limits


def test_unsigned_bit_when_its_gradients_are_taken_then_they_are_those_of_the_paper():
    """Eqs. 7 and 8 of BiT, piece by piece."""
    scale, shift = 0.8, 0.1
    for value in (-0.3, 0.05, 0.2, 0.45, 0.55, 0.85, 0.95, 2.0):
        quantizer = _quantizer(1, signed=False, scale=scale, shift=shift)
        x = torch.tensor([value], dtype=torch.float64, requires_grad=True)
        codes, step = quantizer(x)
        (codes * step).sum().backward()
        inside = shift <= value < scale + shift
        below = inside and value < scale / 2 + shift
        relative = (value - shift) / scale
        expected = 0.0 if value < shift else 1.0
        if inside:
            expected = -relative if below else 1 - relative
        assert quantizer.scale.grad.item() == pytest.approx(expected)
        assert quantizer.shift.grad.item() == pytest.approx(-1.0 if inside else 0.0)
        assert x.grad.item() == pytest.approx(1.0 if inside else 0.0)


@pytest.mark.parametrize("value", [-2.0, -0.3, 0.05, 0.2, 0.55, 3.0])
def test_sign_when_its_gradients_are_taken_then_values_in_range_pass_and_the_scale_gets_signs(
    value,
):
    quantizer = _quantizer(1, signed=True, scale=0.5, shift=0.1)
    x = torch.tensor([value], dtype=torch.float64, requires_grad=True)
    codes, step = quantizer(x)
    (codes * step).sum().backward()
    assert quantizer.scale.grad.item() == pytest.approx(1.0 if value >= 0.1 else -1.0)
    assert x.grad.item() == pytest.approx(1.0 if abs(value - 0.1) <= 0.5 else 0.0)


@pytest.mark.parametrize(("bits", "signed"), [(2, True), (4, False), (8, True)])
def test_codes_when_of_several_bits_then_they_are_the_rounded_values(bits, signed):
    low, high = code_limits(bits, signed=signed)
    quantizer = _quantizer(bits, signed=signed)
    values = torch.randn(500, dtype=torch.float64) * 3
    values = values if signed else values.relu()
    codes, step = quantizer(values)
    for value, code in zip(values.tolist(), codes.tolist(), strict=True):
        expected = min(max(round((value - 0.1) / 0.5), low), high)
        assert code == (0 if value == 0 and not signed else expected)
    assert step.item() == 0.5


def test_scale_when_many_values_share_it_then_its_gradient_is_slowed_by_their_root():
    quantizer = _quantizer(1, signed=True, shift=0.0)
    codes, step = quantizer(torch.ones(400, dtype=torch.float64))
    (codes * step).sum().backward()
    assert quantizer.scale.grad.item() == pytest.approx(400 / math.sqrt(400))


@pytest.mark.parametrize(("bits", "signed", "factor"), [(1, True, 2), (1, False, 4), (4, True, 2)])
def test_start_when_the_first_batch_is_seen_then_the_scale_follows_its_mean(bits, signed, factor):
    quantizer = ActivationQuantizer(bits, signed=signed).train()
    values = torch.randn(3, 50).abs()
    padded = torch.nn.functional.pad(values, (0, 30))
    quantizer(padded)
    expected = factor * values.mean() / math.sqrt(code_limits(bits, signed=signed)[1])
    torch.testing.assert_close(quantizer.scale.detach(), expected)
    quantizer(10 * values)
    torch.testing.assert_close(quantizer.scale.detach(), expected)


def test_start_when_in_eval_mode_or_all_is_zero_then_it_waits():
    quantizer = ActivationQuantizer(1, signed=True)
    quantizer.eval()(torch.ones(3))
    quantizer.train()(torch.zeros(3))
    assert not quantizer.started
    assert quantizer.scale.item() == 1.0


def test_unsigned_when_the_shift_is_low_then_zeros_are_zeros_all_the_same():
    quantizer = _quantizer(1, signed=False, scale=0.2, shift=-1.0)
    codes, _ = quantizer(torch.tensor([0.0, 1e-30, 0.5], dtype=torch.float64))
    assert codes.tolist() == [0.0, 1.0, 1.0]


def test_weight_when_of_one_bit_then_it_is_the_centred_sign_at_its_mean_magnitude():
    weight = torch.randn(5, 7, 3, dtype=torch.float64, requires_grad=True)
    codes, scale_O = weight_codes(weight, 1)
    for row in range(5):
        flat = weight[row].detach().flatten()
        centred = flat - flat.mean()
        assert scale_O[row].item() == pytest.approx(centred.abs().mean().item())
        assert codes[row].flatten().tolist() == [1.0 if v >= 0 else -1.0 for v in centred]
    factors = torch.randn(5, 7, 3, dtype=torch.float64)
    (codes * scale_O[:, None, None] * factors).sum().backward()
    # straight through the clipped, centred weight
    other = weight.detach().clone().requires_grad_()
    clipped = (other - other.flatten(1).mean(1)[:, None, None]).clamp(-1, 1)
    (clipped * factors).sum().backward()
    torch.testing.assert_close(weight.grad, other.grad)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_weight_when_of_several_bits_then_it_is_near_itself(bits):
    weight = torch.randn(6, 40)
    codes, scale_O = weight_codes(weight, bits)
    assert codes.abs().max() <= 2 ** (bits - 1) - 1
    error = (codes * scale_O[:, None] - weight).abs().amax(1)
    assert (error <= scale_O / 2 + 1e-6).all()


def test_weight_when_a_row_is_constant_then_nothing_is_infinite():
    codes, scale_O = weight_codes(torch.zeros(2, 5), 1)
    assert torch.isfinite(codes * scale_O[:, None]).all()
