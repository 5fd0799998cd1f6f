from __future__ import annotations

import json

import pytest
from made_plugins import OFFERS_THIN, MadePlugin

from speechlite.core.errors import ConfigError
from speechlite.plugins.discovery import discover
from speechlite.plugins.listing import as_json, as_mapping, as_text
from speechlite.plugins.registry import Registry

COMMAND = (
    "@hookimpl\ndef speechlite_commands():\n    return [Command('greet', 'say hello', 'a:b')]\n"
)


@pytest.fixture
def registry(put):
    plugins = [
        MadePlugin("one", OFFERS_THIN + COMMAND),
        MadePlugin("two", OFFERS_THIN.replace("component()", "component(summary='a\\n\\x1b[1mb')")),
        MadePlugin("bad-one", "1 / 0"),
        MadePlugin("shut-out"),
    ]
    return Registry(discover(entry_points=put(plugins), environ={"SPEECHLITE_BLOCK": "shut-out"}))


def test_as_text_gives_a_line_for_each_component_command_and_failure(registry):
    lines = as_text(registry).splitlines()
    assert "one 1.5 (one)" in lines
    assert "  encoder     one/thin         a made-up encoder" in lines
    assert "  command     greet            say hello" in lines
    assert "bad-one 1.5: BROKEN: ZeroDivisionError: division by zero" in lines
    assert "shut-out: BLOCKED" in lines


def test_as_text_with_a_hostile_summary_prints_no_control_characters(registry):
    assert "  encoder     two/thin         a [1mb" in as_text(registry).splitlines()


def test_as_json_gives_what_as_mapping_gives(registry):
    assert json.loads(as_json(registry)) == as_mapping(registry)


def test_as_mapping_gives_the_status_of_every_plugin(registry):
    rows = as_mapping(registry)["plugins"]
    statuses = {row["distribution"]: row["status"] for row in rows}
    assert statuses == {"one": "ok", "two": "ok", "bad-one": "broken", "shut-out": "blocked"}


def test_as_mapping_of_every_row_has_the_same_keys(registry):
    assert len({tuple(sorted(row)) for row in as_mapping(registry)["plugins"]}) == 1


def test_as_mapping_of_a_kind_leaves_other_kinds_and_commands_out(registry):
    [one, *_] = as_mapping(registry, kind="head")["plugins"]
    assert (one["components"], one["commands"]) == ([], [])


@pytest.mark.parametrize("show", [as_text, as_json, as_mapping])
def test_listing_of_an_unknown_kind_is_refused(registry, show):
    with pytest.raises(ConfigError, match="no kind 'vocoder'"):
        show(registry, kind="vocoder")
