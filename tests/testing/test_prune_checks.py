"""The checks of prune groups: every option passes them, and each kind of error is named."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from speechlite.core.model import PruneGroup
from speechlite.encoders.config import ConformerConfig, TransformerConfig
from speechlite.encoders.conformer import ConformerEncoder
from speechlite.encoders.transformer import TransformerEncoder
from speechlite.frontends.config import ConvWaveformConfig
from speechlite.frontends.conv_waveform import ConvWaveform
from speechlite.testing import pruning
from speechlite.testing.fixtures import small_hidden, waves

DIM = 16
_STACK = {"dim": DIM, "layers": 2, "heads": 4, "feedforward": 12}
_HUBERT = {**_STACK, "positions": "convolution", "position_kernel": 4, "position_groups": 2}
_WAVE = {"channels": [12, 16, 20], "kernels": [10, 3, 3], "strides": [5, 4, 2]}
ENCODERS = {
    "pre_norm": TransformerConfig(**_HUBERT),
    "post_norm": TransformerConfig(**_HUBERT, norm="post"),
    "wavlm": TransformerConfig(**_HUBERT, norm="post", relative_bias=True),
    "shared": TransformerConfig(**_HUBERT, relative_bias=True, share_parameters=True),
    "reduced": TransformerConfig(**_HUBERT, time_reduction=2),
    "macaron": ConformerConfig(**_STACK, macaron=True, kernel_size=5),
    "shared_conformer": ConformerConfig(**_STACK, share_parameters=True, kernel_size=5),
}
FRONTENDS = {
    "group": ConvWaveformConfig(**_WAVE),
    "layer": ConvWaveformConfig(**_WAVE, norm="layer"),
    "layer_bias": ConvWaveformConfig(**_WAVE, norm="layer", bias=True, normalise=True),
    "scaled": ConvWaveformConfig(**_WAVE, channel_scale=True, bias=True),
    "legacy": ConvWaveformConfig(**_WAVE, legacy_padding=True),
    "bare": ConvWaveformConfig(**_WAVE, projection_norm=False),
    "unprojected": ConvWaveformConfig(
        channels=[12, DIM], kernels=[10, 3], strides=[5, 4], project_equal=False
    ),
}


def _build(name):
    torch.manual_seed(0)
    if name in FRONTENDS:
        return ConvWaveform(FRONTENDS[name], dim=DIM).eval()
    config = ENCODERS[name]
    kind = ConformerEncoder if isinstance(config, ConformerConfig) else TransformerEncoder
    return kind(config).eval()


@torch.no_grad()
def _run(part):
    if isinstance(part, ConvWaveform):
        sound = waves()
        return part(sound.values, sound.lengths)[:1]
    hidden = small_hidden(dim=DIM)
    return part(hidden.layers[0], hidden.lengths).layers


@pytest.mark.parametrize("name", [*ENCODERS, *FRONTENDS])
@pytest.mark.parametrize(
    "check",
    [
        pruning.gates_are_neutral,
        pruning.units_vanish,
        pruning.blocks_vanish,
        pruning.multipliers_are_absorbed,
    ],
)
def test_check_when_a_part_has_other_options_then_it_passes(check, name):
    part = _build(name)
    pruning.groups_fit_their_tensors(part)
    check(part, _run)


def test_check_when_units_were_cut_before_then_the_rest_passes():
    part = _build("wavlm")
    first, *others = part.prune_groups()
    assert first.name == "layers.0.attention.heads"
    pruning.cut(part, [first, *others], {first.name: [1, 3], others[1].name: [0, 5, 7]})
    pruning.groups_fit_their_tensors(part)
    pruning.units_vanish(part, _run)
    pruning.multipliers_are_absorbed(part, _run)


def _broken(change, *, kind="units", name="post_norm"):
    # the first group whose name ends on kind is changed in every copy
    made = type(_build(name))

    class Broken(made):
        def prune_groups(self):
            groups = list(super().prune_groups())
            index = next(i for i, group in enumerate(groups) if group.name.endswith(kind))
            groups[index] = change(self, groups[index])
            return tuple(groups)

    part = _build(name)
    part.__class__ = Broken
    return part


def _with_slices(keep):
    def change(_, group):
        return replace(group, slices=tuple(row for row in group.slices if keep(row[0])))

    return change


def _other_gate(wrap):
    return lambda part, group: replace(group, gate=lambda gate: wrap(part, group, gate))


STATIC = {
    "a name twice": (lambda _, g: replace(g, name="layers.0.attention.heads"), "are not unique"),
    "no unit": (lambda _, g: replace(g, size=0), "feedforward.units has 0 units"),
    "no tensor": (lambda _, g: replace(g, slices=()), "feedforward.units owns nothing"),
    "an absent tensor": (
        lambda _, g: replace(g, slices=(*g.slices, ("layers.0.gone", 0, 1))),
        "owns layers.0.gone, which does not exist",
    ),
    "a wrong width": (
        lambda _, g: replace(g, slices=tuple((n, a, 2) for n, a, _ in g.slices)),
        r"owns 12 x 2 of axis 0 of layers.0.feedforward.expand.weight \(12, 16\)",
    ),
    "a wrong axis": (
        lambda _, g: replace(
            g, slices=(("layers.0.feedforward.expand.bias", 1, 1),), absorbed_by=()
        ),
        r"axis 1 of layers.0.feedforward.expand.bias \(12,\)",
    ),
    "a stranger that absorbs": (
        lambda _, g: replace(g, absorbed_by=("layers.0.feedforward.contract.bias",)),
        "is absorbed by .*contract.bias'], which it does not own",
    ),
}


@pytest.mark.parametrize("name", STATIC)
def test_fit_when_a_group_is_wrong_then_it_says_how(name):
    change, message = STATIC[name]
    with pytest.raises(AssertionError, match=message):
        pruning.groups_fit_their_tensors(_broken(change))


@pytest.mark.parametrize(
    ("wrap", "message"),
    [
        (lambda _, g, gate: None, "a multiplier on .*units changes nothing"),
        (
            lambda _, g, gate: g.gate(None if gate is None else 0.9 * gate),
            "with a multiplier of one on .*units differ",
        ),
        (
            lambda _, g, gate: None if gate is None else g.gate(gate),
            "taking the multiplier off .*units leaves a trace",
        ),
    ],
)
def test_gates_when_they_do_something_else_then_it_says_what(wrap, message):
    with pytest.raises(AssertionError, match=message):
        pruning.gates_are_neutral(_broken(_other_gate(wrap)), _run)


def _reversed_gate(_, group, gate):
    group.gate(None if gate is None else gate.flip(0))


def test_units_when_the_gate_acts_on_others_then_cutting_differs():
    with pytest.raises(AssertionError, match="outputs with all groups gated and cut differ"):
        pruning.units_vanish(_broken(_other_gate(_reversed_gate), kind="heads"), _run)


def test_units_when_one_tensor_is_forgotten_then_cutting_fails():
    change = _with_slices(lambda name: not name.endswith("expand.bias"))
    with pytest.raises(RuntimeError):
        pruning.units_vanish(_broken(change), _run)


def test_units_when_a_norm_counts_dead_channels_then_cutting_differs():
    def forgets_the_norm(part, group, gate):
        part.stack.layers[0].gate = gate

    broken = _broken(_other_gate(forgets_the_norm), kind="layers.0.channels", name="layer")
    with pytest.raises(AssertionError, match="gated and cut differ"):
        pruning.units_vanish(broken, _run)


def test_blocks_when_the_bias_is_forgotten_then_cutting_differs():
    change = _with_slices(lambda name: not name.endswith("contract.bias"))
    with pytest.raises(AssertionError, match="outputs with .*feedforward.block gated and cut diff"):
        pruning.blocks_vanish(_broken(change, kind="feedforward.block"), _run)


def test_absorption_when_a_nonlinear_weight_is_named_then_outputs_differ():
    def change(_, group):
        return replace(group, absorbed_by=("layers.0.feedforward.expand.weight",))

    with pytest.raises(AssertionError, match="outputs with absorbed multipliers differ"):
        pruning.multipliers_are_absorbed(_broken(change), _run)


def test_checks_when_there_are_no_groups_then_they_pass():
    class Plain(TransformerEncoder):
        def prune_groups(self):
            return ()

    part = Plain(ENCODERS["post_norm"]).eval()
    pruning.groups_fit_their_tensors(part)
    for check in (pruning.gates_are_neutral, pruning.units_vanish, pruning.blocks_vanish):
        check(part, _run)


def test_group_when_made_by_hand_then_the_defaults_say_nothing():
    group = PruneGroup("a", 1, nn.Identity(), ())
    assert (group.absorbed_by, group.pair_macs) == ((), 0)
