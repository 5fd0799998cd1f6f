"""Put stages, presets and components where Hydra finds them: its ConfigStore, for one composition.

Nodes hold plain values with ``???`` where an option has no default; Hydra merges and interpolates
them, and ``typed.build`` decides about types afterwards, because OmegaConf would cut 3.7 to 3 for
an int. Hydra reads no file: what was checked is what is composed.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from speechlite.config.checks import MISSING
from speechlite.config.safe_yaml import Document
from speechlite.config.sources import Selection
from speechlite.config.typed import is_choice, option_types, to_mapping

__all__ = ["ROOT", "default_values", "stored"]

ROOT = "speechlite_root"
"""Name of the node from which Hydra composes."""
STAGE = "speechlite_stage"
PRIMARY = "speechlite_primary_"


def default_values(cls: type[Any]) -> dict[str, Any]:
    """Return the defaults of a config dataclass as plain values.

    Args:
        cls: the dataclass.

    Returns:
        Values by option; ``???`` where an option has no default. Choices are left out.
    """
    hints = option_types(cls)
    values = {}
    for field in dataclasses.fields(cls):
        if field.name not in hints or is_choice(hints[field.name]):
            continue
        if field.default is not dataclasses.MISSING:
            values[field.name] = to_mapping(field.default)
        elif field.default_factory is not dataclasses.MISSING:
            values[field.name] = to_mapping(field.default_factory())
        else:
            values[field.name] = MISSING
    return values


@contextlib.contextmanager
def stored(
    schema: type[Any],
    selections: Mapping[str, Selection],
    *,
    primaries: Sequence[Document],
    spellings: Mapping[str, str],
) -> Iterator[None]:
    """Keep one composition's nodes in Hydra's ConfigStore, and take them out again.

    Args:
        schema: the stage's dataclass.
        selections: what each choice stands for, by kind.
        primaries: primary documents in the order of merging.
        spellings: names under which the components are recorded, by kind.

    Yields:
        Nothing; ``ROOT`` can be composed meanwhile.
    """
    from hydra.core.config_store import ConfigStore

    store = ConfigStore.instance()
    before = copy.deepcopy(store.repo)
    try:
        store.store(name=STAGE, node=default_values(schema))
        for kind, selection in selections.items():
            _store_selection(store, kind, selection, spelling=spellings[kind])
        for i, document in enumerate(primaries):
            store.store(name=f"{PRIMARY}{i}", node=_without_defaults(document))
        store.store(name=ROOT, node={"defaults": _defaults(selections, len(primaries))})
        yield
    finally:
        store.repo = before


def _defaults(selections: Mapping[str, Selection], num_primaries: int) -> list[Any]:
    choices = [{kind: _top_name(selection)} for kind, selection in selections.items()]
    return [STAGE, *choices, *(f"{PRIMARY}{i}" for i in range(num_primaries)), "_self_"]


def _top_name(selection: Selection) -> str:
    return selection.chain[0].path.stem if selection.chain else selection.component.name


def _store_selection(store: Any, kind: str, selection: Selection, *, spelling: str) -> None:
    """Store the component under ``<kind>/<name>``, and each preset upon what it builds on.

    The bare name serves here: a composition has one component a kind, and no preset has its name.
    """
    below = selection.component.name
    options = _with_open_mappings(default_values(selection.options_class), selection.options_class)
    store.store(group=kind, name=below, node={"name": spelling, **options})
    for document in reversed(selection.chain):
        content = {"defaults": [below, "_self_"], **_without_defaults(document)}
        store.store(group=kind, name=document.path.stem, node=content)
        below = document.path.stem


def _with_open_mappings(values: dict[str, Any], cls: type[Any]) -> dict[str, Any]:
    """Let options of type dict take new keys, which Hydra refuses elsewhere."""
    from omegaconf import DictConfig

    return {
        key: DictConfig(value, flags={"struct": False})
        if isinstance(value, dict) and not dataclasses.is_dataclass(option_types(cls)[key])
        else value
        for key, value in values.items()
    }


def _without_defaults(document: Document) -> dict[str, Any]:
    return {k: v for k, v in (document.content or {}).items() if k != "defaults"}
