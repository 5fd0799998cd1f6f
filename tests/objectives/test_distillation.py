"""Distillation against a loop over layers, utterances and frames, in plain Python."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from speechlite.core.errors import ConfigError
from speechlite.core.model import ModelSpec, SpeechModel
from speechlite.core.types import Batch, Padded
from speechlite.encoders.config import TransformerConfig
from speechlite.encoders.transformer import TransformerEncoder
from speechlite.frontends.config import ConvWaveformConfig, FbankConfig
from speechlite.frontends.conv_waveform import ConvWaveform
from speechlite.frontends.fbank import Fbank
from speechlite.objectives.config import DistillationConfig
from speechlite.objectives.distillation import Distillation

WIDTH = 5


def _model(*, dim=8, layers=3, seed=0, **options):
    torch.manual_seed(seed)
    options = {"dropout": 0.0, "attention_dropout": 0.0, "feedforward": 8, **options}
    config = TransformerConfig(dim=dim, layers=layers, heads=2, **options)
    frontend = Fbank(FbankConfig(num_mels=WIDTH), dim=dim)
    return SpeechModel(frontend, TransformerEncoder(config), spec=ModelSpec({}, {}))


def _objective(model, teacher, *, layers=(0, 1, 3), **options):
    torch.manual_seed(5)
    config = DistillationConfig(layers=list(layers), **options)
    objective = Distillation(config, model=model, teacher=teacher)
    for head in objective.heads.modules():
        # an identity start would hide which projection serves which layer
        if isinstance(head, nn.Linear):
            nn.init.normal_(head.weight, std=0.5)
            nn.init.normal_(head.bias, std=0.5)
    return objective


def _batch(lengths=(7, 4, 1)):
    features_BSF = torch.zeros(len(lengths), max(lengths), WIDTH)
    for row, length in enumerate(lengths):
        generator = torch.Generator().manual_seed(row)
        features_BSF[row, :length] = torch.randn(length, WIDTH, generator=generator)
    names = tuple("abcdef"[: len(lengths)])
    return Batch(names, features=Padded(features_BSF, torch.tensor(lengths)), seed=3)


def _alone(batch):
    """Give each utterance without padding, one at a time."""
    for row, length in enumerate(batch.features.lengths.tolist()):
        values_1SF = batch.features.values[row : row + 1, :length]
        yield Padded(values_1SF, torch.tensor([length]))


def _mapped(linear, vector):
    return [
        sum(weight * value for weight, value in zip(row, vector, strict=True)) + bias
        for row, bias in zip(linear.weight.tolist(), linear.bias.tolist(), strict=True)
    ]


def _distance(guess, target, *, l1_weight=1.0, cosine_weight=1.0, log_sigmoid=False):
    l1 = sum(abs(a - b) for a, b in zip(guess, target, strict=True)) / len(target)
    dot = sum(a * b for a, b in zip(guess, target, strict=True))
    norms = [math.sqrt(sum(a * a for a in vector)) for vector in (guess, target)]
    cosine = dot / (norms[0] * norms[1])
    term = math.log(1 / (1 + math.exp(-cosine))) if log_sigmoid else cosine
    return l1_weight * l1 - cosine_weight * term


def _slow_sum(student, teacher, batch, pairs, guess, **weights):
    """Sum over (student layer, teacher layer) pairs; ``guess`` maps the pair's number and state."""
    total = 0.0
    for features in _alone(batch):
        with torch.no_grad():
            states = [state[0].tolist() for state in student.encode(features).layers]
            targets = [state[0].tolist() for state in teacher.encode(features).layers]
        for number, (row, layer) in enumerate(pairs):
            for frame, target in enumerate(targets[layer]):
                total += _distance(guess(number, states[row][frame]), target, **weights)
    return total


@pytest.mark.parametrize(
    "weights",
    [{}, {"l1_weight": 0.5, "cosine_weight": 2.0}, {"log_sigmoid": True}, {"l1_weight": 0.0}],
)
def test_loss_when_summed_frame_by_frame_then_it_is_equal(weights):
    student, teacher, batch = _model(seed=1), _model(dim=12, seed=2), _batch()
    objective = _objective(student, teacher, share_projections=False, **weights)
    slow = _slow_sum(
        student,
        teacher,
        batch,
        [(0, 0), (1, 1), (3, 3)],
        lambda number, state: _mapped(objective.heads[number], state),
        **weights,
    )
    loss = objective(student, batch)
    assert float(loss.weight) == 7 + 4 + 1
    torch.testing.assert_close(loss.sum.item(), slow, atol=1e-3, rtol=1e-5)


def test_loss_with_student_layers_matches_each_with_its_counterpart():
    student, teacher, batch = _model(layers=2, seed=1), _model(dim=12, layers=4, seed=2), _batch()
    objective = _objective(
        student, teacher, layers=[0, 2, 4], student_layers=[0, 1, 2], share_projections=False
    )
    slow = _slow_sum(
        student,
        teacher,
        batch,
        [(0, 0), (1, 2), (2, 4)],
        lambda number, state: _mapped(objective.heads[number], state),
    )
    torch.testing.assert_close(objective(student, batch).sum.item(), slow, atol=1e-3, rtol=1e-5)


@pytest.mark.parametrize(
    ("layers", "of_each"),
    [([0, 1, 3], [0, 1, 1]), ([1, 3], [0, 0]), ([0], [0]), ([3, 0, 1], [1, 0, 1])],
)
def test_shared_projection_serves_all_layers_but_layer_0(layers, of_each):
    student, teacher, batch = _model(seed=1), _model(dim=12, seed=2), _batch()
    objective = _objective(student, teacher, layers=layers)
    assert len(objective.heads) == max(of_each) + 1
    slow = _slow_sum(
        student,
        teacher,
        batch,
        [(layer, layer) for layer in layers],
        lambda number, state: _mapped(objective.heads[of_each[number]], state),
    )
    torch.testing.assert_close(objective(student, batch).sum.item(), slow, atol=1e-3, rtol=1e-5)


def test_prediction_mode_maps_the_last_state_by_a_head_for_each_target():
    student, teacher, batch = _model(layers=2, seed=1), _model(dim=12, layers=4, seed=2), _batch()
    objective = _objective(student, teacher, layers=[1, 4], mode="prediction", log_sigmoid=True)

    def guess(number, state):
        first, _, second = objective.heads[number]
        inner = [0.5 * x * (1 + math.erf(x / math.sqrt(2))) for x in _mapped(first, state)]
        return _mapped(second, inner)

    assert [(head[0].out_features, head[2].out_features) for head in objective.heads] == [
        (8, 12)
    ] * 2
    slow = _slow_sum(student, teacher, batch, [(2, 1), (2, 4)], guess, log_sigmoid=True)
    torch.testing.assert_close(objective(student, batch).sum.item(), slow, atol=1e-3, rtol=1e-5)


@pytest.mark.parametrize("lengths", [(7,), (8,), (7, 4, 1), (8, 5, 2)])
def test_heads_of_a_time_reduced_student_bring_its_states_to_the_frames(lengths):
    student = _model(layers=2, seed=1, time_reduction=2)
    teacher, batch = _model(dim=12, layers=4, seed=2), _batch(lengths)
    objective = _objective(
        student, teacher, layers=[2, 4], student_layers=[1, 2], upsample=2, share_projections=False
    )
    total = 0.0
    for features in _alone(batch):
        with torch.no_grad():
            states, targets = (model.encode(features).layers for model in (student, teacher))
        for frame in range(int(features.lengths)):
            first = frame - frame % 2
            for number, (row, layer) in enumerate([(1, 2), (2, 4)]):
                head = objective.heads[number]
                joined_D = states[row][0, first : first + 2].mean(0)
                inner_D = joined_D @ head.upsample.weight[:, :, frame % 2] + head.upsample.bias
                guess = _mapped(head.linear, inner_D.tolist())
                total += _distance(guess, targets[layer][0, frame].tolist())
    torch.testing.assert_close(objective(student, batch).sum.item(), total, atol=1e-3, rtol=1e-5)


def test_time_reduced_student_with_all_heads_is_as_large_as_that_of_the_paper():
    # FitW2V2 (arXiv 2207.00555) with all of its layers' heads
    with torch.device("meta"):
        frontend = ConvWaveformConfig(
            channels=[128, 256, 256, 256, 256, 256, 512, 512, 512],
            kernels=[10, 1, 3, 3, 3, 3, 1, 2, 2],
            strides=[5, 1, 2, 2, 2, 2, 1, 2, 2],
        )
        encoder = TransformerConfig(
            dim=480,
            layers=12,
            heads=12,
            feedforward=480,
            norm="post",
            positions="convolution",
            time_reduction=2,
        )
        student = SpeechModel(
            ConvWaveform(frontend, dim=480), TransformerEncoder(encoder), spec=ModelSpec({}, {})
        )
        wide = TransformerConfig(dim=768, layers=12, heads=12, feedforward=8)
        teacher = SpeechModel(
            ConvWaveform(frontend, dim=768), TransformerEncoder(wide), spec=ModelSpec({}, {})
        )
        config = DistillationConfig(layers=list(range(1, 13)), share_projections=False, upsample=2)
        objective = Distillation(config, model=student, teacher=teacher)
    count = sum(p.numel() for module in (student, objective) for p in module.parameters())
    assert count == 31_629_632


@pytest.mark.parametrize("mode", ["layers", "prediction"])
def test_time_reduction_and_prediction_mode_go_together(mode):
    student = _model(layers=2, seed=1, time_reduction=2)
    objective = _objective(student, _model(seed=2), layers=[1, 2], mode=mode, upsample=2)
    assert torch.isfinite(objective(student, _batch()).sum)


@pytest.mark.parametrize("share", [True, False])
def test_loss_of_a_copy_of_the_teacher_begins_at_minus_one_for_each_layer(share):
    teacher = _model(seed=2)
    config = DistillationConfig(layers=[0, 1, 3], share_projections=share)
    student = _model(seed=2)
    loss = Distillation(config, model=student, teacher=teacher)(student, _batch())
    assert (loss.sum / loss.weight).item() == pytest.approx(-3, abs=1e-5)
    assert float(loss.parts["l1"]) == pytest.approx(0, abs=1e-6)
    assert float(loss.parts["cosine"]) == pytest.approx(-3, abs=1e-5)


def test_parts_are_means_over_frames_that_add_up_to_the_loss():
    student = _model(seed=1)
    loss = _objective(student, _model(seed=2))(student, _batch())
    mean = (loss.sum / loss.weight).item()
    assert float(loss.parts["l1"] + loss.parts["cosine"]) == pytest.approx(mean, rel=1e-5)


def test_loss_when_the_batch_is_split_then_sums_and_weights_add_up():
    student, whole = _model(seed=1), _batch()
    objective = _objective(student, _model(dim=12, seed=2))
    parts = [
        objective(student, Batch(("x",), features=features, seed=3)) for features in _alone(whole)
    ]
    loss = objective(student, whole)
    assert float(loss.weight) == sum(float(part.weight) for part in parts)
    expected = sum(part.sum.item() for part in parts)
    torch.testing.assert_close(loss.sum.item(), expected, atol=1e-3, rtol=1e-5)


def test_loss_when_padding_holds_no_numbers_then_it_is_the_same():
    student, batch = _model(seed=1), _batch()
    objective = _objective(student, _model(dim=12, seed=2))
    spoilt_BSF = batch.features.values.clone()
    for row, length in enumerate(batch.features.lengths.tolist()):
        spoilt_BSF[row, length:] = 1e3
    spoilt = Batch(batch.ids, features=Padded(spoilt_BSF, batch.features.lengths), seed=3)
    assert torch.equal(objective(student, batch).sum, objective(student, spoilt).sum)


def test_loss_when_differentiated_then_student_and_heads_learn_and_the_teacher_does_not():
    student, teacher = _model(seed=1), _model(dim=12, seed=2)
    objective = _objective(student, teacher)
    loss = objective(student, _batch())
    loss.sum.backward()
    for module in (objective, student):
        assert all(p.grad is not None and p.grad.any() for p in module.parameters())
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
    assert not loss.weight.requires_grad


def test_teacher_stays_in_eval_mode_when_the_objective_trains():
    teacher = _model(dim=12, seed=2, dropout=0.5).train()
    student = _model(seed=1)
    objective = _objective(student, teacher).train()
    first, second = (objective(student, _batch()).sum for _ in range(2))
    assert not any(module.training for module in teacher.modules())
    assert torch.equal(first, second)


def test_teacher_is_no_part_of_the_objectives_weights():
    objective = _objective(_model(seed=1), _model(dim=12, seed=2), layers=[1])
    assert set(objective.state_dict()) == {"heads.0.weight", "heads.0.bias"}
    assert sum(p.numel() for p in objective.parameters()) == 8 * 12 + 12
    assert not any(isinstance(module, SpeechModel) for module in objective.modules())


def test_student_executes_no_more_layers_than_are_matched():
    student, calls = _model(layers=3, seed=1), []
    for layer in student.encoder.layers:
        layer.register_forward_hook(lambda *_: calls.append(1))
    _objective(student, _model(seed=2), layers=[0, 1])(student, _batch())
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("layers", "options"),
    [([4], {}), ([1], {"student_layers": [4]}), ([4], {"mode": "prediction"})],
)
def test_layers_that_a_model_does_not_have_are_an_error(layers, options):
    with pytest.raises(ConfigError, match=r"a student of 3 with \[.\] of a teacher of 3; change"):
        _objective(_model(), _model(), layers=layers, **options)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "stride",
            320,
            "frames are 400 samples every 160 at 16000 Hz, the teacher.s 400 samples every 320",
        ),
        ("min_samples", 560, "the teacher's 560 samples every 160 at 16000 Hz; choose a student"),
        ("sample_rate", 8000, "the teacher's 400 samples every 160 at 8000 Hz"),
    ],
)
def test_frames_of_another_kind_are_an_error(name, value, message):
    student, teacher = _model(), _model()
    setattr(teacher.frontend, name, value)
    with pytest.raises(ConfigError, match=message):
        _objective(student, teacher)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": []}, r"layers=\[\], student_layers=None: expected layers from 0"),
        ({"layers": [-1]}, r"layers=\[-1\]"),
        ({"layers": [1, 2], "student_layers": [1]}, "as many of the student as of the teacher"),
        ({"layers": [1], "student_layers": [-1]}, "change objective.layers or objective.student"),
        ({"mode": "last"}, "mode='last', expected layers or prediction; change objective.mode"),
        ({"l1_weight": -1.0}, "l1_weight=-1.0, cosine_weight=1.0, upsample=1: expected weights"),
        ({"l1_weight": 0.0, "cosine_weight": 0.0}, "not both 0"),
        ({"upsample": 0}, "upsample=0: .* at least one frame"),
        ({"l1_weight": float("nan")}, "l1_weight=nan"),
        ({"cosine_weight": float("inf")}, "cosine_weight=inf"),
    ],
)
def test_config_when_out_of_range_then_it_says_what_is_expected(options, message):
    with pytest.raises(ConfigError, match=message):
        DistillationConfig(**options)


def test_config_when_left_at_its_defaults_then_it_is_that_of_dphubert():
    config = DistillationConfig()
    assert (config.layers, config.student_layers) == ([0, 4, 8, 12], None)
    assert (config.l1_weight, config.cosine_weight, config.log_sigmoid) == (1.0, 1.0, False)
    assert config.share_projections
