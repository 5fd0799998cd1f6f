"""Sizes as functions of what is left, against formulas by hand and models that are really cut."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from prunable_models import (
    KINDS,
    REGISTRY,
    everything,
    indices,
    model_of,
    num_parameters,
    numbers,
    random_units,
)
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from speechlite.compressors.sizes import macs_of, parameters_of, size_function
from speechlite.core.model import ModelSpec
from speechlite.engine.build import build_model
from speechlite.nn.gates import HardConcrete
from speechlite.nn.pruning import cut

SECONDS = 0.3
# the gate of WavLM's bias runs once a head, but only its block owns it; distances are 2 S - 1 and
# count as 2 S. Both fade with size: here K is 8 or 4, and S is 28.
MACS_TOLERANCE = {"wavlm": 0.04, "conformer": 0.01, "macaron": 0.01}
KERNELS = [10, 3, 3, 3, 3, 2, 2]
# DPHuBERT's released size as a constructed shape
CHANNELS = [220, 405, 411, 433, 391, 384, 230]
HEADS = [6, 6, 7, 6, 5, 5, 4, 3, 3, 0, 0, 0]
UNITS = [379, 379, 433, 758, 324, 324, 324, 541, 216, 216, 270, 709]


def _hubert_base(*, channel_scale):
    frontend = {"name": "conv_waveform", "channel_scale": channel_scale}
    encoder = {"name": "transformer", "norm": "post", "positions": "convolution"}
    with torch.device("meta"):
        return build_model(ModelSpec(frontend, encoder), REGISTRY)


def _left(channels, heads, units):
    left = {f"frontend.stack.layers.{i}.channels": float(c) for i, c in enumerate(channels)}
    for layer, (num_heads, num_units) in enumerate(zip(heads, units, strict=True)):
        prefix = f"encoder.layers.{layer}"
        left[f"{prefix}.attention.heads"] = float(num_heads)
        left[f"{prefix}.attention.block"] = float(num_heads > 0)
        left[f"{prefix}.feedforward.units"] = float(num_units)
        left[f"{prefix}.feedforward.block"] = float(num_units > 0)
    return {name: torch.tensor(value, dtype=torch.float64) for name, value in left.items()}


def _by_hand(channels, heads, units, *, channel_scale):
    size, inputs = 0, 1
    for outputs, kernel in zip(channels, KERNELS, strict=True):
        size += inputs * outputs * kernel
        inputs = outputs
    size += 2 * channels[0] + (inputs if channel_scale else 0) + 2 * inputs + (inputs + 1) * 768
    size += 4_719_488 + 1_536
    for num_heads, num_units in zip(heads, units, strict=True):
        size += 3_072 + num_heads * 196_800 + num_units * 1_537
        size += 768 * ((num_heads > 0) + (num_units > 0))
    return size


def _cut(model, units):
    smaller = copy.deepcopy(model)
    cut(smaller, smaller.prune_groups(), indices(units))
    return smaller


def _counted_macs(model):
    samples = round(SECONDS * 16000)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, samples), torch.tensor([samples]))
    return counter.get_total_flops() / 2


@pytest.mark.parametrize(("channel_scale", "total"), [(False, 94_370_944), (True, 94_371_456)])
def test_parameters_of_when_the_model_is_hubert_base_then_it_is_the_closed_form(
    channel_scale, total
):
    model = _hubert_base(channel_scale=channel_scale)
    sizes = parameters_of(model, model.prune_groups())
    assert sizes.total == total
    generator = torch.Generator().manual_seed(0)
    for _ in range(10):
        channels = torch.randint(1, 513, (7,), generator=generator).tolist()
        heads = torch.randint(0, 13, (12,), generator=generator).tolist()
        units = torch.randint(0, 3073, (12,), generator=generator).tolist()
        units[0] = 0
        expected = _by_hand(channels, heads, units, channel_scale=channel_scale)
        assert float(sizes(_left(channels, heads, units))) == pytest.approx(expected, rel=1e-12)


def test_parameters_of_when_units_are_of_the_released_dphubert_then_it_is_its_size():
    model = _hubert_base(channel_scale=True)
    sizes = parameters_of(model, model.prune_groups())
    assert round(float(sizes(_left(CHANNELS, HEADS, UNITS)))) == 23_585_946


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_of_when_a_model_is_cut_then_it_has_that_many(kind):
    model = model_of(kind)
    groups = model.prune_groups()
    sizes = parameters_of(model, groups)
    assert sizes.total == num_parameters(model)
    for seed in range(6):
        units = random_units(groups, seed=seed)
        counted = num_parameters(_cut(model, units))
        assert float(sizes(numbers(units))) == pytest.approx(counted, rel=1e-12)


@pytest.mark.parametrize("kind", ["base", "large", "wavlm", "conformer"])
def test_parameters_of_when_gates_are_random_then_it_is_the_mean_over_their_draws(kind):
    model = model_of(kind)
    groups = model.prune_groups()
    sizes = parameters_of(model, groups)
    torch.manual_seed(0)
    gates = {group.name: HardConcrete(group.size, drop_rate=0.6) for group in groups}
    expected = float(
        sizes({name: gate.probability().detach().sum() for name, gate in gates.items()})
    )
    draws = []
    for _ in range(400):
        drawn = {name: gate.train()().detach() > 0 for name, gate in gates.items()}
        draws.append(float(sizes(numbers(drawn))))
    drawn_N = torch.tensor(draws, dtype=torch.float64)
    sigma = float(drawn_N.std()) / math.sqrt(len(draws))
    assert float(drawn_N.mean()) == pytest.approx(expected, abs=4 * sigma)


@pytest.mark.parametrize("kind", KINDS)
def test_macs_of_when_nothing_is_cut_then_it_is_what_torch_counts(kind):
    model = model_of(kind)
    groups = model.prune_groups()
    sizes = macs_of(model, groups, seconds=SECONDS)
    counted = _counted_macs(model)
    assert sizes.total == pytest.approx(counted, rel=1e-12)
    assert float(sizes(everything(groups))) == pytest.approx(counted, rel=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_macs_of_when_a_model_is_cut_then_it_is_what_torch_counts(kind):
    model = model_of(kind)
    groups = model.prune_groups()
    sizes = macs_of(model, groups, seconds=SECONDS)
    for seed in range(6):
        units = random_units(groups, seed=seed)
        counted = _counted_macs(_cut(model, units))
        found = float(sizes(numbers(units)))
        assert found == pytest.approx(counted, rel=MACS_TOLERANCE.get(kind, 1e-12))


@pytest.mark.parametrize("kind", ["base", "conformer"])
def test_macs_of_when_a_block_goes_then_all_that_its_heads_spend_goes(kind):
    model = model_of(kind)
    groups = model.prune_groups()
    sizes = macs_of(model, groups, seconds=SECONDS)
    name = "encoder.layers.0.attention.block"
    smaller = copy.deepcopy(model)
    cut(smaller, groups, {name: []})
    found = float(sizes({**everything(groups), name: torch.tensor(0.0)}))
    # what is off is S K for each head of relative positions
    tolerance = 4e-3 if kind == "conformer" else 1e-6
    assert found == pytest.approx(_counted_macs(smaller), rel=tolerance)


def test_macs_of_when_only_heads_are_given_then_the_rest_is_constant():
    model = model_of("base")
    groups = [group for group in model.prune_groups() if group.name.endswith(".heads")]
    sizes = macs_of(model, groups, seconds=SECONDS)
    units = random_units(groups, seed=1, share=0.7)
    found = float(sizes(numbers(units)))
    assert found == pytest.approx(_counted_macs(_cut(model, units)), rel=1e-12)


def test_macs_of_when_the_utterance_is_too_short_then_one_frame_counts():
    model = model_of("base")
    groups = model.prune_groups()
    shortest = model.frontend.min_samples / model.frontend.sample_rate
    sizes = [macs_of(model, groups, seconds=seconds).total for seconds in (1e-6, shortest)]
    assert sizes[0] == sizes[1] > 0


@pytest.mark.parametrize("is_training", [True, False])
def test_macs_of_when_it_has_counted_then_the_model_is_as_before(is_training):
    model = model_of("base").train(is_training)
    macs_of(model, model.prune_groups(), seconds=SECONDS)
    assert model.training == is_training
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("kind", ["base", "conformer"])
def test_size_when_what_is_left_needs_gradients_then_it_has_them_of_the_closed_form(kind):
    model = model_of(kind)
    groups = model.prune_groups()
    sizes = parameters_of(model, groups)
    left = {
        group.name: torch.tensor(0.5 * group.size, dtype=torch.float64, requires_grad=True)
        for group in groups
    }
    names = list(left)
    assert torch.autograd.gradcheck(
        lambda *values: sizes(dict(zip(names, values, strict=True))) / sizes.total,
        tuple(left.values()),
        eps=1e-3,
    )


@pytest.mark.parametrize("of", ["parameters", "macs"])
def test_size_function_when_a_size_is_named_then_it_is_that_one(of):
    model = model_of("base")
    groups = model.prune_groups()
    total = {"parameters": num_parameters(model), "macs": _counted_macs(model)}[of]
    assert size_function(model, groups, of=of, seconds=SECONDS).total == total
