from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from speechlite.core.errors import ConfigError, UsageError
from speechlite.engine.experiments import Row, Step, at_scale, read_experiments, read_seeds

CONTENT = {
    "recipe": "r",
    "systems": {"fbank": {"trained": False}, "big": {"overrides": ["encoder.layers=8"]}},
    "chains": {"depth_5": [["compressor=depth", "compressor.layers=5"], ["compressor=depth"]]},
    "experiments": {
        "0": {"system": "fbank", "rows": [{"table": "T", "row": "FBANK"}]},
        "1": {"system": "big", "rows": [{"table": "T", "row": "Big", "layer": 8, "line": "l"}]},
        "2": {"system": "big", "chain": "depth_5", "rows": [{"table": "T", "row": "Small"}]},
    },
    "default": ["0", "2"],
}


@pytest.fixture
def read(tmp_path):
    def write(**changes):
        path = tmp_path / "experiments.yaml"
        path.write_text(yaml.safe_dump({**CONTENT, **changes}, sort_keys=False))
        return read_experiments(path)

    return write


def test_experiments_are_read_with_their_systems_chains_and_rows(read):
    found = read()
    assert list(found.all) == ["0", "1", "2"]
    assert not found.all["0"].system.trained
    assert found.all["1"].rows == (Row("T", "Big", "8", "l"),)
    assert found.all["2"].steps == (
        Step("depth_5.step1", None, ("compressor=depth", "compressor.layers=5")),
        Step("depth_5", None, ("compressor=depth",)),
    )
    assert found.all["1"].chain == "none"


def test_experiments_of_the_recipe_are_read():
    root = Path(__file__).parents[2]
    found = read_experiments(root / "egs/librispeech/layer_reduction/conf/experiments.yaml")
    assert set(found.default) <= set(found.all)


def test_directories_are_named_after_system_seed_and_chain(read, tmp_path):
    found = read().all
    assert found["1"].model_directory(tmp_path, 3) == tmp_path / "big" / "seed3/pretrain/model"
    assert found["2"].model_directory(tmp_path, 3) == tmp_path / "big" / "seed3/depth_5/model"


def _steps(read, chains, name):
    body = {"system": "big", "chain": name, "rows": [{"table": "T", "row": "R"}]}
    return read(chains=chains, experiments={"0": body}, default=[]).all["0"].steps


def test_step_with_a_primary_file_names_it_apart_from_its_options(read):
    chains = {"a": [["config=first", "x=1"], ["config=no", "y=2", "config=second"], ["z=3"]]}
    assert _steps(read, chains, "a") == (
        Step("a.step1", "first", ("x=1",)),
        Step("a.step2", "second", ("y=2",)),
        Step("a", None, ("z=3",)),
    )


def test_chain_that_follows_others_begins_with_their_steps(read):
    chains = {
        "a": [["x=1"], ["x=2"]],
        "b": {"after": "a", "steps": [["y=1"]]},
        "c": {"after": "b", "steps": [["z=1"], ["z=2"]]},
    }
    steps = _steps(read, chains, "c")
    assert [step.name for step in steps] == ["a.step1", "a", "b", "c.step1", "c"]
    assert [step.overrides for step in steps] == [("x=1",), ("x=2",), ("y=1",), ("z=1",), ("z=2",)]
    assert _steps(read, chains, "b") == steps[:3]


def test_chain_of_steps_alone_follows_none(read):
    assert _steps(read, {"a": {"steps": [["x=1"]]}}, "a") == (Step("a", None, ("x=1",)),)


@pytest.mark.parametrize(
    ("text", "ids"), [(None, "02"), ("all", "012"), ("1", "1"), ("2,1", "12"), ("1,1,", "1")]
)
def test_select_gives_the_named_experiments_in_the_order_of_the_file(read, text, ids):
    assert [item.id for item in read().select(text)] == list(ids)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3", r"unknown experiments \['3'\]; choose among 0, 1, 2, or all"),
        ("1,x,y", r"unknown experiments \['x', 'y'\]"),
        ("all,1", r"unknown experiments \['all'\]"),
        ("", "no experiment is named"),
        (",", "no experiment is named"),
    ],
)
def test_select_of_unknown_experiments_is_an_error(read, text, message):
    with pytest.raises(UsageError, match=message):
        read().select(text)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"spare": 1}, "expected the keys"),
        ({"systems": ["fbank"]}, "systems is .* expected a mapping"),
        ({"systems": None}, "systems is None, expected a mapping"),
        ({"systems": {"a/b": {}}}, "systems has 'a/b', expected letters"),
        ({"systems": {"..": {}}}, "systems has '..', expected letters"),
        ({"systems": {"fbank": None, "big": {}}}, "system fbank has None"),
        ({"systems": {"fbank": {"override": []}, "big": {}}}, "expected overrides and trained"),
        ({"systems": {"fbank": {"overrides": "a=1"}, "big": {}}}, "expected a list of strings"),
        ({"systems": {"fbank": {"overrides": [1]}, "big": {}}}, "expected a list of strings"),
        ({"chains": {"depth_5": []}}, "expected a list of compressions"),
        ({"chains": {"depth_5": [["a=1"]], "none": [["a=1"]]}}, "chain none has"),
        ({"chains": {"depth_5": [["a=1"]], "pretrain": [["a=1"]]}}, "chains has 'pretrain'"),
        ({"chains": {"depth_5": ["compressor=depth"]}}, "expected a list of strings"),
        ({"chains": {"b": {"after": "a", "steps": [["x=1"]]}}}, "chain b follows 'a', expected a"),
        (
            {"chains": {"b": {"after": "a", "steps": [["x=1"]]}, "a": [["x=1"]]}},
            "expected a chain that stands before it",
        ),
        ({"chains": {"a": {"after": "a", "steps": [["x=1"]]}}}, "chain a follows 'a'"),
        ({"chains": {"a": [["x=1"]], "b": {"after": "a"}}}, "chain b has {'after': 'a'}, expected"),
        ({"chains": {"a": {"steps": []}}}, "chain a has .*expected a list of compressions"),
        ({"chains": {"a": {"steps": [["x=1"]], "than": "b"}}}, "chain a has .*'than'"),
        ({"chains": {"a": {}}}, "chain a has {}"),
        ({"chains": {"a": "x=1"}}, "chain a has 'x=1'"),
        ({"experiments": []}, r"experiments is \[\], expected a mapping"),
        ({"experiments": {"all": {}}}, "experiments has 'all'"),
        ({"experiments": {"1": None}}, "experiment 1 has None"),
        ({"experiments": {"1": {"rows": [{"table": "T", "row": "R"}]}}}, "misnames 'system'"),
        ({"default": "all"}, "default is 'all', expected a name and a list"),
        ({"default": None}, "default is None"),
        ({"default": ["9"]}, r"default names unknown \['9'\]"),
        ({"recipe": 3}, "recipe is 3"),
    ],
)
def test_experiments_of_another_form_are_an_error(read, changes, message):
    with pytest.raises(ConfigError, match=message):
        read(**changes)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"system": "alien", "rows": [{"table": "T", "row": "R"}]}, "misnames 'alien'"),
        ({"system": ["big"], "rows": [{"table": "T", "row": "R"}]}, "lacks or misnames"),
        ({"system": "big", "chain": "x", "rows": [{"table": "T", "row": "R"}]}, "misnames 'x'"),
        ({"system": "big"}, "expected a system, perhaps a chain, and rows"),
        ({"system": "big", "rows": []}, "expected a system, perhaps a chain, and rows"),
        ({"system": "big", "rows": [{"table": "T"}]}, "each with a table and a row"),
        ({"system": "big", "rows": [{"table": 1, "row": "R"}]}, "each with a table and a row"),
        ({"system": "big", "rows": ["R"]}, "each with a table and a row"),
        ({"system": "big", "rows": [{"table": "T", "row": "R", "line": 1}]}, "perhaps a layer"),
        ({"system": "big", "rows": [{"table": "T", "row": "R", "l": 1}]}, "each with a table"),
        ({"system": "big", "chian": "depth_5", "rows": [{"table": "T", "row": "R"}]}, "chian"),
    ],
)
def test_an_experiment_of_another_form_is_an_error(read, body, message):
    with pytest.raises(ConfigError, match=message):
        read(experiments={"0": body}, default=[])


@pytest.mark.parametrize(("text", "seeds"), [("1", [1]), ("3,1,2", [3, 1, 2]), ("0", [0])])
def test_seeds_are_whole_numbers(text, seeds):
    assert read_seeds(text) == seeds


@pytest.mark.parametrize(
    "text", ["", "1,", "a", "-1", "1.5", "1,1", "1,01", "1 2", "\u0663", "9" * 30]
)
def test_seeds_of_another_form_are_an_error(text):
    with pytest.raises(UsageError, match="expected different non-negative integers"):
        read_seeds(text)


def test_at_scale_when_presets_differ_by_scale_then_its_name_stands_in_them():
    options = ("encoder=conformer_{scale}", "trainer.seed=1")
    assert at_scale(options, "mini") == ["encoder=conformer_mini", "trainer.seed=1"]
