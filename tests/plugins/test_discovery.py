from __future__ import annotations

import random
import sys

import pytest
from broken_plugins import BROKEN
from made_plugins import HEADER, OFFERS_THIN, MadePlugin, install, run_speechlite

from speechlite.plugins import loading
from speechlite.plugins.discovery import discover, notify_result
from speechlite.plugins.records import canonical_name

UNREADABLE = {"broken-no-equals", "broken-not-utf8"}
"""Those whose entry points importlib.metadata cannot read: tested where all are installed."""


def test_discover_with_installed_distributions_finds_the_builtin_plugin():
    names = {plugin.module for plugin in discover(environ={}).plugins}
    assert "speechlite.builtin" in names


def test_discover_with_a_good_plugin_gives_its_components(put):
    discovery = discover(entry_points=put([MadePlugin("good-one")]), environ={})
    [plugin] = discovery.plugins
    assert (plugin.distribution, plugin.version) == ("good-one", "1.5")
    assert [component.name for component in plugin.components] == ["thin"]
    assert discovery.broken == ()


def test_discover_with_many_plugins_sorts_them_by_distribution_and_entry_point(put):
    two = "[speechlite]\nz = a_lib_z\na = a_lib\n"
    second = HEADER.format(module="a_lib_z") + OFFERS_THIN.replace("()]", "(name='wide')]")
    first = MadePlugin("a-lib", entry_points=two, files={"a_lib_z.py": second})
    plugins = [MadePlugin("Zz-lib"), first, MadePlugin("mm")]
    found = discover(entry_points=put(plugins), environ={}).plugins
    names = [(plugin.distribution, plugin.entry_point) for plugin in found]
    assert names == [("a-lib", "a"), ("a-lib", "z"), ("mm", "made"), ("Zz-lib", "made")]


def test_discover_with_one_entry_point_name_in_two_distributions_loads_both(put):
    found = discover(entry_points=put([MadePlugin("one"), MadePlugin("two")]), environ={})
    assert [plugin.distribution for plugin in found.plugins] == ["one", "two"]


def test_discover_without_metadata_names_the_module(put):
    found = discover(entry_points=put([MadePlugin("nameless", metadata="")]), environ={})
    assert [(p.distribution, p.version) for p in found.plugins] == [("nameless", "unknown")]


def test_discover_with_a_copy_further_down_the_path_takes_the_first_only(
    put, tmp_path, monkeypatch
):
    put([MadePlugin("copied")])
    monkeypatch.syspath_prepend(str(install(tmp_path / "other", [MadePlugin("copied")])))
    found = [p for p in discover(environ={}).plugins if p.distribution == "copied"]
    assert len(found) == 1


def test_discover_with_a_blocked_distribution_does_not_import_it(put):
    entry_points = put([MadePlugin("bad-one", "raise ValueError"), MadePlugin("good-one")])
    discovery = discover(entry_points=entry_points, environ={"SPEECHLITE_BLOCK": "x, Bad_One"})
    assert discovery.blocked == ("bad-one",)
    assert discovery.broken == ()
    assert "bad_one" not in sys.modules


def test_discover_when_the_user_interrupts_stops(put):
    entry_points = put([MadePlugin("interrupted", "raise KeyboardInterrupt")])
    with pytest.raises(KeyboardInterrupt):
        discover(entry_points=entry_points, environ={})


def test_discover_with_a_plugin_that_prints_keeps_it_off_the_terminal(put, capsys):
    source = "import sys\nprint('hello')\nprint('there', file=sys.stderr)\n" + OFFERS_THIN
    discovery = discover(entry_points=put([MadePlugin("talker", source)]), environ={})
    assert discovery.plugins[0].notes == ("prints when imported: hello there",)
    assert capsys.readouterr() == ("", "")


def test_discover_with_a_plugin_that_seeds_random_puts_the_state_back(put):
    state = random.getstate()
    source = "import random\nrandom.seed(7)\n" + OFFERS_THIN
    discovery = discover(entry_points=put([MadePlugin("seeder", source)]), environ={})
    assert discovery.plugins[0].notes == ("changes the state of random when imported",)
    assert random.getstate() == state


def test_discover_with_a_slow_plugin_notes_it(put, monkeypatch):
    monkeypatch.setattr(loading, "SLOW_SECONDS", 0.0)
    discovery = discover(entry_points=put([MadePlugin("slow-one")]), environ={})
    assert discovery.plugins[0].notes == ("took 0.0 s to load",)


def test_discover_with_a_plugin_that_imports_torch_notes_it(tmp_path):
    plugin = MadePlugin("heavy", "import torch\n" + OFFERS_THIN, files={"torch.py": ""})
    run = run_speechlite("plugins", folder=install(tmp_path / "site", [plugin]))
    assert "note: imports torch when listed" in run.stdout


@pytest.mark.parametrize("name", sorted(BROKEN.keys() - UNREADABLE))
def test_discover_with_a_broken_plugin_gives_its_cause_and_keeps_nothing_of_it(name, put):
    plugin, cause = BROKEN[name]
    entry_points = put([MadePlugin("good-one"), plugin])
    discovery = discover(entry_points=entry_points, environ={})
    assert "good-one" in [loaded.distribution for loaded in discovery.plugins]
    [broken] = discovery.broken
    assert cause in broken.cause
    assert broken.cause.isprintable()
    assert len(broken.cause) <= 300
    loaded = [p for p in discovery.plugins if p.distribution == plugin.distribution]
    assert len(loaded) == (1 if name == "broken-two-doors" else 0)


def test_notify_result_with_a_raising_plugin_still_tells_the_others(put):
    listens = "heard = []\n@hookimpl\ndef speechlite_result(result):\n    heard.append(result)\n"
    raises = "@hookimpl\ndef speechlite_result(result):\n    raise OSError('disk full')\n"
    plugins = [MadePlugin("a-raiser", raises), MadePlugin("listener", listens)]
    discovery = discover(entry_points=put(plugins), environ={})
    failures = notify_result(discovery, {"kind": "measured"})
    assert failures == ("plugin a-raiser failed in speechlite_result: OSError: disk full",)
    assert sys.modules["listener"].heard == [{"kind": "measured"}]


def test_notify_result_with_a_plugin_that_changes_the_record_leaves_it_as_it_was(put):
    vandal = "@hookimpl\ndef speechlite_result(result):\n    result['cost'].clear()\n"
    discovery = discover(entry_points=put([MadePlugin("vandal", vandal)]), environ={})
    record = {"cost": {"params": 1}}
    assert notify_result(discovery, record) == ()
    assert record == {"cost": {"params": 1}}


def test_discover_with_unreadable_entry_points_names_their_distributions(put, tmp_path):
    for name in UNREADABLE:
        plugin, _ = BROKEN[name]
        install(tmp_path / "site", [plugin])
    broken = {plugin.distribution: plugin.cause for plugin in discover(environ={}).broken}
    assert {name: BROKEN[name][1] in broken[name] for name in UNREADABLE} == dict.fromkeys(
        UNREADABLE, True
    )


@pytest.mark.parametrize("spelling", ["My.Plugin", "my--plugin", "MY_plugin"])
def test_canonical_name_with_other_separators_and_case_gives_the_same(spelling):
    assert canonical_name(spelling) == "my-plugin"
