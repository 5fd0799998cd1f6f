from __future__ import annotations

import json
import re

import pytest
import torch

from speechlite.config.compose import from_mapping
from speechlite.core.errors import CheckpointError
from speechlite.core.model import ModelSpec
from speechlite.engine.build import build_model
from speechlite.engine.compress import compress
from speechlite.engine.importing import model_of
from speechlite.interop.huggingface import read_huggingface
from speechlite.interop.huggingface_export import write_huggingface
from speechlite.nn.pruning import cut

FRONTEND = {"channels": [12, 16, 20], "kernels": [10, 3, 3], "strides": [5, 4, 2]}
ENCODER = {"dim": 32, "layers": 3, "heads": 4, "feedforward": 48, "positions": "convolution"}
POSITIONS = {"position_kernel": 8, "position_groups": 4}


@pytest.fixture
def build(registry):
    """Build a small model with random weights; options by dotted name."""

    def make(**options):
        parts = {
            "frontend": {"name": "conv_waveform", **FRONTEND, "legacy_padding": True},
            "encoder": {"name": "transformer", "norm": "post", **ENCODER, **POSITIONS},
        }
        for name, value in options.items():
            kind, _, option = name.partition("__")
            parts[kind][option] = value
        model = build_model(ModelSpec(**parts), registry).eval()
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
        return model

    return make


KINDS = [
    ("HubertModel", {}),
    ("HubertModel", {"encoder__norm": "pre", "frontend__norm": "layer", "frontend__bias": True}),
    ("HubertModel", {"frontend__projection_norm": False, "encoder__activation": "relu"}),
    ("WavLMModel", {"encoder__relative_bias": True}),
    ("WavLMModel", {"encoder__relative_bias": True, "encoder__norm": "pre"}),
]


@pytest.mark.parametrize(("name", "options"), KINDS)
def test_export_when_loaded_by_transformers_computes_the_same(
    name, options, build, transformers, speech, states_of_huggingface, gap, tmp_path
):
    model = build(**options)
    write_huggingface(model, tmp_path)
    theirs, report = getattr(transformers, name).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert type(transformers.AutoModel.from_pretrained(tmp_path)).__name__ == name
    with torch.no_grad():
        ours = model(speech.values, speech.lengths)
    assert gap(ours, states_of_huggingface(theirs.eval(), speech)) < 1e-5


def test_export_of_pruned_positions_is_what_transformers_computes(
    build, transformers, speech, states_of_huggingface, gap, registry, tmp_path
):
    options = {"name": "magnitude", "sparsity": 0.7, "parts": ["frontend", "encoder"]}
    model = compress(from_mapping("compressor", options, registry), build(), registry)
    assert model.encoder.positions.convolution.weight.zeros
    write_huggingface(model, tmp_path)
    theirs = transformers.HubertModel.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        ours = model(speech.values, speech.lengths)
    assert gap(ours, states_of_huggingface(theirs, speech)) < 1e-5


@pytest.mark.parametrize(("name", "options"), KINDS)
def test_export_when_imported_again_gives_the_same_model(name, options, build, registry, tmp_path):
    model = build(**options, frontend__normalise=True, encoder__dropout=0.2)
    write_huggingface(model, tmp_path)
    again = model_of(read_huggingface(tmp_path, {"frontend.legacy_padding": True}), registry)
    assert vars(again.frontend.config) == vars(model.frontend.config)
    assert vars(again.encoder.config) == vars(model.encoder.config)
    ours, theirs = model.state_dict(), again.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_export_when_wav2vec2_is_asked_for_writes_it(build, transformers, tmp_path):
    write_huggingface(build(), tmp_path, family="wav2vec2")
    assert isinstance(transformers.AutoModel.from_pretrained(tmp_path), transformers.Wav2Vec2Model)


def test_export_when_channels_and_layers_were_cut_says_the_new_sizes(
    build, transformers, speech, states_of_huggingface, gap, tmp_path
):
    model = build()
    kept = {f"encoder.layers.{layer}.feedforward.units": range(0, 48, 3) for layer in range(3)}
    cut(model, model.prune_groups(), {**kept, "frontend.stack.layers.1.channels": range(7)})
    del model.encoder.layers[2:]
    write_huggingface(model, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["conv_dim"], config["num_hidden_layers"]) == ([12, 7, 20], 2)
    assert config["intermediate_size"] == 16
    theirs = transformers.HubertModel.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        ours = model(speech.values, speech.lengths)
    assert gap(ours, states_of_huggingface(theirs, speech)) < 1e-5


def refuse(model, folder, message, **options):
    message = f"transformers has no model {message}.*--format onnx"
    with pytest.raises(CheckpointError, match=message):
        write_huggingface(model, folder, **options)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoder__positions": "sinusoids"}, "with sinusoidal positions"),
        ({"encoder__time_reduction": 2}, "with time reduction"),
        ({"encoder__share_parameters": True}, "with shared layers"),
        ({"frontend__channel_scale": True}, "with a factor for each channel"),
        (
            {"frontend__projection_norm": False, "encoder__relative_bias": True},
            "wavlm without a norm of features",
        ),
        (
            {"frontend__project_equal": False, "frontend__channels": [12, 16, 32]},
            "without a projection of features",
        ),
    ],
)
def test_export_when_transformers_has_no_such_model_says_why(build, tmp_path, options, message):
    refuse(build(**options), tmp_path, message)


@pytest.mark.parametrize(
    ("family", "bias", "message"),
    [
        ("bert", False, "family 'bert' that could be written"),
        ("wavlm", False, "wavlm without a relative position bias"),
        ("hubert", True, "hubert with a relative position bias"),
    ],
)
def test_export_when_the_family_does_not_fit_says_why(build, tmp_path, family, bias, message):
    refuse(build(encoder__relative_bias=bias), tmp_path, message, family=family)


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        ({"encoder.layers.1.attention.heads": [0, 2]}, "with fewer heads in a layer, as layer 1"),
        (
            {"encoder.layers.1.feedforward.units": [0, 2]},
            "with layers of different feed-forward width, as layer 1",
        ),
    ],
)
def test_export_when_a_model_is_ragged_says_where(build, tmp_path, kept, message):
    model = build()
    cut(model, model.prune_groups(), kept)
    refuse(model, tmp_path, message)


def test_export_when_the_model_is_of_other_components_names_them(registry, tmp_path):
    spec = ModelSpec(frontend={"name": "fbank"}, encoder={"name": "transformer", **ENCODER})
    refuse(build_model(spec, registry), tmp_path, "of frontend fbank and encoder transformer")


def test_export_when_a_layer_computes_otherwise_names_it(build, tmp_path):
    class Doubled(torch.nn.Linear):
        def forward(self, values):
            return 2 * super().forward(values)

    model = build()
    model.encoder.layers[1].attention.query = Doubled(32, 32)
    message = "with a Doubled, as encoder.layers.1.attention.query is"
    refuse(model, tmp_path, re.escape(message))


def test_export_when_a_tensor_has_no_place_names_it(build, tmp_path):
    model = build()
    model.encoder.layers[1].extra = torch.nn.Linear(2, 2)
    refuse(model, tmp_path, "with a tensor encoder.layers.1.extra.weight")
