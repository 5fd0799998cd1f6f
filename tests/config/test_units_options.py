from __future__ import annotations

import pytest

from speechlite.config.compose import compose, to_mapping
from speechlite.config.units import KMeansOptions, UnitsConfig, UnitsDataOptions
from speechlite.core.errors import ConfigError
from speechlite.plugins.discovery import discover
from speechlite.plugins.registry import Registry


@pytest.fixture(scope="module")
def built_in():
    return Registry(discover())


def test_units_of_a_frontend_are_composed_with_its_options(built_in):
    config = compose("units", registry=built_in, overrides=["frontend=mfcc", "seed=3"])
    assert to_mapping(config)["frontend"]["num_cepstra"] == 13
    assert (config.model, config.layer, config.seed) == (None, None, 3)


def test_units_of_a_model_need_no_frontend(built_in):
    config = compose("units", registry=built_in, overrides=["model=exp/a", "layer=6"])
    assert (config.frontend, config.model, config.layer) == (None, "exp/a", 6)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "^neither of frontend and model given"),
        (["frontend=mfcc", "model=a", "layer=1"], "^both of frontend and model given"),
        (["model=a"], "^model=a, layer=None, expected both or neither"),
        (["frontend=mfcc", "layer=1"], "^model=None, layer=1, expected both or neither"),
        (["model=a", "layer=-1"], "^layer=-1, expected at least 0"),
        (["frontend=mfcc", "threads=-1"], "threads=-1, expected at least 0"),
        (["frontend=mfcc", "accelerator=abacus"], "accelerator='abacus', expected auto"),
        (["frontend=mfcc", "kmeans.cluster=3"], "did you mean clusters"),
    ],
)
def test_units_with_wrong_options_say_what(built_in, overrides, message):
    with pytest.raises(ConfigError, match=message):
        compose("units", registry=built_in, overrides=overrides)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clusters": 1}, "clusters=1, expected 2 to 32767; change kmeans.clusters"),
        ({"clusters": 32768}, "clusters=32768, expected 2 to 32767"),
        ({"batch_frames": 99}, "batch_frames=99, expected at least 100"),
        ({"starts": 0}, "starts=0, expected at least 1; change kmeans.starts"),
        ({"max_epochs": 0}, "max_epochs=0, expected at least 1"),
        ({"patience": 0}, "patience=0, expected at least 1"),
        ({"fit_share": 0}, "fit_share=0, expected more than 0 and at most 1"),
        ({"fit_share": 1.1}, "fit_share=1.1, expected more than 0"),
        ({"fit_hours": 0}, "fit_hours=0, expected more than 0; change kmeans.fit_hours"),
        ({"fit_hours": float("nan")}, "fit_hours=nan, expected more than 0"),
    ],
)
def test_kmeans_with_a_wrong_option_says_what(options, message):
    with pytest.raises(ConfigError, match=message):
        KMeansOptions(**options)


def test_units_data_without_room_for_a_batch_is_refused():
    with pytest.raises(ConfigError, match=r"batch_seconds=0.0, expected more than 0"):
        UnitsDataOptions(batch_seconds=0.0)


def test_units_default_to_hubert_s_first_iteration():
    options = UnitsConfig(model="a", layer=6).kmeans
    assert (options.clusters, options.batch_frames, options.starts) == (100, 10000, 20)
