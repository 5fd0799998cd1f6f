from __future__ import annotations

import pytest
import torch
from made_runs import choice
from torch import nn

from speechlite.config.schema import CompressConfig, ProfileConfig
from speechlite.core.model import Encoder
from speechlite.core.types import Hidden
from speechlite.engine.build import build_model, model_spec
from speechlite.engine.compress import compress
from speechlite.engine.operation_counts import count_macs
from speechlite.engine.profile import count_parameters, measure_rtf, profile

QUICK = ProfileConfig(audio_seconds=[0.5, 1.0], rtf_seconds=0.5, repeats=4, warmup=1)
FRAMES = 98  # of one second: 1 + (16000 - 400) // 160
DIM, INNER, KERNEL, MELS = 8, 16, 3, 8
BINS = 257


class Wide(Encoder):
    """One linear layer with a wide inner activation."""

    def __init__(self, dim, inner):
        super().__init__()
        self.dim = dim
        self.layers = nn.ModuleList([nn.Sequential(nn.Linear(dim, inner), nn.Linear(inner, dim))])

    def forward(self, frames_BSD, lengths_B, *, num_layers=None):
        return Hidden((frames_BSD, self.layers[0](frames_BSD)), lengths_B)


def frontend_macs(registry):
    """Count those of the filterbank alone, by a model without layers."""
    frontend = choice(registry, "frontend", "fbank", num_mels=MELS)
    spec = model_spec(frontend, choice(registry, "encoder", "identity"))
    return count_macs(build_model(spec, registry), 1.0)


def conformer_layer_macs(frames):
    positions = 2 * frames - 1
    attention = 4 * frames * DIM * DIM + positions * DIM * DIM  # query, key, value, output; places
    attention += 2 * frames * frames * DIM + frames * positions * DIM  # content, values; places
    convolution = 2 * frames * DIM * DIM + frames * DIM * KERNEL + frames * DIM * DIM
    return attention + convolution + 2 * frames * DIM * INNER


def test_macs_of_the_filterbank_are_at_most_one_matrix_product(registry):
    assert 0 <= frontend_macs(registry) <= FRAMES * (BINS * MELS + 512 * 512)


def test_macs_of_a_linear_encoder_are_those_of_its_matrices(registry, make_model):
    model = make_model()
    model.encoder = Wide(DIM, 24)
    projection = FRAMES * MELS * DIM
    expected = frontend_macs(registry) + projection + 2 * FRAMES * DIM * 24
    assert count_macs(model, 1.0) == expected


@pytest.mark.parametrize("layers", [1, 3])
def test_macs_of_a_conformer_are_those_of_the_formula(registry, make_model, layers):
    expected = frontend_macs(registry) + FRAMES * MELS * DIM + layers * conformer_layer_macs(FRAMES)
    assert count_macs(make_model(layers=layers), 1.0) == expected


def test_macs_of_shared_layers_count_every_execution(make_model):
    assert count_macs(make_model(share_parameters=True), 1.0) == count_macs(make_model(), 1.0)


def test_macs_after_depth_are_those_of_the_layers_that_stay(registry, make_model):
    config = CompressConfig(choice(registry, "compressor", "depth", layers=1))
    smaller = compress(config.compressor, make_model(), registry)
    assert count_macs(smaller, 1.0) == count_macs(make_model(layers=1), 1.0)


def test_macs_of_an_encoder_without_layers_are_those_of_the_frontend(registry, make_model):
    assert frontend_macs(registry) < count_macs(make_model(layers=1), 1.0)


def test_parameters_that_are_shared_count_once(make_model):
    shared, single = make_model(share_parameters=True), make_model(layers=1)
    assert count_parameters(shared) == count_parameters(single)


def test_parameters_by_group_sum_to_the_total(make_model):
    counts = count_parameters(make_model())
    assert sum(counts["groups"].values()) == counts["total"] == counts["trainable"]


def test_parameters_that_are_zero_or_frozen_are_told_apart(make_model):
    model = make_model()
    before = count_parameters(model)
    weight = model.encoder.layers[0].feedforward_norm.weight
    weight.requires_grad_(False)
    with torch.no_grad():
        weight[:5] = 0
    after = count_parameters(model)
    assert after["trainable"] == before["trainable"] - DIM
    assert after["nonzero"] == before["nonzero"] - 5
    assert after["total"] == before["total"]


def test_rtf_names_its_protocol(make_model):
    rtf = measure_rtf(make_model(), QUICK)
    assert 0 < rtf["p50"] <= rtf["p95"]
    assert 0 < rtf["encoder_p50"] < rtf["p95"]
    protocol = {key: rtf[key] for key in rtf if key not in ("p50", "p95", "encoder_p50")}
    assert protocol == {
        "n": 1,
        "repeats": 4,
        "warmup": 1,
        "batch": 1,
        "threads": 1,
        "precision": "float32",
        "kernels": [],
        "audio_seconds": 0.5,
        "includes_frontend": True,
        "device": "cpu",
    }


def test_rtf_gives_the_threads_back(make_model):
    torch.set_num_threads(2)
    measure_rtf(make_model(), QUICK)
    assert torch.get_num_threads() == 2


def test_profile_of_a_checkpoint_counts_the_bytes_of_its_files(saved, make_model):
    storage = profile(make_model(), QUICK, saved)["storage"]
    files = [saved / "config.yaml", saved / "model.safetensors"]
    assert storage == {
        "bytes_on_disk": sum(len(file.read_bytes()) for file in files),
        "format": "safetensors",
    }


def test_profile_without_a_checkpoint_says_why_bytes_are_missing(make_model):
    storage = profile(make_model(), QUICK, None)["storage"]
    assert storage["bytes_on_disk"] is None
    assert storage["why"] == "the model has no checkpoint"


def test_profile_gives_macs_a_second_at_the_longest_length(make_model):
    macs = profile(make_model(), QUICK, None)["macs"]
    assert macs["per_second_audio"] == macs["at_seconds"]["1.0"] == count_macs(make_model(), 1.0)


def test_peak_memory_is_at_least_the_largest_activation(make_model):
    model = make_model()
    # more than the allocator ever keeps of what earlier tests gave back
    width = 400_000
    model.encoder = Wide(DIM, width)
    memory = profile(model, QUICK, None)["peak_memory"]
    frames = 1 + (8000 - 400) // 160
    activation = frames * width * 4
    assert memory["bytes"] > 0.9 * activation
    assert memory["bytes"] < 20 * activation


def test_peak_memory_where_the_system_does_not_tell_is_none(make_model, monkeypatch, tmp_path):
    from speechlite.engine import profile as module

    monkeypatch.setattr(module, "_LINUX_RESET", tmp_path / "no" / "file")
    memory = profile(make_model(), QUICK, None)["peak_memory"]
    assert memory["bytes"] is None
    assert memory["why"] == "only Linux tells the peak of a single forward"
