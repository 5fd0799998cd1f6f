"""From choices to components: the one place that turns names into objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from speechlite.config.compose import from_mapping, to_mapping
from speechlite.config.schema import Choice
from speechlite.core.compressor import Compressor
from speechlite.core.head import Head
from speechlite.core.model import Edit, Frontend, ModelSpec, SpeechModel
from speechlite.core.objective import Objective
from speechlite.core.types import LabelSpace
from speechlite.plugins.registry import Registry

__all__ = [
    "build_compressor",
    "build_frontend",
    "build_head",
    "build_model",
    "build_objective",
    "edit_of",
    "model_spec",
    "objective_type",
    "replay_edits",
]


def _load(choice: Choice, registry: Registry) -> Any:
    return registry.load(registry.get(choice.kind, choice.name))


def model_spec(frontend: Choice, encoder: Choice) -> ModelSpec:
    """Return the spec of a model from its two choices.

    Args:
        frontend: the chosen frontend.
        encoder: the chosen encoder.

    Returns:
        The spec, as plain values.
    """
    return ModelSpec(frontend=to_mapping(frontend), encoder=to_mapping(encoder))


def build_model(spec: ModelSpec, registry: Registry) -> SpeechModel:
    """Build a model with fresh weights, before any edit.

    Args:
        spec: names and options of frontend and encoder.
        registry: where the names are looked up.

    Returns:
        The model.
    """
    frontend_choice = from_mapping("frontend", spec.frontend, registry)
    encoder_choice = from_mapping("encoder", spec.encoder, registry)
    encoder = _load(encoder_choice, registry)(encoder_choice.options)
    frontend = _load(frontend_choice, registry)(frontend_choice.options, dim=encoder.dim)
    return SpeechModel(frontend, encoder, spec=spec)


def build_frontend(choice: Choice, registry: Registry) -> Frontend:
    """Build a frontend alone, which leaves its features as they are.

    Args:
        choice: the chosen frontend.
        registry: where its name is looked up.

    Returns:
        The frontend, without a projection.
    """
    frontend: Frontend = _load(choice, registry)(choice.options, dim=None)
    return frontend


def build_objective(
    choice: Choice,
    model: SpeechModel,
    registry: Registry,
    *,
    labels: Mapping[str, LabelSpace] | None = None,
    models: Mapping[str, SpeechModel] | None = None,
    head: Head | None = None,
) -> Objective:
    """Build an objective for a model.

    Args:
        choice: the chosen objective.
        model: the model that it will train.
        registry: where its name is looked up.
        labels: classes of the label streams that it needs.
        models: the further models that it reads, by the option that names each.
        head: the head that it trains, where it takes one.

    Returns:
        The objective with fresh parameters of its own.
    """
    factory = _load(choice, registry)
    further: dict[str, Any] = dict(models or {})
    if factory.needs:
        further["labels"] = labels
    if factory.takes_head:
        further["head"] = head
    objective: Objective = factory(choice.options, model=model, **further)
    return objective


def objective_type(choice: Choice, registry: Registry) -> type[Objective]:
    """Return the class of an objective, which says what it needs and reads.

    Args:
        choice: the chosen objective.
        registry: where its name is looked up.

    Returns:
        The class.
    """
    factory: type[Objective] = _load(choice, registry)
    return factory


def build_compressor(choice: Choice, registry: Registry) -> Compressor:
    """Build a compressor.

    Args:
        choice: the chosen compressor.
        registry: where its name is looked up.

    Returns:
        The compressor.
    """
    compressor: Compressor = _load(choice, registry)(choice.options)
    return compressor


def build_head(
    choice: Choice, registry: Registry, *, dim: int, num_layers: int, labels: LabelSpace
) -> Head:
    """Build a head with fresh weights.

    Args:
        choice: the chosen head.
        registry: where its name is looked up.
        dim: width of the hidden states.
        num_layers: hidden states that it will be given.
        labels: the classes.

    Returns:
        The head.
    """
    head: Head = _load(choice, registry)(
        choice.options, dim=dim, num_layers=num_layers, labels=labels
    )
    return head


def replay_edits(model: SpeechModel, edits: tuple[Edit, ...], registry: Registry) -> SpeechModel:
    """Carry recorded compressions out again, in order.

    Args:
        model: a model without these edits.
        edits: the compressors with their plans.
        registry: where compressors are looked up.

    Returns:
        The restructured model, with the edits recorded.
    """
    for edit in edits:
        choice = from_mapping("compressor", edit.compressor, registry)
        recorded = (*model.edits, edit)
        model = build_compressor(choice, registry).restructure(model, edit.plan)
        model.edits = recorded
    return model


def edit_of(choice: Choice, plan: Mapping[str, Any]) -> Edit:
    """Return the record of one compression.

    Args:
        choice: the compressor with its options.
        plan: what it decided.

    Returns:
        The edit.
    """
    return Edit(compressor=to_mapping(choice), plan=dict(plan))
