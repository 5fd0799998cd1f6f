"""Forwards that begin late: the same as whole ones, or not taken."""

import pytest
import torch
from torch import nn

from speechlite.compressors import forwards as module
from speechlite.compressors.forwards import EnoughError, Forwards, hear
from speechlite.compressors.obs import Obs
from speechlite.compressors.pruning_config import ObsConfig
from speechlite.core.model import ModelSpec
from speechlite.core.types import Batch
from speechlite.engine.build import build_model
from speechlite.testing.fixtures import installed_registry, waves

SMALL = {"dim": 8, "layers": 4, "heads": 2, "feedforward": 16}
LAYERS = [f"encoder.layers.{number}" for number in range(4)]


def model_of(name, **options):
    torch.manual_seed(0)
    spec = ModelSpec(
        frontend={"name": "fbank", "num_mels": 8}, encoder={"name": name} | SMALL | options
    )
    return build_model(spec, installed_registry()).eval()


def utterances():
    sound = waves()
    return [
        Batch(ids=(f"u{row}",), waves=type(sound)(sound.values[row : row + 1, :n], n.view(1)))
        for row, n in enumerate(sound.lengths)
    ]


def heard_by(model, layer, listen):
    """Return what a layer is given for each utterance."""
    found = []

    def take(_, given):
        found.append(given[0].clone())
        raise EnoughError

    for number, one in enumerate(utterances()):
        listen(number, one, {layer: take})
    return found


def change(layer):
    for part in layer.modules():
        if isinstance(part, nn.Linear):
            with torch.no_grad():
                part.weight.mul_(part.weight.abs() > part.weight.abs().median())


def layers_pruned_in_turn(model):
    """Prune layer after layer; return whether forwards began late, and how often layer 0 ran."""
    forwards, late, calls = Forwards(model, LAYERS), [], []
    count = [0]

    def note(*_):
        count[0] += 1

    model.encoder.layers[0].attention.register_forward_pre_hook(note)
    for name in LAYERS:
        layer = model.get_submodule(name)
        forwards.advance(utterances()[0])
        count[0] = 0
        begun = heard_by(model, layer, forwards.hear)
        calls.append(count[0])
        late.append(forwards.begin_late)
        whole = heard_by(model, layer, lambda _, one, watchers: hear(model, one, watchers))
        assert all(map(torch.equal, begun, whole))
        change(layer)
    return late, calls


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("transformer", {}),
        (
            "transformer",
            {
                "norm": "post",
                "positions": "convolution",
                "position_kernel": 4,
                "position_groups": 2,
            },
        ),
        ("transformer", {"relative_bias": True}),
        ("transformer", {"time_reduction": 2}),
        ("conformer", {"kernel_size": 3}),
    ],
)
def test_layers_before_the_one_pruned_last_are_not_executed(name, options):
    late, calls = layers_pruned_in_turn(model_of(name, **options))
    assert late == [False, True, True, True]
    # layer 0 is heard up to its first watcher, then as the layer pruned last, then not at all
    assert calls[1:] == [3, 0, 0]


def test_encoder_that_adds_earlier_states_later_is_executed_whole():
    model = model_of("squeezeformer", kernel_size=3, reduce_after=1, recover_after=3)
    late, _ = layers_pruned_in_turn(model)
    assert late == [False, True, True, False]


@pytest.mark.parametrize("keep", [[], ["pointwise", "recovery"]])
def test_layers_that_are_executed_twice_are_pruned_as_by_whole_forwards(keep, monkeypatch):
    options = {"share_parameters": True, "reduce_after": 1, "recover_after": 3, "kernel_size": 3}
    config = ObsConfig(sparsity=0.5, parts=["encoder"], keep=keep)

    def weights():
        compressor = Obs(config)
        prepared = compressor.prepare(model_of("squeezeformer", **options))
        compressor.calibrate(prepared, utterances())
        return list(prepared.state_dict().values())

    late = weights()
    monkeypatch.setattr(Forwards, "_agree", lambda *_: False)
    assert all(map(torch.equal, late, weights()))


def test_module_that_is_never_called_has_no_inputs_to_keep():
    model = model_of("transformer")
    forwards = Forwards(model, ["encoder.layers", "encoder.layers.1"])
    for _ in range(2):
        forwards.advance(utterances()[0])
        heard_by(model, model.encoder.layers[1], forwards.hear)
    assert not forwards.begin_late


def test_no_more_than_the_inputs_of_one_layer_are_kept():
    model = model_of("transformer")
    forwards, most = Forwards(model, LAYERS), []
    for name in LAYERS:
        forwards.advance(utterances()[0])
        for number, one in enumerate(utterances()):
            forwards.hear(number, one, {model.get_submodule(name): stop})
            most.append(forwards._num_bytes)
    assert max(most) == most[-1]


def stop(*_):
    raise EnoughError


def test_inputs_beyond_the_memory_are_not_kept(monkeypatch):
    monkeypatch.setattr(module, "_KEPT_BYTES", 100)
    late, calls = layers_pruned_in_turn(model_of("transformer"))
    assert late == [False] * 4
    assert calls[1:] == [3, 3, 3]


def test_layers_are_left_as_they_were():
    model = model_of("transformer")
    layers_pruned_in_turn(model)
    assert all("forward" not in vars(layer) for layer in model.encoder.layers)
