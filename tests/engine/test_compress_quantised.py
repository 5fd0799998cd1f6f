"""Compression to few bits from the command line: trained, resumed, chained, profiled, exported."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from made_runs import compress_arguments, compress_config, speechlite

from speechlite.engine.checkpoint import load_model
from speechlite.engine.compress import compress_checkpoint
from speechlite.engine.training_run import Interrupted
from speechlite.nn.packed import PackedLinear
from speechlite.nn.quantized import QuantizedLinear

DISTIL = ("objective=distillation", "objective.layers=[0,1,3]")
BINARY = ("compressor=binary", *DISTIL)
MORE_BITS = (*BINARY, "compressor.activation_bits=8", "compressor.pack=false")


@pytest.fixture
def training(registry, speech):
    """Compose a compression in training."""

    def make(*further):
        return compress_config(registry, speech, *further)

    return make


def weights(target):
    return (target / "model.safetensors").read_bytes()


def facts(directory):
    return json.loads((directory / "training.json").read_text())


def layers_of(model, kind):
    return [module for module in model.modules() if isinstance(module, kind)]


def states(model):
    generator = torch.Generator().manual_seed(0)
    wave = 0.1 * torch.randn(2, 9000, generator=generator)
    with torch.no_grad():
        return model(wave, torch.tensor([9000, 5000])).layers[-1]


def test_compress_by_binary_under_distillation_learns_and_loads(
    saved, registry, training, tmp_path
):
    config = training(*BINARY, "trainer.max_steps=24", "optimizer.learning_rate=0.02")
    target = compress_checkpoint(config, saved, tmp_path / "out", registry)
    losses = [loss for _, loss in facts(tmp_path / "out")["validations"]]
    assert losses[-1] < losses[0]
    loaded = load_model(target, registry)
    assert layers_of(loaded, PackedLinear)
    assert not layers_of(loaded, QuantizedLinear)
    quantisers = [layer.input for layer in layers_of(loaded, PackedLinear)]
    assert all(bool(quantiser.started) for quantiser in quantisers)
    size, before = (len(weights(path)) for path in (target, saved))
    assert size != before


@pytest.mark.parametrize("options", [BINARY, MORE_BITS], ids=["packed", "unpacked"])
@pytest.mark.parametrize("steps", [(1,), (2, 3, 5)])
def test_compress_by_binary_when_stopped_and_resumed_ends_with_the_same_bytes(
    saved, registry, training, tmp_path, stop_at, options, steps
):
    config = training(*options)
    whole = compress_checkpoint(config, saved, tmp_path / "whole", registry)
    stop_at(*steps)
    for _ in steps:
        with pytest.raises(Interrupted):
            compress_checkpoint(config, saved, tmp_path / "stopped", registry)
    stopped = compress_checkpoint(config, saved, tmp_path / "stopped", registry)
    assert weights(stopped) == weights(whole)
    assert (stopped / "config.yaml").read_bytes() == (whole / "config.yaml").read_bytes()


def test_compress_by_more_bits_and_then_by_one_goes_on_from_the_weights(
    saved, registry, training, tmp_path
):
    first = compress_checkpoint(training(*MORE_BITS), saved, tmp_path / "1", registry)
    second = compress_checkpoint(training(*BINARY), first, tmp_path / "2", registry, first=saved)
    model = load_model(second, registry)
    assert [edit.plan["activation_bits"] for edit in model.edits] == [8, 1]
    assert layers_of(load_model(first, registry), QuantizedLinear)
    assert layers_of(model, PackedLinear)
    assert bool(torch.isfinite(states(model)).all())


def test_compress_of_packed_layers_under_distillation_trains_what_is_left(
    saved, registry, training, tmp_path
):
    packed = compress_checkpoint(training(*BINARY), saved, tmp_path / "1", registry)
    trained = compress_checkpoint(training(*DISTIL), packed, tmp_path / "2", registry, first=saved)
    before, after = (load_model(path, registry).state_dict() for path in (packed, trained))
    name = "encoder.layers.0.feedforward.expand"
    assert torch.equal(before[f"{name}.weight.planes"], after[f"{name}.weight.planes"])
    assert not torch.equal(before[f"{name}.bias"], after[f"{name}.bias"])


@pytest.mark.slow
@pytest.mark.parametrize("options", [BINARY, ("compressor=int8",)], ids=["binary", "int8"])
def test_command_line_compresses_profiles_and_exports(saved, speech, registry, tmp_path, options):
    onnxruntime = pytest.importorskip("onnxruntime")
    words = compress_arguments(speech, *options) if len(options) > 1 else options
    done = speechlite("compress", *words, "--model", saved, "--out_dir", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    model = tmp_path / "out" / "model"
    done = speechlite("profile", "--model", model, "rtf_seconds=1.0", "repeats=1", "warmup=1")
    assert done.returncode == 0, done.stderr
    file = tmp_path / "model.onnx"
    done = speechlite("export", "--model", model, "--format", "onnx", "--out", file)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    wave = 0.1 * np.random.default_rng(0).standard_normal((2, 9000)).astype(np.float32)
    given = {"waves": wave, "lengths": np.array([9000, 9000])}
    assert np.isfinite(session.run(None, given)[0]).all()
