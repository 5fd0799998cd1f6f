"""The TDNN head and the loss over labelled frames against loops over frames."""

from __future__ import annotations

import math

import pytest
import torch
from made_hidden import DIM, batch, descend, hidden

from speechlite.core.errors import DataError
from speechlite.core.types import LabelSpace
from speechlite.heads.config import TdnnConfig
from speechlite.heads.frame_loss import frame_cross_entropy
from speechlite.heads.tdnn import TdnnHead

SPACE = LabelSpace("pdf", tuple(str(number) for number in range(5)))


def _head(**options):
    torch.manual_seed(0)
    config = TdnnConfig(**{"dim": 4, "strides": [1, 2], "dropout": 0.0, **options})
    return TdnnHead(config, dim=DIM, num_layers=3, labels=SPACE).eval()


def _loss_by_loop(scores_BSC, lengths, sequences):
    total, count = 0.0, 0
    for row, (length, labels) in enumerate(zip(lengths, sequences, strict=True)):
        for place in range(min(length, len(labels))):
            if labels[place] >= 0:
                scores = scores_BSC[row, place].tolist()
                norm = math.log(sum(math.exp(score) for score in scores))
                total += norm - scores[labels[place]]
                count += 1
    return total, count


@pytest.mark.parametrize(
    "sequences",
    [
        [[0, 1, 2, 3, 4], [4, 4, 0]],
        # fewer and more labels than frames, and frames that do not count
        [[0, -1, 2], [1, 2, 3, -1, 4, 0]],
        [[-1] * 5, [2, 3, 4]],
        [[-100, 1, 2, -100, 0], [0, 0, 0]],
    ],
)
def test_frame_cross_entropy_when_summed_by_a_loop_then_they_agree(sequences):
    lengths = [5, 3]
    scores = torch.randn(2, 5, 5, generator=torch.Generator().manual_seed(1))
    loss = frame_cross_entropy(scores, hidden(lengths), batch("pdf", sequences), "pdf")
    total, count = _loss_by_loop(scores, lengths, sequences)
    assert loss.sum.item() == pytest.approx(total, rel=1e-5)
    assert loss.weight.item() == count


def test_frame_cross_entropy_when_no_frame_counts_then_it_is_zero_with_zero_gradient():
    scores = torch.randn(1, 4, 5, requires_grad=True)
    loss = frame_cross_entropy(scores, hidden([4]), batch("pdf", [[-1] * 4]), "pdf")
    assert (loss.sum.item(), loss.weight.item()) == (0.0, 0.0)
    (gradient,) = torch.autograd.grad(loss.sum, scores)
    assert (gradient == 0).all()


def test_frame_cross_entropy_when_padding_holds_nonsense_then_the_loss_is_finite():
    scores = torch.randn(2, 5, 5)
    scores[1, 3:] = float("nan")
    labels = batch("pdf", [[0, 1, 2, 3, 4], [1, 1, 1]])
    labels.labels["pdf"].values[1, 3:] = 77
    loss = frame_cross_entropy(scores, hidden([5, 3]), labels, "pdf")
    assert loss.sum.isfinite()
    assert loss.weight.item() == 8


@pytest.mark.parametrize("count", [1, 9])
def test_frame_cross_entropy_when_labels_do_not_fit_then_data_error(count):
    labels = batch("pdf", [[0] * 5, [0] * count])
    cause = f"utterance u1 has {count} pdf labels for 5 frames; make labels at the frontend's"
    with pytest.raises(DataError, match=cause):
        frame_cross_entropy(torch.randn(2, 5, 5), hidden([5, 5]), labels, "pdf")
    with pytest.raises(DataError, match=cause):
        _head().loss(hidden([5, 5]), labels)


def test_frame_cross_entropy_when_labels_differ_by_three_then_they_are_taken():
    for count in (2, 8):
        loss = frame_cross_entropy(
            torch.randn(1, 5, 5), hidden([5]), batch("pdf", [[0] * count]), "pdf"
        )
        assert loss.weight.item() == min(count, 5)


def test_frame_cross_entropy_when_computed_then_labels_are_as_before():
    labels = batch("pdf", [[0, 1, 2, 3, 4], [1, 2, 3, 4]])
    before = labels.labels["pdf"].values.clone()
    frame_cross_entropy(torch.randn(2, 5, 5), hidden([5, 2]), labels, "pdf")
    assert torch.equal(labels.labels["pdf"].values, before)


@torch.no_grad()
def test_tdnn_head_when_it_scores_then_a_linear_layer_follows_the_network():
    head, states = _head(layer="last"), hidden([6, 4])
    frames = head.tdnn(states.layers[-1], states.lengths)
    expected = frames @ head.classifier.weight.T + head.classifier.bias
    torch.testing.assert_close(head.scores(states), expected)
    assert head.scores(states).shape == (2, 6, 5)


@torch.no_grad()
def test_tdnn_head_when_it_predicts_then_it_gives_the_best_class_of_each_valid_frame():
    head, states = _head(), hidden([6, 4])
    scores = head.scores(states)
    found = head.predict(states)
    for row, length in enumerate((6, 4)):
        expected = [max(range(5), key=scores[row, place].__getitem__) for place in range(length)]
        assert found[row].tolist() == expected
        assert found[row].dtype == torch.int64


@torch.no_grad()
def test_tdnn_head_when_the_loss_is_summed_by_a_loop_then_they_agree():
    head, states = _head(), hidden([6, 4])
    sequences = [[0, 1, 2, 3, 4, 0], [2, 2, -1, 2]]
    loss = head.loss(states, batch("pdf", sequences))
    total, count = _loss_by_loop(head.scores(states), [6, 4], sequences)
    assert loss.sum.item() == pytest.approx(total, rel=1e-5)
    assert loss.weight.item() == count == 9


def test_tdnn_head_when_it_trains_then_it_learns_its_labels():
    head, states = _head(dim=16).train(), hidden([12, 9])
    sequences = [[place % 5 for place in range(12)], [(2 * place) % 5 for place in range(9)]]
    labels = batch("pdf", sequences)
    values = descend(head, lambda: head.loss(states, labels), steps=60, rate=0.3)
    assert values[0] > 1.0
    assert values[-1] < 0.3


def test_tdnn_head_when_counted_then_the_metric_is_the_share_of_right_frames():
    head, states = _head(), hidden([6, 4])
    predictions = head.predict(states)
    right = [one.tolist() for one in predictions]
    right[0][0] = (right[0][0] + 1) % 5
    right[1][3] = -1
    scores = head.metric().score(predictions, batch("pdf", right))
    assert [(one.numerator, one.denominator) for one in scores] == [(5.0, 6.0), (3.0, 3.0)]


@pytest.mark.parametrize(("layer", "needs_all"), [("weighted", True), ("last", False)])
def test_tdnn_head_when_layers_are_weighted_then_it_needs_all(layer, needs_all):
    assert _head(layer=layer).needs_all_layers is needs_all
