"""Norms against torch's own on the valid frames, or the living channels, alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from speechlite.nn.lengths import padding_mask, zero_beyond
from speechlite.nn.normalization import (
    MaskedBatchNorm,
    MaskedInstanceNorm,
    SelectiveLayerNorm,
)

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


def test_batch_norm_when_in_double_precision_then_it_stays_there():
    ours, theirs = (norm.double() for norm in _pair())
    frames_BSD, valid_BS = _padded([6, 2])
    frames_BSD = frames_BSD.detach().double()
    normed_ND = _valid(ours(frames_BSD, valid_BS), valid_BS)
    torch.testing.assert_close(normed_ND, theirs(_valid(frames_BSD, valid_BS)), atol=1e-12, rtol=0)
    torch.testing.assert_close(ours.running_var, theirs.running_var, atol=1e-12, rtol=0)


def _instance_pair(dtype=torch.float32):
    torch.manual_seed(2)
    ours, theirs = MaskedInstanceNorm(CHANNELS), nn.GroupNorm(CHANNELS, CHANNELS)
    for parameter in ours.parameters():
        nn.init.normal_(parameter)
    theirs.load_state_dict(ours.state_dict())
    return ours.to(dtype), theirs.to(dtype)


@pytest.mark.parametrize("lengths", [[6, 6], [6, 2], [7, 5, 3]])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_instance_norm_when_padded_then_each_utterance_is_what_torch_gives_alone(lengths, dtype):
    ours, theirs = _instance_pair(dtype)
    frames_BSD, valid_BS = _padded(lengths)
    channels_BDS = frames_BSD.detach().to(dtype).mT
    normed_BDS = ours(channels_BDS, valid_BS)
    accuracy = 1e-5 if dtype == torch.float32 else 1e-12
    for row, length in enumerate(lengths):
        expected_1DS = theirs(channels_BDS[row : row + 1, :, :length])
        torch.testing.assert_close(
            normed_BDS[row, :, :length], expected_1DS[0], atol=accuracy, rtol=accuracy
        )


@pytest.mark.parametrize("lengths", [[6, 6], [6, 2]])
def test_instance_norm_when_differentiated_then_gradients_are_those_of_torch(lengths):
    ours, theirs = _instance_pair()
    frames_BSD, valid_BS = _padded(lengths)
    copied_BSD = frames_BSD.detach().clone().requires_grad_()
    _valid(ours(frames_BSD.mT, valid_BS).mT, valid_BS).pow(3).sum().backward()
    for row, length in enumerate(lengths):
        theirs(copied_BSD[row : row + 1, :length].mT).pow(3).sum().backward()
    torch.testing.assert_close(frames_BSD.grad, copied_BSD.grad, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad, atol=1e-3, rtol=1e-4)


def test_instance_norm_when_what_is_beyond_is_not_a_number_then_valid_frames_stay():
    ours, _ = _instance_pair()
    frames_BSD, valid_BS = _padded([6, 2])
    clean_BDS = ours(frames_BSD.detach().mT, valid_BS)
    dirty_BSD = frames_BSD.detach().masked_fill(~valid_BS[..., None], torch.nan)
    dirty_BDS = ours(dirty_BSD.mT, valid_BS)
    assert torch.equal(dirty_BDS.mT[valid_BS], clean_BDS.mT[valid_BS])


@pytest.mark.parametrize("lengths", [[1], [3, 1]])
def test_instance_norm_when_there_is_one_frame_then_it_is_the_bias(lengths):
    ours, _ = _instance_pair()
    frames_BSD, valid_BS = _padded(lengths)
    normed_BDS = ours(frames_BSD.mT, valid_BS)
    torch.testing.assert_close(normed_BDS[-1, :, 0], ours.bias, atol=2e-3, rtol=0)


def test_instance_norm_when_an_utterance_has_no_frame_then_gradients_are_finite():
    ours, _ = _instance_pair()
    frames_BSD, _ = _padded([4, 4])
    valid_BS = torch.tensor([[True] * 4, [False] * 4])
    ours(frames_BSD.mT, valid_BS)[0].pow(3).sum().backward()
    assert torch.isfinite(frames_BSD.grad).all()


def _layer_norm(alive=None):
    torch.manual_seed(3)
    norm = SelectiveLayerNorm(CHANNELS)
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    norm.alive = alive
    return norm


ALIVE = torch.tensor([True, False, True, True, False])


def test_layer_norm_when_channels_are_dead_then_it_is_torchs_over_the_others():
    norm, (frames_BSD, _) = _layer_norm(ALIVE), _padded([6, 6])
    theirs = nn.LayerNorm(3)
    theirs.load_state_dict({"weight": norm.weight[ALIVE], "bias": norm.bias[ALIVE]})
    normed_BSD = norm(frames_BSD)
    torch.testing.assert_close(normed_BSD[..., ALIVE], theirs(frames_BSD[..., ALIVE]))
    assert not normed_BSD[..., ~ALIVE].any()


def test_layer_norm_when_all_channels_live_or_none_is_named_then_it_is_torchs():
    frames_BSD, _ = _padded([6, 6])
    theirs = nn.LayerNorm(CHANNELS)
    theirs.load_state_dict(_layer_norm().state_dict())
    for alive in (None, torch.ones(CHANNELS, dtype=torch.bool)):
        torch.testing.assert_close(_layer_norm(alive)(frames_BSD), theirs(frames_BSD))


def test_layer_norm_when_no_channel_lives_then_all_is_zero():
    normed_BSD = _layer_norm(torch.zeros(CHANNELS, dtype=torch.bool))(_padded([3])[0])
    assert not normed_BSD.any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_layer_norm_when_in_half_precision_then_statistics_do_not_overflow(dtype):
    norm = _layer_norm(torch.ones(CHANNELS, dtype=torch.bool)).to(dtype)
    # the squares are beyond what float16 holds
    frames_BSD = 400 * torch.randn(2, 3, CHANNELS).to(dtype)
    normed_BSD = norm(frames_BSD)
    expected_BSD = _layer_norm()(frames_BSD.float())
    assert normed_BSD.dtype == dtype
    torch.testing.assert_close(normed_BSD.float(), expected_BSD, atol=0.03, rtol=0.02)


def test_layer_norm_when_under_autocast_then_a_gate_of_ones_costs_no_accuracy():
    frames_BSD = (100 + torch.randn(2, 3, CHANNELS)).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        gated_BSD = _layer_norm(torch.ones(CHANNELS, dtype=torch.bool))(frames_BSD)
    torch.testing.assert_close(gated_BSD, _layer_norm()(frames_BSD.float()), atol=1e-4, rtol=1e-4)
