from __future__ import annotations

import pytest
import torch
from made_runs import choice

from speechlite.compressors.depth import Depth
from speechlite.core.errors import ConfigError, PlanError
from speechlite.core.model import Edit
from speechlite.core.types import LabelSpace
from speechlite.encoders.conformer import ConformerEncoder
from speechlite.engine.build import (
    build_compressor,
    build_head,
    build_model,
    build_objective,
    edit_of,
    model_spec,
    replay_edits,
)
from speechlite.heads.phone import PhoneHead
from speechlite.objectives.reconstruction import Reconstruction


def test_model_spec_holds_names_and_all_options(registry):
    spec = model_spec(
        choice(registry, "frontend", "fbank", num_mels=8), choice(registry, "encoder", "identity")
    )
    assert spec.frontend == {
        "name": "fbank",
        "sample_rate": 16000,
        "num_mels": 8,
        "normalise": "utterance",
    }
    assert spec.encoder == {"name": "identity"}


def test_build_model_makes_what_the_spec_names(make_model):
    model = make_model(layers=2)
    assert isinstance(model.encoder, ConformerEncoder)
    assert (model.dim, model.num_layers, model.frontend.num_features) == (8, 2, 8)


def test_build_model_twice_under_one_seed_gives_equal_weights(make_model):
    first, second = make_model(seed=4), make_model(seed=4)
    assert all(map(torch.equal, first.parameters(), second.parameters()))


def test_build_model_leaves_the_features_width_to_an_encoder_without_one(registry):
    spec = model_spec(
        choice(registry, "frontend", "fbank", num_mels=9), choice(registry, "encoder", "identity")
    )
    model = build_model(spec, registry)
    assert model.dim == 9
    assert not list(model.parameters())


def test_build_objective_compressor_and_head_make_what_is_chosen(registry, make_model):
    model = make_model()
    objective = build_objective(choice(registry, "objective", "reconstruction"), model, registry)
    compressor = build_compressor(choice(registry, "compressor", "depth"), registry)
    head = build_head(
        choice(registry, "head", "phone"),
        registry,
        dim=8,
        num_layers=1,
        labels=LabelSpace("phones", ("a", "b")),
    )
    assert isinstance(objective, Reconstruction)
    assert isinstance(compressor, Depth)
    assert isinstance(head, PhoneHead)


def test_replay_edits_carries_them_out_in_order(registry, make_model):
    chosen = choice(registry, "compressor", "depth", layers=1)
    edits = tuple(edit_of(chosen, {"layers": layers}) for layers in (2, 1))
    model = replay_edits(make_model(), edits, registry)
    assert model.num_layers == 1
    assert model.edits == edits


def test_replay_edits_when_one_does_not_fit_is_an_error(registry, make_model):
    edit = Edit(compressor={"name": "depth", "layers": 2}, plan={"layers": 3})
    with pytest.raises(PlanError, match="the plan keeps 3 layers of a model that has 3"):
        replay_edits(make_model(), (edit,), registry)


def test_replay_edits_of_an_unknown_compressor_is_an_error(registry, make_model):
    edit = Edit(compressor={"layers": 2}, plan={"layers": 2})
    with pytest.raises(ConfigError, match="compressor.name: expected a component's name, got None"):
        replay_edits(make_model(), (edit,), registry)
