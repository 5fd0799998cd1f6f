"""The phone head against numpy, and its trust in labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from made_hidden import DIM, batch, descend, hidden

from speechlite.core.errors import ConfigError, DataError
from speechlite.core.types import LabelSpace
from speechlite.heads.config import PhoneConfig
from speechlite.heads.phone import PhoneHead

SPACE = LabelSpace("phone", ("sil", "a", "b", "c"))


def _head(*, layer="last", num_layers=3):
    torch.manual_seed(0)
    return PhoneHead(PhoneConfig(layer=layer), dim=DIM, num_layers=num_layers, labels=SPACE)


def _labels(lengths, *, seed=0):
    generator = np.random.default_rng(seed)
    return [generator.integers(0, 4, length).tolist() for length in lengths]


def _log_softmax(scores):
    shifted = scores - scores.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def _slow_loss(head, states, labels):
    """Sum the cross-entropy frame by frame."""
    weight = head.classifier.weight.detach().double().numpy()
    bias = head.classifier.bias.detach().double().numpy()
    total, frames = 0.0, 0
    for row, sequence in enumerate(labels):
        for frame in range(min(len(sequence), int(states.lengths[row]))):
            if sequence[frame] < 0:
                continue
            vector = states.layers[-1][row, frame].double().numpy()
            total -= _log_softmax(weight @ vector + bias)[sequence[frame]]
            frames += 1
    return total, frames


@pytest.mark.parametrize(
    ("frames", "labels"), [([9, 5], [9, 5]), ([9, 5], [8, 7]), ([9, 5], [12, 2]), ([4, 9], [7, 9])]
)
def test_loss_when_summed_frame_by_frame_then_it_is_equal(frames, labels):
    head, states, sequences = _head(), hidden(frames), _labels(labels)
    sequences[0][1] = -1
    total, count = _slow_loss(head, states, sequences)
    loss = head.loss(states, batch("phone", sequences))
    assert float(loss.weight) == count
    torch.testing.assert_close(loss.sum.item(), total, atol=1e-4, rtol=1e-5)


def test_loss_when_no_frame_is_labelled_then_it_is_zero():
    loss = _head().loss(hidden([3]), batch("phone", [[-1, -1, -1]]))
    assert (loss.sum.item(), float(loss.weight)) == (0.0, 0.0)


@pytest.mark.parametrize("labels", [[9, 1], [9, 9]])
def test_loss_when_labels_do_not_fit_the_frames_then_the_utterance_is_named(labels):
    message = f"utterance u1 has {labels[1]} phone labels for 5 frames; make labels at the frontend"
    with pytest.raises(DataError, match=message):
        _head().loss(hidden([9, 5]), batch("phone", _labels(labels)))


def test_loss_when_computed_then_the_labels_are_unchanged():
    given = batch("phone", _labels([9, 5]))
    before = given.labels["phone"].values.clone()
    _head().loss(hidden([9, 4]), given)
    assert torch.equal(given.labels["phone"].values, before)


def test_prediction_when_numpy_takes_the_best_class_then_it_is_equal_and_cut():
    head, states = _head(), hidden([7, 2])
    scores = states.layers[-1].numpy() @ head.classifier.weight.detach().numpy().T
    expected = (scores + head.classifier.bias.detach().numpy()).argmax(-1)
    predictions = head.predict(states)
    assert [prediction.tolist() for prediction in predictions] == [
        expected[0, :7].tolist(),
        expected[1, :2].tolist(),
    ]


def test_prediction_when_padding_grows_then_it_stays():
    head = _head(layer="weighted")
    short = head.predict(hidden([7, 2]))
    long = head.predict(hidden([7, 2], frames=20))
    assert all(torch.equal(a, b) for a, b in zip(short, long, strict=True))


@pytest.mark.parametrize("layer", ["last", "weighted"])
def test_head_when_trained_on_a_toy_task_then_it_learns_it(layer):
    head, states = _head(layer=layer), hidden([40, 30])
    teacher = torch.randn(DIM, 4, generator=torch.Generator().manual_seed(5))
    best_BS = (states.layers[-1] @ teacher).argmax(-1)
    sequences = [best_BS[0].tolist(), best_BS[1, :30].tolist()]
    given = batch("phone", sequences)
    losses = descend(head, lambda: head.loss(states, given), steps=80, rate=2.0)
    scores = head.metric().score(head.predict(states), given)
    accuracy = sum(s.numerator for s in scores) / sum(s.denominator for s in scores)
    assert losses[-1] < 0.5 * losses[0]
    assert accuracy > 0.9


def test_head_when_it_takes_the_last_layer_then_it_needs_no_others():
    assert not _head().needs_all_layers
    assert _head(layer="weighted").needs_all_layers
    assert sum(parameter.numel() for parameter in _head().parameters()) == 4 * (DIM + 1)


def test_metric_when_asked_then_it_scores_the_heads_own_stream():
    assert _head().metric().stream == "phone"


def test_config_when_the_layer_is_unknown_then_the_choices_are_listed():
    with pytest.raises(ConfigError, match="layer='first', expected weighted or last; change head"):
        PhoneConfig(layer="first")
