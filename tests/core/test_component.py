"""Component records: what passes and what is refused."""

from __future__ import annotations

import dataclasses

import pytest

from speechlite.core.component import KINDS, Component
from speechlite.core.errors import PluginError

GOOD = Component("encoder", "tiny_2", "package.module:Tiny", "package.config:TinyConfig", "small")


@pytest.mark.parametrize("kind", KINDS)
def test_component_when_well_formed_then_every_kind_passes(kind):
    dataclasses.replace(GOOD, kind=kind).check()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "model"}, r"component 'tiny_2' has kind 'model', expected one of \['frontend'"),
        ({"name": "Tiny"}, "encoder has name 'Tiny', expected lower-case letters, digits and _"),
        ({"name": ""}, "encoder has name '', expected lower-case"),
        ({"name": "2tiny"}, "encoder has name '2tiny', expected lower-case"),
        ({"name": "tiny\n"}, "expected lower-case"),
        ({"name": None}, "a Component has name=None, expected a string; give every field"),
        ({"summary": 3}, "a Component has summary=3, expected a string"),
        ({"target": "module.Tiny"}, "'tiny_2' has target='module.Tiny', expected 'module:Class'"),
        ({"target": "module:a.b"}, "expected 'module:Class'; write the import path as"),
        ({"config": "../x:Tiny"}, "'tiny_2' has config='../x:Tiny', expected 'module:Class'"),
    ],
)
def test_component_when_a_field_cannot_be_right_then_it_is_named(changes, message):
    with pytest.raises(PluginError, match=message):
        dataclasses.replace(GOOD, **changes).check()


def test_component_when_changed_in_place_then_it_refuses():
    with pytest.raises(dataclasses.FrozenInstanceError):
        GOOD.name = "other"
