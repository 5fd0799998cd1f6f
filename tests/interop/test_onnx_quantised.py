"""ONNX files of models of few bits, against the models."""

from __future__ import annotations

from contextlib import ExitStack

import onnxruntime
import pytest
import torch
from ragged_models import build, noise

from speechlite.compressors.binary import Binary
from speechlite.compressors.config import BinaryConfig, Int8Config
from speechlite.compressors.int8 import Int8
from speechlite.core.model import ModelSpec
from speechlite.core.operations import plain_operations
from speechlite.interop.onnx import export_onnx
from speechlite.nn.quantizers import ActivationQuantizer, code_limits

STACK = {"name": "conv_waveform", "channels": [6, 8], "kernels": [10, 3], "strides": [5, 4]}
SMALL = {"dim": 16, "layers": 1, "heads": 2, "feedforward": 12, "attention_dropout": 0.0}
ENCODERS = {
    "transformer": {"name": "transformer", **SMALL, "activation": "relu"},
    "conformer": {"name": "conformer", **SMALL, "kernel_size": 5},
    "sparseformer": {
        "name": "sparseformer",
        **SMALL,
        "position_groups": 4,
        "stride": 4,
        "expressivity": 1,
    },
}
LENGTHS = [230, 160]
NEAR = 1e-5
"""What is nearer to a threshold may turn a bit over by rounding."""


def _model(encoder):
    torch.manual_seed(0)
    return build(ModelSpec(STACK, ENCODERS[encoder])).eval()


def _quantised(model, **options):
    compressor = Binary(BinaryConfig(**options))
    prepared = compressor.prepare(model).train()
    sound = noise(LENGTHS)
    prepared(sound.values, sound.lengths)
    return compressor.restructure(prepared, compressor.plan(prepared)).eval()


def _distances(quantizer, values):
    """Return how far values are from where their codes change; no shift has been trained."""
    assert not quantizer.shift.any()
    low, high = code_limits(quantizer.bits, signed=quantizer.signed)
    places = torch.arange(low, high) + 0.5
    if quantizer.bits == 1 and quantizer.signed:
        places = torch.zeros(1)
    return (values[..., None] - places * quantizer.step()).abs()


def _hidden(model):
    """Return hidden states, and the distance of the value that is nearest to a threshold."""
    nearest = []

    def watch(quantizer, given, _):
        # masked frames are zeros, on both sides
        values = given[0][given[0] != 0]
        nearest.append(_distances(quantizer, values).min().item())

    sound = noise(LENGTHS)
    with ExitStack() as stack, torch.no_grad(), plain_operations():
        for module in model.modules():
            if isinstance(module, ActivationQuantizer):
                handle = module.register_forward_hook(watch)
                stack.callback(handle.remove)
        hidden = model(sound.values, sound.lengths)
    return hidden, min(nearest, default=1.0)


def _assert_written_as_computed(model, path):
    export_onnx(model, path, hidden="all")
    sound = noise(LENGTHS)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    given = {"waves": sound.values.numpy(), "lengths": sound.lengths.numpy()}
    *states, lengths = session.run(None, given)
    hidden, nearest = _hidden(model)
    assert nearest > NEAR, "choose another seed"
    assert lengths.tolist() == hidden.lengths.tolist()
    for state, expected in zip(states, hidden.layers, strict=True):
        torch.testing.assert_close(torch.from_numpy(state), expected, rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ENCODERS)
def test_export_when_of_one_bit_then_it_computes_the_same(encoder, tmp_path):
    _assert_written_as_computed(_quantised(_model(encoder)), tmp_path / "model.onnx")


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"weight_bits": 3, "activation_bits": 2}, {"pack": False}])
def test_export_when_of_some_bits_or_not_packed_then_it_computes_the_same(options, tmp_path):
    model = _quantised(_model("transformer"), **options)
    _assert_written_as_computed(model, tmp_path / "model.onnx")


@pytest.mark.slow
def test_export_when_of_eight_bits_then_it_holds_the_rounded_weights(tmp_path):
    compressor, model = Int8(Int8Config()), _model("transformer")
    smaller = compressor.restructure(model, compressor.plan(model)).eval()
    _assert_written_as_computed(smaller, tmp_path / "model.onnx")
