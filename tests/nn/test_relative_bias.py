"""WavLM's bias against the definition in words and against the model hub's own module."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from speechlite.nn.attention import SelfAttention
from speechlite.nn.lengths import padding_mask
from speechlite.nn.relative_bias import BiasGate, RelativeBias, distance_buckets

DIM, HEADS, FRAMES = 12, 3, 9


def _slow_bucket(query, key, num_buckets, max_distance):
    """Follow the description of T5: both directions apart, near exactly, far logarithmically."""
    of_direction = num_buckets // 2
    first = of_direction if key > query else 0
    distance = abs(key - query)
    near = of_direction // 2
    if distance < near:
        return first + distance
    share = math.log(distance / near) / math.log(max_distance / near)
    return first + min(near + int(share * (of_direction - near)), of_direction - 1)


@pytest.mark.parametrize(
    ("num_buckets", "max_distance", "num_frames"),
    [(32, 128, 300), (8, 5, 20), (16, 40, 90), (320, 800, 1), (12, 9, 30)],
)
def test_distance_buckets_when_computed_pair_by_pair_then_they_are_the_same(
    num_buckets, max_distance, num_frames
):
    found_SS = distance_buckets(
        num_frames,
        num_buckets=num_buckets,
        max_distance=max_distance,
        device=torch.device("cpu"),
    )
    places = [0] if num_frames == 1 else [0, num_frames // 2, num_frames - 1]
    for query in places:
        expected = [
            _slow_bucket(query, key, num_buckets, max_distance) for key in range(num_frames)
        ]
        assert found_SS[query].tolist() == expected


def test_distance_buckets_when_distances_are_far_then_all_share_the_last_bucket():
    buckets_SS = distance_buckets(
        1700, num_buckets=320, max_distance=800, device=torch.device("cpu")
    )
    assert set(buckets_SS[0, 800:].tolist()) == {319}
    assert set(buckets_SS[-1, :-800].tolist()) == {159}
    assert int(buckets_SS.min()) == 0


def test_relative_bias_when_looked_up_then_each_head_has_its_score_of_each_pair():
    bias = RelativeBias(HEADS, num_buckets=8, max_distance=5)
    scores_HSS = bias(FRAMES)
    assert scores_HSS.shape == (HEADS, FRAMES, FRAMES)
    for query, key in [(0, 0), (0, 8), (8, 0), (3, 4), (4, 3)]:
        row_H = bias.embedding.weight[_slow_bucket(query, key, 8, 5)]
        assert torch.equal(scores_HSS[:, query, key], row_H)


def _slow_gate(gate, frame_D, head):
    # Eqs. 3-6 of WavLM for one frame and one head
    part_K = frame_D[head * gate.head_dim : (head + 1) * gate.head_dim]
    rows = gate.linear.weight @ part_K + gate.linear.bias
    update, reset = torch.sigmoid(rows[:4].sum()), torch.sigmoid(rows[4:].sum())
    return update * (reset * gate.scale[head] - 1) + 2


def test_bias_gate_when_computed_frame_by_frame_then_it_is_the_same():
    torch.manual_seed(0)
    gate = BiasGate(HEADS, DIM // HEADS).double()
    nn.init.normal_(gate.scale)
    frames_BSD = torch.randn(2, FRAMES, DIM, dtype=torch.float64)
    bias_HSS = torch.randn(HEADS, FRAMES, FRAMES, dtype=torch.float64)
    found_BHSS = gate(frames_BSD, bias_HSS)
    for row, head, frame in [(0, 0, 0), (1, 2, 8), (0, 1, 4)]:
        expected_S = _slow_gate(gate, frames_BSD[row, frame], head) * bias_HSS[head, frame]
        torch.testing.assert_close(found_BHSS[row, head, frame], expected_S)


def _published(*, num_buckets=16, max_distance=6):
    wavlm = pytest.importorskip("transformers.models.wavlm.modeling_wavlm")
    torch.manual_seed(0)
    theirs = wavlm.WavLMAttention(DIM, HEADS, 0.0, num_buckets, max_distance)
    theirs = theirs.double().eval()
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.5)
    return theirs


def _with_weights_of(theirs):
    bias = RelativeBias(HEADS, num_buckets=16, max_distance=6).double()
    ours = SelfAttention(DIM, HEADS, dropout=0.0, gated_bias=True).double().eval()
    pairs = [
        (ours.query, theirs.q_proj),
        (ours.key, theirs.k_proj),
        (ours.value, theirs.v_proj),
        (ours.output, theirs.out_proj),
        (ours.bias_gate.linear, theirs.gru_rel_pos_linear),
        (bias.embedding, theirs.rel_attn_embed),
    ]
    for own, other in pairs:
        own.load_state_dict(other.state_dict())
    with torch.no_grad():
        ours.bias_gate.scale.copy_(theirs.gru_rel_pos_const.flatten())
    return bias, ours


def test_relative_bias_when_it_has_the_weights_of_the_published_module_then_all_pairs_agree():
    theirs = _published(num_buckets=320, max_distance=800)
    bias = RelativeBias(HEADS, num_buckets=320, max_distance=800).double()
    bias.embedding.load_state_dict(theirs.rel_attn_embed.state_dict())
    assert torch.equal(bias(900), theirs.compute_bias(900, 900))


@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask:UserWarning")
@pytest.mark.parametrize("lengths", [(FRAMES, FRAMES), (FRAMES, 4)])
def test_gated_attention_when_it_has_the_weights_of_the_published_module_then_they_agree(lengths):
    theirs = _published()
    bias, ours = _with_weights_of(theirs)
    frames_BSD = torch.randn(2, FRAMES, DIM, dtype=torch.float64)
    valid_BS = padding_mask(torch.tensor(lengths), FRAMES)
    mask = None if valid_BS is None else valid_BS.long()
    with torch.no_grad():
        expected_BSD = theirs(frames_BSD, attention_mask=mask)[0]
        found_BSD = ours(frames_BSD, valid_BS, bias(FRAMES))
    for row, length in enumerate(lengths):
        torch.testing.assert_close(
            found_BSD[row, :length], expected_BSD[row, :length], rtol=0, atol=1e-10
        )
