"""Gram matrices of inputs against float64 sums and torch's own convolution."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from speechlite.core.errors import ConfigError, DataError
from speechlite.nn.grams import InputGram, unfolded_parts


def unfolded_inputs(inputs_BCS, lengths_B, *, kernel_size, groups, **form):
    """Return the rows of all parts."""
    width = inputs_BCS.shape[1] // groups * kernel_size
    parts = unfolded_parts(inputs_BCS, lengths_B, kernel_size=kernel_size, groups=groups, **form)
    return torch.cat([inputs_BCS.new_empty(groups, 0, width), *parts], dim=1)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def _exact(inputs_GNK):
    return inputs_GNK.double().mT @ inputs_GNK.double()


@pytest.mark.parametrize(
    ("groups", "width", "pieces"),
    [(1, 7, [3, 1, 9]), (3, 5, [4]), (1, 600, [1500, 900, 1500, 0, 30])],
)
def test_gram_when_rows_come_in_pieces_then_it_is_the_sum_over_all(
    generator, groups, width, pieces
):
    inputs_GNK = torch.randn(groups, sum(pieces), width, generator=generator)
    gram = InputGram(groups, width, device="cpu")
    for piece_GNK in inputs_GNK.split(pieces, dim=1):
        gram.add(piece_GNK)
    expected_GKK = _exact(inputs_GNK)
    total_GKK = gram.total().double()
    assert torch.allclose(total_GKK, expected_GKK, atol=1e-5 * expected_GKK.max().item())
    assert gram.rows == sum(pieces)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_gram_when_taken_then_it_is_symmetric_float32(generator, precision):
    gram = InputGram(2, 300, device="cpu", precision=precision)
    gram.add(torch.randn(2, 40, 300, generator=generator))
    gram_GKK = gram.total()
    assert gram_GKK.dtype == torch.float32
    assert torch.equal(gram_GKK, gram_GKK.mT)


def test_gram_when_taken_between_rows_then_later_rows_still_count(generator):
    inputs_GNK = torch.randn(1, 50, 4, generator=generator)
    gram = InputGram(1, 4, device="cpu")
    gram.add(inputs_GNK[:, :20])
    assert torch.allclose(gram.total().double(), _exact(inputs_GNK[:, :20]), atol=1e-4)
    gram.add(inputs_GNK[:, 20:])
    assert torch.allclose(gram.total().double(), _exact(inputs_GNK), atol=1e-4)


def test_gram_when_bfloat16_then_it_is_near_the_exact_one(generator):
    inputs_GNK = torch.randn(1, 5000, 64, generator=generator) + 0.5
    gram = InputGram(1, 64, device="cpu", precision="bfloat16")
    gram.add(inputs_GNK)
    expected_GKK = _exact(inputs_GNK)
    error = (gram.total() - expected_GKK).norm() / expected_GKK.norm()
    # half a unit in the last of 8 bits
    assert error < 2**-9


@pytest.mark.parametrize(("groups", "width"), [(1, 300), (40, 8)])
def test_gram_when_bfloat16_rows_are_far_from_zero_then_their_spread_is_still_exact(
    generator, groups, width
):
    inputs_GNK = torch.randn(groups, 900, width, generator=generator) + 30
    gram = InputGram(groups, width, device="cpu", precision="bfloat16")
    for piece_GNK in inputs_GNK.split(400, dim=1):
        gram.add(piece_GNK)
    error = (gram.total() - _exact(inputs_GNK)).norm(dim=(1, 2))
    centred_GNK = inputs_GNK - inputs_GNK.mean(1, keepdim=True)
    assert (error < 0.01 * _exact(centred_GNK).norm(dim=(1, 2))).all()


def test_gram_when_no_row_came_then_it_is_zero():
    assert not InputGram(2, 3, device="cpu").total().any()


@pytest.mark.parametrize(
    ("groups", "width", "precision"), [(0, 3, "float32"), (1, 0, "float32"), (1, 3, "int8")]
)
def test_gram_when_made_for_nothing_then_it_raises(groups, width, precision):
    with pytest.raises(ConfigError, match="expected positive sizes and one of float32, bfloat16"):
        InputGram(groups, width, device="cpu", precision=precision)


@pytest.mark.parametrize("shape", [(1, 5, 4), (2, 5, 3), (5, 3)])
def test_gram_when_inputs_have_another_shape_then_it_raises(shape):
    gram = InputGram(1, 3, device="cpu")
    with pytest.raises(DataError, match=r"expected \(1, rows, 3\)"):
        gram.add(torch.zeros(shape))


@pytest.mark.parametrize(
    ("kernel_size", "stride", "padding", "groups", "dilation"),
    [(3, 1, 1, 1, 1), (4, 2, 0, 2, 1), (3, 2, 2, 6, 2), (1, 1, 0, 3, 1)],
)
def test_unfolded_inputs_when_multiplied_with_weights_then_they_are_the_convolution(
    generator, kernel_size, stride, padding, groups, dilation
):
    form = {"stride": stride, "padding": padding, "groups": groups, "dilation": dilation}
    convolution = nn.Conv1d(6, 12, kernel_size, bias=False, **form)
    inputs_BCS = torch.randn(3, 6, 11, generator=generator)
    lengths_B = torch.tensor([11, 7, 0])
    inputs_GNK = unfolded_inputs(inputs_BCS, lengths_B, kernel_size=kernel_size, **form)
    weight_GOK = convolution.weight.flatten(1).unflatten(0, (groups, -1))
    outputs_CN = (weight_GOK @ inputs_GNK.mT).flatten(0, 1)
    # each utterance alone, without its padding
    alone = [convolution(inputs_BCS[b : b + 1, :, :n])[0] for b, n in ((0, 11), (1, 7))]
    expected_CN = torch.cat(alone, dim=1)
    # taps around an empty utterance see zeros only
    assert torch.allclose(outputs_CN[:, : expected_CN.shape[1]], expected_CN, atol=1e-5)
    assert not outputs_CN[:, expected_CN.shape[1] :].any()


def test_unfolded_inputs_when_padding_is_not_zero_then_it_is_not_seen(generator):
    inputs_BCS = torch.randn(1, 2, 9, generator=generator)
    form = {"kernel_size": 3, "stride": 1, "padding": 1, "groups": 1}
    expected = unfolded_inputs(inputs_BCS[..., :5], torch.tensor([5]), **form)
    inputs_BCS[..., 5:] = torch.nan
    assert torch.equal(unfolded_inputs(inputs_BCS, torch.tensor([5]), **form), expected)


def test_unfolded_inputs_when_utterances_are_shorter_than_the_kernel_then_there_are_no_rows():
    form = {"kernel_size": 4, "stride": 1, "padding": 0, "groups": 2}
    assert unfolded_inputs(torch.ones(2, 6, 8), torch.tensor([3, 1]), **form).shape == (2, 0, 12)


def test_unfolded_parts_when_an_utterance_is_long_then_its_parts_are_bounded(
    generator, monkeypatch
):
    inputs_BCS = torch.randn(2, 4, 40, generator=generator)
    form = {"kernel_size": 3, "stride": 2, "padding": 1, "groups": 1}
    lengths_B = torch.tensor([40, 21])
    whole_GNK = unfolded_inputs(inputs_BCS, lengths_B, **form)
    monkeypatch.setattr("speechlite.nn.grams._PART_VALUES", 60)
    parts = list(unfolded_parts(inputs_BCS, lengths_B, **form))
    assert max(part.numel() for part in parts) <= 60
    assert torch.equal(torch.cat(parts, 1), whole_GNK)
