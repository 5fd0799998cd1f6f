"""The fast way of inference against the plain way, which other tests check by torch's layers."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from speechlite.nn import waveform_inference
from speechlite.nn.lengths import padding_mask
from speechlite.nn.positional import ConvolutionalPositions
from speechlite.nn.waveform import WaveformStack
from speechlite.nn.waveform_inference import fold_norm

LENGTHS = [431, 300, 77, 45, 3]


def _stack(norm, channels=(6, 5, 4), *, bias=True, legacy_padding=False):
    torch.manual_seed(0)
    stack = WaveformStack(
        list(channels), [10, 3, 2], [5, 2, 2], bias=bias, norm=norm, legacy_padding=legacy_padding
    )
    for parameter in stack.parameters():
        nn.init.normal_(parameter, std=0.5)
    return stack.eval()


def _waves(dtype=torch.float64, lengths=LENGTHS):
    generator = torch.Generator().manual_seed(1)
    waves_BT = torch.zeros(len(lengths), max(lengths), dtype=dtype)
    for row, length in enumerate(lengths):
        waves_BT[row, :length] = torch.randn(length, generator=generator).to(dtype)
    return waves_BT, torch.tensor(lengths)


def _both_stacks(stack, dtype=torch.float64):
    """Return what both ways give within the lengths, and zeros beyond."""
    waves_BT, lengths_B = _waves(dtype)
    frames_B = torch.div(lengths_B - 30, 20, rounding_mode="floor") + 1
    fast_BCS, plain_BCS = _both(stack, waves_BT, lengths_B)
    beyond_B1S = ~padding_mask(frames_B, fast_BCS.shape[2])[:, None]
    return fast_BCS.masked_fill(beyond_B1S, 0.0), plain_BCS.masked_fill(beyond_B1S, 0.0)


def _both(module, *inputs):
    with torch.no_grad():
        plain = module(*inputs)
    with torch.inference_mode():
        return module(*inputs), plain


@pytest.mark.parametrize("size_bytes", [1, 2000, 1 << 24])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("norm", ["group", "layer"])
def test_stack_when_in_inference_then_parts_of_any_size_give_the_same(
    norm, bias, size_bytes, monkeypatch
):
    monkeypatch.setattr(waveform_inference, "_CHUNK_BYTES", size_bytes)
    fast_BCS, plain_BCS = _both_stacks(_stack(norm, bias=bias).double())
    torch.testing.assert_close(fast_BCS, plain_BCS, rtol=0, atol=1e-10)


@pytest.mark.parametrize("channels", [(16, 32, 16), (16, 31, 16)])
@pytest.mark.parametrize("legacy_padding", [True, False])
def test_stack_when_in_inference_then_both_orders_of_memory_give_the_same(channels, legacy_padding):
    stack = _stack("group", channels, legacy_padding=legacy_padding)
    fast_BCS, plain_BCS = _both_stacks(stack, torch.float32)
    torch.testing.assert_close(fast_BCS, plain_BCS, rtol=1e-5, atol=1e-5 * plain_BCS.abs().max())


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_stack_when_gates_are_installed_then_inference_applies_them(norm):
    stack = _stack(norm).double()
    gates = torch.tensor([1.0, 0.0, 0.5, 2.0, 0.3, 1.0]), torch.tensor([0.0, 1.0, 0.4, 1.0, 1.0])
    for group, gate in zip(stack.prune_groups(), gates, strict=True):
        group.gate(gate.double())
    fast_BCS, plain_BCS = _both_stacks(stack)
    torch.testing.assert_close(fast_BCS, plain_BCS, rtol=0, atol=1e-10)


def test_stack_when_a_convolution_was_replaced_then_inference_calls_it():
    class Doubled(nn.Conv1d):
        def forward(self, channels_BCS):
            return 2 * super().forward(channels_BCS)

    stack = _stack("group").double()
    stack.layers[1].convolution = Doubled(6, 5, 3, 2).double()
    fast_BCS, plain_BCS = _both_stacks(stack)
    assert torch.equal(fast_BCS, plain_BCS)


def test_stack_when_a_wave_is_too_short_then_inference_says_so_too():
    stack = _stack("group").double()
    with torch.inference_mode(), pytest.raises(RuntimeError, match="Kernel size can't be greater"):
        stack(torch.zeros(1, 15, dtype=torch.float64), torch.tensor([15]))


def test_stack_when_in_inference_then_the_waves_stay_as_they_are():
    waves_BT, lengths_B = _waves()
    before_BT = waves_BT.clone()
    _both(_stack("group").double(), waves_BT, lengths_B)
    assert torch.equal(waves_BT, before_BT)


def test_fold_norm_when_a_channel_cancels_loud_samples_then_its_small_variance_is_exact():
    stack = _stack("group", (2, 2, 2))
    layer = stack.layers[0]
    with torch.no_grad():
        # the third difference of a slow wave is some 1e-6 of it
        layer.convolution.weight[0, 0] = torch.tensor([1.0, -3, 3, -1, 0, 0, 0, 0, 0, 0])
    wave_1T = torch.sin(torch.arange(2000) * 0.03)[None]
    with torch.no_grad():
        weight_BCK, _ = fold_norm(layer, wave_1T, None)
        windows_1SK = wave_1T.double().unfold(1, 10, 5)
        channel_S = (windows_1SK @ layer.convolution.weight[0, 0].double())[0]
        scale = layer.norm.weight[0] / (channel_S.var(correction=0) + layer.norm.epsilon).sqrt()
    expected_K = layer.convolution.weight[0, 0] * scale
    torch.testing.assert_close(weight_BCK[0, 0], expected_K.float(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("kernel_size", [1, 4, 5, 8])
def test_positions_when_in_inference_then_they_are_the_same(kernel_size):
    torch.manual_seed(0)
    positions = ConvolutionalPositions(12, kernel_size=kernel_size, groups=3).double()
    fast_BSD, plain_BSD = _both(positions, torch.randn(2, 7, 12, dtype=torch.float64))
    torch.testing.assert_close(fast_BSD, plain_BSD, rtol=0, atol=1e-12)


def test_stack_when_in_inference_then_it_is_what_torch_gives():
    stack, (waves_BT, lengths_B) = _stack("group").double(), _waves(lengths=[431])
    with torch.inference_mode():
        found_BCS = stack(waves_BT, lengths_B)
        channels_BCS = waves_BT[:, None]
        for index, layer in enumerate(stack.layers):
            channels_BCS = layer.convolution(channels_BCS)
            if index == 0:
                channels_BCS = functional.instance_norm(
                    channels_BCS, weight=layer.norm.weight, bias=layer.norm.bias
                )
            channels_BCS = functional.gelu(channels_BCS)
    torch.testing.assert_close(found_BCS, channels_BCS, rtol=0, atol=1e-10)
