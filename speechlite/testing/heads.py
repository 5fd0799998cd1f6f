"""What every head must do."""

from __future__ import annotations

from collections.abc import Callable

import torch

from speechlite.core.component import Component
from speechlite.core.head import Head
from speechlite.testing.fixtures import (
    installed_registry,
    label_space,
    small_batch,
    small_hidden,
    tiny_options,
)
from speechlite.testing.modules import has_all_gradients, round_trips

__all__ = ["CHECKS"]

_DIM, _STATES = 16, 4


def _build(component: Component) -> Head:
    registry = installed_registry()
    torch.manual_seed(0)
    head: Head = registry.load(component)(
        tiny_options(component, registry), dim=_DIM, num_layers=_STATES, labels=label_space()
    )
    return head.eval()


def head_trains_and_saves(component: Component) -> None:
    """Check loss, gradients and a round trip of the state.

    Args:
        component: the head.
    """
    head = _build(component)
    assert head.label_layout in ("frame", "sequence", "utterance"), head.label_layout
    loss = head.train().loss(small_hidden(dim=_DIM), small_batch(head.label_layout))
    assert bool(torch.isfinite(loss.sum)), f"the loss is {float(loss.sum)}"
    assert float(loss.weight) > 0, f"the weight is {float(loss.weight)}"
    has_all_gradients(head, loss.sum)
    round_trips(head, _build(component))


def head_predictions_can_be_scored(component: Component) -> None:
    """Check that every utterance gets a prediction and a score.

    Args:
        component: the head.
    """
    head = _build(component)
    batch = small_batch(head.label_layout)
    with torch.no_grad():
        predictions = head.predict(small_hidden(dim=_DIM))
        again = head.predict(small_hidden(dim=_DIM))
    assert len(predictions) == len(batch.ids), f"{len(predictions)} predictions"
    metric = head.metric()
    scores = metric.score(predictions, batch)
    assert [score.id for score in scores] == list(batch.ids), "scores are not in order"
    assert [score.speaker for score in scores] == list(batch.speakers), "speakers are wrong"
    assert all(score.denominator > 0 for score in scores), "a score counts nothing"
    assert scores == metric.score(again, batch), "two predictions in eval mode differ"
    assert metric.name, "the metric has no name"
    assert metric.scorer, "the metric does not name its scorer"


def head_ignores_padding(component: Component) -> None:
    """Check that an utterance alone is predicted as in a batch.

    Args:
        component: the head.
    """
    head = _build(component)
    hidden = small_hidden(dim=_DIM)
    with torch.no_grad():
        together = head.predict(hidden)
        for row, length in enumerate(hidden.lengths.tolist()):
            layers = tuple(layer[row : row + 1, :length] for layer in hidden.layers)
            alone = head.predict(type(hidden)(layers, hidden.lengths[[row]]))[0]
            same = alone == together[row]
            assert bool(same.all() if isinstance(same, torch.Tensor) else same), (
                f"utterance {row} is predicted otherwise alone"
            )


CHECKS: tuple[Callable[[Component], None], ...] = (
    head_trains_and_saves,
    head_predictions_can_be_scored,
    head_ignores_padding,
)
"""What the suite checks of a head, in order."""
