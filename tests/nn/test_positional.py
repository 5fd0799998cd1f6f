"""Positions against their formulas, entry by entry, and torch's weight norm."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from speechlite.nn.positional import (
    ConvolutionalPositions,
    absolute_positions,
    relative_positions,
)


def _entry(position, column, dim):
    angle = position / 10000 ** (2 * (column // 2) / dim)
    return math.cos(angle) if column % 2 else math.sin(angle)


def test_absolute_when_written_out_then_it_is_the_formula_of_vaswani():
    ours_SD = absolute_positions(9, 6, like=torch.zeros(1))
    expected = torch.tensor([[_entry(s, d, 6) for d in range(6)] for s in range(9)])
    torch.testing.assert_close(ours_SD, expected)


def test_relative_when_written_out_then_rows_run_from_the_largest_distance_down():
    ours_PD = relative_positions(4, 6, like=torch.zeros(1))
    distances = [3, 2, 1, 0, -1, -2, -3]
    expected = torch.tensor([[_entry(r, d, 6) for d in range(6)] for r in distances])
    torch.testing.assert_close(ours_PD, expected)


def test_relative_when_there_is_one_frame_then_only_distance_zero_is_left():
    assert relative_positions(1, 4, like=torch.zeros(1)).tolist() == [[0.0, 1.0, 0.0, 1.0]]


def test_positions_when_the_input_has_another_type_then_they_take_it():
    like = torch.zeros(1, dtype=torch.bfloat16)
    assert absolute_positions(3, 4, like=like).dtype == torch.bfloat16
    assert relative_positions(3, 4, like=like).dtype == torch.bfloat16


def _convolutional(kernel_size):
    torch.manual_seed(1)
    ours = ConvolutionalPositions(8, kernel_size=kernel_size, groups=2).double()
    for parameter in ours.parameters():
        nn.init.normal_(parameter)
    return ours


def _torchs(ours):
    kernel_size = ours.kernel_size
    plain = nn.Conv1d(8, 8, kernel_size, padding=kernel_size // 2, groups=2, dtype=torch.float64)
    theirs = weight_norm(plain, dim=2)
    with torch.no_grad():
        theirs.parametrizations.weight.original0.copy_(ours.gain)
        theirs.parametrizations.weight.original1.copy_(ours.direction)
        theirs.bias.copy_(ours.bias)
    return theirs


@pytest.mark.parametrize("kernel_size", [1, 2, 5, 6, 40])
@pytest.mark.parametrize("num_frames", [1, 9])
def test_convolution_when_torch_normalises_the_weight_then_it_is_equal(kernel_size, num_frames):
    ours = _convolutional(kernel_size)
    frames_BSD = torch.randn(2, num_frames, 8, dtype=torch.float64)
    expected_BSD = nn.functional.gelu(_torchs(ours)(frames_BSD.mT)[..., :num_frames].mT)
    torch.testing.assert_close(ours(frames_BSD), expected_BSD)


def test_convolution_when_differentiated_then_gradients_are_torchs():
    ours = _convolutional(6)
    theirs = _torchs(ours)
    frames_BSD = torch.randn(2, 9, 8, dtype=torch.float64)
    ours(frames_BSD).pow(2).sum().backward()
    nn.functional.gelu(theirs(frames_BSD.mT)[..., :9]).pow(2).sum().backward()
    weight = theirs.parametrizations.weight
    torch.testing.assert_close(ours.gain.grad, weight.original0.grad)
    torch.testing.assert_close(ours.direction.grad, weight.original1.grad)


@pytest.mark.parametrize("kernel_size", [4, 5])
def test_convolution_when_summed_by_loops_then_a_frame_sees_half_the_kernel_on_each_side(
    kernel_size,
):
    ours = _convolutional(kernel_size)
    frames_SD = torch.randn(7, 8, dtype=torch.float64)
    weight = ours.gain * ours.direction / ours.direction.square().sum((0, 1)).sqrt()
    with torch.no_grad():
        sums_SD = ours.bias.repeat(7, 1)
        for frame in range(7):
            for place in range(kernel_size):
                source = frame + place - kernel_size // 2
                if 0 <= source < 7:
                    for channel in range(8):
                        group = slice(channel // 4 * 4, channel // 4 * 4 + 4)
                        product = weight[channel, :, place] @ frames_SD[source, group]
                        sums_SD[frame, channel] += product
        torch.testing.assert_close(ours(frames_SD[None])[0], nn.functional.gelu(sums_SD))


def test_convolution_when_built_then_the_gain_is_the_weights_norm():
    ours = ConvolutionalPositions(64, kernel_size=16, groups=4)
    expected = [ours.direction[..., place].norm().item() for place in range(16)]
    assert ours.gain.flatten().tolist() == pytest.approx(expected)
    # each output keeps the size that the normal weights give it
    assert ours.direction.std().item() == pytest.approx(math.sqrt(4 / (16 * 64)), rel=0.05)
