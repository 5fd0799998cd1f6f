"""The Squeezeformer encoder against its parts, step by step."""

from __future__ import annotations

import pytest
import torch
from small_encoders import build, frames
from torch import nn

from speechlite.core.errors import ConfigError
from speechlite.encoders.config import SparseformerConfig, SqueezeformerConfig
from speechlite.encoders.squeezeformer import SqueezeformerEncoder


@pytest.mark.parametrize("length", [7, 8, 1, 2])
def test_rate_when_layers_are_reduced_then_they_see_half_the_frames(length):
    encoder = build("squeezeformer").eval()
    seen = []
    for layer in encoder.layers:
        layer.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape[1]))
    encoder(*frames([length]))
    assert seen == [length, -(-length // 2), length]


def test_recovery_when_written_out_then_it_adds_the_state_before_the_reduction():
    encoder = build("squeezeformer").eval()
    states = encoder(*frames([6])).layers
    reduced_BRD = encoder.reduction(states[1])
    inputs = []
    encoder.layers[2].register_forward_hook(lambda _, given, __: inputs.append(given[0]))
    outputs = []
    encoder.layers[1].register_forward_hook(lambda _, given, out: outputs.append((given[0], out)))
    encoder(*frames([6]))
    torch.testing.assert_close(outputs[0][0], reduced_BRD)
    slowly = torch.stack([outputs[0][1][:, frame // 2] for frame in range(6)], dim=1)
    torch.testing.assert_close(inputs[0], encoder.recovery(slowly) + states[1])
    torch.testing.assert_close(states[2], inputs[0])


def test_reduction_when_padding_is_odd_then_an_utterance_is_as_if_alone():
    encoder = build("squeezeformer").eval()
    batched = encoder(*frames([9, 6])).layers[-1][1, :6]
    frames_BSD, lengths_B = frames([9, 6])
    alone = encoder(frames_BSD[1:, :6], lengths_B[1:]).layers[-1][0]
    torch.testing.assert_close(batched, alone, atol=1e-5, rtol=1e-5)


def test_layer_when_written_out_then_norms_stand_after_each_block():
    encoder = build("placed_squeezeformer", dropout=0.0).eval()
    layer, (x_BSD, _) = encoder.layers[0], frames([5])
    x_BSD = layer.norms[0](x_BSD + layer.attention(x_BSD, None))
    x_BSD = layer.norms[1](x_BSD + layer.feedforward(x_BSD))
    x_BSD = layer.norms[2](x_BSD + layer.convolution(layer.convolution_norm(x_BSD), None))
    x_BSD = layer.norms[3](x_BSD + layer.second_feedforward(x_BSD))
    torch.testing.assert_close(layer(frames([5])[0], None, None), x_BSD)


def test_scaling_when_absent_then_blocks_read_their_input_as_it_is():
    kinds = [type(scale) for scale in build("placed_squeezeformer").layers[0].scales]
    assert kinds == [nn.Identity] * 4


def test_encoder_when_built_by_default_then_it_has_the_published_layers():
    with torch.device("meta"):
        encoder = SqueezeformerEncoder(SqueezeformerConfig())
    dim, inner, kernel = 144, 576, 31
    feedforward = 2 * dim * inner + inner + dim
    attention = 5 * dim * dim + 4 * dim + 2 * dim
    convolution = 2 * (2 * dim * dim) + 3 * dim + 2 * dim * (kernel + 1) + 2 * 2 * dim
    layer = attention + convolution + 2 * feedforward + 8 * 2 * dim
    assert {sum(p.numel() for p in each.parameters()) for each in encoder.layers} == {layer}
    rest = sum(p.numel() for p in encoder.parameters()) - 16 * layer
    # the last term is the norm of the input
    assert rest == (5 + 1) * dim + 2 * (dim + 1) * dim + 2 * dim


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reduce_after": 9, "recover_after": 7}, "reduce_after=9, recover_after=7: expected 0 <="),
        ({"recover_after": 17}, "recover_after=17: .* layers=16; change encoder.reduce_after"),
        ({"reduction_kernel": 4}, r"kernel sizes \[31, 4\], .*: expected odd kernels"),
        ({"positions": "sinusoids"}, "positions='sinusoids', expected relative or convolution"),
        ({"layer_drop": 2.0}, "layer_drop=2.0, expected a probability"),
    ],
)
def test_squeezeformer_when_an_option_does_not_fit_then_it_says_what_would(options, message):
    with pytest.raises(ConfigError, match=message):
        SqueezeformerConfig(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pattern": "random"}, "pattern='random', expected window, strided or fixed"),
        ({"relative_bias": True}, "relative_bias=True, expected False: .*; leave encoder.relative"),
        ({"expressivity": 33}, "stride=32, expressivity=33: expected 1 <= expressivity <= stride"),
        ({"stride": 0}, "stride=0, .*; change encoder.stride or encoder.expressivity"),
        ({"heads": 3}, "dim=256, .*heads=3"),
    ],
)
def test_sparseformer_when_an_option_does_not_fit_then_it_says_what_would(options, message):
    with pytest.raises(ConfigError, match=message):
        SparseformerConfig(**options)
