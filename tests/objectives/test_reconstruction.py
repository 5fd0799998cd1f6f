"""Masked reconstruction against a loop over frames."""

from __future__ import annotations

import pytest
import torch

from speechlite.core.errors import ConfigError
from speechlite.core.model import ModelSpec, SpeechModel
from speechlite.core.types import Batch, Padded
from speechlite.encoders.config import TransformerConfig
from speechlite.encoders.transformer import TransformerEncoder
from speechlite.frontends.config import FbankConfig
from speechlite.frontends.fbank import Fbank
from speechlite.nn.masking import alter_time
from speechlite.objectives.config import ReconstructionConfig
from speechlite.objectives.reconstruction import Reconstruction

WIDTH = 5


def _model(**options):
    torch.manual_seed(0)
    options = {"dropout": 0.0, "attention_dropout": 0.0, **options}
    config = TransformerConfig(dim=8, layers=4, heads=2, feedforward=8, **options)
    frontend = Fbank(FbankConfig(num_mels=WIDTH), dim=8)
    return SpeechModel(frontend, TransformerEncoder(config), spec=ModelSpec({}, {}))


def _objective(model, **options):
    torch.manual_seed(1)
    return Reconstruction(ReconstructionConfig(**options), model=model)


def _batch(lengths=(40, 25, 9), *, seed=3):
    features_BSF = torch.zeros(len(lengths), max(lengths), WIDTH)
    for row, length in enumerate(lengths):
        generator = torch.Generator().manual_seed(row)
        features_BSF[row, :length] = torch.randn(length, WIDTH, generator=generator)
    names = tuple("abcdef"[: len(lengths)])
    return Batch(names, features=Padded(features_BSF, torch.tensor(lengths)), seed=seed)


def _altered(batch):
    options = {"ratio": 0.15, "block_frames": 7}
    policy = {"zero_probability": 0.8, "replace_probability": 0.1}
    features = batch.features
    return alter_time(
        features.values, features.lengths, batch.ids, seed=batch.seed, **options, **policy
    )


@pytest.mark.parametrize("altered_only", [True, False])
def test_loss_when_summed_frame_by_frame_then_it_is_equal(altered_only):
    model, batch = _model(), _batch()
    objective = _objective(model, altered_only=altered_only)
    altered_BSF, chosen_BS = _altered(batch)
    with torch.no_grad():
        states_BSD = model.encode(Padded(altered_BSF, batch.features.lengths)).layers[-1]
        predicted_BSF = objective.predictor(states_BSD)
    total, frames = 0.0, 0
    for row, length in enumerate(batch.features.lengths.tolist()):
        for frame in range(length):
            if altered_only and not chosen_BS[row, frame]:
                continue
            frames += 1
            errors = [
                abs(float(predicted_BSF[row, frame, i] - batch.features.values[row, frame, i]))
                for i in range(WIDTH)
            ]
            total += sum(errors) / WIDTH
    loss = objective(model, batch)
    assert float(loss.weight) == frames
    torch.testing.assert_close(loss.sum.item(), total, atol=1e-3, rtol=1e-5)


def test_loss_when_the_batch_is_split_then_sums_and_weights_add_up():
    model, whole = _model(), _batch()
    objective = _objective(model)
    losses = [objective(model, whole)]
    for row, length in enumerate(whole.features.lengths.tolist()):
        part = Padded(whole.features.values[row : row + 1, :length], torch.tensor([length]))
        losses.append(objective(model, Batch((whole.ids[row],), features=part, seed=whole.seed)))
    assert float(losses[0].weight) == sum(float(loss.weight) for loss in losses[1:])
    expected = sum(loss.sum.item() for loss in losses[1:])
    torch.testing.assert_close(losses[0].sum.item(), expected, atol=1e-4, rtol=1e-5)


def test_loss_when_the_batch_has_waves_then_it_is_that_of_their_features():
    model = _model()
    waves = Padded(0.1 * torch.randn(2, 4000), torch.tensor([4000, 3000]))
    heard = Batch(("a", "b"), waves=waves, seed=1)
    cached = Batch(("a", "b"), features=model.extract(heard), seed=1)
    objective = _objective(model)
    assert torch.equal(objective(model, heard).sum, objective(model, cached).sum)


def test_loss_when_differentiated_then_model_and_predictor_learn():
    model = _model()
    objective = _objective(model)
    loss = objective(model, _batch())
    loss.sum.backward()
    for module in (objective, model):
        assert all(p.grad.abs().max() > 0 for _, p in module.named_parameters())
    assert not loss.weight.requires_grad


def test_loss_when_trained_then_it_falls():
    model = _model()
    objective, batch = _objective(model), _batch()
    parameters = [*model.encoder.parameters(), *objective.parameters()]
    values = []
    for _ in range(15):
        loss = objective(model, batch)
        mean = loss.sum / loss.weight
        values.append(mean.item())
        with torch.no_grad():
            for value, slope in zip(parameters, torch.autograd.grad(mean, parameters), strict=True):
                value -= 0.3 * slope
    assert values[-1] < 0.9 * values[0]


def _calls(model, objective, batch):
    calls = []
    hooks = [
        layer.register_forward_hook(lambda *_: calls.append(1)) for layer in model.encoder.layers
    ]
    objective(model, batch)
    for hook in hooks:
        hook.remove()
    return len(calls)


def test_depth_when_training_then_as_many_layers_execute_as_the_encoder_draws():
    model = _model(random_depth=[1, 3])
    objective = _objective(model)
    for seed in range(4):
        drawn = model.encoder.draw_depth(seed)
        assert _calls(model, objective.train(), _batch(seed=seed)) == drawn
        assert _calls(model, objective.eval(), _batch(seed=seed)) == 4


def test_loss_when_the_seed_is_the_same_then_so_is_the_loss():
    model = _model()
    objective = _objective(model)
    first, again, other = (objective(model, _batch(seed=seed)).sum for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_predictor_when_built_then_it_maps_the_models_width_to_the_features():
    assert _objective(_model()).predictor.weight.shape == (WIDTH, 8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask_ratio": 0.0}, "mask_ratio=0.0, .*expected 0 < mask_ratio <= 1 and at least one"),
        ({"mask_ratio": 1.1}, "mask_ratio=1.1"),
        ({"mask_ratio": float("nan")}, "mask_ratio=nan"),
        ({"block_frames": 0}, "block_frames=0: .*; change objective.mask_ratio or objective.block"),
        ({"zero_probability": -0.1}, "zero_probability=-0.1.*probabilities that sum to at most 1"),
        ({"zero_probability": 0.95}, "zero_probability=0.95, replace_probability=0.1: expected"),
        ({"replace_probability": -1.0}, "; change objective.zero_probability or objective.replace"),
    ],
)
def test_config_when_out_of_range_then_it_says_what_is_expected(options, message):
    with pytest.raises(ConfigError, match=message):
        ReconstructionConfig(**options)


def test_config_when_left_at_its_defaults_then_it_is_that_of_layer_reduction():
    config = ReconstructionConfig()
    assert (config.mask_ratio, config.block_frames) == (0.15, 7)
    assert (config.zero_probability, config.replace_probability) == (0.8, 0.1)
