"""The Transformer encoder against torch's own layers and the models of transformers."""

from __future__ import annotations

import copy

import pytest
import torch
from published_encoders import DIM, PUBLISHED, ours_with_weights_of, published, states_of
from scipy.stats import binomtest
from small_encoders import build, frames
from torch import nn
from torch.export import Dim, export

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


# their mask is boolean beside a floating bias
@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask:UserWarning")
@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("lengths", [[11, 11], [11, 6, 1], [1], [24]])
def test_encoder_when_transformers_has_the_same_weights_then_states_are_equal(name, lengths):
    torch.manual_seed(5)
    theirs = published(name)
    ours = ours_with_weights_of(theirs, name)
    frames_BSD, lengths_B = torch.randn(len(lengths), lengths[0], DIM), torch.tensor(lengths)
    valid_BS = torch.arange(lengths[0]) < lengths_B[:, None]
    with torch.no_grad():
        states = states_of(theirs, frames_BSD, None if valid_BS.all() else valid_BS)
        hidden = ours(frames_BSD, lengths_B).layers
    for ours_BSD, theirs_BSD in zip(hidden[1:], states, strict=True):
        torch.testing.assert_close(ours_BSD[valid_BS], theirs_BSD[valid_BS], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("name", PUBLISHED)
def test_gradient_when_transformers_has_the_same_weights_then_it_is_equal(name):
    torch.manual_seed(6)
    theirs = published(name).double()
    ours = ours_with_weights_of(theirs, name).double()
    frames_BSD = torch.randn(2, 9, DIM, dtype=torch.float64)
    states_of(theirs, frames_BSD, None)[-1].pow(3).sum().backward()
    ours(frames_BSD, torch.tensor([9, 9])).layers[-1].pow(3).sum().backward()
    pairs = [
        (ours.layers[1].attention.query.weight, theirs.layers[1].attention.q_proj.weight),
        (ours.layers[0].feedforward_norm.weight, theirs.layers[0].final_layer_norm.weight),
        (ours.positions.direction, theirs.pos_conv_embed.conv.parametrizations.weight.original1),
        (ours.positions.gain, theirs.pos_conv_embed.conv.parametrizations.weight.original0),
    ]
    if name.startswith("wavlm"):
        embedding = theirs.layers[0].attention.rel_attn_embed.weight
        pairs.append((ours.relative_bias.embedding.weight, embedding))
    for ours_parameter, theirs_parameter in pairs:
        torch.testing.assert_close(ours_parameter.grad, theirs_parameter.grad, atol=1e-7, rtol=1e-7)


@pytest.mark.parametrize("kind", ["reduced", "reduced_post_norm"])
@pytest.mark.parametrize("lengths", [[8, 6], [7, 5, 1], [1]])
def test_reduction_when_written_as_a_product_then_each_state_stands_for_its_frames(kind, lengths):
    encoder = build(kind).eval()
    rate = encoder.config.time_reduction
    whole = build(kind, time_reduction=1).eval()
    whole.load_state_dict(encoder.state_dict(), strict=False)
    inputs = frames(lengths)
    with torch.no_grad():
        hidden = encoder(*inputs)
        unreduced_BSD = whole(*inputs, num_layers=0).layers[0]
    weight_DDR, bias_D = encoder.reduction.weight.detach(), encoder.reduction.bias.detach()
    for row, length in enumerate(lengths):
        for frame in range(length):
            start = frame // rate * rate
            window_RD = torch.zeros(rate, unreduced_BSD.shape[2])
            window_RD[: min(rate, length - start)] = unreduced_BSD[row, start : start + rate][
                : length - start
            ]
            expected_D = torch.einsum("rd,edr->e", window_RD, weight_DDR) + bias_D
            torch.testing.assert_close(hidden.layers[0][row, frame], expected_D)
    assert hidden.lengths.tolist() == lengths


def test_reduction_when_layers_run_then_they_see_fewer_frames():
    encoder, seen = build("reduced").eval(), []
    encoder.layers[0].register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape[1]))
    encoder(*frames([7, 3]))
    assert seen == [4]


def _dropped(encoder, calls):
    calls.clear()
    return encoder(*frames([5])).layers


def test_layer_drop_when_training_then_whole_layers_are_skipped_at_the_asked_rate():
    encoder, calls = build("post_norm", layer_drop=0.4, dropout=0.0), []
    for index, layer in enumerate(encoder.layers):
        layer.register_forward_hook(lambda *_, index=index: calls.append(index))
    torch.manual_seed(0)
    executed = 0
    for _ in range(200):
        hidden = _dropped(encoder, calls)
        executed += len(calls)
        for index in range(3):
            skipped = hidden[index + 1] is hidden[index]
            assert skipped == (index not in calls)
    assert binomtest(executed, 600, 0.6).pvalue > 0.001


def test_layer_drop_when_the_seed_is_the_same_then_so_are_the_layers():
    encoder, draws = build("post_norm", layer_drop=0.5), []
    for _ in range(2):
        torch.manual_seed(3)
        draws.append([encoder(*frames([5])).layers[-1] for _ in range(8)])
    assert all(torch.equal(first, second) for first, second in zip(*draws, strict=True))


def test_layer_drop_when_in_eval_mode_then_every_layer_runs():
    encoder, calls = build("post_norm", layer_drop=0.9).eval(), []
    for layer in encoder.layers:
        layer.register_forward_hook(lambda *_: calls.append(1))
    for _ in range(5):
        _dropped(encoder, calls)
        assert len(calls) == 3


GATED = ["transformer", "post_norm", "large", "wavlm", "reduced_post_norm", "shared_wavlm"]


@pytest.mark.parametrize("kind", GATED)
def test_copy_when_gates_are_installed_then_it_has_gates_of_its_own(kind):
    encoder = build(kind).eval()
    plain_BSD = encoder(*frames([5, 3])).layers[-1]
    for group in encoder.prune_groups():
        group.gate(torch.linspace(0.2, 1.3, group.size))
    copied = copy.deepcopy(encoder)
    gated_BSD = encoder(*frames([5, 3])).layers[-1]
    for group in encoder.prune_groups():
        group.gate(None)
    assert torch.equal(copied(*frames([5, 3])).layers[-1], gated_BSD)
    assert torch.equal(encoder(*frames([5, 3])).layers[-1], plain_BSD)
    assert not torch.equal(gated_BSD, plain_BSD)
    assert copied.state_dict().keys() == encoder.state_dict().keys()


@pytest.mark.parametrize("kind", GATED)
@pytest.mark.parametrize("training", [True, False])
def test_gates_when_differentiated_then_every_one_gets_a_gradient(kind, training):
    encoder = build(kind).train(training)
    gates = {group.name: torch.full((group.size,), 0.9) for group in encoder.prune_groups()}
    for group in encoder.prune_groups():
        group.gate(gates[group.name].requires_grad_())
    encoder(*frames([6, 4])).layers[-1].pow(3).sum().backward()
    assert {name for name, gate in gates.items() if not (gate.grad != 0).all()} == set()


@pytest.mark.parametrize("kind", GATED)
@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_encoder_when_in_half_precision_then_states_stay_near(kind, precision):
    encoder = build(kind).eval()
    with torch.no_grad():
        whole = encoder(*frames([9, 4])).layers
        with torch.autocast("cpu", precision):
            mixed = encoder(*frames([9, 4])).layers
        frames_BSD, lengths_B = frames([9, 4])
        half = encoder.to(precision)(frames_BSD.to(precision), lengths_B).layers
    for whole_BSD, mixed_BSD, half_BSD in zip(whole, mixed, half, strict=True):
        assert half_BSD.dtype == precision
        torch.testing.assert_close(mixed_BSD.float(), whole_BSD, atol=0.1, rtol=0.05)
        torch.testing.assert_close(half_BSD.float(), whole_BSD, atol=0.1, rtol=0.05)


class _Layers(nn.Module):
    # a graph gives plain tuples only
    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, frames_BSD, lengths_B):
        return self.encoder(frames_BSD, lengths_B).layers


@pytest.mark.parametrize("kind", ["post_norm", "wavlm", "reduced"])
def test_encoder_when_exported_then_the_graph_computes_the_same(kind):
    encoder = build(kind).eval()
    free = ({0: Dim.DYNAMIC, 1: Dim.DYNAMIC}, {0: Dim.DYNAMIC})
    program = export(_Layers(encoder), frames([9, 4]), dynamic_shapes=free, strict=False)
    inputs = frames([14, 5, 1], seed=2)
    for ours_BSD, graphs_BSD in zip(
        encoder(*inputs).layers, program.module()(*inputs), strict=True
    ):
        torch.testing.assert_close(ours_BSD, graphs_BSD, atol=1e-5, rtol=1e-5)
