from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from speechlite.core.errors import CheckpointError, ConfigError, UsageError
from speechlite.core.model import Edit, ModelSpec
from speechlite.engine.build import build_model
from speechlite.engine.checkpoint import load_model, save_model
from speechlite.engine.importing import (
    export_checkpoint,
    import_checkpoint,
    model_of,
    read_options,
)
from speechlite.interop.imported import Imported

SPEC = ModelSpec(
    frontend={
        "name": "conv_waveform",
        "channels": [12, 16],
        "kernels": [10, 3],
        "strides": [5, 4],
    },
    encoder={
        "name": "transformer",
        "dim": 32,
        "layers": 2,
        "heads": 4,
        "feedforward": 24,
        "norm": "post",
        "positions": "convolution",
        "position_kernel": 8,
        "position_groups": 4,
    },
)


@pytest.fixture
def imported(registry):
    torch.manual_seed(0)
    tensors = {
        name: value.detach().clone()
        for name, value in build_model(SPEC, registry).named_parameters()
    }
    return Imported(SPEC, tensors, "a file")


@pytest.fixture
def checkpoint(imported, registry, tmp_path):
    save_model(model_of(imported, registry), tmp_path / "ours")
    return tmp_path / "ours"


def test_model_of_when_built_has_the_tensors_and_all_options(imported, registry):
    model = model_of(imported, registry)
    assert not model.training
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, imported.tensors[name])
    assert model.spec.encoder["bias_buckets"] == 320


def test_model_of_when_the_model_is_pruned_needs_no_tensors_of_what_is_gone(imported, registry):
    kept = {"encoder.layers.1.attention.heads": "", "encoder.layers.1.attention.block": ""}
    tensors = {
        name: value for name, value in imported.tensors.items() if "layers.1.attention." not in name
    }
    edit = Edit({"name": "l0_structured"}, {"kept": kept})
    model = model_of(replace(imported, tensors=tensors, edits=(edit,)), registry)
    assert sum(value.numel() for value in model.parameters()) == sum(
        map(torch.numel, tensors.values())
    )
    (recorded,) = model.edits
    assert recorded.plan == {"kept": kept}
    assert "target" in recorded.compressor


def test_model_of_when_a_tensor_is_missing_names_it(imported, registry):
    tensors = dict(imported.tensors)
    del tensors["encoder.positions.gain"]
    message = r"a file: tensors do not fit.*missing \['encoder\.positions\.gain'\], surplus \[\]"
    with pytest.raises(CheckpointError, match=message):
        model_of(replace(imported, tensors=tensors), registry)


def test_model_of_when_a_tensor_is_too_many_names_it(imported, registry):
    tensors = {**imported.tensors, "encoder.extra": torch.ones(1)}
    with pytest.raises(CheckpointError, match=r"missing \[\], surplus \['encoder\.extra'\]"):
        model_of(replace(imported, tensors=tensors), registry)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.ones(31), r"bias is torch\.float32 \(31,\), expected floats \(32,\)"),
        (torch.ones(32, dtype=torch.int64), r"bias is torch\.int64 \(32,\), expected floats"),
    ],
)
def test_model_of_when_a_tensor_does_not_fit_says_what_was_expected(
    imported, registry, tensor, message
):
    tensors = {**imported.tensors, "encoder.positions.bias": tensor}
    with pytest.raises(CheckpointError, match=message):
        model_of(replace(imported, tensors=tensors), registry)


def test_model_of_when_an_option_is_unknown_says_so(imported, registry):
    spec = replace(SPEC, encoder={**SPEC.encoder, "depth": 3})
    with pytest.raises(ConfigError, match="depth"):
        model_of(replace(imported, spec=spec), registry)


def test_options_when_read_are_values_by_dotted_name():
    options = read_options(["encoder.heads=8", "frontend.strides=[5,4]", "frontend.normalise=true"])
    assert options == {
        "encoder.heads": 8,
        "frontend.strides": [5, 4],
        "frontend.normalise": True,
    }


@pytest.mark.parametrize("text", ["heads=8", "head.labels=x", "encoder.a.b=1"])
def test_options_when_they_name_something_else_are_refused(text):
    with pytest.raises(UsageError, match=f"argument '{text}' names no option of a frontend"):
        read_options([text])


def test_checkpoint_when_exported_and_imported_again_is_bit_equal(checkpoint, registry, tmp_path):
    export_checkpoint(checkpoint, tmp_path / "theirs", registry, format="huggingface")
    model, imported = import_checkpoint(str(tmp_path / "theirs"), tmp_path / "again", registry)
    assert imported.left_out == {}
    first = load_model(checkpoint, registry)
    again = load_model(tmp_path / "again", registry)
    assert again.spec == first.spec == model.spec
    pairs = zip(first.state_dict().items(), again.state_dict().items(), strict=True)
    assert all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


def test_checkpoint_when_exported_to_onnx_is_written(checkpoint, registry, tmp_path, monkeypatch):
    from speechlite.interop import onnx

    written = {}
    monkeypatch.setattr(onnx, "export_onnx", lambda model, path: written.update({path: model}))
    export_checkpoint(checkpoint, tmp_path / "model.onnx", registry, format="onnx")
    assert written[tmp_path / "model.onnx"].num_layers == 2


def test_export_when_it_fails_leaves_the_older_result(imported, registry, tmp_path):
    spec = replace(SPEC, frontend={**SPEC.frontend, "channel_scale": True})
    save_model(build_model(spec, registry), tmp_path / "ours")
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "older").touch()
    with pytest.raises(CheckpointError, match="with a factor for each channel"):
        export_checkpoint(tmp_path / "ours", tmp_path / "theirs", registry, format="huggingface")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ours", "theirs"]
    assert [path.name for path in (tmp_path / "theirs").iterdir()] == ["older"]


def test_export_when_the_format_is_unknown_lists_those_there_are(registry, tmp_path):
    with pytest.raises(UsageError, match="no format 'fairseq'.*huggingface, onnx"):
        export_checkpoint(tmp_path, tmp_path / "out", registry, format="fairseq")


def test_export_when_onnx_is_given_a_family_refuses(registry, tmp_path):
    with pytest.raises(UsageError, match="ONNX has no families"):
        export_checkpoint(tmp_path, tmp_path / "out", registry, format="onnx", family="hubert")
