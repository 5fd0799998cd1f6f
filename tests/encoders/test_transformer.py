"""The Transformer encoder against torch's own pre-norm layers."""

from __future__ import annotations

import pytest
import torch
from small_encoders import build, frames
from torch import nn

from speechlite.encoders.config import TransformerConfig
from speechlite.encoders.transformer import TransformerEncoder
from speechlite.nn.positional import absolute_positions


def _torch_layer(layer, activation):
    theirs = nn.TransformerEncoderLayer(
        8, 2, 12, dropout=0.0, activation=activation, batch_first=True, norm_first=True
    )
    parts = (layer.attention.query, layer.attention.key, layer.attention.value)
    with torch.no_grad():
        theirs.self_attn.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
        theirs.self_attn.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
    theirs.self_attn.out_proj.load_state_dict(layer.attention.output.state_dict())
    theirs.norm1.load_state_dict(layer.attention_norm.state_dict())
    theirs.norm2.load_state_dict(layer.feedforward_norm.state_dict())
    theirs.linear1.load_state_dict(layer.feedforward.expand.state_dict())
    theirs.linear2.load_state_dict(layer.feedforward.contract.state_dict())
    return theirs


@pytest.mark.parametrize(
    ("kind", "activation"), [("transformer", "gelu"), ("relu_transformer", "relu")]
)
def test_encoder_when_torch_has_the_same_weights_then_states_are_equal(kind, activation):
    encoder = build(kind, dropout=0.0, attention_dropout=0.0)
    frames_BSD, lengths_B = frames([7, 4])
    valid_BS = torch.arange(7) < lengths_B[:, None]
    hidden = encoder(frames_BSD, lengths_B).layers
    x_BSD = frames_BSD + absolute_positions(7, 8, like=frames_BSD)
    for index, layer in enumerate(encoder.layers):
        x_BSD = _torch_layer(layer, activation)(x_BSD, src_key_padding_mask=~valid_BS)
        expected_BSD = encoder.final_norm(x_BSD) if index == 2 else x_BSD
        torch.testing.assert_close(
            hidden[index + 1][valid_BS], expected_BSD[valid_BS], atol=1e-5, rtol=1e-5
        )


def test_encoder_when_built_by_default_then_layers_have_the_base_models_size():
    with torch.device("meta"):
        layers = TransformerEncoder(TransformerConfig()).layers
    counts = [sum(parameter.numel() for parameter in layer.parameters()) for layer in layers]
    square, expand, contract = 768 * 768 + 768, 768 * 3072 + 3072, 3072 * 768 + 768
    assert counts == [4 * square + expand + contract + 2 * 2 * 768] * 12
