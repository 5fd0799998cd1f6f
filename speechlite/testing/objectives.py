"""What every objective must do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from speechlite.core.component import Component
from speechlite.core.head import Head
from speechlite.core.model import SpeechModel
from speechlite.core.objective import Objective
from speechlite.core.types import Batch, Padded
from speechlite.testing.fixtures import (
    installed_registry,
    label_space,
    small_batch,
    small_model,
    tiny_options,
    waves,
)

__all__ = ["CHECKS"]


def _build(component: Component) -> tuple[Objective, SpeechModel, Batch]:
    registry = installed_registry()
    model = small_model(registry)
    torch.manual_seed(0)
    factory = registry.load(component)
    further: dict[str, Any] = {name: small_model(registry) for name in factory.reads}
    if factory.needs:
        further["labels"] = dict.fromkeys(factory.needs, label_space())
    labels = {name: _frame_labels(model) for name in factory.needs}
    if factory.takes_head:
        further["head"] = _head(model)
        labels |= small_batch("sequence").labels
    objective: Objective = factory(tiny_options(component, registry), model=model, **further)
    batch = Batch(
        ids=("a-1", "a-2", "b-1"),
        waves=waves(),
        speakers=("a", "a", "b"),
        labels=labels,
        seed=3,
    )
    return objective, model, batch


def _head(model: SpeechModel) -> Head:
    registry = installed_registry()
    component = registry.get("head", "ctc")
    head: Head = registry.load(component)(
        tiny_options(component, registry),
        dim=model.dim,
        num_layers=model.num_layers + 1,
        labels=label_space(),
    )
    return head


def _frame_labels(model: SpeechModel) -> Padded:
    sound = waves()
    features = model.frontend.extract(sound.values, sound.lengths)
    generator = torch.Generator().manual_seed(0)
    shape = features[0].shape[:2]
    labels_BS = torch.randint(len(label_space().symbols), shape, generator=generator)
    valid_BS = torch.arange(shape[1]) < features[1][:, None]
    return Padded(labels_BS * valid_BS, features[1])


def objective_gives_a_loss(component: Component) -> None:
    """Check that the loss is finite, weighted, and moves model and objective.

    Args:
        component: the objective.
    """
    objective, model, batch = _build(component)
    assert all(isinstance(name, str) for name in objective.needs), f"needs {objective.needs!r}"
    objective.train()
    loss = objective(model.train(), batch)
    assert loss.sum.dim() == 0, f"a loss of shape {tuple(loss.sum.shape)}"
    assert bool(torch.isfinite(loss.sum)), f"the loss is {float(loss.sum)}"
    assert float(loss.weight) > 0, f"the weight is {float(loss.weight)}"
    assert not loss.weight.requires_grad, "the weight has a gradient"
    loss.sum.backward()
    moved = [p for p in model.parameters() if p.grad is not None and p.grad.any()]
    assert moved, "no gradient reaches the model"


def objective_depends_on_the_seed_alone(component: Component) -> None:
    """Check that two passes over one batch agree.

    Args:
        component: the objective.
    """
    objective, model, batch = _build(component)
    objective.eval()
    first, second = (objective(model.eval(), batch).sum for _ in range(2))
    assert torch.equal(first, second), "two passes over one batch differ"


CHECKS: tuple[Callable[[Component], None], ...] = (
    objective_gives_a_loss,
    objective_depends_on_the_seed_alone,
)
"""What the suite checks of an objective, in order."""
