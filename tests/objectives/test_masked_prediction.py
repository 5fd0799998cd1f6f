"""Masked prediction against loops over frames, in plain Python."""

from __future__ import annotations

import math

import pytest
import torch

from speechlite.core.errors import ConfigError, DataError
from speechlite.core.model import ModelSpec, SpeechModel
from speechlite.core.types import Batch, LabelSpace, Padded
from speechlite.encoders.config import TransformerConfig
from speechlite.encoders.transformer import TransformerEncoder
from speechlite.frontends.config import ConvWaveformConfig, FbankConfig
from speechlite.frontends.conv_waveform import ConvWaveform
from speechlite.frontends.fbank import Fbank
from speechlite.nn.masking import choose_spans
from speechlite.objectives.config import MaskedPredictionConfig
from speechlite.objectives.masked_prediction import MaskedPrediction

WIDTH = 5
UNITS = 6
SPANS = {"probability": 0.1, "span_frames": 3, "min_spans": 2}
LARGE = {"dim": 1024, "layers": 24, "heads": 16, "feedforward": 4096, "norm": "pre"}


def _model(**options):
    torch.manual_seed(0)
    options = {"dropout": 0.0, "attention_dropout": 0.0, **options}
    config = TransformerConfig(dim=8, layers=3, heads=2, feedforward=8, **options)
    frontend = Fbank(FbankConfig(num_mels=WIDTH), dim=8)
    return SpeechModel(frontend, TransformerEncoder(config), spec=ModelSpec({}, {}))


def _space(count=UNITS):
    return {"units": LabelSpace("units", tuple(map(str, range(count))))}


def _objective(model, **options):
    torch.manual_seed(1)
    given = {"mask_probability": 0.1, "mask_frames": 3, "prediction_dim": 4} | options
    return MaskedPrediction(MaskedPredictionConfig(**given), model=model, labels=_space())


def _batch(lengths=(40, 25, 9), *, seed=3, units=None):
    features_BSF = torch.zeros(len(lengths), max(lengths), WIDTH)
    units_BS = torch.zeros(len(lengths), max(lengths), dtype=torch.int64)
    for row, length in enumerate(lengths):
        generator = torch.Generator().manual_seed(row)
        features_BSF[row, :length] = torch.randn(length, WIDTH, generator=generator)
        units_BS[row, :length] = torch.randint(UNITS, (length,), generator=generator)
    lengths_B = torch.tensor(lengths)
    labels = {"units": Padded(units_BS if units is None else units, lengths_B)}
    names = tuple("abcdef"[: len(lengths)])
    return Batch(names, features=Padded(features_BSF, lengths_B), labels=labels, seed=seed)


def _masked(batch):
    features = batch.features
    num_frames = features.values.shape[1]
    return choose_spans(features.lengths, num_frames, batch.ids, seed=batch.seed, **SPANS)


def _states(model, objective, batch):
    """Return the last states where the mask embedding stands for each chosen frame."""
    masked_BS = _masked(batch)
    with torch.no_grad():
        frames = model.project(batch.features)
        altered_BSD = frames.values.clone()
        for row, frame in masked_BS.nonzero().tolist():
            altered_BSD[row, frame] = objective.mask_embedding
        return model.run(Padded(altered_BSD, frames.lengths)).layers[-1], masked_BS


def _cosine(first, second):
    dot = sum(a * b for a, b in zip(first, second, strict=True))
    return dot / math.sqrt(sum(a * a for a in first)) / math.sqrt(sum(b * b for b in second))


def _frame_loss(objective, state_D, unit, temperature):
    with torch.no_grad():
        guess = objective.projection(state_D).tolist()
    codewords = objective.codewords.tolist()
    logits = [_cosine(guess, word) / temperature for word in codewords]
    log_sum = math.log(sum(math.exp(logit) for logit in logits))
    return log_sum - logits[unit], logits.index(max(logits)) == unit


@pytest.mark.parametrize("weights", [(1.0, 0.0), (0.0, 1.0), (1.0, 0.5), (2.0, 1.0)])
@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_loss_when_summed_frame_by_frame_then_it_is_equal(weights, temperature):
    model, batch = _model(), _batch()
    objective = _objective(
        model,
        masked_weight=weights[0],
        unmasked_weight=weights[1],
        temperature=temperature,
        feature_penalty=0.0,
    )
    states_BSD, masked_BS = _states(model, objective, batch)
    total, weight, hits = 0.0, 0.0, {True: [], False: []}
    for row, length in enumerate(batch.features.lengths.tolist()):
        for frame in range(length):
            is_masked = bool(masked_BS[row, frame])
            factor = weights[0] if is_masked else weights[1]
            unit = int(batch.labels["units"].values[row, frame])
            loss, hit = _frame_loss(objective, states_BSD[row, frame], unit, temperature)
            total, weight = total + factor * loss, weight + factor
            hits[is_masked].append(hit)
    found = objective(model, batch)
    assert float(found.weight) == weight
    torch.testing.assert_close(found.sum.item(), total, atol=1e-3, rtol=1e-5)
    for name, factor, is_masked in zip(
        ("masked_accuracy", "unmasked_accuracy"), weights, (True, False), strict=True
    ):
        assert (name in found.parts) == (factor > 0)
        if factor:
            expected = sum(hits[is_masked]) / len(hits[is_masked])
            assert float(found.parts[name]) == pytest.approx(expected)


def test_feature_penalty_adds_the_mean_square_of_valid_features_for_each_counted_frame():
    model, batch = _model(), _batch()
    plain, penalised = (
        _objective(model, feature_penalty=factor)(model, batch) for factor in (0.0, 10.0)
    )
    squares = [
        value**2
        for row, length in enumerate(batch.features.lengths.tolist())
        for value in batch.features.values[row, :length].flatten().tolist()
    ]
    mean = sum(squares) / len(squares)
    assert float(penalised.weight) == float(plain.weight)
    assert float(penalised.parts["feature_square"]) == pytest.approx(mean, rel=1e-5)
    added = penalised.sum.item() - plain.sum.item()
    assert added == pytest.approx(10 * mean * float(plain.weight), rel=1e-4)


def test_loss_when_the_batch_is_split_then_sums_and_weights_add_up():
    model, whole = _model(), _batch()
    objective = _objective(model, unmasked_weight=0.5, feature_penalty=0.0)
    losses = [objective(model, whole)]
    for row, length in enumerate(whole.features.lengths.tolist()):
        part, labels = (
            Padded(stream.values[row : row + 1, :length], torch.tensor([length]))
            for stream in (whole.features, whole.labels["units"])
        )
        alone = Batch((whole.ids[row],), features=part, labels={"units": labels}, seed=whole.seed)
        losses.append(objective(model, alone))
    assert float(losses[0].weight) == sum(float(loss.weight) for loss in losses[1:])
    expected = sum(loss.sum.item() for loss in losses[1:])
    torch.testing.assert_close(losses[0].sum.item(), expected, atol=1e-3, rtol=1e-5)


def test_loss_does_not_depend_on_the_features_under_the_mask():
    model, batch = _model(), _batch()
    objective = _objective(model, feature_penalty=0.0)
    hidden_BSF = batch.features.values.masked_fill(_masked(batch)[..., None], 7.0)
    other = Batch(
        batch.ids, features=Padded(hidden_BSF, batch.features.lengths), labels=batch.labels, seed=3
    )
    assert torch.equal(objective(model, batch).sum, objective(model, other).sum)


def test_loss_when_differentiated_then_model_and_objective_learn():
    model = _model()
    objective = _objective(model)
    loss = objective(model, _batch())
    loss.sum.backward()
    for module in (objective, model):
        assert all(p.grad.abs().max() > 0 for p in module.parameters())
    assert not loss.weight.requires_grad


def test_loss_when_trained_then_units_are_guessed_from_their_neighbours():
    model = _model()
    objective = _objective(model, feature_penalty=0.0)
    # one unit an utterance, so that frames around the mask tell it
    units_BS = torch.tensor([1, 4, 2])[:, None].expand(3, 40) * (
        torch.arange(40) < torch.tensor([[40], [25], [9]])
    )
    adam = torch.optim.Adam([*model.parameters(), *objective.parameters()], lr=0.02)
    accuracies = []
    for seed in range(40):
        loss = objective(model, _batch(units=units_BS, seed=seed))
        adam.zero_grad()
        (loss.sum / loss.weight).backward()
        adam.step()
        accuracies.append(float(loss.parts["masked_accuracy"]))
    assert sum(accuracies[-5:]) / 5 > 0.9


def test_loss_when_the_seed_is_the_same_then_so_is_the_loss():
    model = _model()
    objective = _objective(model)
    first, again, other = (objective(model, _batch(seed=seed)).sum for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_depth_when_training_then_as_many_layers_execute_as_the_encoder_draws():
    model, calls = _model(random_depth=[1, 2]), []
    objective = _objective(model)
    for layer in model.encoder.layers:
        layer.register_forward_hook(lambda *_: calls.append(1))
    for seed in range(4):
        for is_training, expected in ((True, model.encoder.draw_depth(seed)), (False, 3)):
            calls.clear()
            objective.train(is_training)(model, _batch(seed=seed))
            assert len(calls) == expected


def test_batch_without_a_frame_that_counts_weighs_nothing_and_is_finite():
    model = _model()
    # a single frame is always masked, so that no other counts
    objective = _objective(model, masked_weight=0.0, unmasked_weight=1.0)
    loss = objective(model, _batch((1,)))
    assert float(loss.weight) == 0
    loss.sum.backward()
    assert loss.sum.item() == 0


def test_batch_without_units_is_an_error():
    model = _model()
    batch = Batch(("a",), features=_batch().features)
    with pytest.raises(DataError, match="a batch has no units; set data.units"):
        _objective(model)(model, Batch(("a", "b", "c"), features=batch.features))


def test_units_of_other_frames_are_an_error():
    model = _model()
    batch = _batch(units=torch.zeros(3, 39, dtype=torch.int64))
    message = r"units \(3, 39\) for frames \(3, 40\); make units for the frames of this frontend"
    with pytest.raises(DataError, match=message):
        _objective(model)(model, batch)


@pytest.mark.parametrize(
    ("frontend", "encoder", "width", "expected"),
    [
        # the published checkpoints, embedding of the mask and heads included
        ({}, {"norm": "post"}, 256, 94_697_600),
        ({"norm": "layer"}, LARGE, 768, 316_609_408),
    ],
)
def test_model_and_objective_have_as_many_parameters_as_hubert(frontend, encoder, width, expected):
    config = TransformerConfig(**{"dim": 768, "layers": 12, "heads": 12, "feedforward": 3072}
                               | encoder | {"positions": "convolution"})  # fmt: skip
    with torch.device("meta"):
        model = SpeechModel(
            ConvWaveform(ConvWaveformConfig(**frontend), dim=config.dim),
            TransformerEncoder(config),
            spec=ModelSpec({}, {}),
        )
        objective = MaskedPrediction(
            MaskedPredictionConfig(prediction_dim=width), model=model, labels=_space(504)
        )
    count = sum(p.numel() for module in (model, objective) for p in module.parameters())
    assert count == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"mask_probability": 0.0},
            "mask_probability=0.0, mask_frames=10, prediction_dim=256: exp",
        ),
        ({"mask_probability": 1.1}, "mask_probability=1.1"),
        ({"mask_probability": float("nan")}, "mask_probability=nan"),
        ({"mask_frames": 0}, "mask_frames=0.*change objective.mask_probability, mask_frames or"),
        (
            {"prediction_dim": 0},
            "prediction_dim=0: expected 0 < mask_probability <= 1 and positive",
        ),
        ({"masked_weight": -1.0}, "masked_weight=-1.0, unmasked_weight=0.0, feature_penalty=10.0"),
        (
            {"masked_weight": 0.0},
            "expected weights of at least 0, frames that count, and a positive",
        ),
        ({"unmasked_weight": float("nan")}, "unmasked_weight=nan"),
        ({"feature_penalty": -0.1}, "feature_penalty=-0.1.*change the weights of objective, or"),
        ({"temperature": 0.0}, "temperature=0.0"),
        ({"temperature": float("nan")}, "temperature=nan"),
        ({"min_spans": -1}, "min_spans=-1, expected at least 0; change objective.min_spans"),
    ],
)
def test_config_when_out_of_range_then_it_says_what_is_expected(options, message):
    with pytest.raises(ConfigError, match=message):
        MaskedPredictionConfig(**options)


def test_config_when_left_at_its_defaults_then_it_is_that_of_hubert_base():
    config = MaskedPredictionConfig()
    assert (config.mask_probability, config.mask_frames, config.prediction_dim) == (0.08, 10, 256)
    assert (config.masked_weight, config.unmasked_weight) == (1.0, 0.0)
    assert (config.temperature, config.feature_penalty) == (0.1, 10.0)
