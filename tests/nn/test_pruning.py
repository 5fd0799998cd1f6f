"""Width pruning against models whose weights are scaled and zeroed by hand."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from speechlite.core.errors import PlanError
from speechlite.core.model import PruneGroup
from speechlite.nn.attention import RelativeSelfAttention, SelfAttention
from speechlite.nn.feedforward import FeedForward
from speechlite.nn.positional import relative_positions
from speechlite.nn.pruning import absorb, cut, indices_of, ranges_of, units_per_axis
from speechlite.nn.relative_bias import RelativeBias

DIM, HEADS, UNITS, FRAMES = 12, 3, 7, 6
FACTORS = {"heads": [0.5, 0.0, 1.75], "units": [1.0, 0.0, 0.3, 0.0, 2.0, 0.7, 0.0]}


class _Biased(nn.Module):
    # attention with the bias that all layers share
    def __init__(self):
        super().__init__()
        self.bias = RelativeBias(HEADS, num_buckets=8, max_distance=5)
        self.attention = SelfAttention(DIM, HEADS, dropout=0.0, gated_bias=True)

    def forward(self, frames_BSD):
        return self.attention(frames_BSD, None, self.bias(frames_BSD.shape[1]))

    def prune_groups(self):
        return [group.inside("attention") for group in self.attention.prune_groups()]


class _Relative(nn.Module):
    # attention that makes its own positions
    def __init__(self):
        super().__init__()
        self.attention = RelativeSelfAttention(DIM, HEADS, dropout=0.0)

    def forward(self, frames_BSD):
        positions_PD = relative_positions(frames_BSD.shape[1], DIM, like=frames_BSD)
        return self.attention(frames_BSD, positions_PD, None)

    def prune_groups(self):
        return [group.inside("attention") for group in self.attention.prune_groups()]


class _Plain(SelfAttention):
    def __init__(self):
        super().__init__(DIM, HEADS, dropout=0.0)

    def forward(self, frames_BSD):
        return super().forward(frames_BSD, None)


class _Mapped(FeedForward):
    def __init__(self):
        super().__init__(DIM, UNITS, activation="gelu", dropout=0.0)


KINDS = [_Plain, _Biased, _Relative, _Mapped]


def _block(kind, seed=0):
    torch.manual_seed(seed)
    block = kind().double().eval()
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.4)
    return block


def _frames():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, FRAMES, DIM, generator=generator, dtype=torch.float64)


def _units(block):
    return block.prune_groups()[0]


def _factors(group):
    values = FACTORS[group.name.rpartition(".")[2]]
    return torch.tensor(values, dtype=torch.float64)


def _by_hand(block):
    """Scale the columns by which the block's output reads its units."""
    other = copy.deepcopy(block)
    group = _units(other)
    last = other.contract if isinstance(other, FeedForward) else None
    last = last or getattr(other, "attention", other).output
    width = last.in_features // group.size
    with torch.no_grad():
        for unit, factor in enumerate(_factors(group).tolist()):
            last.weight[:, unit * width : (unit + 1) * width] *= factor
    return other


def _alive(group):
    return {group.name: [unit for unit, value in enumerate(_factors(group)) if value]}


@pytest.mark.parametrize("kind", KINDS)
def test_gate_when_installed_then_units_are_multiplied(kind):
    block = _block(kind)
    expected_BSD = _by_hand(block)(_frames())
    group = _units(block)
    group.gate(_factors(group))
    torch.testing.assert_close(block(_frames()), expected_BSD, rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_gate_when_taken_off_then_the_block_is_as_before(kind):
    block = _block(kind)
    expected_BSD = block(_frames())
    for group in block.prune_groups():
        group.gate(torch.zeros(group.size, dtype=torch.float64))
        group.gate(None)
    assert torch.equal(block(_frames()), expected_BSD)


@pytest.mark.parametrize("kind", KINDS)
def test_absorb_when_multipliers_are_given_then_the_weights_hold_them(kind):
    block = _block(kind)
    expected_BSD = _by_hand(block)(_frames())
    group = _units(block)
    absorb(block, block.prune_groups(), {group.name: _factors(group)})
    torch.testing.assert_close(block(_frames()), expected_BSD, rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_absorb_when_the_block_has_a_multiplier_then_its_output_is_scaled(kind):
    block = _block(kind)
    expected_BSD = 0.3 * block(_frames())
    name = block.prune_groups()[1].name
    absorb(block, block.prune_groups(), {name: torch.tensor([0.3], dtype=torch.float64)})
    torch.testing.assert_close(block(_frames()), expected_BSD, rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_absorb_when_no_multiplier_is_given_then_nothing_changes(kind):
    block = _block(kind)
    before = copy.deepcopy(block.state_dict())
    absorb(block, block.prune_groups(), {})
    assert all(torch.equal(value, before[name]) for name, value in block.state_dict().items())


@pytest.mark.parametrize("kind", KINDS)
def test_cut_when_dead_units_go_then_the_output_stays(kind):
    block = _block(kind)
    expected_BSD = _by_hand(block)(_frames())
    group = _units(block)
    absorb(block, block.prune_groups(), {group.name: _factors(group)})
    cut(block, block.prune_groups(), _alive(group))
    torch.testing.assert_close(block(_frames()), expected_BSD, rtol=0, atol=1e-10)
    assert _units(block).size == len(_alive(group)[group.name])


@pytest.mark.parametrize("kind", KINDS)
def test_cut_when_only_some_units_are_to_stay_then_theirs_are_all_weights_left(kind):
    block = _block(kind)
    group = _units(block)
    each = sum(
        block.get_parameter(name).numel() // group.size
        for name, _, _ in group.slices
        if name in dict(block.named_parameters())
    )
    before = sum(parameter.numel() for parameter in block.parameters())
    cut(block, block.prune_groups(), _alive(group))
    after = sum(parameter.numel() for parameter in block.parameters())
    assert before - after == each * (group.size - len(_alive(group)[group.name]))


@pytest.mark.parametrize("kind", KINDS)
def test_cut_when_the_whole_block_goes_then_it_gives_zeros_and_has_no_groups(kind):
    block = _block(kind)
    units, whole = block.prune_groups()
    cut(block, block.prune_groups(), {units.name: [], whole.name: []})
    assert not block(_frames()).any()
    assert block.prune_groups() == type(block.prune_groups())()
    left = [name for name, value in block.named_parameters() if value.numel()]
    assert left == (["bias.embedding.weight"] if kind is _Biased else [])


def test_cut_when_a_parameter_is_frozen_then_it_stays_frozen():
    block = _block(_Mapped)
    block.expand.weight.requires_grad_(False)
    cut(block, block.prune_groups(), {"units": [0, 2]})
    assert not block.expand.weight.requires_grad
    assert block.contract.weight.requires_grad


def test_cut_when_stock_leaves_shrink_then_they_say_so():
    block = _block(_Mapped)
    cut(block, block.prune_groups(), {"units": [0, 2]})
    assert (block.expand.in_features, block.expand.out_features) == (DIM, 2)
    assert (block.contract.in_features, block.contract.out_features) == (2, DIM)


def test_cut_when_a_group_is_unknown_then_the_plan_is_refused():
    block = _block(_Mapped)
    with pytest.raises(PlanError, match="the plan cuts heads, which the model does not have"):
        cut(block, block.prune_groups(), {"heads": [0]})


def _group(name, axis, width=1):
    return PruneGroup(name="units", size=UNITS, gate=lambda _: None, slices=((name, axis, width),))


@pytest.mark.parametrize(
    ("group", "found"),
    [
        (_group("missing.weight", 0), "missing.weight, which is no tensor"),
        (_group("expand.weight", 1), r"axis 1 of expand.weight, which is a tensor \(7, 12\)"),
        (_group("expand.weight", 2), r"axis 2 of expand.weight, which is a tensor \(7, 12\)"),
        (_group("expand.weight", 0, 2), "units owns 7 x 2 of axis 0 of expand.weight"),
    ],
)
def test_units_per_axis_when_a_group_does_not_fit_then_it_is_refused(group, found):
    with pytest.raises(PlanError, match=found):
        units_per_axis(_block(_Mapped), [group])


def test_units_per_axis_when_groups_fit_then_each_axis_names_its_groups():
    block = _block(_Mapped)
    owners = units_per_axis(block, block.prune_groups())
    named = {name: {(axis, group.name) for axis, group in rows} for name, rows in owners.items()}
    assert named == {
        "expand.weight": {(0, "units"), (0, "block")},
        "expand.bias": {(0, "units"), (0, "block")},
        "contract.weight": {(1, "units"), (1, "block")},
        "contract.bias": {(0, "block")},
    }


@pytest.mark.parametrize(
    ("indices", "text"),
    [([], ""), ([0], "0"), ([0, 1, 2], "0-2"), ([0, 1, 5, 7, 8], "0-1,5,7-8"), ([3, 5], "3,5")],
)
def test_ranges_of_when_indices_are_given_then_runs_are_joined(indices, text):
    assert ranges_of(indices) == text


@settings(max_examples=200, deadline=None)
@given(st.sets(st.integers(0, 60)))
def test_indices_of_when_it_reads_what_ranges_of_wrote_then_indices_are_the_same(indices):
    assert indices_of(ranges_of(sorted(indices)), 61) == sorted(indices)


@pytest.mark.parametrize(
    "ranges",
    ["a", "1-", "-1", "3-1", "1,1", "2,1", "0-3,2", "1,,2", ",", "1.5", "0--2", None, 3, [1]],
)
def test_indices_of_when_text_is_no_rising_ranges_then_it_is_refused(ranges):
    with pytest.raises(PlanError, match="the plan keeps units .*, expected rising ranges"):
        indices_of(ranges, 9)


@pytest.mark.parametrize("ranges", ["9", "0-9", "3,12"])
def test_indices_of_when_a_unit_is_beyond_the_group_then_it_is_refused(ranges):
    with pytest.raises(PlanError, match=r"the plan keeps unit \d+ of a group of 9"):
        indices_of(ranges, 9)


def test_indices_of_when_a_range_is_huge_then_it_is_refused_at_once():
    with pytest.raises(PlanError, match="of a group of 9"):
        indices_of("0-999999999", 9)
