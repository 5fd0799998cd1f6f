"""Options of the encoders: what is refused, and what the message says."""

from __future__ import annotations

import pytest

from speechlite.core.errors import ConfigError
from speechlite.encoders.config import ConformerConfig, IdentityConfig, TransformerConfig

STACKS = [ConformerConfig, TransformerConfig]


@pytest.mark.parametrize("config", [*STACKS, IdentityConfig])
def test_config_when_left_at_its_defaults_then_it_is_valid(config):
    config()


@pytest.mark.parametrize("config", STACKS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 0}, "dim=0, layers=.*: expected positive numbers with dim even and a multiple"),
        ({"dim": 30, "heads": 4}, "dim=30.*heads=4: .*; change encoder.dim or encoder.heads"),
        ({"dim": 15, "heads": 3}, "dim=15.*with dim even"),
        ({"layers": 0}, "layers=0.*: expected positive numbers"),
        ({"heads": 0}, "heads=0: expected positive numbers"),
        ({"heads": -4}, "heads=-4: expected positive numbers"),
        ({"dropout": 1.0}, "dropout=1.0, expected a probability 0 <= p < 1; change encoder.drop"),
        ({"attention_dropout": -0.1}, "attention_dropout=-0.1, .*; change encoder.attention_drop"),
        ({"dropout": float("nan")}, "dropout=nan, expected a probability"),
        ({"feedforward": 0}, "feedforward=0: expected .* a positive inner width"),
    ],
)
def test_config_when_out_of_range_then_it_says_what_is_expected(config, options, message):
    with pytest.raises(ConfigError, match=message):
        config(**options)


@pytest.mark.parametrize("config", STACKS)
@pytest.mark.parametrize("depths", [[], [3], [0, 2], [3, 2], [2, 9], [1, 2, 3]])
def test_config_when_the_range_of_depths_does_not_fit_then_it_is_shown(config, depths):
    message = r"random_depth=\[.*\], expected \[low, high\] with 1 <= low <= high <= layers=8"
    with pytest.raises(ConfigError, match=message):
        config(layers=8, random_depth=depths)


@pytest.mark.parametrize("depths", [[2, 8], [8, 8], [1, 1]])
def test_config_when_the_range_of_depths_fits_then_it_is_taken(depths):
    assert ConformerConfig(random_depth=depths).random_depth == depths


@pytest.mark.parametrize("kernel_size", [0, -1, 14])
def test_conformer_when_the_kernel_is_not_odd_then_it_is_refused(kernel_size):
    with pytest.raises(
        ConfigError, match=rf"kernel sizes \[{kernel_size}\], .* expected odd kernels"
    ):
        ConformerConfig(kernel_size=kernel_size)


def test_transformer_when_the_activation_is_unknown_then_the_known_ones_are_listed():
    with pytest.raises(ConfigError, match="activation='tanh'.*expected relu, gelu or swish"):
        TransformerConfig(activation="tanh")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer_drop": 1.0}, "layer_drop=1.0, expected a probability.*change encoder.layer_drop"),
        ({"norm": "middle"}, "norm='middle', expected pre or post; change encoder.norm"),
        ({"positions": "none"}, "positions='none', expected sinusoids or convolution; change"),
        ({"position_kernel": 0}, "position_kernel=0, .*: expected positive numbers"),
        ({"position_groups": 0}, "position_groups=0: expected positive numbers"),
        ({"position_groups": 5}, "position_groups=5: .* groups that divide dim=768; change enc"),
        ({"bias_buckets": 3}, "bias_buckets=3, .*: expected at least 4 buckets"),
        ({"bias_distance": 80}, "bias_distance=80: .* a distance above a quarter of them"),
        ({"time_reduction": 0}, "time_reduction=0, expected at least 1; change encoder.time_red"),
    ],
)
def test_transformer_when_an_option_does_not_fit_then_it_says_what_would(options, message):
    with pytest.raises(ConfigError, match=message):
        TransformerConfig(**{"positions": "convolution", **options})


def test_transformer_when_positions_are_sinusoids_then_their_groups_do_not_matter():
    assert TransformerConfig(dim=24, heads=2, position_groups=16).positions == "sinusoids"


def test_conformer_when_left_at_its_defaults_then_it_is_the_model_of_layer_reduction():
    config = ConformerConfig()
    assert (config.dim, config.layers, config.heads, config.feedforward) == (512, 8, 4, 2048)
    assert (config.kernel_size, config.macaron, config.attention_dropout) == (15, False, 0.1)
