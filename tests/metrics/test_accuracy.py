"""Frame accuracy against numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from speechlite.core.types import Batch, Padded
from speechlite.metrics.accuracy import FrameAccuracy


def _batch(references):
    lengths_B = torch.tensor([len(reference) for reference in references])
    values_BL = torch.nn.utils.rnn.pad_sequence(
        [torch.tensor(reference) for reference in references], batch_first=True
    )
    names = tuple("abcdef"[: len(references)])
    return Batch(names, labels={"phone": Padded(values_BL, lengths_B)}, speakers=names)


def _score(predictions, references):
    predictions = [torch.tensor(prediction) for prediction in predictions]
    scores = FrameAccuracy("phone").score(predictions, _batch(references))
    return [(score.numerator, score.denominator) for score in scores]


def test_accuracy_when_numpy_counts_then_it_is_equal():
    generator = np.random.default_rng(0)
    references = [generator.integers(0, 4, size).tolist() for size in (50, 20, 1)]
    predictions = [generator.integers(0, 4, size).tolist() for size in (50, 20, 1)]
    expected = [
        (float(np.sum(np.array(p) == np.array(r))), float(len(r)))
        for p, r in zip(predictions, references, strict=True)
    ]
    assert _score(predictions, references) == expected


def test_accuracy_when_labels_are_negative_then_their_frames_do_not_count():
    assert _score([[0, 1, 2, 2]], [[0, -1, 2, 1]]) == [(2.0, 3.0)]


@pytest.mark.parametrize("others", [[], [[1, 1, 1, 1, 1, 1]]])
def test_accuracy_when_there_are_fewer_labels_than_frames_then_the_rest_does_not_count(others):
    """The padding of a label stream is 0, which is a class, too."""
    scores = _score([[1, 0, 0, 0], *others], [[1, 1], *others])
    assert scores[0] == (1.0, 2.0)


def test_accuracy_when_there_are_more_labels_than_frames_then_the_rest_does_not_count():
    assert _score([[1, 1]], [[1, 0, 1]]) == [(1.0, 2.0)]


def test_accuracy_when_scored_then_each_utterance_keeps_its_name_and_speaker():
    metric = FrameAccuracy("phone")
    (score,) = metric.score([torch.tensor([1])], _batch([[1]]))
    assert (score.id, score.speaker) == ("a", "a")
    assert (metric.name, metric.unit, metric.higher_is_better) == ("acc", "%", True)
    assert metric.scorer.startswith("speechlite.frame_accuracy")
