"""Masks of valid frames."""

from __future__ import annotations

import torch

from speechlite.nn.lengths import padding_mask, zero_beyond


def test_padding_mask_when_lengths_differ_then_each_row_is_true_up_to_its_length():
    mask_BS = padding_mask(torch.tensor([3, 0, 5]), 5)
    expected = [[frame < length for frame in range(5)] for length in (3, 0, 5)]
    assert mask_BS.tolist() == expected


def test_padding_mask_when_nothing_is_padded_then_there_is_none():
    assert padding_mask(torch.tensor([5, 5]), 5) is None


def test_padding_mask_when_all_are_shorter_than_the_tensor_then_the_rest_is_masked():
    assert padding_mask(torch.tensor([2]), 3).tolist() == [[True, True, False]]


def test_zero_beyond_when_there_is_nan_in_the_padding_then_it_is_zero():
    values_BSD = torch.full((2, 3, 4), torch.nan)
    values_BSD[0, :2] = 1.0
    result_BSD = zero_beyond(values_BSD, padding_mask(torch.tensor([2, 0]), 3))
    assert result_BSD.sum() == 8.0
    assert torch.isnan(values_BSD[1]).all()


def test_zero_beyond_when_values_have_two_axes_then_they_are_masked_too():
    result_BS = zero_beyond(torch.ones(1, 3), torch.tensor([[True, False, True]]))
    assert result_BS.tolist() == [[1.0, 0.0, 1.0]]


def test_zero_beyond_when_there_is_no_mask_then_the_same_tensor_comes_back():
    values_BSD = torch.ones(1, 2, 3)
    assert zero_beyond(values_BSD, None) is values_BSD
