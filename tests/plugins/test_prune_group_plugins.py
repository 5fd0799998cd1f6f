"""A plugin whose prune groups are wrong is refused by the conformance suite."""

from __future__ import annotations

import pytest
from made_plugins import MadePlugin, install

from speechlite.testing.conformance import ConformanceError, check_component

OFFERS = """\
@hookimpl
def speechlite_components():
    return [
        Component(kind="encoder", name="{name}", target="{module}_model:Broken",
                  config="speechlite.encoders.config:TransformerConfig", summary="broken groups"),
        Component(kind="frontend", name="{name}", target="{module}_model:BrokenFrontend",
                  config="speechlite.frontends.config:ConvWaveformConfig", summary="broken groups"),
    ]
"""
MODEL = """\
from dataclasses import replace

from speechlite.encoders.transformer import TransformerEncoder
from speechlite.frontends.conv_waveform import ConvWaveform


def changed(group):
    {body}


class Broken(TransformerEncoder):
    def prune_groups(self):
        return tuple(changed(group) for group in super().prune_groups())


class BrokenFrontend(ConvWaveform):
    def prune_groups(self):
        return tuple(changed(group) for group in super().prune_groups())
"""
BODIES = {
    "named-alike": (
        'return replace(group, name="units")',
        "groups_fit_their_tensors: .*not unique",
    ),
    "idle-gate": (
        "return replace(group, gate=lambda gate: None)",
        "gates_are_neutral: a multiplier on .* changes nothing",
    ),
    "shifted-gate": (
        "gate = lambda gate: group.gate(None if gate is None else gate.roll(1))\n"
        "    return replace(group, gate=gate)",
        "units_vanish: outputs with all groups gated and cut differ",
    ),
}


@pytest.mark.parametrize("kind", ["encoder", "frontend"])
@pytest.mark.parametrize("name", BODIES)
def test_suite_when_a_plugins_groups_are_wrong_then_it_names_the_check(
    name, kind, tmp_path, monkeypatch
):
    body, message = BODIES[name]
    module = name.replace("-", "_")
    plugin = MadePlugin(
        name,
        OFFERS.format(name=module, module=module),
        files={f"{module}_model.py": MODEL.format(body=body)},
    )
    monkeypatch.syspath_prepend(str(install(tmp_path / "site", [plugin])))
    with pytest.raises(ConformanceError, match=f"{kind} {module} fails {kind}_{message}"):
        check_component(kind, module)
