"""The time-delay network against a loop over frames and neighbours."""

from __future__ import annotations

import pytest
import torch

from speechlite.nn.tdnn import Tdnn


def _network(strides, *, dropout=0.0, dims=(3, 4)):
    torch.manual_seed(0)
    network = Tdnn(*dims, strides=strides, dropout=dropout)
    for norm in network.norms:
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2.0)
        torch.nn.init.normal_(norm.weight)
        torch.nn.init.normal_(norm.bias)
    return network.eval()


def _by_loop(network, frames_SD, strides):
    """Compute one utterance frame by frame; beyond its ends stand zeros."""
    for convolution, norm, stride in zip(network.convolutions, network.norms, strides, strict=True):
        rows = []
        for place in range(len(frames_SD)):
            total = convolution.bias.clone()
            for tap, offset in enumerate((-stride, 0, stride)):
                if 0 <= place + offset < len(frames_SD):
                    total += convolution.weight[:, :, tap] @ frames_SD[place + offset]
            scaled = (total.relu() - norm.running_mean) / (norm.running_var + norm.epsilon).sqrt()
            rows.append(norm.weight * scaled + norm.bias)
        frames_SD = torch.stack(rows)
    return frames_SD


@pytest.mark.parametrize("strides", [(1,), (2, 1), (1, 4, 7)])
@torch.no_grad()
def test_tdnn_when_computed_by_a_loop_then_frames_agree(strides):
    network = _network(strides)
    frames = torch.randn(2, 11, 3)
    found = network(frames, torch.tensor([11, 6]))
    for row, length in enumerate((11, 6)):
        expected = _by_loop(network, frames[row, :length], strides)
        torch.testing.assert_close(found[row, :length], expected, atol=1e-5, rtol=1e-5)
    assert (found[1, 6:] == 0).all()


@torch.no_grad()
def test_tdnn_when_padding_holds_nonsense_then_nothing_changes():
    network = _network((1, 3))
    frames, lengths = torch.randn(1, 8, 3), torch.tensor([5])
    spoiled = frames.clone()
    spoiled[:, 5:] = float("nan")
    assert torch.equal(network(frames, lengths), network(spoiled, lengths))


@torch.no_grad()
@pytest.mark.parametrize("length", [1, 2])
def test_tdnn_when_an_utterance_is_shorter_than_a_stride_then_it_has_its_frames(length):
    found = _network((1, 4, 7))(torch.randn(1, length, 3), torch.tensor([length]))
    assert found.shape == (1, length, 4)
    assert found.isfinite().all()


@torch.no_grad()
def test_tdnn_when_one_frame_changes_then_only_its_reach_does():
    network = _network((1, 3))
    frames, lengths = torch.randn(1, 21, 3), torch.tensor([21])
    other = frames.clone()
    other[0, 10] += 1.0
    changed = (network(frames, lengths) != network(other, lengths))[0].any(-1)
    reach = {10 + a + b for a in (-1, 0, 1) for b in (-3, 0, 3)}
    assert set(changed.nonzero().flatten().tolist()) <= reach
    assert changed.any()


def test_tdnn_when_it_trains_then_padding_does_not_enter_the_statistics():
    together, alone = _network((1,)).train(), _network((1,)).train()
    frames = torch.randn(1, 6, 3)
    alone(frames, torch.tensor([6]))
    padded = torch.cat([frames, torch.full((1, 4, 3), 9.0)], dim=1)
    together(padded, torch.tensor([6]))
    torch.testing.assert_close(together.norms[0].running_mean, alone.norms[0].running_mean)
    torch.testing.assert_close(together.norms[0].running_var, alone.norms[0].running_var)


def test_tdnn_when_it_trains_then_dropout_changes_frames_and_eval_does_not():
    network = _network((1, 2), dropout=0.5)
    frames, lengths = torch.randn(1, 6, 3), torch.tensor([6])
    assert torch.equal(network(frames, lengths), network(frames, lengths))
    network.train()
    first, second = network(frames, lengths), network(frames, lengths)
    assert not torch.equal(first, second)
    assert (first == 0).float().mean() > 0.2
