"""Sparse attention against dense attention under the same mask."""

from __future__ import annotations

import math
import random

import pytest
import torch

from speechlite.nn import sparse_attention
from speechlite.nn.attention_core import AttentionCore, Products
from speechlite.nn.attention_pattern import PATTERNS, allowed_pairs
from speechlite.nn.sparse_attention import SparseAttentionCore

SHAPES = [(5, 4, 1), (33, 8, 3), (64, 32, 8), (129, 7, 7), (200, 1, 1), (450, 32, 8)]


def _core(pattern, stride, expressivity, **options):
    options = {"dropout": 0.0, **options}
    return SparseAttentionCore(pattern=pattern, stride=stride, expressivity=expressivity, **options)


def _operands(frames, *, seed=0, grad=False):
    torch.manual_seed(seed)
    return [torch.randn(2, 3, frames, 8, dtype=torch.float64, requires_grad=grad) for _ in range(3)]


def _slowly_allowed(query, key, pattern, stride, expressivity):
    if pattern == "window":
        return abs(query - key) <= stride
    if pattern == "strided":
        return abs(query - key) < stride or (query - key) % stride == 0
    return query // stride == key // stride or key % stride >= stride - expressivity


def _dense(operands, allowed_BSS):
    query, key, value = operands
    scores = (query @ key.mT) * 8**-0.5
    return scores.masked_fill(~allowed_BSS[:, None], -1e30).softmax(-1) @ value


@pytest.fixture(params=[0, 10**6], ids=["blocks", "dense"])
def way(request, monkeypatch):
    monkeypatch.setattr(sparse_attention, "_DENSE_FRAMES", request.param)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize(("frames", "stride", "expressivity"), SHAPES[:4])
def test_pairs_when_asked_one_by_one_then_they_are_those_of_the_definition(
    pattern, frames, stride, expressivity
):
    places = torch.arange(frames)
    allowed = allowed_pairs(
        places[:, None], places, pattern=pattern, stride=stride, expressivity=expressivity
    )
    for query, key in [(random.randrange(frames), random.randrange(frames)) for _ in range(300)]:
        expected = _slowly_allowed(query, key, pattern, stride, expressivity)
        assert bool(allowed[query, key]) == expected


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("is_padded", [False, True])
@pytest.mark.parametrize(("frames", "stride", "expressivity"), SHAPES)
def test_sparse_when_computed_by_blocks_then_it_is_dense_attention_under_the_mask(
    way, pattern, frames, stride, expressivity, is_padded
):
    operands = _operands(frames, grad=True)
    valid_BS = torch.arange(frames) < torch.tensor([[frames], [max(1, frames - 7)]])
    places = torch.arange(frames)
    allowed_BSS = allowed_pairs(
        places[:, None], places, pattern=pattern, stride=stride, expressivity=expressivity
    ).expand(2, -1, -1)
    rows_BS = torch.ones(2, frames, dtype=torch.bool)
    if is_padded:
        allowed_BSS, rows_BS = allowed_BSS & valid_BS[:, None], valid_BS
    core = _core(pattern, stride, expressivity)
    ours = core(*operands, valid_BS if is_padded else None)
    expected = _dense(operands, allowed_BSS)
    ours, expected = (values.transpose(1, 2)[rows_BS] for values in (ours, expected))
    torch.testing.assert_close(ours, expected, atol=1e-10, rtol=1e-10)
    gradients = [torch.autograd.grad(v.pow(2).sum(), operands) for v in (ours, expected)]
    for our, their in zip(*gradients, strict=True):
        torch.testing.assert_close(our, their, atol=1e-9, rtol=1e-9)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("pattern", PATTERNS)
def test_sparse_when_the_fused_kernel_of_accelerators_runs_here_then_it_agrees(pattern):
    operands = [values.float() for values in _operands(192)]
    valid_BS = torch.arange(192) < torch.tensor([[192], [150]])
    core = _core(pattern, 16, 4)
    with torch.no_grad():
        fused = core.flex(*operands, valid_BS)
    plain = core(*operands, valid_BS)
    for fused_HSK, plain_HSK, length in zip(fused, plain, (192, 150), strict=True):
        torch.testing.assert_close(fused_HSK[:, :length], plain_HSK[:, :length], atol=1e-5, rtol=0)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_sparse_when_the_stride_covers_all_then_it_is_dense_attention(way, pattern):
    operands = _operands(40)
    whole = _core(pattern, 64, 64)(*operands, None)
    torch.testing.assert_close(whole, AttentionCore(dropout=0.0)(*operands, None))


class _Counting(Products):
    def __init__(self):
        super().__init__()
        self.pairs = 0

    def scores(self, query_XNK, key_XMK):
        scores = super().scores(query_XNK, key_XMK)
        self.pairs += scores.numel()
        return scores


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("frames", [100, 500, 1000, 4000])
def test_pairs_when_scores_are_counted_then_they_are_as_many(pattern, frames):
    core = _core(pattern, 32, 8)
    core.products = _Counting()
    core(*(torch.zeros(1, 1, frames, 2) for _ in range(3)), None)
    assert core.products.pairs == core.pairs(frames)


def test_growth_when_frames_double_then_windows_grow_linearly_and_strides_by_their_square():
    assert _core("window", 32, 8).pairs(8000) == pytest.approx(
        8 * _core("window", 32, 8).pairs(1000), rel=0.03
    )
    exponents = {}
    for pattern, stride_of in (("strided", math.isqrt), ("fixed", math.isqrt)):
        short, long = (_core(pattern, stride_of(n), 1).pairs(n) for n in (1000, 8000))
        exponents[pattern] = math.log(long / short, 8)
    assert exponents["strided"] == pytest.approx(1.5, abs=0.05)
    assert exponents["fixed"] == pytest.approx(1.5, abs=0.05)


def test_sparse_when_training_then_weights_are_dropped(way):
    core = _core("strided", 8, 2, dropout=0.5).train()
    operands = _operands(64)
    assert not torch.equal(core(*operands, None), core(*operands, None))
    core.eval()
    assert torch.equal(core(*operands, None), core(*operands, None))
