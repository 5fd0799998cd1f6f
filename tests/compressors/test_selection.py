"""Which units stay, against a walk over all single steps."""

from __future__ import annotations

import pytest
import torch
from prunable_models import KINDS, compressor, everything, model_of, numbers, random_units

from speechlite.compressors.selection import Selection, blocks_around
from speechlite.compressors.sizes import macs_of, parameters_of
from speechlite.core.model import PruneGroup


def _scores(groups, *, seed):
    generator = torch.Generator().manual_seed(seed)
    return {group.name: torch.randn(group.size, generator=generator) for group in groups}


def _all_open(groups):
    return {group.name: torch.ones(group.size, dtype=torch.bool) for group in groups}


def _block_of(name):
    return f"{name.rpartition('.')[0]}.block"


def _largest_step(groups, sizes):
    """Return the largest part of the size that one unit, or a block's last unit, can make."""
    whole = everything(groups)
    steps = []
    for group in groups:
        if group.size == 1:
            # the bias that goes with a block's last unit
            inner = next(g.name for g in groups if _block_of(g.name) == group.name and g.size > 1)
            without = {**whole, inner: torch.tensor(0.0)}
            steps.append(sizes(without) - sizes({**without, group.name: torch.tensor(0.0)}))
        else:
            fewer = {**whole, group.name: whole[group.name] - 1}
            steps.append(sizes(whole) - sizes(fewer))
    return 2 * float(max(steps)) / sizes.total


def _is_settled(groups, selection):
    for group in groups:
        kept, block = selection.kept(group.name), _block_of(group.name)
        if group.size > 1 and block in selection.units:
            if bool(kept) != bool(selection.kept(block)):
                return False
        elif group.size > 1 and not kept:
            return False
    return True


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("target", [0.1, 0.4, 0.7])
def test_meet_when_all_units_are_open_then_the_target_is_within_one_unit(kind, target):
    model = model_of(kind)
    groups = model.prune_groups()
    sizes = parameters_of(model, groups)
    for seed in range(3):
        selection = Selection(groups, _scores(groups, seed=seed), _all_open(groups), sizes)
        selection.meet(target)
        assert abs(selection.sparsity() - target) <= _largest_step(groups, sizes)
        assert _is_settled(groups, selection)


@pytest.mark.parametrize("kind", ["base", "large", "conformer"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_meet_when_some_units_are_open_then_the_target_is_within_one_unit(kind, share):
    model = model_of(kind)
    groups = model.prune_groups()
    sizes = parameters_of(model, groups)
    for seed in range(4):
        units = random_units(groups, seed=seed, share=share)
        selection = Selection(groups, _scores(groups, seed=seed), units, sizes)
        selection.meet(0.45)
        assert abs(selection.sparsity() - 0.45) <= _largest_step(groups, sizes)
        assert _is_settled(groups, selection)


def test_meet_when_size_is_macs_then_the_target_is_within_one_unit():
    model = model_of("base")
    groups = model.prune_groups()
    sizes = macs_of(model, groups, seconds=0.3)
    selection = Selection(groups, _scores(groups, seed=0), _all_open(groups), sizes)
    selection.meet(0.5)
    assert abs(selection.sparsity() - 0.5) <= _largest_step(groups, sizes)


def _toy_groups():
    """Two blocks of four units and one group that no block holds; each unit weighs one."""

    def group(name, size, *tensors):
        slices = tuple((tensor, 0, 1) for tensor in tensors)
        return PruneGroup(name=name, size=size, gate=lambda _: None, slices=slices)

    return [
        group("free.channels", 4, "f"),
        group("a.units", 4, "x"),
        group("a.block", 1, "x", "p"),
        group("b.units", 4, "y"),
        group("b.block", 1, "y", "q"),
    ]


def _toy_size(left):
    return left["free.channels"] + sum(left[f"{n}.units"] * left[f"{n}.block"] for n in "ab")


TOY_SCORES = {
    "free.channels": torch.tensor([0.0, 3.0, 6.0, 9.0]),
    "a.units": torch.tensor([1.0, 4.0, 7.0, 10.0]),
    "a.block": torch.tensor([0.5]),
    "b.units": torch.tensor([2.0, 5.0, 8.0, 11.0]),
    "b.block": torch.tensor([0.5]),
}


def _toy(open_units=None):
    groups = _toy_groups()
    return Selection(groups, TOY_SCORES, {**_all_open(groups), **(open_units or {})}, _toy_size)


@pytest.mark.parametrize("num_off", range(12))
def test_meet_when_each_unit_weighs_one_then_the_weakest_go(num_off):
    selection = _toy()
    assert selection.meet(num_off / 12) >= num_off
    ranked = {
        score: (name, unit)
        for name, scores in TOY_SCORES.items()
        if not name.endswith("block")
        for unit, score in enumerate(scores.tolist())
    }
    # channel 3 is the last of its group and stays, whatever it weighs
    order = [score for score in sorted(ranked) if score != 9.0]
    weakest = {ranked[score] for score in order[:num_off]}
    found = {(name, unit) for name, unit in ranked.values() if unit not in selection.kept(name)}
    assert found == weakest
    assert selection.sparsity() == pytest.approx(num_off / 12)


def test_meet_when_more_is_asked_for_than_can_go_then_one_channel_is_left():
    selection = _toy()
    selection.meet(0.999)
    kept = {name: selection.kept(name) for name in TOY_SCORES}
    assert kept == {**dict.fromkeys(TOY_SCORES, []), "free.channels": [3]}


def test_meet_when_the_last_unit_of_a_block_goes_then_the_block_goes_too():
    selection = _toy({"a.units": torch.tensor([False, False, True, False])})
    selection.scores = {**TOY_SCORES, "a.units": torch.tensor([0.0, 0.0, -1.0, 0.0])}
    selection.meet(4 / 12)
    assert (selection.kept("a.units"), selection.kept("a.block")) == ([], [])


def test_meet_when_too_much_is_off_then_the_strongest_come_back():
    off = {"b.units": torch.tensor([False, False, False, True])}
    off["free.channels"] = torch.tensor([False, True, False, False])
    selection = _toy(off)
    assert selection.meet(4 / 12) == 2
    assert selection.kept("b.units") == [2, 3]
    assert selection.kept("free.channels") == [1, 3]


def test_meet_when_the_target_is_met_then_nothing_changes():
    selection = _toy({"a.units": torch.tensor([True, False, True, True])})
    assert selection.meet(1 / 12) == 0
    assert selection.kept("a.units") == [0, 2, 3]


def test_meet_when_a_block_is_off_and_the_rest_suffices_then_it_stays_off():
    selection = _toy({"a.block": torch.tensor([False])})
    selection.meet(6 / 12)
    assert (selection.kept("a.units"), selection.kept("a.block")) == ([], [])
    assert selection.sparsity() == pytest.approx(6 / 12)


def test_meet_when_only_units_of_closed_blocks_are_left_then_the_strongest_block_opens():
    selection = _toy({"a.block": torch.tensor([False]), "b.block": torch.tensor([False])})
    selection.scores = {**TOY_SCORES, "a.block": torch.tensor([-2.0])}
    selection.meet(6 / 12)
    assert selection.sparsity() == pytest.approx(6 / 12)
    assert (selection.kept("a.block"), selection.kept("b.block")) == ([], [0])
    assert selection.kept("b.units") == [2, 3]


def test_meet_when_every_block_must_open_then_nothing_stays_off():
    selection = _toy({"a.block": torch.tensor([False]), "b.block": torch.tensor([False])})
    selection.meet(1 / 12)
    assert selection.sparsity() == pytest.approx(1 / 12)
    assert _is_settled(_toy_groups(), selection)


def test_selection_when_a_block_is_closed_then_its_units_are_too():
    selection = _toy({"b.block": torch.tensor([False])})
    assert selection.kept("b.units") == []
    assert selection.sparsity() == pytest.approx(4 / 12)


def test_selection_when_all_units_of_a_block_are_closed_then_it_is_too():
    selection = _toy({"a.units": torch.zeros(4, dtype=torch.bool)})
    assert selection.kept("a.block") == []


def test_selection_when_no_channel_is_open_then_the_strongest_stays():
    selection = _toy({"free.channels": torch.zeros(4, dtype=torch.bool)})
    assert selection.kept("free.channels") == [3]


def test_selection_when_built_then_the_given_masks_are_left_as_they_were():
    given = {**_all_open(_toy_groups()), "a.block": torch.tensor([False])}
    Selection(_toy_groups(), TOY_SCORES, given, _toy_size).meet(0.9)
    assert bool(given["a.units"].all())


def test_selection_when_blocks_are_not_gated_then_one_unit_of_each_group_stays():
    groups = [group for group in _toy_groups() if group.size > 1]

    def size(left):
        return sum(left.values())

    scores = {group.name: TOY_SCORES[group.name] for group in groups}
    selection = Selection(groups, scores, _all_open(groups), size)
    selection.meet(0.99)
    assert [selection.kept(group.name) for group in groups] == [[3], [3], [3]]


def test_selection_when_the_units_of_a_block_are_not_gated_then_it_may_still_close():
    groups = [group for group in _toy_groups() if group.name != "a.units"]

    def size(left):
        return _toy_size({**left, "a.units": 4})

    scores = {group.name: TOY_SCORES[group.name] for group in groups}
    open_units = {**_all_open(groups), "a.block": torch.tensor([False])}
    selection = Selection(groups, scores, open_units, size)
    assert selection.kept("a.block") == []
    assert selection.meet(1 / 12) == 1
    assert selection.kept("a.block") == [0]
    assert selection.meet(4 / 12) > 0
    assert selection.kept("a.block") == []


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_around_when_a_group_is_inside_then_the_block_is_named(kind):
    groups = model_of(kind).prune_groups()
    for group in groups:
        is_inside = group.name.endswith((".heads", ".units"))
        expected = [_block_of(group.name)] if is_inside else []
        assert blocks_around(group, groups) == expected


def test_blocks_around_when_only_one_head_is_left_then_it_is_the_same():
    model = model_of("base")
    chosen = compressor(target=0.5)
    name = "encoder.layers.0.attention.heads"
    smaller = chosen.restructure(model, {"kept": {name: "1"}})
    groups = smaller.prune_groups()
    one = next(group for group in groups if group.name == name)
    block = next(group for group in groups if group.name == _block_of(name))
    assert blocks_around(one, groups) == [block.name]
    assert blocks_around(block, groups) == []


def test_sparsity_when_units_are_drawn_then_it_is_the_part_that_is_gone():
    model = model_of("base")
    groups = model.prune_groups()
    sizes = parameters_of(model, groups)
    units = random_units(groups, seed=2)
    selection = Selection(groups, _scores(groups, seed=0), units, sizes)
    assert selection.sparsity() == pytest.approx(1 - float(sizes(numbers(units))) / sizes.total)
