"""Dropout with cheap random bits: its rate, mean, gradient and determinism."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import binomtest

from speechlite.nn.dropout import Dropout, drop


@pytest.mark.parametrize("probability", [0.05, 0.1, 0.5, 0.9])
def test_drop_when_counted_then_the_rate_is_the_probability(probability):
    torch.manual_seed(0)
    dropped = int((drop(torch.ones(200_000), probability) == 0).sum())
    assert binomtest(dropped, 200_000, probability).pvalue > 0.001


def test_drop_when_values_are_kept_then_they_are_scaled_by_the_rest():
    torch.manual_seed(0)
    kept = drop(torch.full((10_000,), 3.0), 0.2)
    kept = kept[kept != 0]
    # the probability is rounded to 1/65536
    torch.testing.assert_close(kept, torch.full_like(kept, 3.0 / 0.8), atol=1e-4, rtol=0)


def test_drop_when_averaged_then_the_mean_stays():
    torch.manual_seed(0)
    assert abs(float(drop(torch.ones(500_000), 0.1).mean()) - 1) < 0.003


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7])
def test_drop_when_the_size_is_no_multiple_of_four_then_the_shape_stays(size):
    assert drop(torch.ones(2, size, 3), 0.5).shape == (2, size, 3)


def test_drop_when_there_is_nothing_then_nothing_comes_back():
    assert drop(torch.ones(0, 3), 0.5).shape == (0, 3)


def test_drop_when_neighbours_are_compared_then_they_are_independent():
    torch.manual_seed(0)
    kept = (drop(torch.ones(400_000), 0.5) != 0).float().view(-1, 4)
    correlations = torch.corrcoef(kept.T) - torch.eye(4)
    assert float(correlations.abs().max()) < 0.015


def test_drop_when_the_seed_is_the_same_then_so_are_the_values():
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        results.append(drop(torch.ones(100), 0.5))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_drop_when_differentiated_then_the_gradient_is_the_factor():
    torch.manual_seed(0)
    values = torch.randn(50, requires_grad=True)
    result = drop(values, 0.3)
    result.sum().backward()
    torch.testing.assert_close(values.grad * values, result)


def test_drop_when_values_are_not_contiguous_then_all_of_them_count():
    torch.manual_seed(0)
    values = torch.arange(1.0, 13).view(3, 4).T
    ratios = drop(values, 0.5) / values
    assert set(ratios.flatten().tolist()) == {0.0, 2.0}


def test_drop_when_values_are_half_precision_then_the_type_stays():
    assert drop(torch.ones(8, dtype=torch.bfloat16), 0.5).dtype == torch.bfloat16


def test_drop_when_the_probability_rounds_to_one_then_values_stay_finite():
    torch.manual_seed(0)
    assert torch.isfinite(drop(torch.ones(1000), 0.999999)).all()


def test_dropout_when_in_eval_mode_or_zero_then_the_same_tensor_comes_back():
    values = torch.ones(5)
    assert Dropout(0.5).eval()(values) is values
    assert Dropout(0.0)(values) is values


def test_dropout_when_training_then_values_are_dropped():
    torch.manual_seed(0)
    assert (Dropout(0.5)(torch.ones(100)) == 0).any()
