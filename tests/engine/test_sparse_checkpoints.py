"""Files of pruned models: their size, and that they give back what was stored."""

import pytest
import torch

from speechlite.config.compose import from_mapping
from speechlite.core.errors import PlanError
from speechlite.core.model import Edit, ModelSpec
from speechlite.core.types import Batch
from speechlite.engine.build import build_compressor, build_model, replay_edits
from speechlite.engine.checkpoint import load_model, save_model
from speechlite.engine.compress import compress
from speechlite.nn.dense_layers import with_dense_layers
from speechlite.nn.positional import ConvolutionalPositions, FoldedPositions
from speechlite.nn.sparse import SparseConv1d
from speechlite.testing.fixtures import waves

EVERYTHING = {"parts": ["frontend", "encoder"], "sparsity": 0.85}


@pytest.fixture
def model(registry):
    """Return a wav2vec 2.0 that is wide enough for its matrices to make up its file."""
    torch.manual_seed(0)
    frontend = {"channels": [64, 64, 64], "kernels": [10, 3, 3], "strides": [5, 4, 4]}
    encoder = {"dim": 256, "layers": 3, "heads": 4, "feedforward": 1024, "norm": "post"}
    positions = {"positions": "convolution", "position_kernel": 64, "position_groups": 16}
    spec = ModelSpec(
        frontend={"name": "conv_waveform", **frontend},
        encoder={"name": "transformer", **encoder, **positions},
    )
    return build_model(spec, registry).eval()


def pruned(model, registry, **options):
    chosen = from_mapping("compressor", {"name": "magnitude"} | options, registry)
    return compress(chosen, model, registry)


def stored(model, folder):
    save_model(model, folder)
    return (folder / "model.safetensors").stat().st_size


def heard(model):
    sound = waves()
    with torch.no_grad():
        return model(sound.values, sound.lengths).layers


def test_model_at_85_percent_takes_a_fifth_of_its_bytes_without_loss(model, registry, tmp_path):
    sparse = pruned(model, registry, **EVERYTHING)
    dense_bytes = stored(model, tmp_path / "dense")
    assert stored(sparse, tmp_path / "sparse") <= 0.2 * dense_bytes
    again = load_model(tmp_path / "sparse", registry)
    assert all(map(torch.equal, heard(again), heard(sparse)))
    kept, before = sparse.encoder.layers[0].feedforward.expand.weight, model.encoder.layers[0]
    places = kept.kept()
    assert torch.equal(kept.dense()[places], before.feedforward.expand.weight[places])


def test_values_of_16_bits_take_an_eighth_and_are_given_back(model, registry, tmp_path):
    whole = pruned(model, registry, **EVERYTHING)
    half = pruned(model, registry, **EVERYTHING, values="float16")
    assert stored(half, tmp_path / "half") <= 0.12 * stored(model, tmp_path / "dense")
    again = load_model(tmp_path / "half", registry)
    assert all(map(torch.equal, heard(again), heard(half)))
    for first, second in zip(heard(half), heard(whole), strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=5e-3)


def test_values_of_16_bits_are_no_parameters_until_they_are_pruned_again(model, registry):
    half = pruned(model, registry, values="float16")
    layer = half.encoder.layers[0].feedforward.expand
    assert not isinstance(layer.weight.values, torch.nn.Parameter)
    assert layer.stands_for == layer.weight.nonzeros
    again = pruned(half, registry, sparsity=0.9).encoder.layers[0].feedforward.expand
    assert isinstance(again.weight.values, torch.nn.Parameter)
    assert again.stands_for == 0
    assert not bool((again.weight.kept() & ~layer.weight.kept()).any())


def test_model_of_16_bits_runs_in_bfloat16(model, registry):
    half = pruned(model, registry, values="float16").bfloat16()
    sound = waves()
    with torch.no_grad():
        states = half(sound.values.bfloat16(), sound.lengths).layers
    assert states[-1].dtype == torch.bfloat16


def test_pruning_folds_the_norm_of_positions(model, registry):
    sparse = pruned(model, registry, parts=["encoder.positions"], sparsity=0.6)
    positions = sparse.encoder.positions
    assert isinstance(model.encoder.positions, ConvolutionalPositions)
    assert isinstance(positions, FoldedPositions)
    assert isinstance(positions.convolution, SparseConv1d)
    frames = torch.randn(2, 40, 256)
    with torch.no_grad():
        before = model.encoder.positions.folded()
        torch.testing.assert_close(
            before(frames), model.encoder.positions(frames), rtol=0, atol=1e-5
        )
        before.convolution.weight.mul_(positions.convolution.weight.kept())
        torch.testing.assert_close(positions(frames), before(frames), rtol=0, atol=1e-5)
        torch.testing.assert_close(before.normed()(frames), before(frames), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kept", ["convolution", "positions", r"positions\.conv", "positions$"])
def test_positions_that_are_kept_are_stored_as_they_were(model, registry, tmp_path, kept):
    sparse = pruned(model, registry, parts=["encoder"], keep=[kept])
    assert isinstance(sparse.encoder.positions, ConvolutionalPositions)
    save_model(sparse, tmp_path / "model")
    assert all(map(torch.equal, heard(load_model(tmp_path / "model", registry)), heard(sparse)))


def test_weight_beyond_float16_is_refused(model, registry):
    with torch.no_grad():
        model.encoder.layers[0].feedforward.expand.weight[0, 0] = 1e6
    with pytest.raises(PlanError, match="expand has a weight of 1e.06, beyond .* float16"):
        pruned(model, registry, values="float16")
    pruned(model, registry)


@pytest.mark.parametrize("name", ["obs", "wanda"])
def test_waveform_frontend_is_pruned_by_what_it_hears(model, registry, name):
    options = {"name": name, "sparsity": 0.5, "parts": ["frontend", "encoder.positions"]}
    compressor = build_compressor(from_mapping("compressor", options, registry), registry)
    prepared = compressor.prepare(model)
    compressor.calibrate(prepared, [Batch(ids=("a", "b", "c"), waves=waves())])
    done = compressor.restructure(prepared, compressor.plan(prepared))
    layers = done.frontend.stack.layers
    assert all(layer.convolution.weight.zeros for layer in layers)
    assert done.encoder.positions.convolution.weight.zeros


def test_student_of_a_pruned_teacher_starts_from_its_weights(model, registry):
    teacher = pruned(model, registry, **EVERYTHING)
    options = {"name": "student", "encoder": {"layers": 2}}
    student = build_compressor(from_mapping("compressor", options, registry), registry)
    made, dense = student.prepare(teacher), with_dense_layers(teacher)
    assert torch.equal(made.encoder.positions.direction, dense.encoder.positions.direction)
    first = made.encoder.layers[0].feedforward.expand.weight
    assert torch.equal(first, dense.encoder.layers[0].feedforward.expand.weight)


def test_positions_without_any_weight_at_a_place_are_finite(model):
    folded = model.encoder.positions.folded()
    with torch.no_grad():
        folded.convolution.weight[..., 3] = 0
        frames = torch.randn(1, 80, 256)
        found = folded.normed()(frames)
    torch.testing.assert_close(found, folded(frames), rtol=0, atol=1e-5)


def test_plan_of_unknown_values_is_refused(model, registry):
    sparse = pruned(model, registry)
    edit = sparse.edits[0]
    foreign = Edit(edit.compressor, dict(edit.plan) | {"values": "float8"})
    with pytest.raises(PlanError, match="expected kept, pruned and pattern"):
        replay_edits(model, (foreign,), registry)
