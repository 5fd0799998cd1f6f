"""Which weights a pattern takes, and how a number is shared among blocks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from speechlite.core.errors import DataError, PlanError
from speechlite.nn.obs import check_pattern, pattern_mask
from speechlite.nn.obs_patterns import spread


@pytest.mark.parametrize("size", [7, 100])
def test_pattern_mask_when_saliencies_are_equal_then_the_number_is_exact_and_the_same(size):
    saliency_OK = torch.randint(3, (size, size), generator=torch.Generator().manual_seed(1)).float()
    for num_pruned in (0, 1, size * size // 2, size * size):
        kept_OK = pattern_mask(saliency_OK, num_pruned=num_pruned, pattern="unstructured")
        assert int((~kept_OK).sum()) == num_pruned
        again_OK = pattern_mask(saliency_OK, num_pruned=num_pruned, pattern="unstructured")
        assert torch.equal(kept_OK, again_OK)
        if 0 < num_pruned < size * size:
            assert saliency_OK[~kept_OK].max() <= saliency_OK[kept_OK].min()


def test_pattern_mask_when_n_of_m_then_the_least_of_each_group_go():
    saliency_OK = torch.tensor([[4.0, 1.0, 3.0, 2.0, 0.0, 0.0, 9.0, 0.0]])
    kept_OK = pattern_mask(saliency_OK, num_pruned=None, pattern="2:4")
    assert kept_OK.tolist() == [[True, False, True, False, False, False, True, True]]


def test_pattern_mask_when_tiles_then_the_least_sums_go():
    saliency_OK = torch.tensor([[1.0, 9.0, 2.0], [1.0, 0.0, 2.0]])
    kept_OK = pattern_mask(saliency_OK, num_pruned=5, pattern="2x1")
    assert kept_OK.tolist() == [[False, True, False], [False, True, False]]


def test_pattern_mask_when_a_saliency_is_not_a_number_then_it_raises():
    with pytest.raises(DataError, match="a saliency is not a number"):
        pattern_mask(torch.tensor([[1.0, torch.nan]]), num_pruned=1, pattern="unstructured")


@pytest.mark.parametrize("pattern", ["", "4:2", "4:4", "0:4", "4x0", "x", "banded", "2:4x1"])
def test_check_pattern_when_there_is_no_such_pattern_then_it_raises(pattern):
    with pytest.raises(PlanError, match=f"there is no pattern '{pattern}'"):
        check_pattern(pattern, 8, 8)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("2:4", "the pattern 2:4 needs inputs in multiples of 4, the matrix has 6"),
        ("4x1", "the pattern 4x1 needs outputs in multiples of 4, the matrix has 9"),
        ("3x4", "the pattern 3x4 needs inputs in multiples of 4, the matrix has 6"),
    ],
)
def test_check_pattern_when_it_does_not_divide_the_matrix_then_it_raises(pattern, message):
    with pytest.raises(PlanError, match=message):
        check_pattern(pattern, 9, 6)


@pytest.mark.parametrize("pattern", ["unstructured", "2:4", "3x2", "1:2"])
def test_check_pattern_when_it_divides_the_matrix_then_nothing_happens(pattern):
    check_pattern(pattern, 9, 8)


@pytest.mark.parametrize("seed", range(10))
def test_spread_when_bounds_are_met_then_the_sum_is_exact_and_all_keep_them(seed):
    random = np.random.default_rng(seed)
    sizes_I = random.integers(1, 50, 30)
    least_I = random.integers(0, sizes_I + 1)
    most_I = random.integers(least_I, sizes_I + 1)
    total = int(random.integers(least_I.sum(), most_I.sum() + 1))
    shares_I = spread(total, sizes_I, least_I, most_I)
    assert shares_I.sum() == total
    assert (shares_I >= least_I).all()
    assert (shares_I <= most_I).all()
