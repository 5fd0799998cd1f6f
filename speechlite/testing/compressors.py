"""What every compressor must do."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from speechlite.core.component import Component
from speechlite.core.compressor import Compressor
from speechlite.core.errors import PlanError
from speechlite.core.model import SpeechModel
from speechlite.core.types import Batch
from speechlite.testing.fixtures import installed_registry, small_model, tiny_options, waves

__all__ = ["CHECKS"]


def _build(component: Component) -> tuple[Compressor, SpeechModel]:
    registry = installed_registry()
    compressor: Compressor = registry.load(component)(tiny_options(component, registry))
    return compressor, small_model(registry)


def _planned(component: Component) -> tuple[Compressor, SpeechModel, dict[str, Any]]:
    compressor, model = _build(component)
    prepared = compressor.prepare(model)
    if compressor.needs_batches:
        batch = Batch(ids=("a-1", "a-2", "b-1"), waves=waves(), speakers=("a", "a", "b"))
        compressor.calibrate(prepared, [batch])
    return compressor, prepared, compressor.plan(prepared)


def _output(model: SpeechModel) -> Tensor:
    sound = waves()
    with torch.no_grad():
        return model.eval()(sound.values, sound.lengths).layers[-1]


def compressor_plans_in_json(component: Component) -> None:
    """Check that a plan is not empty and survives JSON.

    Args:
        component: the compressor.
    """
    _, _, plan = _planned(component)
    assert plan, "the plan is empty"
    assert json.loads(json.dumps(plan)) == plan, "the plan changes in JSON"


def compressor_changes_only_a_copy(component: Component) -> None:
    """Check that the model stays as it was and the result is another one.

    Args:
        component: the compressor.
    """
    compressor, model, plan = _planned(component)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    smaller = compressor.restructure(model, plan)
    assert smaller is not model, "the model itself was returned"
    assert set(before) == set(model.state_dict()), "the model's parameters changed"
    for name, value in model.state_dict().items():
        assert torch.equal(before[name], value), f"{name} of the model was changed"
    assert bool(torch.isfinite(_output(smaller)).all()), "the result computes no finite states"


def compressor_reloads(component: Component) -> None:
    """Check that the plan, carried out on a fresh model, takes the weights and the output.

    Args:
        component: the compressor.
    """
    compressor, model, plan = _planned(component)
    smaller = compressor.restructure(model, plan)
    fresh, model = _build(component)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.02)
    again = fresh.restructure(model, json.loads(json.dumps(plan)))
    again.load_state_dict(smaller.state_dict(), strict=True)
    assert torch.equal(_output(smaller), _output(again)), "the reloaded model computes otherwise"


def compressor_refuses_a_foreign_plan(component: Component) -> None:
    """Check that an empty plan is a PlanError.

    Args:
        component: the compressor.
    """
    compressor, model = _build(component)
    try:
        compressor.restructure(model, {})
    except PlanError:
        return
    raise AssertionError("an empty plan was carried out")


CHECKS: tuple[Callable[[Component], None], ...] = (
    compressor_plans_in_json,
    compressor_changes_only_a_copy,
    compressor_reloads,
    compressor_refuses_a_foreign_plan,
)
"""What the suite checks of a compressor, in order."""
