"""Sinusoidal positions against the formula, entry by entry."""

from __future__ import annotations

import math

import torch

from speechlite.nn.positional import absolute_positions, relative_positions


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
