"""Convolutions over frames whose channels stand together, against torch's own conv1d."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from speechlite.core.operations import plain_operations
from speechlite.nn.frames_convolution import convolve, convolve_frames

OPTIONS = [
    {"groups": 6, "padding": 2},
    {"groups": 6, "padding": 2, "stride": 2},
    {"groups": 2, "padding": 3, "dilation": 2},
    {"groups": 1},
]


@pytest.mark.parametrize("frames", [4, 5, 6, 40])
@pytest.mark.parametrize("options", OPTIONS)
def test_values_and_gradients_are_those_of_conv1d(options, frames):
    torch.manual_seed(0)
    frames = max(frames, 9) if "dilation" in options or "padding" not in options else frames
    inputs_BSC = torch.randn(2, frames, 6, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(6, 6 // options["groups"], 5, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(6, dtype=torch.float64, requires_grad=True)
    leaves = (inputs_BSC, weight, bias)
    ours = convolve_frames(inputs_BSC.mT, weight, bias, **options)
    theirs = functional.conv1d(inputs_BSC.mT, weight, bias, **options)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    weights = torch.randn_like(ours)
    for first, second in zip(
        torch.autograd.grad((ours * weights).sum(), leaves),
        torch.autograd.grad((theirs * weights).sum(), leaves),
        strict=True,
    ):
        torch.testing.assert_close(first, second, rtol=0, atol=1e-11)


def test_channels_stay_together():
    layer = nn.Conv1d(8, 8, 5, padding=2, groups=8)
    assert convolve(layer, torch.randn(2, 30, 8).mT).mT.is_contiguous()


def test_hooks_plain_operations_and_other_layers_are_heard():
    class Twice(nn.Conv1d):
        def forward(self, values):
            return 2 * super().forward(values)

    values = torch.randn(1, 30, 4).mT
    layer, called = nn.Conv1d(4, 4, 3, groups=4), []
    twice = Twice(4, 4, 3, groups=4)
    assert torch.equal(convolve(twice, values), twice(values))
    handle = layer.register_forward_pre_hook(lambda *_: called.append(1))
    convolve(layer, values)
    handle.remove()
    assert called
    with plain_operations():
        torch.testing.assert_close(convolve(layer, values), layer(values))
    circular = nn.Conv1d(4, 4, 3, padding=1, padding_mode="circular")
    assert torch.equal(convolve(circular, values), circular(values))
