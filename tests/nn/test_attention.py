"""Self-attention against loops, indexing and torch's own module."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from speechlite.nn.attention import RelativeSelfAttention, SelfAttention, shift_relative
from speechlite.nn.lengths import padding_mask
from speechlite.nn.positional import relative_positions
from speechlite.nn.pruning import cut
from speechlite.nn.relative_bias import BiasGate

DIM, HEADS, FRAMES = 12, 3, 7


def _frames(batch=2, frames=FRAMES, *, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, frames, DIM, generator=generator, dtype=torch.float64)


def _relative(*, dropout=0.0):
    torch.manual_seed(3)
    return RelativeSelfAttention(DIM, HEADS, dropout=dropout).double()


def _sinusoid(distance):
    row = []
    for pair in range(DIM // 2):
        angle = distance / 10000 ** (2 * pair / DIM)
        row += [math.sin(angle), math.cos(angle)]
    return torch.tensor(row, dtype=torch.float64)


def _score(layer, query_D, key_D, distance, head):
    """Add the four terms of section 3.3 of Dai et al. 2019, (a) to (d), one by one."""
    part = slice(head * (DIM // HEADS), (head + 1) * (DIM // HEADS))
    query_K = layer.query(query_D)[part]
    key_K = layer.key(key_D)[part]
    # sinusoids are computed in float32
    place_K = layer.position(_sinusoid(distance).float().double())[part]
    content_K, position_K = layer.content_bias[head], layer.position_bias[head]
    terms = (query_K @ key_K, query_K @ place_K, content_K @ key_K, position_K @ place_K)
    return sum(terms) / math.sqrt(DIM // HEADS)


def _slow_relative(layer, frames_SD):
    """Attend query by query, key by key, head by head."""
    outputs = []
    for i in range(len(frames_SD)):
        heads = []
        for head in range(HEADS):
            part = slice(head * (DIM // HEADS), (head + 1) * (DIM // HEADS))
            scores = torch.stack(
                [
                    _score(layer, frames_SD[i], frames_SD[j], i - j, head)
                    for j in range(len(frames_SD))
                ]
            )
            heads.append(scores.softmax(0) @ layer.value(frames_SD)[:, part])
        outputs.append(layer.output(torch.cat(heads)))
    return torch.stack(outputs)


@pytest.mark.parametrize("training", [True, False])
def test_relative_attention_when_computed_by_loops_then_it_is_equal(training):
    layer, frames_BSD = _relative().train(training), _frames()
    positions_PD = relative_positions(FRAMES, DIM, like=frames_BSD)
    with torch.no_grad():
        expected = torch.stack([_slow_relative(layer, frames_SD) for frames_SD in frames_BSD])
        ours_BSD = layer(frames_BSD, positions_PD, None)
    torch.testing.assert_close(ours_BSD, expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("training", [True, False])
def test_relative_attention_when_padded_then_valid_frames_are_those_of_the_loops(training):
    layer, frames_BSD = _relative().train(training), _frames()
    lengths_B = torch.tensor([FRAMES, 4])
    positions_PD = relative_positions(FRAMES, DIM, like=frames_BSD)
    # with gradients, so that the path of training is taken
    ours_BSD = layer(frames_BSD, positions_PD, padding_mask(lengths_B, FRAMES)).detach()
    with torch.no_grad():
        expected_SD = _slow_relative(layer, frames_BSD[1, :4])
    torch.testing.assert_close(ours_BSD[1, :4], expected_SD, atol=1e-6, rtol=1e-6)


def test_relative_attention_when_with_and_without_gradients_then_both_paths_agree():
    layer, frames_BSD = _relative().float(), _frames(3, 33).float()
    positions_PD = relative_positions(33, DIM, like=frames_BSD)
    valid_BS = padding_mask(torch.tensor([33, 20, 1]), 33)
    trained_BSD = layer.train()(frames_BSD, positions_PD, valid_BS)
    with torch.no_grad():
        fused_BSD = layer.eval()(frames_BSD, positions_PD, valid_BS)
    assert trained_BSD.requires_grad
    torch.testing.assert_close(trained_BSD[valid_BS], fused_BSD[valid_BS], atol=1e-5, rtol=1e-5)


def test_relative_attention_when_padding_grows_then_valid_frames_stay():
    layer, frames_BSD = _relative().eval(), _frames(1)
    longer_BSD = torch.cat([frames_BSD, 1e3 * torch.ones(1, 5, DIM, dtype=torch.float64)], dim=1)
    alone = layer(frames_BSD, relative_positions(FRAMES, DIM, like=frames_BSD), None)
    padded = layer(
        longer_BSD,
        relative_positions(FRAMES + 5, DIM, like=frames_BSD),
        padding_mask(torch.tensor([FRAMES]), FRAMES + 5),
    )
    torch.testing.assert_close(padded[:, :FRAMES], alone, atol=1e-9, rtol=1e-9)


def test_relative_attention_when_differentiated_then_gradients_are_those_of_the_loops():
    layer, slow = _relative(), _relative()
    frames_BSD = _frames(1).requires_grad_()
    copied_BSD = _frames(1).requires_grad_()
    positions_PD = relative_positions(FRAMES, DIM, like=frames_BSD)
    layer(frames_BSD, positions_PD, None).pow(3).sum().backward()
    _slow_relative(slow, copied_BSD[0]).pow(3).sum().backward()
    torch.testing.assert_close(frames_BSD.grad, copied_BSD.grad, atol=1e-6, rtol=1e-5)
    for ours, theirs in zip(layer.parameters(), slow.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-6, rtol=1e-5)


def test_relative_attention_when_trained_then_every_parameter_gets_a_gradient():
    layer, frames_BSD = _relative(), _frames()
    positions_PD = relative_positions(FRAMES, DIM, like=frames_BSD)
    layer(frames_BSD, positions_PD, None).square().sum().backward()
    # a bias of the keys moves all scores of a query alike, and the softmax takes it out again
    for name, parameter in layer.named_parameters():
        assert name == "key.bias" or parameter.grad.abs().max() > 1e-9, name


def test_shift_when_indexed_entry_by_entry_then_it_is_equal():
    scores_BHSP = torch.randn(2, 3, 5, 9)
    shifted_BHSS = shift_relative(scores_BHSP)
    for i in range(5):
        for j in range(5):
            # column p holds distance S - 1 - p
            expected = scores_BHSP[:, :, i, 5 - 1 - (i - j)]
            assert torch.equal(shifted_BHSS[:, :, i, j], expected)


def test_shift_when_the_scores_are_a_view_then_the_offset_is_respected():
    scores_BHSP = torch.randn(3, 2, 4, 7)
    assert torch.equal(shift_relative(scores_BHSP[1:]), shift_relative(scores_BHSP[1:].clone()))
    transposed = scores_BHSP.transpose(0, 1)
    assert torch.equal(shift_relative(transposed), shift_relative(transposed.clone()))


def test_shift_when_there_is_one_frame_then_its_own_score_stays():
    assert shift_relative(torch.tensor([[[[3.0]]]])).tolist() == [[[[3.0]]]]


def _torch_attention(layer):
    module = nn.MultiheadAttention(DIM, HEADS, batch_first=True, dtype=torch.float64)
    parts = (layer.query, layer.key, layer.value)
    with torch.no_grad():
        module.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
        module.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
        module.out_proj.load_state_dict(layer.output.state_dict())
    return module


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("lengths", [[FRAMES, FRAMES], [FRAMES, 3]])
def test_self_attention_when_torch_has_the_same_weights_then_it_is_equal(lengths, training):
    torch.manual_seed(4)
    layer = SelfAttention(DIM, HEADS, dropout=0.0).double().train(training)
    frames_BSD = _frames()
    valid_BS = torch.arange(FRAMES) < torch.tensor(lengths)[:, None]
    expected_BSD, _ = _torch_attention(layer)(
        frames_BSD, frames_BSD, frames_BSD, key_padding_mask=~valid_BS
    )
    ours_BSD = layer(frames_BSD, padding_mask(torch.tensor(lengths), FRAMES))
    torch.testing.assert_close(ours_BSD[valid_BS], expected_BSD[valid_BS])


@pytest.mark.parametrize("kind", [SelfAttention, RelativeSelfAttention])
def test_attention_when_dropout_is_on_then_only_training_is_random(kind):
    torch.manual_seed(6)
    layer, frames_BSD = kind(DIM, HEADS, dropout=0.5), _frames().float()
    inputs = [frames_BSD, None]
    if kind is RelativeSelfAttention:
        inputs.insert(1, relative_positions(FRAMES, DIM, like=frames_BSD))
    assert not torch.equal(layer.train()(*inputs), layer(*inputs))
    assert torch.equal(layer.eval()(*inputs), layer(*inputs))


@pytest.mark.parametrize("kind", [SelfAttention, RelativeSelfAttention])
def test_attention_when_dropout_is_averaged_then_the_mean_is_that_of_eval(kind):
    torch.manual_seed(7)
    layer, frames_BSD = kind(DIM, HEADS, dropout=0.3), _frames(1).float()
    inputs = [frames_BSD.expand(3000, -1, -1), None]
    if kind is RelativeSelfAttention:
        inputs.insert(1, relative_positions(FRAMES, DIM, like=frames_BSD))
    with torch.no_grad():
        mean_SD = layer.train()(*inputs).mean(0)
        expected_SD = layer.eval()(*inputs)[0]
    torch.testing.assert_close(mean_SD, expected_SD, atol=0.02, rtol=0)


KINDS = ["plain", "gated_bias", "relative"]


def _attention(kind):
    torch.manual_seed(8)
    if kind == "relative":
        return _relative()
    return SelfAttention(DIM, HEADS, dropout=0.0, gated_bias=kind == "gated_bias").double()


def _inputs(kind, frames_BSD, valid_BS=None):
    frames = frames_BSD.shape[1]
    if kind == "relative":
        return frames_BSD, relative_positions(frames, DIM, like=frames_BSD), valid_BS
    generator = torch.Generator().manual_seed(9)
    bias_HSS = torch.randn(HEADS, frames, frames, generator=generator, dtype=torch.float64)
    return frames_BSD, valid_BS, bias_HSS if kind == "gated_bias" else None


def _slow_gated(layer, frames_SD, bias_HSS):
    """Attend head by head; each query weighs its bias by Eqs. 3 to 6 of WavLM."""
    outputs, width = [], DIM // HEADS
    for head in range(HEADS):
        part = slice(head * width, (head + 1) * width)
        query_SK, key_SK, value_SK = (
            projection(frames_SD)[:, part] for projection in (layer.query, layer.key, layer.value)
        )
        rows_S8 = layer.bias_gate.linear(frames_SD[:, part])
        update_S = 1 / (1 + torch.exp(-rows_S8[:, :4].sum(1)))
        reset_S = 1 / (1 + torch.exp(-rows_S8[:, 4:].sum(1)))
        bias_SS = bias_HSS[head]
        # r~ = w g_r d, then d + g_u d + (1 - g_u) r~, in the paper's order of terms
        scaled_SS = layer.bias_gate.scale[head] * reset_S[:, None] * bias_SS
        updated_SS = update_S[:, None] * bias_SS
        gated_SS = 2 * bias_SS - updated_SS + update_S[:, None] * scaled_SS
        scores_SS = query_SK @ key_SK.T / math.sqrt(width) + gated_SS
        outputs.append(scores_SS.softmax(1) @ value_SK)
    return layer.output(torch.cat(outputs, 1))


@pytest.mark.parametrize("training", [True, False])
def test_gated_bias_when_computed_head_by_head_then_it_is_equal(training):
    layer = _attention("gated_bias").train(training)
    nn.init.normal_(layer.bias_gate.scale)
    inputs = _inputs("gated_bias", _frames())
    with torch.no_grad():
        expected = torch.stack([_slow_gated(layer, rows, inputs[2]) for rows in inputs[0]])
        torch.testing.assert_close(layer(*inputs), expected)


@pytest.mark.parametrize("length", [1, 4])
def test_gated_bias_when_padded_then_valid_frames_are_as_if_alone(length):
    layer, frames_BSD = _attention("gated_bias"), _frames()
    frames_BSD, _, bias_HSS = _inputs("gated_bias", frames_BSD)
    valid_BS = padding_mask(torch.tensor([FRAMES, length]), FRAMES)
    padded_BSD = layer(frames_BSD, valid_BS, bias_HSS)[1:, :length]
    alone_BSD = layer(frames_BSD[1:, :length], None, bias_HSS[:, :length, :length])
    torch.testing.assert_close(padded_BSD, alone_BSD)


def test_gated_bias_when_the_bias_is_trained_then_both_paths_agree():
    layer, frames_BSD = _attention("gated_bias"), _frames()
    frames_BSD, _, bias_HSS = _inputs("gated_bias", frames_BSD)
    valid_BS = padding_mask(torch.tensor([FRAMES, 3]), FRAMES)
    trained_BSD = layer(frames_BSD, valid_BS, bias_HSS.clone().requires_grad_())
    with torch.no_grad():
        fused_BSD = layer(frames_BSD, valid_BS, bias_HSS)
    torch.testing.assert_close(trained_BSD[valid_BS], fused_BSD[valid_BS])


def test_bias_gate_when_heads_are_gone_then_the_others_read_what_was_theirs():
    torch.manual_seed(1)
    gate, frames_BSD = BiasGate(HEADS, DIM // HEADS).double(), _frames()
    bias_HSS = torch.randn(HEADS, FRAMES, FRAMES, dtype=torch.float64)
    nn.init.normal_(gate.scale)
    whole_BHSS = gate(frames_BSD, bias_HSS)
    gate.heads, gate.scale = torch.tensor([0, 2]), nn.Parameter(gate.scale[[0, 2]])
    torch.testing.assert_close(gate(frames_BSD, bias_HSS), whole_BHSS[:, [0, 2]])


@pytest.mark.parametrize("kind", KINDS)
def test_heads_when_gated_then_the_outputs_weight_takes_it_up(kind):
    layer, inputs = _attention(kind), _inputs(kind, _frames())
    gate_H = torch.tensor([0.5, 0.0, 1.5], dtype=torch.float64)
    layer.head_gate = gate_H
    gated_BSD = layer(*inputs)
    layer.head_gate = None
    with torch.no_grad():
        layer.output.weight.mul_(gate_H.repeat_interleave(DIM // HEADS))
    torch.testing.assert_close(layer(*inputs), gated_BSD)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kept", [[0], [1], [0, 2]])
def test_heads_when_cut_then_it_is_as_if_their_gates_were_zero(kind, kept):
    layer, inputs = _attention(kind), _inputs(kind, _frames())
    layer.head_gate = torch.zeros(HEADS, dtype=torch.float64)
    layer.head_gate[kept] = 1.0
    gated_BSD = layer(*inputs)
    layer.head_gate = None
    cut(layer, layer.prune_groups(), {"heads": kept})
    torch.testing.assert_close(layer(*inputs), gated_BSD)
    assert layer.prune_groups()[0].size == len(kept)


@pytest.mark.parametrize("kind", KINDS)
def test_heads_when_all_are_cut_then_the_bias_is_left(kind):
    layer, inputs = _attention(kind), _inputs(kind, _frames())
    cut(layer, layer.prune_groups(), {"heads": []})
    torch.testing.assert_close(layer(*inputs), layer.output.bias.expand(inputs[0].shape))
    assert layer.prune_groups() == ()


@pytest.mark.parametrize("kind", KINDS)
def test_block_when_cut_whole_then_no_parameter_is_left(kind):
    layer, inputs = _attention(kind), _inputs(kind, _frames())
    cut(layer, layer.prune_groups(), {"heads": [], "block": []})
    assert not layer(*inputs).any()
    assert sum(parameter.numel() for parameter in layer.parameters()) == 0
