"""Plans of widths: what they say, and what is refused."""

from __future__ import annotations

import json

import pytest
import torch
from prunable_models import REGISTRY, everything, indices, model_of, num_parameters, random_units

from speechlite.compressors.selection import Selection
from speechlite.compressors.sizes import parameters_of
from speechlite.compressors.width_plan import carry_out, check_target, chosen_groups, described
from speechlite.core.errors import PlanError
from speechlite.core.model import ModelSpec
from speechlite.engine.build import build_model
from speechlite.nn.pruning import cut, indices_of

PARTS = {"convolutions": "channels", "heads": "heads", "units": "units", "blocks": "block"}
UNITS = "encoder.layers.1.feedforward.units"


def _selected(seed=0):
    model = model_of("base")
    groups = model.prune_groups()
    units = random_units(groups, seed=seed)
    scores = {name: torch.zeros(len(mask)) for name, mask in units.items()}
    selection = Selection(groups, scores, units, parameters_of(model, groups))
    return model, groups, units, described(groups, selection)


@pytest.mark.parametrize("part", ["convolutions", "heads", "units"])
def test_chosen_groups_when_one_part_is_named_then_only_its_groups_are_given(part):
    groups = chosen_groups(model_of("base"), [part])
    assert len(groups) == 3
    assert all(group.name.endswith(f".{PARTS[part]}") for group in groups)


def test_chosen_groups_when_all_parts_are_named_then_all_groups_are_given():
    model = model_of("macaron")
    chosen = [group.name for group in chosen_groups(model, list(PARTS))]
    assert chosen == [group.name for group in model.prune_groups()]


def test_chosen_groups_when_the_model_declares_none_then_it_is_refused():
    model = build_model(ModelSpec({"name": "fbank"}, {"name": "identity"}), REGISTRY)
    message = r"declares no units to prune of \['heads', 'blocks'\]; choose an encoder with prune"
    with pytest.raises(PlanError, match=message):
        chosen_groups(model, ["heads", "blocks"])


def test_chosen_groups_when_only_blocks_are_left_then_it_is_refused():
    with pytest.raises(PlanError, match=r"declares no units to prune of \['blocks'\]"):
        chosen_groups(model_of("base"), ["blocks"])


def test_chosen_groups_when_a_tensor_was_replaced_then_it_is_refused():
    model = model_of("base")
    layer = model.encoder.layers[0].feedforward
    layer.expand.weight = torch.nn.Parameter(torch.zeros(41, 32))
    with pytest.raises(PlanError, match="prune widths before layers are replaced"):
        chosen_groups(model, list(PARTS))


@pytest.mark.parametrize("parts", [["heads"], ["units", "blocks"], ["convolutions"], list(PARTS)])
def test_check_target_when_it_is_all_that_may_go_then_it_passes_and_more_is_refused(parts):
    model = model_of("base")
    groups = chosen_groups(model, parts)
    smallest = {group.name: [] for group in groups}
    for group in groups:
        is_held = f"{group.name.rpartition('.')[0]}.block" in smallest
        smallest[group.name] = [] if is_held else [0]
    sizes = parameters_of(model, groups)
    cut(model, groups, smallest)
    most = 1 - num_parameters(model) / sizes.total
    check_target(groups, sizes, most - 1e-6)
    message = f"but all that may be pruned is {most:.3f} of the model's size; lower compressor.tar"
    with pytest.raises(PlanError, match=message):
        check_target(groups, sizes, most + 1e-6)


def test_described_when_units_go_then_ranges_say_which_stay():
    _, groups, units, plan = _selected()
    expected = {name: kept for name, kept in indices(units).items() if len(kept) < len(units[name])}
    sizes = {group.name: group.size for group in groups}
    assert {n: indices_of(ranges, sizes[n]) for n, ranges in plan["kept"].items()} == expected


def test_described_when_units_go_then_numbers_of_all_but_blocks_are_told():
    _, groups, units, plan = _selected()
    expected = {
        group.name: [int(units[group.name].sum()), group.size] for group in groups if group.size > 1
    }
    assert plan["left"] == expected


def test_described_when_written_as_json_then_it_is_the_same():
    *_, plan = _selected()
    assert json.loads(json.dumps(plan)) == plan


def test_described_when_nothing_goes_then_it_is_refused():
    model = model_of("base")
    groups = model.prune_groups()
    units = {
        name: torch.ones(int(size), dtype=torch.bool) for name, size in everything(groups).items()
    }
    scores = {name: torch.zeros(len(mask)) for name, mask in units.items()}
    selection = Selection(groups, scores, units, parameters_of(model, groups))
    with pytest.raises(PlanError, match=r"no unit would be cut; raise compressor\.target"):
        described(groups, selection)


@pytest.mark.parametrize("seed", range(3))
def test_carry_out_when_a_plan_is_given_then_its_sparsity_results(seed):
    model, _, units, plan = _selected(seed)
    before = num_parameters(model)
    smaller = carry_out(model, plan)
    assert 1 - num_parameters(smaller) / before == pytest.approx(plan["sparsity"], abs=1e-9)
    left = {group.name: group.size for group in smaller.prune_groups()}
    assert left == {name: int(mask.sum()) for name, mask in units.items() if mask.any()}


@pytest.mark.parametrize("plan", [{}, {"kept": {}}, {"kept": []}, {"kept": None}, {"left": {}}])
def test_carry_out_when_no_group_is_named_then_it_is_refused(plan):
    with pytest.raises(PlanError, match="the plan names no groups to cut; use the plan that"):
        carry_out(model_of("base"), plan)


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        ({"encoder.layers.9.feedforward.units": ""}, "cuts encoder.layers.9.feedforward.units"),
        ({"encoder.layers.9.feedforward.units": "0-3"}, "the plan .*layers.9|unit 3 of a group"),
        ({UNITS: "0-40"}, "keeps unit 40 of a group of 40"),
        ({UNITS: "4-1"}, "keeps units '4-1', expected rising ranges"),
        ({UNITS: [0, 1]}, r"keeps units \[0, 1\], expected rising ranges"),
    ],
)
def test_carry_out_when_the_plan_does_not_fit_then_it_is_refused(kept, message):
    with pytest.raises(PlanError, match=message):
        carry_out(model_of("base"), {"kept": kept})
