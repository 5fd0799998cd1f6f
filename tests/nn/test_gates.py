"""Hard-concrete gates against a scalar implementation of Louizos et al. 2018, Eqs. 10-12."""

from __future__ import annotations

import math

import pytest
import torch

from speechlite.nn.gates import HardConcrete

BETA, GAMMA, ZETA = 2 / 3, -0.1, 1.1
LOG_ALPHAS = [-6.0, -2.0, -0.5, 0.0, 0.3, 1.7, 5.0]


def _sigmoid(value):
    return 1 / (1 + math.exp(-value))


def _sample(uniform, log_alpha):
    concrete = _sigmoid((math.log(uniform) - math.log(1 - uniform) + log_alpha) / BETA)
    return min(1.0, max(0.0, concrete * (ZETA - GAMMA) + GAMMA))


def _probability(log_alpha):
    return _sigmoid(log_alpha - BETA * math.log(-GAMMA / ZETA))


def _gate(log_alphas=LOG_ALPHAS):
    gate = HardConcrete(len(log_alphas), drop_rate=0.5)
    with torch.no_grad():
        gate.log_alpha.copy_(torch.tensor(log_alphas))
    return gate


def test_forward_when_training_then_it_is_equation_11_of_the_same_uniform():
    gate = _gate().train()
    torch.manual_seed(3)
    uniforms = torch.rand(len(LOG_ALPHAS)).tolist()
    expected = [_sample(*pair) for pair in zip(uniforms, LOG_ALPHAS, strict=True)]
    torch.manual_seed(3)
    assert gate().tolist() == pytest.approx(expected, abs=1e-5)


def test_probability_when_asked_for_then_it_is_equation_12():
    expected = [_probability(log_alpha) for log_alpha in LOG_ALPHAS]
    assert _gate().probability().tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("log_alpha", [-2.0, 0.0, 1.5])
def test_probability_when_many_are_drawn_then_that_part_is_on(log_alpha):
    torch.manual_seed(0)
    count = 40_000
    drawn_U = _gate([log_alpha] * count).train()()
    expected = _probability(log_alpha)
    sigma = math.sqrt(expected * (1 - expected) / count)
    assert float((drawn_U > 0).double().mean()) == pytest.approx(expected, abs=4 * sigma)


@pytest.mark.parametrize("log_alpha", [-1.0, 0.0, 2.0])
def test_forward_when_many_are_drawn_then_their_mean_is_the_integral(log_alpha):
    torch.manual_seed(1)
    count, steps = 40_000, 20_000
    drawn_U = _gate([log_alpha] * count).train()().detach().double()
    integral = sum(_sample((step + 0.5) / steps, log_alpha) for step in range(steps)) / steps
    sigma = float(drawn_U.std()) / math.sqrt(count)
    assert float(drawn_U.mean()) == pytest.approx(integral, abs=4 * sigma)


def test_forward_when_training_then_exact_zeros_and_ones_occur():
    torch.manual_seed(0)
    drawn_U = _gate([0.0] * 2000).train()().detach()
    assert {0.0, 1.0} < set(drawn_U.tolist())
    assert float(drawn_U.min()) >= 0
    assert float(drawn_U.max()) <= 1


def test_forward_when_training_then_units_between_the_ends_have_gradients():
    torch.manual_seed(0)
    gate = _gate([0.0] * 200).train()
    drawn_U = gate()
    drawn_U.sum().backward()
    between_U = (drawn_U > 0) & (drawn_U < 1)
    assert torch.equal(gate.log_alpha.grad > 0, between_U)


def test_forward_when_parameters_are_extreme_then_values_and_gradients_are_finite():
    gate = _gate([-80.0, 80.0] * 500).train()
    gate().sum().backward()
    assert bool(torch.isfinite(gate.log_alpha.grad).all())
    assert gate().tolist() == [0.0, 1.0] * 500


def test_forward_when_in_eval_mode_then_as_many_as_expected_are_off_the_weakest_first():
    log_alphas = [1.0, -3.0, 0.5, -1.0, 4.0, -2.5, -0.2]
    num_off = round(sum(1 - _probability(log_alpha) for log_alpha in log_alphas))
    weakest = sorted(range(7), key=log_alphas.__getitem__)[:num_off]
    assert 0 < num_off < 7
    expected = [
        0.0 if unit in weakest else _sigmoid(0.8 * log_alpha / BETA)
        for unit, log_alpha in enumerate(log_alphas)
    ]
    assert _gate(log_alphas).eval()().tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("log_alpha", "num_off"), [(-9.0, 5), (9.0, 0)])
def test_forward_when_all_gates_are_sure_then_all_are_off_or_none(log_alpha, num_off):
    assert int((_gate([log_alpha] * 5).eval()() == 0).sum()) == num_off


def test_forward_when_in_eval_mode_then_it_draws_nothing():
    gate = _gate().eval()
    assert torch.equal(gate(), gate())


def test_opened_when_a_unit_is_off_then_it_says_what_it_would_be():
    gate = _gate().eval()
    typical_U, opened_U = gate(), gate.opened()
    assert bool((opened_U > 0).all())
    assert torch.equal(opened_U[typical_U > 0], typical_U[typical_U > 0])
    assert not opened_U.requires_grad


@pytest.mark.parametrize("drop_rate", [0.01, 0.5, 0.9])
def test_gate_when_fresh_then_the_drop_rate_is_the_part_below_one_half(drop_rate):
    torch.manual_seed(0)
    count = 20_000
    drawn_U = HardConcrete(count, drop_rate=drop_rate).train()()
    sigma = math.sqrt(drop_rate * (1 - drop_rate) / count)
    below = float((drawn_U < 0.5).double().mean())
    assert below == pytest.approx(drop_rate, abs=4 * sigma + 1e-3)
