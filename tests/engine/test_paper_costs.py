"""Table 1 of "Attention or Convolution", regenerated from models of its sizes."""

from __future__ import annotations

import pytest
import torch

from speechlite.config.compose import from_mapping
from speechlite.core.errors import ConfigError
from speechlite.core.model import ModelSpec
from speechlite.engine.build import build_model
from speechlite.engine.compress import compress
from speechlite.engine.operation_counts import count_bops, count_macs
from speechlite.engine.paper_costs import a100_seconds, paper_costs, paper_costs_of, paper_shape
from speechlite.testing.fixtures import installed_registry, small_model

G = 2**30
COMPACT = {
    "name": "conv_waveform",
    "channels": [64, 128, 128, 128, 128, 256, 256, 256, 256, 512, 512, 512, 512],
    "kernels": [10, 3, 1, 3, 1, 3, 1, 3, 1, 2, 1, 2, 1],
    "strides": [5, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1],
    "project_equal": False,
}
SMALL = {"dim": 144, "layers": 16, "heads": 4, "feedforward": 3072, "kernel_size": 31}
PLACED = {"positions": "convolution", "convolution_bias": False}
ENCODERS = {
    "vanilla": {"name": "transformer", "norm": "post", "positions": "convolution"},
    "conformer": {"name": "conformer", **SMALL, **PLACED, "macaron": True},
    "squeezeformer": {
        "name": "squeezeformer",
        **SMALL,
        **PLACED,
        "scaling": False,
        "gated_convolution": True,
        "convolution_norm": True,
    },
    "deep": {"name": "sparseformer"},
    "wide": {"name": "sparseformer", "dim": 512, "layers": 8, "feedforward": 2048},
}
BYTES = {"vanilla": 2}
# as printed: storage in MB, FLOP in G, BOP in units of 2^30, time in 1e-4 s
FLOAT_ROWS = {
    "vanilla": (184.42, 110.54, None, 38.46),
    "conformer": (131.87, 22.10, 329.39, 10.31),
    "squeezeformer": (132.04, 18.31, 272.88, 8.54),
    "deep": (60.81, 26.05, 388.18, 12.15),
    "wide": (117.18, 40.09, 597.43, 18.70),
}
BINARY_ROWS = {
    "vanilla": (25.23, 11.82, 172.83, 63.62, 5.53),
    "conformer": (12.88, 7.23, 103.44, 15.94, 3.27),
    "squeezeformer": (13.05, 7.20, 104.05, 11.86, 3.28),
    "deep": (12.10, 7.35, 107.91, 10.70, 3.40),
    "wide": (19.71, 8.85, 130.38, 19.49, 4.12),
}
# what is left between a rule and the printed value, in percent: FLOP, float BOP, binary BOP
LEFT = {
    "vanilla": (0.2, 0.03, 0.005),
    "conformer": (3.5, 0.6, 0.08),
    "squeezeformer": (3.5, 1.0, 0.25),
    "deep": (0.9, 0.03, 0.04),
    "wide": (1.5, 0.03, 0.03),
}


@pytest.fixture(scope="module")
def registry():
    return installed_registry()


def _shape(name, registry):
    with torch.device("meta"):
        model = build_model(ModelSpec(frontend=COMPACT, encoder=ENCODERS[name]), registry)
    return paper_shape(model)


def _binary(shape):
    """The same shape with the layers' weights as one-bit codes."""
    from dataclasses import replace

    dim, inner = shape.dim, shape.feedforward
    weights = 4 * dim**2 + 2 * dim * inner
    if shape.kernel:
        weights += 2 * dim * inner + 3 * dim**2 + shape.kernel * dim
    weights *= shape.layers
    return replace(shape, parameters=shape.parameters - weights, code_bits=weights)


@pytest.mark.parametrize("name", ENCODERS)
def test_float_row_when_regenerated_then_it_is_as_printed(name, registry):
    storage, flop, bops, _ = FLOAT_ROWS[name]
    costs = paper_costs_of(_shape(name, registry), parameter_bytes=BYTES.get(name, 4))
    assert round(costs["storage_bytes"] / 1e6, 2) == storage
    assert costs["flop"] / 1e9 == pytest.approx(flop, rel=6e-4)
    assert costs["bop_binary"] == 0
    if bops is not None:
        assert costs["bop_float"] / G == pytest.approx(bops, rel=6e-4)


@pytest.mark.parametrize("name", ENCODERS)
def test_binary_row_when_regenerated_then_it_is_as_near_as_the_rules_come(name, registry):
    storage, flop, bop_float, bop_binary, _ = BINARY_ROWS[name]
    shape = _binary(_shape(name, registry))
    costs = paper_costs_of(shape, parameter_bytes=BYTES.get(name, 4))
    left = [percent / 100 for percent in LEFT[name]]
    assert costs["storage_bytes"] / 1e6 == pytest.approx(storage, rel=6e-4)
    assert costs["flop"] / 1e9 == pytest.approx(flop, rel=left[0])
    assert costs["bop_float"] / G == pytest.approx(bop_float, rel=left[1])
    assert costs["bop_binary"] / G == pytest.approx(bop_binary, rel=left[2])


@pytest.mark.parametrize("name", ["vanilla", "deep", "wide"])
def test_binary_row_when_only_attention_then_storage_and_bit_operations_are_exact(name, registry):
    costs = paper_costs_of(_binary(_shape(name, registry)), parameter_bytes=BYTES.get(name, 4))
    assert round(costs["storage_bytes"] / 1e6, 2) == BINARY_ROWS[name][0]
    assert round(costs["bop_binary"] / G, 2) == BINARY_ROWS[name][3]


def test_vanilla_row_when_its_bit_operations_are_printed_then_its_own_flop_gives_others(registry):
    """1228.64 is printed; the rule of the four other rows gives 1647.17 for its 110.54 GFLOP."""
    costs = paper_costs_of(_shape("vanilla", registry), parameter_bytes=2)
    assert costs["bop_float"] / G == pytest.approx(1647.17, abs=0.01)


def test_time_when_taken_from_the_printed_bit_operations_then_all_ten_rows_are_exact():
    rows = [(bops, 0.0, time) for _, _, bops, time in FLOAT_ROWS.values() if bops is not None]
    rows.append((1228.64, 0.0, FLOAT_ROWS["vanilla"][3]))
    rows += [
        (bop_float, bop_binary, time) for _, _, bop_float, bop_binary, time in BINARY_ROWS.values()
    ]
    assert len(rows) == 10
    for bop_float, bop_binary, time in rows:
        assert 1e4 * a100_seconds(bop_float, bop_binary) == pytest.approx(time, abs=0.0051)


@pytest.mark.parametrize("pack", [True, False])
def test_shape_when_a_model_is_binarised_then_it_is_that_of_the_table(pack, registry):
    encoder = {**ENCODERS["conformer"], "layers": 1}
    model = build_model(ModelSpec(frontend=COMPACT, encoder=encoder), registry)
    chosen = from_mapping("compressor", {"name": "binary", "pack": pack}, registry)
    binary = compress(chosen, model, registry)
    assert paper_shape(binary) == _binary(paper_shape(model))
    assert paper_costs(binary, parameter_bytes=4)["bop_binary"] > 0


def test_paper_costs_when_there_is_no_rule_then_it_says_so(registry):
    with pytest.raises(ConfigError, match="no rule for .*; profile a transformer, sparseformer"):
        paper_costs(small_model(registry), parameter_bytes=4)


def test_bops_when_layers_have_few_bits_then_each_product_counts_its_own(registry):
    spec = ModelSpec(
        frontend={**COMPACT, "channels": [8] * 13},
        encoder={
            "name": "transformer",
            "dim": 32,
            "layers": 2,
            "heads": 2,
            "feedforward": 64,
            "positions": "convolution",
        },
    )
    model = build_model(spec, registry).eval()
    macs = count_macs(model, 1.0)
    assert count_bops(model, 1.0) == 1024 * macs
    frames = 49
    linear = 2 * (4 * 32 * 32 + 2 * 32 * 64) * frames
    attention = 2 * 2 * 32 * frames * frames
    for options, cost in (
        ({"name": "binary"}, 1),
        ({"name": "binary", "weight_bits": 2, "activation_bits": 4}, None),
    ):
        chosen = from_mapping("compressor", options, registry)
        smaller = compress(chosen, model, registry)
        weights, products = (1, 1) if cost else (8, 16)
        assert count_macs(smaller, 1.0) == macs
        expected = 1024 * (macs - linear - attention) + weights * linear + products * attention
        assert count_bops(smaller, 1.0) == expected
