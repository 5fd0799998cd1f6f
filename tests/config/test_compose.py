from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
from made_plugins import OFFERS_THIN, MadePlugin
from made_recipe import FILES, PRIMARY, write_recipe

from speechlite.config.compose import compose, to_mapping
from speechlite.config.schema import Choice, PretrainConfig, TrainerOptions
from speechlite.config.stages import STAGES
from speechlite.core.errors import PluginError

CHOICES = ("frontend=flat", "encoder=wide", "objective=match")


@pytest.fixture
def composed(registry, tmp_path):
    def run(*overrides, files=FILES, name="mini"):
        folder = write_recipe(tmp_path / "conf", files)
        return compose(
            "pretrain",
            registry=registry,
            config_dir=folder,
            config_name=name,
            overrides=overrides,
        )

    return run


def test_compose_without_files_takes_defaults(registry):
    config = compose("pretrain", registry=registry, overrides=CHOICES)
    assert isinstance(config, PretrainConfig)
    assert config.trainer == TrainerOptions()
    options = config.encoder.options
    assert options == type(options)()


def test_compose_gives_frozen_typed_values(registry):
    config = compose("pretrain", registry=registry, overrides=CHOICES)
    options = config.encoder.options
    assert (options.kernels, options.norm.name, options.decay.steps) == ((3, 5), "layer", [1, 2])
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.dim = 4


def test_compose_with_files_merges_component_preset_and_primary(composed):
    config = composed()
    assert (config.encoder.kind, config.encoder.name) == ("encoder", "wide")
    assert (config.encoder.options.layers, config.encoder.options.dim) == (3, 8)
    assert (config.trainer.max_steps, config.data.train) == (12, ["data/train"])


def test_compose_with_an_argument_overrides_the_preset(composed):
    assert composed("encoder.layers=5").encoder.options.layers == 5


def test_compose_with_an_argument_given_twice_takes_the_last(composed):
    assert composed("encoder.layers=5", "encoder.layers=6").encoder.options.layers == 6


@pytest.mark.parametrize("choice", ["encoder=thin", "encoder=recipe-plugin/thin"])
def test_compose_with_another_component_takes_its_options(composed, choice):
    config = composed(choice, "encoder.width=9")
    assert config.encoder.name == "thin"
    assert dataclasses.asdict(config.encoder.options) == {"width": 9}


def test_compose_with_a_preset_upon_a_preset_merges_both(composed):
    files = {"encoder/deep.yaml": "defaults: [wide_small]\ndim: 6\n"}
    options = composed("encoder=deep", files=files).encoder.options
    assert (options.dim, options.layers) == (6, 3)


def test_compose_with_a_primary_upon_a_primary_merges_both(composed):
    more = "defaults: [mini, {override encoder: thin}, _self_]\ntrainer: {seed: 5}\n"
    config = composed(files={"more.yaml": more}, name="more")
    assert (config.encoder.name, config.trainer.seed, config.trainer.max_steps) == ("thin", 5, 12)


def test_compose_with_a_suffix_on_the_name_finds_the_file(composed):
    assert composed(name="mini.yaml").trainer.max_steps == 12


def test_compose_with_a_reference_resolves_it(composed):
    files = {"encoder/wide_small.yaml": "defaults: [wide]\nlayers: ${encoder.dim}\n"}
    assert composed("encoder.dim=10", files=files).encoder.options.layers == 10


def test_compose_with_a_dict_in_a_preset_merges_it_with_the_default(composed):
    files = {"encoder/wide_small.yaml": "defaults: [wide]\nweights: {b: 2}\n"}
    assert composed(files=files).encoder.options.weights == {"a": 1.0, "b": 2.0}


def test_compose_with_a_package_comment_takes_no_notice(composed):
    files = {"encoder/wide_small.yaml": "# @package _global_\ndefaults: [wide]\nlayers: 1\n"}
    assert composed(files=files).encoder.options.layers == 1


def test_compose_with_a_missing_value_given_as_an_argument_takes_it(composed):
    files = {"mini.yaml": PRIMARY.replace("12", "???")}
    assert composed("trainer.max_steps=3", files=files).trainer.max_steps == 3


def test_compose_with_a_required_option_given_takes_it(composed):
    assert composed("encoder=needy", "encoder.dim=3").encoder.options.dim == 3


@pytest.mark.parametrize(
    ("argument", "key", "value"),
    [
        ("encoder.dropout=1", "dropout", 1.0),
        ("encoder.dropout=1e-3", "dropout", 0.001),
        ("encoder.causal=true", "causal", True),
        ("encoder.label='7'", "label", "7"),
        ("encoder.label=no", "label", "no"),
        ("encoder.note=null", "note", None),
        ("encoder.note=x", "note", "x"),
        ("encoder.depth=[1,2]", "depth", (1, 2)),
        ("encoder.kernels=[]", "kernels", ()),
        ("encoder.pooling=max", "pooling", "max"),
        ("encoder.weights={a:2}", "weights", {"a": 2.0}),
        ("encoder.weights={b:2}", "weights", {"a": 1.0, "b": 2.0}),
        ("encoder.folder=/a/b", "folder", Path("/a/b")),
    ],
)
def test_compose_with_an_argument_gives_the_annotated_type(composed, argument, key, value):
    got = getattr(composed(argument).encoder.options, key)
    assert (got, type(got)) == (value, type(value))


def test_compose_with_a_name_of_two_distributions_takes_the_full_one(registry_of):
    registry = registry_of(MadePlugin("zz-other", OFFERS_THIN))
    overrides = ["frontend=flat", "encoder=zz-other/thin", "objective=match", "encoder.width=2"]
    choice = compose("pretrain", registry=registry, overrides=overrides).encoder
    assert (choice.name, choice.options.width) == ("zz-other/thin", 2)
    with pytest.raises(PluginError, match="write one of recipe-plugin/thin, zz-other/thin"):
        compose("pretrain", registry=registry, overrides=[*CHOICES, "encoder=thin"])


def test_compose_with_a_preset_of_an_ambiguous_component_takes_the_full_name(registry_of, tmp_path):
    registry = registry_of(MadePlugin("zz-other", OFFERS_THIN))
    files = {"encoder/narrow.yaml": "defaults: [zz-other/thin]\nwidth: 1\n"}
    folder = write_recipe(tmp_path / "conf", files)
    overrides = ["frontend=flat", "encoder=narrow", "objective=match"]
    config = compose("pretrain", registry=registry, config_dir=folder, overrides=overrides)
    assert (config.encoder.name, config.encoder.options.width) == ("zz-other/thin", 1)


def test_compose_with_a_broken_file_that_is_not_used_works(composed):
    assert composed(files={"encoder/other.yaml": "a: [", "x.yaml": "\t"}).trainer.max_steps == 12


def test_compose_twice_gives_equal_configurations(composed):
    assert composed("encoder=thin") == composed("encoder=thin")


def test_compose_leaves_hydra_as_it_was(registry):
    from hydra.core.config_store import ConfigStore
    from hydra.core.global_hydra import GlobalHydra

    before = json.dumps(ConfigStore.instance().list(""))
    compose("pretrain", registry=registry, overrides=CHOICES)
    assert json.dumps(ConfigStore.instance().list("")) == before
    assert not GlobalHydra.instance().is_initialized()


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_every_stage_has_defaults_that_fit_their_types(stage):
    from speechlite.config.store import default_values
    from speechlite.config.typed import build, is_choice, option_types

    chosen = {
        k: Choice(k, "a", TrainerOptions())
        for k, t in option_types(STAGES[stage]).items()
        if is_choice(t)
    }
    config = build(STAGES[stage], {**default_values(STAGES[stage]), **chosen}, where="")
    assert to_mapping(dataclasses.replace(config)) == to_mapping(config)


def test_compose_imports_no_torch(tmp_path):
    write_recipe(tmp_path, {})
    script = (
        "import sys\n"
        "from speechlite.config.compose import compose\n"
        "from speechlite.plugins.discovery import discover\n"
        "from speechlite.plugins.registry import Registry\n"
        "choices = ['frontend=fbank', 'encoder=conformer', 'objective=reconstruction']\n"
        "compose('pretrain', registry=Registry(discover()), overrides=choices)\n"
        "assert 'hydra' in sys.modules and 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
