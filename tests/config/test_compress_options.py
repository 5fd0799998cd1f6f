"""Choices that may be left out: a compressor, an objective, or both."""

from __future__ import annotations

import pytest

from speechlite.config.compose import compose, config_hash, to_mapping
from speechlite.config.schema import Choice, CompressConfig
from speechlite.config.sources import choice_kinds
from speechlite.config.typed import is_choice
from speechlite.core.errors import ConfigError
from speechlite.plugins.discovery import discover
from speechlite.plugins.registry import Registry

DEPTH = ("compressor=depth", "compressor.layers=2")
DISTIL = ("objective=distillation", "objective.layers=[0,2]")


@pytest.fixture(scope="module")
def built_in():
    return Registry(discover())


@pytest.fixture
def composed(built_in):
    return lambda *overrides, **files: compose(
        "compress", registry=built_in, overrides=overrides, **files
    )


def test_compressor_alone_leaves_the_objective_out(composed):
    config = composed(*DEPTH)
    assert (config.compressor.name, config.compressor.options.layers) == ("depth", 2)
    assert config.objective is None


def test_objective_alone_leaves_the_compressor_out(composed):
    config = composed(*DISTIL)
    assert config.objective.options.layers == [0, 2]
    assert config.compressor is None


def test_compressor_and_objective_go_together(composed):
    config = composed(*DEPTH, *DISTIL, "trainer.max_steps=7")
    assert (config.compressor.name, config.objective.name) == ("depth", "distillation")
    assert config.trainer.max_steps == 7


@pytest.mark.parametrize("overrides", [(), ("trainer.max_steps=7",)])
def test_neither_is_an_error(composed, overrides):
    message = "^neither a compressor nor an objective is chosen; add compressor=NAME, objective="
    with pytest.raises(ConfigError, match=message):
        composed(*overrides)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ((*DEPTH, "objective.layers=[1]"), "objective"),
        ((*DEPTH, "objective=distil"), "no objective 'distil'"),
        (("compressor=null",), "argument 'compressor=null' does not name a component"),
        ((*DEPTH, "compressor.depth=2"), "compressor.depth: unknown option"),
        ((*DEPTH, "compressor.layers=0"), "compressor: layers=0, expected at least 1"),
        ((*DEPTH, "optimizer.schedule=cosine"), "schedule='cosine', expected noam, linear or con"),
    ],
)
def test_wrong_options_say_what(composed, overrides, message):
    with pytest.raises(ConfigError, match=message):
        composed(*overrides)


def test_choice_that_is_left_out_is_null_in_the_mapping_and_changes_the_hash(composed):
    alone, both = composed(*DEPTH), composed(*DEPTH, *DISTIL)
    assert to_mapping(alone)["objective"] is None
    assert to_mapping(both)["objective"]["name"] == "distillation"
    assert config_hash(alone) != config_hash(both)


def test_primary_files_choose_either_or_both(composed, tmp_path):
    (tmp_path / "objective").mkdir()
    (tmp_path / "objective" / "near.yaml").write_text("defaults: [distillation]\nlayers: [1]\n")
    (tmp_path / "one.yaml").write_text("defaults: [{objective: near}]\ntrainer: {max_steps: 3}\n")
    (tmp_path / "two.yaml").write_text("defaults: [one, {compressor: depth}]\n")
    one, two = (composed(config_dir=tmp_path, config_name=name) for name in ("one", "two"))
    assert (one.compressor, one.objective.options.layers, one.trainer.max_steps) == (None, [1], 3)
    assert (two.compressor.name, two.objective.options.layers) == ("depth", [1])


@pytest.mark.parametrize(
    ("hint", "expected"),
    [(Choice, True), (Choice | None, True), (int, False), (int | None, False), (list[int], False)],
)
def test_choice_is_one_also_where_it_may_be_left_out(hint, expected):
    assert is_choice(hint) is expected


def test_kinds_to_choose_are_in_the_order_of_the_fields():
    assert choice_kinds(CompressConfig) == ("compressor", "objective", "head")
