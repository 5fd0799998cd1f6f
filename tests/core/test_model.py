"""The model contract: a frontend and an encoder joined."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from speechlite.core.compressor import Compressor
from speechlite.core.errors import DataError
from speechlite.core.model import Encoder, Frontend, ModelSpec, PruneGroup, SpeechModel
from speechlite.core.objective import Objective
from speechlite.core.types import Batch, Hidden, Loss, Padded


class Halves(Frontend):
    """Give every second sample."""

    sample_rate, stride, min_samples, num_features = 16000, 2, 2, 1

    def extract(self, waves_BT, lengths_B):
        return waves_BT[:, ::2, None], lengths_B // 2

    def project(self, features_BSF):
        return features_BSF + 10


class Doubling(Encoder):
    """Double the frames in each of three layers."""

    def __init__(self, dim=1):
        super().__init__()
        self.dim = dim
        self.layers = nn.ModuleList([nn.Identity()] * 3)

    def forward(self, frames_BSD, lengths_B, *, num_layers=None):
        depth = 3 if num_layers is None else num_layers
        return Hidden(tuple(frames_BSD * 2**layer for layer in range(depth + 1)), lengths_B)


class Doubtful(Compressor, Objective):
    """Leave everything optional at its default."""

    def __init__(self):
        nn.Module.__init__(self)

    def plan(self, model):
        return {}

    def restructure(self, model, plan):
        return model

    def forward(self, model, batch):
        return Loss(torch.zeros(()), torch.zeros(()))


def _model(dim=1):
    return SpeechModel(Halves(), Doubling(dim), spec=ModelSpec({"name": "h"}, {"name": "d"}))


WAVES_BT, LENGTHS_B = torch.tensor([[1.0, 2.0, 3.0, 4.0]]), torch.tensor([4])


def test_model_when_given_waves_then_features_are_extracted_projected_and_encoded():
    hidden = _model()(WAVES_BT, LENGTHS_B)
    assert [layer[0, :, 0].tolist() for layer in hidden.layers] == [
        [11, 13],
        [22, 26],
        [44, 52],
        [88, 104],
    ]
    assert hidden.lengths.tolist() == [2]


def test_model_when_shallow_then_the_depth_reaches_the_encoder():
    assert len(_model()(WAVES_BT, LENGTHS_B, num_layers=1).layers) == 2


def test_extract_when_the_batch_has_waves_then_the_frontend_computes():
    features = _model().extract(Batch(("a",), waves=Padded(WAVES_BT, LENGTHS_B)))
    assert features.values[0, :, 0].tolist() == [1, 3]
    assert features.lengths.tolist() == [2]


def test_extract_when_the_batch_has_features_then_they_are_taken_as_they_are():
    cached = Padded(torch.ones(1, 3, 1), torch.tensor([3]))
    batch = Batch(("a",), waves=Padded(WAVES_BT, LENGTHS_B), features=cached)
    assert _model().extract(batch) is cached


def test_extract_when_the_batch_has_neither_then_it_says_so():
    with pytest.raises(DataError, match="neither waves nor features; build it with one of the two"):
        _model().extract(Batch(("a",)))


def test_frontend_when_called_then_it_projects_what_it_extracts():
    frames_BSD, lengths_B = Halves()(WAVES_BT, LENGTHS_B)
    assert frames_BSD[0, :, 0].tolist() == [11, 13]
    assert lengths_B.tolist() == [2]


def test_model_when_asked_then_it_knows_its_width_and_depth():
    assert (_model(5).dim, _model(5).num_layers) == (5, 3)


def test_model_when_the_encoder_keeps_the_features_width_then_that_is_the_models():
    assert _model(None).dim == Halves.num_features


def test_contract_when_a_component_overrides_nothing_optional_then_defaults_hold():
    model, component = _model(), Doubtful()
    assert component.prepare(model) is model
    assert component.penalty(model, 3) is None
    assert component.calibrate(model, []) is None
    assert component.after_step(model, 3) is None
    assert (component.needs, component.needs_batches) == ((), False)
    assert model.encoder.draw_depth(1) is None
    assert (model.encoder.prune_groups(), model.frontend.prune_groups()) == ((), ())
    assert model.edits == ()


def _group(name, calls):
    slices = (("weight", 0, 2), ("bias", 0, 2))
    return PruneGroup(name, 3, calls.append, slices, absorbed_by=("bias",), pair_macs=7)


def test_group_when_it_is_part_of_a_larger_module_then_all_names_begin_with_its_name():
    calls = []
    group = _group("heads", calls).inside("attention").inside("layers.2")
    assert group.name == "layers.2.attention.heads"
    assert group.slices == (
        ("layers.2.attention.weight", 0, 2),
        ("layers.2.attention.bias", 0, 2),
    )
    assert group.absorbed_by == ("layers.2.attention.bias",)
    assert (group.size, group.pair_macs) == (3, 7)
    group.gate(None)
    assert calls == [None]


def test_groups_when_both_parts_have_some_then_the_model_names_them_from_itself_on():
    model, calls = _model(), []
    model.frontend.prune_groups = lambda: (_group("channels", calls),)
    model.encoder.prune_groups = lambda: (_group("heads", calls), _group("units", calls))
    groups = model.prune_groups()
    assert [group.name for group in groups] == [
        "frontend.channels",
        "encoder.heads",
        "encoder.units",
    ]
    assert groups[0].slices[0] == ("frontend.weight", 0, 2)


def test_encode_when_done_in_two_steps_then_it_is_the_same():
    model = _model()
    features = Padded(torch.tensor([[[1.0], [3.0]]]), torch.tensor([2]))
    frames = model.project(features)
    assert frames.values[0, :, 0].tolist() == [11, 13]
    assert torch.equal(frames.lengths, features.lengths)
    steps, whole = model.run(frames, num_layers=2), model.encode(features, num_layers=2)
    assert len(steps.layers) == 3
    assert all(torch.equal(*pair) for pair in zip(steps.layers, whole.layers, strict=True))
