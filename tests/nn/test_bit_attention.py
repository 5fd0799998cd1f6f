"""One-bit attention in one pass against scores and weights in float64, and which keys are met."""

from __future__ import annotations

import importlib.util
import random
import sys

import pytest
import torch

from speechlite.core.errors import ConfigError
from speechlite.core.operations import plain_operations
from speechlite.nn import bit_attention, bit_kernels, sparse_attention
from speechlite.nn.attention_core import AttentionCore
from speechlite.nn.attention_pattern import PATTERNS, allowed_pairs, keys_of_pattern
from speechlite.nn.bit_attention import every_key
from speechlite.nn.packed import packed
from speechlite.nn.quantized import QuantizedProducts
from speechlite.nn.sparse_attention import SparseAttentionCore

VARIABLE = "SPEECHLITE_BIT_KERNEL"
HAS_NUMBA = importlib.util.find_spec("numba") is not None
NEEDS_NUMBA = pytest.mark.skipif(not HAS_NUMBA, reason="needs numba")


@pytest.fixture(autouse=True)
def no_variable(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)


def _core(draw):
    pattern, stride = draw.choice(["dense", *PATTERNS]), draw.randint(1, 40)
    if pattern == "dense":
        return AttentionCore(dropout=0.1)
    return SparseAttentionCore(
        pattern=pattern, stride=stride, expressivity=draw.randint(1, stride), dropout=0.1
    )


def _operands(draw, batch, heads, frames, width):
    # as projections give them, or in an order of their own
    if draw.random() < 0.7:
        return [torch.randn(batch, frames, heads, width).transpose(1, 2) for _ in range(3)]
    return [torch.randn(batch, heads, frames, width) for _ in range(3)]


def _case(seed):
    """Draw a core over trained one-bit products, its operands, and which frames are valid."""
    torch.manual_seed(seed)
    draw = random.Random(seed)
    batch, heads, frames = draw.randint(1, 2), draw.randint(1, 3), draw.randint(1, 150)
    width = draw.choice([draw.randint(1, 64), 64, draw.randint(65, 140)])
    core, operands = _core(draw).eval(), _operands(draw, batch, heads, frames, width)
    products = QuantizedProducts(heads, width, bits=1)
    for name, parameter in products.named_parameters():
        torch.nn.init.normal_(parameter, std=0.2)
        if name.endswith("scale"):
            parameter.data.abs_()
    # a weight is about one over the number of frames
    torch.nn.init.constant_(products.weights.scale, draw.choice([0.3, 1.0, 3.0]) / frames)
    torch.nn.init.constant_(products.weights.shift, draw.choice([0.0, 0.2, -1.0]) / frames)
    core.products = products.eval()
    lengths_B = torch.tensor([draw.randint(0, frames) for _ in range(batch)])
    valid_BS = torch.arange(frames) < lengths_B[:, None] if draw.random() < 0.6 else None
    return core, operands, valid_BS


def _allowed(core, frames, valid_BS):
    if isinstance(core, SparseAttentionCore):
        return core._allowed(frames, valid_BS, torch.device("cpu"))
    return torch.ones(1, 1, 1, frames).bool() if valid_BS is None else valid_BS[:, None, None]


def _signs(values, quantizer):
    heads, width = values.shape[1], values.shape[3]
    return torch.where(values >= quantizer.shift.view(heads, 1, width), 1.0, -1.0).double()


def _slowly(core, operands, valid_BS):
    """Give what is attended to in float64, and the rows in which a weight is at the threshold."""
    products, (query, key, value) = core.products, operands
    scale = products.query.step().double() * products.key.step().double()
    scores = _signs(query, products.query) @ _signs(key, products.key).mT
    scores = scores * scale * query.shape[3] ** -0.5
    allowed = _allowed(core, query.shape[2], valid_BS)
    weights = scores.masked_fill(~allowed, -torch.inf).softmax(-1).nan_to_num()
    threshold = products.weights.threshold().double()
    ties = ((weights - threshold).abs() < 1e-6 * threshold).any(-1)
    step = products.weights.step().double() * products.value.step().double()
    return (weights >= threshold).double() @ _signs(value, products.value) * step, ties


def _assert_close(ours, expected, ties):
    differ = ((ours - expected).abs() > 1e-5 * expected.abs().max() + 1e-7).any(-1)
    assert not (differ & ~ties).any()


@NEEDS_NUMBA
def test_attention_when_hundreds_of_shapes_are_drawn_then_it_is_that_of_float64():
    num_ties = num_rows = 0
    for seed in range(400):
        core, operands, valid_BS = _case(seed)
        expected, ties = _slowly(core, operands, valid_BS)
        core.products = packed(core.products).eval()
        with torch.no_grad():
            ours = core.in_one_pass(*operands, valid_BS, None)
        assert ours.shape == operands[0].shape
        _assert_close(ours, expected, ties)
        num_ties, num_rows = num_ties + int(ties.sum()), num_rows + ties.numel()
    # or the comparison would say little
    assert num_ties < 0.02 * num_rows


@NEEDS_NUMBA
@pytest.mark.parametrize("way", [0, 10**6], ids=["blocks", "dense"])
def test_attention_when_separate_products_or_the_trained_graph_compute_it_then_they_agree(
    way, monkeypatch
):
    monkeypatch.setattr(sparse_attention, "_DENSE_FRAMES", way)
    for seed in range(400, 500):
        core, operands, valid_BS = _case(seed)
        ties = _slowly(core, operands, valid_BS)[1]
        with torch.no_grad():
            trained = core(*operands, valid_BS)
            core.products = packed(core.products).eval()
            ours = core(*operands, valid_BS)
            monkeypatch.setattr(bit_attention, "has_attention", lambda: False)
            separate = core(*operands, valid_BS)
            monkeypatch.undo()
            monkeypatch.setattr(sparse_attention, "_DENSE_FRAMES", way)
        _assert_close(ours, trained, ties)
        _assert_close(ours, separate, ties)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_keys_when_listed_one_by_one_then_they_are_those_of_the_pattern(pattern):
    draw = random.Random(2)
    for _ in range(100):
        frames, stride = draw.randint(1, 200), draw.randint(1, 50)
        rule = {"pattern": pattern, "stride": stride, "expressivity": draw.randint(1, stride)}
        keys = keys_of_pattern(frames, *rule.values())
        met_NM = torch.zeros(frames, frames)
        for query, ranges in enumerate(keys.ranges_NR2.tolist()):
            for first, last in ranges:
                met_NM[query, keys.frames_T[first:last]] += 1
        places = torch.arange(frames)
        assert torch.equal(met_NM, allowed_pairs(places[:, None], places, **rule).float())
        assert keys.num_pairs == int(met_NM.sum())


def _packed_core(**options):
    torch.manual_seed(0)
    core = AttentionCore(dropout=0.1).eval()
    core.products = packed(QuantizedProducts(2, 8, bits=1)).eval()
    # all weights reach the threshold
    torch.nn.init.constant_(core.products.weights.scale, options.get("scale", 1e-3))
    return core, [torch.randn(1, 2, 20, 8) for _ in range(3)]


@NEEDS_NUMBA
def test_attention_when_nothing_may_be_met_then_it_is_zero():
    core, operands = _packed_core()
    valid_BS = torch.zeros(1, 20, dtype=torch.bool)
    with torch.no_grad():
        assert not core.in_one_pass(*operands, valid_BS, None).any()


@NEEDS_NUMBA
def test_attention_when_an_operand_is_not_a_number_then_its_bit_is_not_set():
    core, operands = _packed_core()
    lower = [values.clone() for values in operands]
    for values, others in zip(operands, lower, strict=True):
        values[0, 0, 3, 2], others[0, 0, 3, 2] = torch.nan, -torch.inf
    with torch.no_grad():
        assert torch.equal(core(*operands, None), core(*lower, None))


@NEEDS_NUMBA
def test_attention_when_threads_share_the_heads_then_nothing_changes(monkeypatch):
    core, operands = _packed_core()
    with torch.no_grad():
        expected = core(*operands, None)
        monkeypatch.setattr(bit_attention, "num_parts", lambda *_, cost: 2)
        assert torch.equal(core(*operands, None), expected)


@NEEDS_NUMBA
def test_attention_when_a_scale_changes_then_what_was_prepared_is_made_again():
    core, operands = _packed_core()
    with torch.no_grad():
        before = core(*operands, None)
        core.products.value.scale.mul_(2.0)
        torch.testing.assert_close(core(*operands, None), 2.0 * before)


def test_attention_when_there_are_no_frames_then_the_result_is_empty():
    core, operands = _packed_core()
    with torch.no_grad():
        assert core(*(values[:, :, :0] for values in operands), None).shape == (1, 2, 0, 8)


def test_one_pass_when_it_cannot_be_taken_then_products_are_separate(monkeypatch):
    core, operands = _packed_core()
    assert core.in_one_pass(*operands, None, None) is None  # gradients
    with torch.no_grad():
        assert core.in_one_pass(*operands, None, torch.zeros(1, 2, 20, 20)) is None
        with plain_operations():
            assert core.in_one_pass(*operands, None, None) is None
        assert core.train().in_one_pass(*operands, None, None) is None  # dropout
        core.eval()
        monkeypatch.setenv(VARIABLE, "torch")
        assert core.in_one_pass(*operands, None, None) is None
        core.products = packed(QuantizedProducts(2, 8, bits=4)).eval()
        assert core.in_one_pass(*operands, None, None) is None


def test_attention_when_numba_is_missing_then_it_is_not_offered(monkeypatch):
    class Native:
        name = "c++ avx512"

    monkeypatch.setattr(bit_attention, "chosen_kernel", Native)
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.delitem(sys.modules, "speechlite.nn.bit_attention_numba", raising=False)
    bit_attention._compiled.cache_clear()
    assert not bit_attention.has_attention()
    bit_attention._compiled.cache_clear()


@NEEDS_NUMBA
def test_attention_when_numba_is_told_not_to_compile_then_it_is_not_offered(monkeypatch):
    from numba import config

    monkeypatch.setattr(config, "DISABLE_JIT", True)
    bit_attention._compiled.cache_clear()
    assert bit_attention._compiled() is None
    bit_attention._compiled.cache_clear()


@NEEDS_NUMBA
def test_attention_when_operands_do_not_fit_then_it_says_so():
    words = torch.zeros(1, 20, 2, 1, dtype=torch.int64)
    options = {"worth_C": torch.ones(9, dtype=torch.float64), "threshold": 0.5, "scale": 1.0}
    with pytest.raises(ConfigError, match=r"key has shape \(1, 19, 2, 1\), expected \(1, 20, 2,"):
        bit_attention.attend(words, words[:, 1:], words, every_key(20), None, **options)
    valid = torch.ones(2, 20, dtype=torch.bool)
    with pytest.raises(ConfigError, match=r"valid has shape \(2, 20\), expected \(1, 20\)"):
        bit_attention.attend(words, words, words, every_key(20), valid, **options)


def test_kernels_when_products_are_packed_then_they_say_what_computes_them():
    core, _ = _packed_core()
    assert core.products.kernel == f"one bit, {bit_kernels.kernel_name()}"
