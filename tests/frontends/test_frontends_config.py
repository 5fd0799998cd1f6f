"""Options of the frontends: what is refused, and what the message says."""

from __future__ import annotations

import pytest

from speechlite.core.errors import ConfigError
from speechlite.frontends.config import FbankConfig, FbankPitchConfig, MfccConfig

ALL = [FbankConfig, FbankPitchConfig, MfccConfig]
each_config = pytest.mark.parametrize("config", ALL)


@each_config
def test_config_when_left_at_its_defaults_then_it_is_valid(config):
    assert config().normalise == "utterance"


@each_config
def test_config_when_the_normalisation_is_unknown_then_the_known_ones_are_listed(config):
    message = "normalise='global', expected utterance or none; change frontend.normalise"
    with pytest.raises(ConfigError, match=message):
        config(normalise="global")


@each_config
@pytest.mark.parametrize("name", ["sample_rate", "num_mels"])
@pytest.mark.parametrize("value", [0, -1])
def test_config_when_a_count_is_not_positive_then_it_is_named(config, name, value):
    message = f"{name}={value}, expected a positive number; change frontend.{name}"
    with pytest.raises(ConfigError, match=message):
        config(**{name: value})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_cepstra": 0}, "num_cepstra=0, expected a positive number"),
        ({"num_cepstra": 24}, "num_cepstra=24, num_mels=23.*at most as many cepstra as filters"),
        ({"delta_order": 3}, "delta_order=3: expected .* delta order of 0, 1 or 2"),
        ({"delta_order": -1}, "delta_order=-1: .*; change frontend.num_cepstra or frontend.delta"),
    ],
)
def test_mfcc_when_an_option_does_not_fit_then_it_says_what_would(options, message):
    with pytest.raises(ConfigError, match=message):
        MfccConfig(**options)
