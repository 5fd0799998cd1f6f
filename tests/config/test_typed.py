from __future__ import annotations

import enum
import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechlite.config.schema import Choice
from speechlite.config.typed import build, config_hash, convert, describe, from_mapping, to_mapping
from speechlite.core.errors import ConfigError, PluginError


class Norm(enum.Enum):
    layer = 1
    batch = 2


@dataclass(frozen=True)
class Part:
    rate: float = 0.5


@dataclass(frozen=True)
class Whole:
    dim: int = 8
    share: float = 0.25
    note: str | None = None
    sizes: tuple[int, ...] = (1, 2)
    names: list[str] = field(default_factory=list)
    norm: Norm = Norm.layer
    folder: Path | None = None
    part: Part = field(default_factory=Part)
    table: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Fussy:
    dim: int

    def __post_init__(self):
        if self.dim == 1:
            raise ConfigError("dim=1", remedy="change encoder.dim")
        if self.dim == 2:
            raise ValueError("dim=2, expected another")


whole = st.builds(
    Whole,
    dim=st.integers(),
    share=st.floats(allow_nan=False, allow_infinity=False),
    note=st.none() | st.text(),
    sizes=st.lists(st.integers()).map(tuple),
    names=st.lists(st.text()),
    norm=st.sampled_from(Norm),
    folder=st.none() | st.just(Path("a/b")),
    part=st.builds(Part, rate=st.floats(0, 1)),
    table=st.dictionaries(st.text(), st.integers()),
)


@settings(deadline=None)
@given(config=whole)
def test_build_of_to_mapping_gives_the_same(config):
    assert build(Whole, to_mapping(config), where="x") == config


@settings(deadline=None)
@given(first=whole, second=whole)
def test_config_hash_differs_exactly_where_the_options_do(first, second):
    same = to_mapping(first) == to_mapping(second)
    assert (config_hash(first) == config_hash(second)) == same


def test_config_hash_is_that_of_canonical_json():
    expected = hashlib.sha256(b'{"a":[1],"b":null}').hexdigest()
    assert config_hash({"b": None, "a": [1]}) == expected


def test_to_mapping_of_a_choice_puts_its_name_beside_the_options():
    assert to_mapping(Choice("encoder", "thin", Part())) == {"name": "thin", "rate": 0.5}


def test_build_with_an_unknown_option_suggests(tmp_path):
    with pytest.raises(ConfigError, match="x.dimm: unknown option, did you mean dim.; choose one"):
        build(Whole, {"dimm": 1}, where="x")


def test_build_with_an_unknown_option_of_a_part_gives_the_whole_path():
    with pytest.raises(ConfigError, match="x.part.rat: unknown option"):
        build(Whole, {"part": {"rat": 1}}, where="x")


def test_build_without_a_required_option_says_which():
    with pytest.raises(ConfigError, match="x.dim: no value is given; add x.dim=VALUE"):
        build(Fussy, {}, where="x")


@pytest.mark.parametrize(("dim", "says"), [(1, "x: dim=1; change enc"), (2, "x: dim=2, expected")])
def test_build_with_a_value_out_of_range_gives_the_key(dim, says):
    with pytest.raises(ConfigError, match=says):
        build(Fussy, {"dim": dim}, where="x")


@pytest.mark.parametrize(
    ("hint", "value", "expected"),
    [
        (float, 1, 1.0),
        (int | str, "a", "a"),
        (int | float, 1, 1),
        (float | int, 1, 1),
        (list[float] | None, [1], [1.0]),
        (Literal["a", 1], 1, 1),
        (tuple[int, str], [1, "a"], (1, "a")),
        (list, [1, "a"], [1, "a"]),
        (dict, {"a": 1}, {"a": 1}),
        (dict[str, list[int]], {"a": [1]}, {"a": [1]}),
        (Any, {"a": [1]}, {"a": [1]}),
        (Part, {}, Part()),
        (Part, Part(0.1), Part(0.1)),
        (Part | None, {"rate": 1}, Part(1.0)),
        (Norm, "batch", Norm.batch),
    ],
)
def test_convert_of_a_fitting_value_gives_the_annotated_type(hint, value, expected):
    got = convert(hint, value, where="x")
    assert (got, type(got)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("hint", "value", "says"),
    [
        (int, 1.0, "x: expected int, got float 1.0; give a value of that type"),
        (int, True, "x: expected int, got bool True"),
        (int, "1", "x: expected int, got str '1'"),
        (bool, 0, "x: expected bool, got int 0"),
        (float, True, "x: expected float, got bool True"),
        (float, float("nan"), "x: expected float, got float nan"),
        (str, 1, "x: expected str, got int 1; put the value in quotes"),
        (str | None, 1, "x: expected str or null, got int 1; put the value in quotes"),
        (list[int], "ab", "x: expected list of int, got str 'ab'"),
        (list[int], [1, None], r"x\[1\]: expected int, got null"),
        (list[int] | None, ["a"], r"x\[0\]: expected int, got str 'a'"),
        (tuple[int, int], [1], "x: expected 2 values, got 1; give as many"),
        (dict[str, int], [1], "x: expected a mapping, got list"),
        (dict[str, int], {1: 2}, "x: expected a mapping, got dict {1: 2}"),
        (dict[str, int], {"a": "b"}, "x.a: expected int, got str 'b'"),
        (Literal["a", "b"], "c", "x: expected one of 'a', 'b', got str 'c'"),
        (Literal[1], True, "x: expected one of 1, got bool True"),
        (Norm, "group", "x: expected one of layer, batch, got str 'group'"),
        (Part, 1, "x: expected a mapping, got int 1"),
        (Path, 1, "x: expected Path, got int 1"),
    ],
)
def test_convert_of_a_value_that_does_not_fit_says_both(hint, value, says):
    with pytest.raises(ConfigError, match=says):
        convert(hint, value, where="x")


def test_describe_of_a_tuple_names_its_elements():
    assert describe(tuple[int, ...] | None) == "list of int or null"


def test_from_mapping_gives_the_choice_that_to_mapping_came_from(registry):
    choice = from_mapping("encoder", {"name": "wide", "dim": 4, "depth": [1, 2]}, registry)
    assert (choice.name, choice.options.dim, choice.options.depth) == ("wide", 4, (1, 2))
    again = from_mapping("encoder", to_mapping(choice), registry)
    assert again == choice
    assert replace(again, name="x") != choice


@pytest.mark.parametrize("mapping", [{}, {"name": 3}, {"name": None}])
def test_from_mapping_without_a_name_is_refused(registry, mapping):
    with pytest.raises(ConfigError, match="encoder.name: expected a component's name, got"):
        from_mapping("encoder", mapping, registry)


def test_from_mapping_with_an_unknown_option_is_refused(registry):
    with pytest.raises(ConfigError, match="encoder.layer: unknown option, did you mean layers"):
        from_mapping("encoder", {"name": "wide", "layer": 1}, registry)


def test_from_mapping_with_an_unknown_component_is_refused(registry):
    with pytest.raises(ConfigError, match="no encoder 'x'"):
        from_mapping("encoder", {"name": "x"}, registry)


def test_from_mapping_with_an_ambiguous_name_is_refused(registry_of):
    from made_plugins import MadePlugin

    registry = registry_of(MadePlugin("zz-other"))
    with pytest.raises(PluginError, match="offered by 2 distributions"):
        from_mapping("encoder", {"name": "thin"}, registry)
