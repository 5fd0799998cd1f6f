"""The Conformer's convolution block against torch's and torchaudio's modules."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional
from torchaudio.models.conformer import _ConvolutionModule

from speechlite.nn.convolution import ConformerConvolution
from speechlite.nn.lengths import padding_mask

DIM, KERNEL = 6, 5


def _block(*, bias=True):
    torch.manual_seed(1)
    block = ConformerConvolution(DIM, KERNEL, bias=bias)
    with torch.no_grad():
        block.norm.weight.normal_()
        block.norm.bias.normal_()
        block.norm.running_mean.normal_()
        block.norm.running_var.uniform_(0.5, 2.0)
    return block


def _pointwise(linear):
    module = nn.Conv1d(linear.in_features, linear.out_features, 1, bias=linear.bias is not None)
    with torch.no_grad():
        module.weight.copy_(linear.weight[..., None])
        if linear.bias is not None:
            module.bias.copy_(linear.bias)
    return module


@pytest.mark.parametrize("bias", [True, False])
def test_convolution_when_built_of_conv1d_modules_then_it_is_equal(bias):
    block = _block(bias=bias).eval()
    batch_norm = nn.BatchNorm1d(DIM).eval()
    batch_norm.load_state_dict(block.norm.state_dict(), strict=False)
    frames_BSD = torch.randn(2, 9, DIM)
    channels_BDS = functional.glu(_pointwise(block.expand)(frames_BSD.mT), dim=1)
    channels_BDS = functional.silu(batch_norm(block.depthwise(channels_BDS)))
    expected_BSD = _pointwise(block.contract)(channels_BDS).mT
    torch.testing.assert_close(block(frames_BSD, None), expected_BSD, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_convolution_when_torchaudio_has_the_same_weights_then_it_is_equal(training):
    block = _block().train(training)
    theirs = _ConvolutionModule(DIM, DIM, KERNEL, bias=True).train(training)
    expand, _, depthwise, norm, _, contract, _ = theirs.sequential
    expand.load_state_dict(_pointwise(block.expand).state_dict())
    depthwise.load_state_dict(block.depthwise.state_dict())
    norm.load_state_dict(block.norm.state_dict(), strict=False)
    contract.load_state_dict(_pointwise(block.contract).state_dict())
    frames_BSD = torch.randn(3, 8, DIM)
    ours_BSD = block(functional.layer_norm(frames_BSD, (DIM,)), None)
    torch.testing.assert_close(ours_BSD, theirs(frames_BSD), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_convolution_when_padding_grows_then_valid_frames_stay(training):
    frames_BSD, lengths_B = torch.randn(2, 7, DIM), torch.tensor([7, 4])
    longer_BSD = functional.pad(frames_BSD, (0, 0, 0, 6), value=50.0)
    valid_BS = padding_mask(lengths_B, 7)
    short_BSD = _block().train(training)(frames_BSD, valid_BS)
    long_BSD = _block().train(training)(longer_BSD, padding_mask(lengths_B, 13))[:, :7]
    torch.testing.assert_close(long_BSD[valid_BS], short_BSD[valid_BS], atol=1e-5, rtol=1e-5)


def test_convolution_when_in_eval_mode_then_a_frame_sees_half_a_kernel_on_each_side():
    block = _block().eval()
    frames_BSD = torch.randn(1, 11, DIM, requires_grad=True)
    block(frames_BSD, None)[0, 5].sum().backward()
    seen = frames_BSD.grad[0].abs().sum(-1) > 0
    assert seen.nonzero()[:, 0].tolist() == [3, 4, 5, 6, 7]


def test_convolution_when_biases_are_off_then_no_convolution_has_one():
    names = {name for name, _ in _block(bias=False).named_parameters()}
    assert names == {
        "expand.weight",
        "depthwise.weight",
        "contract.weight",
        "norm.weight",
        "norm.bias",
    }
