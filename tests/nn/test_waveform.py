"""The convolution stack against torch's own layers, one utterance at a time."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from speechlite.nn.normalization import MaskedInstanceNorm, SelectiveLayerNorm
from speechlite.nn.waveform import WaveformLayer, WaveformStack, receptive_field

CHANNELS, KERNELS, STRIDES = [6, 5, 4], [10, 3, 2], [5, 2, 2]
LENGTHS = [431, 300, 77, 45]
WAV2VEC = [10, 3, 3, 3, 3, 2, 2], [5, 2, 2, 2, 2, 2, 2]


def _stack(norm, *, bias=True, legacy_padding=False):
    torch.manual_seed(0)
    stack = WaveformStack(
        CHANNELS, KERNELS, STRIDES, bias=bias, norm=norm, legacy_padding=legacy_padding
    ).double()
    for parameter in stack.parameters():
        nn.init.normal_(parameter, std=0.5)
    return stack


def _waves(lengths=LENGTHS):
    generator = torch.Generator().manual_seed(1)
    waves_BT = torch.zeros(len(lengths), max(lengths), dtype=torch.float64)
    for row, length in enumerate(lengths):
        waves_BT[row, :length] = torch.randn(length, generator=generator, dtype=torch.float64)
    return waves_BT, torch.tensor(lengths)


def _by_torch(stack, norm, wave_T):
    """Run torch's layers on one utterance without padding."""
    frames_1CS = wave_T[None, None]
    for index, layer in enumerate(stack.layers):
        convolution = nn.Conv1d(*layer.convolution.weight.shape[1::-1], KERNELS[index])
        convolution.stride = (STRIDES[index],)
        convolution.weight, convolution.bias = layer.convolution.weight, layer.convolution.bias
        frames_1CS = convolution(frames_1CS)
        if norm == "group" and index == 0:
            reference = nn.GroupNorm(CHANNELS[0], CHANNELS[0]).double()
            reference.weight, reference.bias = layer.norm.weight, layer.norm.bias
            frames_1CS = reference(frames_1CS)
        elif norm == "layer":
            reference = nn.LayerNorm(CHANNELS[index]).double()
            reference.weight, reference.bias = layer.norm.weight, layer.norm.bias
            frames_1CS = reference(frames_1CS.transpose(1, 2)).transpose(1, 2)
        frames_1CS = functional.gelu(frames_1CS)
    return frames_1CS[0]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("norm", ["group", "layer"])
def test_stack_when_a_batch_is_padded_then_each_row_is_what_torch_gives_alone(norm, bias):
    stack = _stack(norm, bias=bias)
    waves_BT, lengths_B = _waves()
    output_BCS = stack(waves_BT, lengths_B)
    for row, length in enumerate(LENGTHS):
        expected_CS = _by_torch(stack, norm, waves_BT[row, :length])
        found_CS = output_BCS[row, :, : expected_CS.shape[1]]
        torch.testing.assert_close(found_CS, expected_CS, rtol=0, atol=1e-10)


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_stack_when_padding_is_longer_then_nothing_changes(norm):
    stack = _stack(norm)
    waves_BT, lengths_B = _waves()
    output_BCS = stack(waves_BT, lengths_B)
    longer_BCS = stack(functional.pad(waves_BT, (0, 123)), lengths_B)
    torch.testing.assert_close(longer_BCS[..., : output_BCS.shape[2]][0], output_BCS[0])
    frames = output_BCS[2, :, :5], longer_BCS[2, :, :5]
    torch.testing.assert_close(*frames, rtol=0, atol=1e-12)


def test_stack_when_padding_counts_then_the_first_norm_sees_it():
    stack = _stack("group", legacy_padding=True)
    waves_BT, lengths_B = _waves()
    output_BCS = stack(waves_BT, lengths_B)
    for row in range(len(LENGTHS)):
        expected_CS = _by_torch(stack, "group", waves_BT[row])
        torch.testing.assert_close(output_BCS[row], expected_CS, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("norm", "kinds"),
    [
        ("group", [MaskedInstanceNorm, type(None), type(None)]),
        ("layer", [SelectiveLayerNorm] * 3),
    ],
)
def test_stack_when_built_then_norms_stand_where_the_paper_has_them(norm, kinds):
    assert [type(layer.norm) for layer in _stack(norm).layers] == kinds


def test_stack_when_built_without_bias_then_convolutions_have_none():
    assert all(layer.convolution.bias is None for layer in _stack("group", bias=False).layers)


def _seen_by_one_frame(kernels, strides):
    # gradients reach exactly the samples that the first frame sees
    layers = [
        nn.Conv1d(1, 1, kernel, stride) for kernel, stride in zip(kernels, strides, strict=True)
    ]
    wave_11T = torch.zeros(1, 1, 2000, requires_grad=True)
    frames = wave_11T
    for layer in layers:
        nn.init.ones_(layer.weight)
        frames = layer(frames)
    frames[0, 0, 0].backward()
    return int(wave_11T.grad.count_nonzero())


@pytest.mark.parametrize(
    ("kernels", "strides"), [WAV2VEC, (KERNELS, STRIDES), ([4], [2]), ([1, 1], [3, 2])]
)
def test_receptive_field_when_counted_by_gradients_then_it_is_the_same(kernels, strides):
    assert receptive_field(kernels, strides) == _seen_by_one_frame(kernels, strides)


def test_receptive_field_when_it_is_that_of_wav2vec_then_it_is_25_ms():
    assert receptive_field(*WAV2VEC) == 400


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_stack_when_a_wave_is_as_long_as_the_field_then_there_is_one_frame(norm):
    stack, samples = _stack(norm), receptive_field(KERNELS, STRIDES)
    waves_BT, lengths_B = _waves([samples])
    assert stack(waves_BT, lengths_B).shape == (1, CHANNELS[-1], 1)
    with pytest.raises(RuntimeError, match="Kernel size can't be greater"):
        stack(waves_BT[:, 1:], lengths_B - 1)


def test_layer_when_a_gate_is_installed_then_channels_are_multiplied():
    torch.manual_seed(0)
    layer = WaveformLayer(2, 3, 4, 2, bias=True, norm="none")
    frames_BCS = torch.randn(2, 2, 20)
    expected_BCS = layer(frames_BCS, None) * torch.tensor([0.5, 0.0, 2.0])[:, None]
    layer.install(torch.tensor([0.5, 0.0, 2.0]))
    torch.testing.assert_close(layer(frames_BCS, None), expected_BCS)


def test_layer_when_a_gate_closes_channels_then_the_layer_norm_is_that_of_the_others():
    torch.manual_seed(0)
    layer = WaveformLayer(2, 4, 3, 1, bias=True, norm="layer")
    nn.init.normal_(layer.norm.weight)
    frames_BCS = torch.randn(2, 2, 20)
    open_C = [0, 3]
    convolved_BSC = layer.convolution(frames_BCS).mT[..., open_C]
    normed_BSC = functional.layer_norm(convolved_BSC, (2,), layer.norm.weight[open_C])
    layer.install(torch.tensor([1.0, 0.0, 0.0, 1.0]))
    output_BCS = layer(frames_BCS, None)
    torch.testing.assert_close(output_BCS[:, open_C], functional.gelu(normed_BSC).mT)
    assert not output_BCS[:, [1, 2]].any()


def test_stack_when_groups_are_listed_then_each_names_its_reader():
    groups = _stack("group").prune_groups()
    assert [(group.name, group.size) for group in groups] == [
        ("layers.0.channels", 6),
        ("layers.1.channels", 5),
    ]
    assert ("layers.1.convolution.weight", 1, 1) in groups[0].slices
    assert ("layers.0.norm.weight", 0, 1) in groups[0].slices
    assert groups[0].absorbed_by == ("layers.1.convolution.weight",)


def test_stack_when_its_last_channels_are_asked_for_then_the_given_gate_gets_them():
    seen = []
    group = _stack("layer").last_channels(seen.append)
    gate_C = torch.tensor([1.0, 0.0, 1.0, 0.5])
    group.gate(gate_C)
    group.gate(None)
    assert (group.name, group.size) == ("layers.2.channels", 4)
    assert seen == [gate_C, None]
