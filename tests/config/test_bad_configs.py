from __future__ import annotations

import subprocess
import sys

import pytest
from bad_configs import BAD
from made_recipe import write_recipe

from speechlite.config.compose import compose
from speechlite.core.errors import ConfigError


@pytest.mark.parametrize("case", sorted(BAD))
def test_compose_with_a_wrong_configuration_says_what_in_one_line(case, registry, tmp_path):
    bad = BAD[case]
    folder = write_recipe(tmp_path / "conf", bad.files)
    with pytest.raises(ConfigError) as caught:
        compose(
            "pretrain",
            registry=registry,
            config_dir=folder,
            config_name=bad.name,
            overrides=bad.overrides,
        )
    message = str(caught.value).replace(f"{folder}/", "")
    assert bad.says in message
    assert "\n" not in message
    assert caught.value.exit_code == 2


def test_compose_of_an_unknown_stage_lists_the_stages(registry):
    with pytest.raises(ConfigError, match="no stage 'train'; choose one of pretrain, compress"):
        compose("train", registry=registry)


def test_compose_with_a_name_but_no_folder_is_refused(registry):
    with pytest.raises(ConfigError, match="configuration 'mini' has no folder; give config_dir"):
        compose("pretrain", registry=registry, config_name="mini")


def test_compose_with_an_absent_folder_is_refused(registry, tmp_path):
    with pytest.raises(ConfigError, match="absent: is no folder"):
        compose("pretrain", registry=registry, config_dir=tmp_path / "absent", config_name="mini")


def test_compose_without_any_choice_lists_the_components(registry):
    with pytest.raises(ConfigError, match="frontend: nothing is chosen; add frontend=NAME .* flat"):
        compose("pretrain", registry=registry)


def test_compose_with_an_alias_bomb_takes_no_time(registry, tmp_path):
    folder = write_recipe(tmp_path / "conf", BAD["alias bomb"].files)
    script = (
        "import sys, resource; resource.setrlimit(resource.RLIMIT_CPU, (5, 5))\n"
        "from speechlite.config.safe_yaml import load_yaml\n"
        f"load_yaml({str(folder / 'mini.yaml')!r})\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert "ConfigError" in run.stderr
