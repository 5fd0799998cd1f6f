"""Masked batch norm against torch's own on the valid frames alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from speechlite.nn.lengths import padding_mask, zero_beyond
from speechlite.nn.normalization import MaskedBatchNorm

CHANNELS = 5


def _pair():
    torch.manual_seed(1)
    ours, theirs = MaskedBatchNorm(CHANNELS), nn.BatchNorm1d(CHANNELS)
    with torch.no_grad():
        ours.weight.normal_()
        ours.bias.normal_()
        theirs.weight.copy_(ours.weight)
        theirs.bias.copy_(ours.bias)
    return ours, theirs


def _padded(lengths, *, seed=0):
    generator = torch.Generator().manual_seed(seed)
    size = (len(lengths), max(lengths), CHANNELS)
    frames_BSD = 3 * torch.randn(size, generator=generator) + 2
    valid_BS = padding_mask(torch.tensor(lengths), max(lengths))
    return zero_beyond(frames_BSD, valid_BS).requires_grad_(), valid_BS


def _valid(values_BSD, valid_BS):
    return values_BSD.flatten(0, 1) if valid_BS is None else values_BSD[valid_BS]


@pytest.mark.parametrize("lengths", [[6, 6], [6, 2, 1], [4]])
def test_batch_norm_when_training_then_valid_frames_are_those_of_torch(lengths):
    ours, theirs = _pair()
    for seed in range(3):
        frames_BSD, valid_BS = _padded(lengths, seed=seed)
        normed_ND = _valid(ours(frames_BSD, valid_BS), valid_BS)
        expected_ND = theirs(_valid(frames_BSD, valid_BS))
        torch.testing.assert_close(normed_ND, expected_ND, atol=1e-5, rtol=1e-5)
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name), atol=1e-5, rtol=1e-5)


def test_batch_norm_when_differentiated_then_gradients_are_those_of_torch():
    ours, theirs = _pair()
    frames_BSD, valid_BS = _padded([6, 2, 1])
    copied_BSD = frames_BSD.detach().clone().requires_grad_()
    _valid(ours(frames_BSD, valid_BS), valid_BS).pow(3).sum().backward()
    theirs(_valid(copied_BSD, valid_BS)).pow(3).sum().backward()
    torch.testing.assert_close(
        frames_BSD.grad[valid_BS], copied_BSD.grad[valid_BS], atol=1e-3, rtol=1e-4
    )
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(ours.bias.grad, theirs.bias.grad, atol=1e-3, rtol=1e-4)


def test_batch_norm_when_in_eval_mode_then_running_statistics_are_used():
    ours, theirs = _pair()
    for module in (ours, theirs):
        module.running_mean.copy_(torch.arange(CHANNELS))
        module.running_var.copy_(torch.arange(CHANNELS) + 0.5)
        module.eval()
    frames_BSD, _ = _padded([4, 4])
    expected_BSD = theirs(frames_BSD.mT).mT
    torch.testing.assert_close(ours(frames_BSD, None), expected_BSD)
    assert ours.running_mean.tolist() == [0, 1, 2, 3, 4]


def test_batch_norm_when_padding_grows_then_nothing_changes():
    ours, _ = _pair()
    frames_BSD, valid_BS = _padded([5, 3])
    before_BSD = ours(frames_BSD, valid_BS)
    longer_BSD = nn.functional.pad(frames_BSD, (0, 0, 0, 4))
    after_BSD = ours(longer_BSD, padding_mask(torch.tensor([5, 3]), 9))[:, :5]
    torch.testing.assert_close(after_BSD[valid_BS], before_BSD[valid_BS])


def test_batch_norm_when_one_frame_is_valid_then_statistics_stay_finite():
    ours, _ = _pair()
    frames_BSD, valid_BS = _padded([1])
    normed_BSD = ours(frames_BSD, valid_BS)
    torch.testing.assert_close(normed_BSD[0, 0], ours.bias, atol=1e-3, rtol=0)
    assert torch.isfinite(ours.running_var).all()


def test_batch_norm_when_saved_then_torch_can_load_it():
    ours, theirs = _pair()
    theirs.load_state_dict(ours.state_dict(), strict=False)
    assert set(ours.state_dict()) == set(theirs.state_dict()) - {"num_batches_tracked"}
