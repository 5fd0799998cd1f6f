"""Core commands work whatever stands in the list of plugins."""

from __future__ import annotations

import json

import pytest
from broken_plugins import BROKEN
from made_plugins import OFFERS_THIN, MadePlugin, install, run_speechlite

CHOICES = ["frontend=fbank", "encoder=identity", "objective=reconstruction"]


@pytest.fixture(scope="module")
def all_broken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("broken") / "site"
    return install(folder, [plugin for plugin, _ in BROKEN.values()])


@pytest.fixture(scope="module")
def listing(all_broken):
    return run_speechlite("plugins", "--json", folder=all_broken)


def test_plugins_with_all_broken_plugins_lists_the_builtin_ones(listing):
    assert listing.returncode == 0
    rows = json.loads(listing.stdout)["plugins"]
    [builtin] = [row for row in rows if row["distribution"] == "speechlite"]
    assert "conformer" in [component["name"] for component in builtin["components"]]


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_plugins_with_a_broken_plugin_names_it_in_a_row_and_one_line(name, listing):
    cause = BROKEN[name][1]
    rows = [row for row in json.loads(listing.stdout)["plugins"] if row["distribution"] == name]
    [row] = [row for row in rows if row["status"] == "broken"]
    assert cause in row["cause"]
    lines = [line for line in listing.stderr.splitlines() if f"plugin {name} " in line]
    assert len(lines) == 1
    assert cause in lines[0]


def test_plugins_with_all_broken_plugins_says_nothing_else(listing):
    assert len(listing.stderr.splitlines()) == len(BROKEN)


def test_config_with_all_broken_plugins_works(all_broken):
    run = run_speechlite("config", "pretrain", *CHOICES, folder=all_broken)
    assert run.returncode == 0
    assert "name: identity" in run.stdout


def test_plugins_strict_with_a_broken_plugin_exits_5(all_broken):
    assert run_speechlite("plugins", "--strict", folder=all_broken).returncode == 5


def test_plugins_with_trace_shows_the_traceback(tmp_path):
    folder = install(tmp_path / "site", [BROKEN["broken-raises"][0]])
    run = run_speechlite("plugins", folder=folder, environ={"SPEECHLITE_TRACE": "1"})
    assert "Traceback (most recent call last)" in run.stderr
    assert "broken_raises.py" in run.stderr


def test_plugins_with_one_that_ends_the_process_works_once_it_is_blocked(tmp_path):
    plugin = MadePlugin("quitter", "import os\nos._exit(9)\n")
    folder = install(tmp_path / "site", [plugin])
    assert run_speechlite("plugins", folder=folder).returncode == 9
    run = run_speechlite("plugins", folder=folder, environ={"SPEECHLITE_BLOCK": "quitter"})
    assert run.returncode == 0
    assert "quitter: BLOCKED" in run.stdout


def test_plugins_with_one_that_hangs_works_once_it_is_blocked(tmp_path):
    plugin = MadePlugin("hanger", "import time\ntime.sleep(600)\n")
    folder = install(tmp_path / "site", [plugin])
    run = run_speechlite("plugins", folder=folder, environ={"SPEECHLITE_BLOCK": "hanger"})
    assert run.returncode == 0
    assert "hanger: BLOCKED" in run.stdout


def test_help_with_a_hanging_plugin_does_not_load_it(tmp_path):
    plugin = MadePlugin("hanger", "import time\ntime.sleep(600)\n")
    folder = install(tmp_path / "site", [plugin])
    assert run_speechlite("--help", folder=folder).returncode == 0


def test_plugins_json_with_a_printing_plugin_stays_json(tmp_path):
    plugin = MadePlugin("talker", "print('hello')\n" + OFFERS_THIN)
    run = run_speechlite("plugins", "--json", folder=install(tmp_path / "site", [plugin]))
    rows = {row["distribution"]: row for row in json.loads(run.stdout)["plugins"]}
    assert rows["talker"]["notes"] == ["prints when imported: hello"]
