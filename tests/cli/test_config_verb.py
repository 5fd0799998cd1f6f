from __future__ import annotations

import pytest
import yaml

from speechlite.cli.main import main

CHOICES = ["frontend=fbank", "encoder=conformer", "objective=reconstruction"]


@pytest.fixture
def recipe(tmp_path):
    primary = "defaults:\n  - frontend: fbank\n  - encoder: small\n  - objective: reconstruction\n"
    (tmp_path / "mini.yaml").write_text(primary)
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder" / "small.yaml").write_text("defaults: [conformer]\nlayers: 2\n")
    return tmp_path


def test_config_prints_the_resolved_options_as_yaml(capsys):
    assert (
        main(["config", "pretrain", *CHOICES, "encoder.layers=3", "encoder.random_depth=[1,2]"])
        == 0
    )
    printed = yaml.safe_load(capsys.readouterr().out)
    assert (printed["encoder"]["name"], printed["encoder"]["layers"]) == ("conformer", 3)
    assert printed["trainer"]["seed"] == 1


def test_config_of_a_recipe_takes_its_files(capsys, recipe):
    arguments = [
        "config",
        "pretrain",
        "--config-dir",
        str(recipe),
        "--config=mini",
        "trainer.seed=5",
    ]
    assert main(arguments) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert (printed["encoder"]["layers"], printed["trainer"]["seed"]) == (2, 5)


def test_config_list_names_components_presets_and_files(capsys, recipe):
    assert main(["config", "pretrain", "--list", "--config_dir", str(recipe)]) == 0
    text = capsys.readouterr().out
    assert "config: mini\n" in text
    assert "conformer" in text
    assert "presets: small" in text


@pytest.mark.parametrize(
    "arguments",
    [
        ["train"],
        ["pretrain", *CHOICES, "encoder.layer=1"],
        ["pretrain", "encoder=x", *CHOICES[::2]],
        ["pretrain", "--config", "x"],
    ],
)
def test_config_of_unknown_things_exits_2(arguments):
    assert main(["config", *arguments]) == 2
