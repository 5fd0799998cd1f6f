"""ONNX files against the models that they hold, run by onnxruntime."""

from __future__ import annotations

import importlib.metadata

import onnx
import onnxruntime
import pytest
import torch
from ragged_models import build, cut_at_random, noise, random_spec, with_random_weights

from speechlite.core.errors import ConfigError, EnvironmentProblem
from speechlite.core.model import ModelSpec
from speechlite.interop import onnx as onnx_module
from speechlite.interop.onnx import export_onnx
from speechlite.nn.pruning import cut

CONV = {"name": "conv_waveform", "channels": [6, 8], "kernels": [10, 3], "strides": [5, 4]}
TRANSFORMER = {"name": "transformer", "dim": 16, "layers": 2, "heads": 2, "feedforward": 12}
POSITIONS = {"positions": "convolution", "position_kernel": 8, "position_groups": 4}
BASE = ModelSpec({**CONV, "norm": "group"}, {**TRANSFORMER, **POSITIONS, "norm": "post"})
WAVLM = ModelSpec(
    {**CONV, "norm": "layer", "normalise": True},
    {**TRANSFORMER, **POSITIONS, "norm": "pre", "relative_bias": True},
)
REDUCED = ModelSpec({**CONV, "norm": "layer"}, {**TRANSFORMER, "layers": 1, "time_reduction": 2})
CONFORMER = {"name": "conformer", "dim": 16, "layers": 2, "heads": 2, "feedforward": 12}
FBANK = ModelSpec({"name": "fbank"}, {**CONFORMER, "kernel_size": 5})
MFCC = ModelSpec({"name": "mfcc"}, {**CONFORMER, "kernel_size": 5})


def _open(path):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def _run(session, waves):
    inputs = {"waves": waves.values.numpy(), "lengths": waves.lengths.numpy()}
    *states, lengths = session.run(None, inputs)
    return [torch.from_numpy(state) for state in states], torch.from_numpy(lengths)


def _assert_equal(model, session, lengths):
    waves = noise(lengths)
    with torch.no_grad():
        hidden = model(waves.values, waves.lengths)
    states, frame_lengths = _run(session, waves)
    assert frame_lengths.tolist() == hidden.lengths.tolist()
    for state, expected in zip(states, hidden.layers[-len(states) :], strict=True):
        torch.testing.assert_close(state, expected, rtol=0, atol=1e-4)


def _exported(spec, path, **options):
    model = with_random_weights(build(spec))
    export_onnx(model, path, **options)
    return model, _open(path)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return _exported(BASE, tmp_path_factory.mktemp("onnx") / "base.onnx", hidden="all")


@pytest.mark.parametrize(
    "lengths", [(3000,), (2000, 2000), (1500, 900), (5001, 4000, 700, 60), (25, 20), (900, 901)]
)
def test_onnx_when_run_on_another_batch_then_it_gives_what_the_model_gives(base, lengths):
    _assert_equal(*base, lengths)


def test_onnx_when_one_frame_is_left_then_it_gives_what_the_model_gives(base):
    model, session = base
    _assert_equal(model, session, (model.frontend.min_samples,))


def test_onnx_when_padding_is_longer_then_nothing_changes(base):
    _, session = base
    short, long = noise((1200, 800)), noise((1200, 800), padding=700)
    states, lengths = _run(session, short)
    padded, padded_lengths = _run(session, long)
    assert lengths.tolist() == padded_lengths.tolist()
    torch.testing.assert_close(padded[-1][:, : states[-1].shape[1]], states[-1])


def test_onnx_when_all_states_are_asked_for_then_each_is_an_output(base):
    model, session = base
    names = [output.name for output in session.get_outputs()]
    assert names == ["hidden_0", "hidden_1", "hidden_2", "frame_lengths"]
    assert len(names) == model.num_layers + 2


def test_onnx_when_opened_then_its_inputs_are_named_and_free(base):
    _, session = base
    shapes = {value.name: value.shape for value in session.get_inputs()}
    assert shapes == {"waves": ["batch", "samples"], "lengths": ["batch"]}


def test_onnx_when_opened_then_its_metadata_name_rate_and_stride(base):
    model, session = base
    metadata = session.get_modelmeta().custom_metadata_map
    assert metadata["sample_rate"] == "16000"
    assert metadata["stride"] == "20"
    assert metadata["min_samples"] == str(model.frontend.min_samples)


@pytest.mark.slow
@pytest.mark.parametrize("spec", [WAVLM, REDUCED, FBANK], ids=["wavlm", "time_reduction", "fbank"])
def test_onnx_when_a_model_is_of_another_kind_then_it_runs_on_any_batch(spec, tmp_path):
    model, session = _exported(spec, tmp_path / "model.onnx")
    for lengths in ((3000,), (1501, 1500, 700)):
        _assert_equal(model, session, lengths)


@pytest.mark.slow
def test_onnx_when_a_layer_has_no_heads_and_one_no_units_then_it_runs_on_any_batch(tmp_path):
    model = with_random_weights(build(WAVLM))
    gone = ("0.attention.heads", "0.attention.block", "1.feedforward.units", "1.feedforward.block")
    cut(model, model.prune_groups(), {f"encoder.layers.{name}": [] for name in gone})
    export_onnx(model, tmp_path / "model.onnx", hidden="all")
    _assert_equal(model, _open(tmp_path / "model.onnx"), (1501, 700))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 3, 5, 6])
def test_onnx_when_the_model_is_ragged_at_random_then_it_runs_on_any_batch(seed, tmp_path):
    model = cut_at_random(with_random_weights(build(random_spec(seed)), seed), seed)
    export_onnx(model, tmp_path / "model.onnx")
    session = _open(tmp_path / "model.onnx")
    for lengths in ((2000,), (1501, 1500, 700)):
        _assert_equal(model, session, lengths)


@pytest.mark.slow
def test_onnx_when_the_model_trains_then_it_is_left_as_it_was(tmp_path):
    model = build(REDUCED).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    export_onnx(model, tmp_path / "model.onnx", opset=20)
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert onnx.load(tmp_path / "model.onnx").opset_import[0].version == 20


@pytest.mark.parametrize("opset", [17, 23])
def test_export_onnx_when_the_opset_is_out_of_range_then_it_is_refused(opset, tmp_path):
    with pytest.raises(ConfigError, match=f"opset={opset}, expected 18 to 22; leave it at 18"):
        export_onnx(build(BASE), tmp_path / "model.onnx", opset=opset)


def test_export_onnx_when_hidden_is_unknown_then_it_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="hidden='first', expected last or all"):
        export_onnx(build(BASE), tmp_path / "model.onnx", hidden="first")


def test_export_onnx_when_a_package_is_missing_then_the_extra_is_named(monkeypatch, tmp_path):
    def version(package):
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(onnx_module, "version", version)
    with pytest.raises(EnvironmentProblem, match=r"onnx is not installed.*speechlite\[onnx\]"):
        export_onnx(build(BASE), tmp_path / "model.onnx")


def test_export_onnx_when_the_model_is_too_large_then_it_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(onnx_module, "_LARGEST_BYTES", 1000)
    with pytest.raises(ConfigError, match="bytes of weights, one ONNX file holds 2 GiB"):
        export_onnx(build(BASE), tmp_path / "model.onnx")


def test_export_onnx_when_a_frontend_loops_over_utterances_then_nothing_is_written(tmp_path):
    with pytest.raises(ConfigError, match="conformer on mfcc cannot be written as a graph"):
        export_onnx(build(MFCC), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_export_onnx_when_the_directory_is_missing_then_it_is_refused(tmp_path):
    with pytest.raises(EnvironmentProblem, match="cannot be written: No such file"):
        export_onnx(build(REDUCED), tmp_path / "missing" / "model.onnx")
