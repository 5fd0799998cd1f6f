"""Follow a configuration's choices to the YAML files and components that they stand for.

A primary file chooses presets and sets options of the stage; a preset names its component and sets
options of that component. Everything is checked here, with file and line, before Hydra composes it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speechlite.config.checks import check_content, placed
from speechlite.config.safe_yaml import Document, load_document
from speechlite.config.typed import is_choice, option_types
from speechlite.core.component import Component
from speechlite.core.errors import ConfigError
from speechlite.plugins.registry import Registry

__all__ = ["Selection", "Sources", "choice_kinds", "presets", "primaries"]

_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Selection:
    """Hold what one choice stands for.

    Args:
        option: the chosen name, of a preset or of a component.
        component: the component that it ends in.
        options_class: the component's config dataclass.
        chain: presets from the chosen one to the one that names the component; empty where the
            component itself was chosen.
    """

    option: str
    component: Component
    options_class: type[Any]
    chain: tuple[Document, ...]


@dataclass
class Sources:
    """Read the files of one composition.

    Args:
        schema: the stage's dataclass.
        registry: what is installed.
        config_dir: folder of primary files and of one folder of presets a kind, or None.
        choices: chosen names by kind, filled by ``read_primary``.
    """

    schema: type[Any]
    registry: Registry
    config_dir: Path | None
    choices: dict[str, str] = field(default_factory=dict)

    def read_primary(self, name: str) -> list[Document]:
        """Read a primary file and those that it builds on, and note what they choose.

        Args:
            name: name of the file, without suffix.

        Returns:
            The documents, in the order in which they are merged.

        Raises:
            ConfigError: if a file is missing, malformed or holds a wrong option.
        """
        return self._primary(name, ())

    def select(self, kind: str, option: str) -> Selection:
        """Follow a chosen name to its component.

        Args:
            kind: kind of the component.
            option: name of a preset or component.

        Returns:
            What it stands for, with all presets checked.

        Raises:
            ConfigError: if the name is unknown, or a preset is malformed.
            PluginError: if the component's plugin is broken, or its name ambiguous.
        """
        chain: list[Document] = []
        name = option
        while (path := self._preset_path(kind, name)) is not None:
            if any(document.path == path for document in chain):
                cause = f"preset {name!r} builds on itself"
                raise ConfigError(cause, remedy="begin it with its component's name", path=path)
            chain.append(load_document(path))
            name = _base_of_preset(chain[-1])
        component = self._component(kind, name, chain)
        options_class = self.registry.config_class(component)
        for document in chain:
            check_content(document, options_class, where=kind)
        return Selection(option, component, options_class, tuple(chain))

    def _primary(self, name: str, seen: tuple[str, ...]) -> list[Document]:
        path = self._primary_path(name)
        if name in seen:
            cause = f"{name!r} builds on itself"
            raise ConfigError(cause, remedy="remove it from the defaults list", path=path)
        document = load_document(path)
        kinds = choice_kinds(self.schema)
        documents: list[Document] = []
        for item in _defaults(document):
            if isinstance(item, str):
                documents += self._primary(item, (*seen, name))
            else:
                self._note_choice(document, item, kinds)
        _refuse_component_options(document, kinds)
        check_content(document, self.schema, where="")
        return [*documents, document]

    def _note_choice(self, document: Document, item: Any, kinds: Sequence[str]) -> None:
        key, option = next(iter(item.items())) if _is_pair(item) else ("", None)
        kind = key.removeprefix("override ")
        if kind not in kinds or not isinstance(option, str):
            cause = f"the defaults list holds {item!r}"
            remedy = f"write 'KIND: NAME' with a kind among {', '.join(kinds)}"
            raise placed(document, ("defaults",), ConfigError(cause, remedy=remedy))
        if kind in self.choices and kind == key:
            cause = f"{kind} is chosen here and in a file that this one builds on"
            error = ConfigError(cause, remedy=f"write 'override {kind}: {option}'")
            raise placed(document, ("defaults",), error)
        self.choices[kind] = option

    def _primary_path(self, name: str) -> Path:
        if self.config_dir is None:
            raise ConfigError(
                f"configuration {name!r} has no folder", remedy="give config_dir as well"
            )
        path = self.config_dir / f"{name}.yaml"
        if not _FILE_NAME.fullmatch(name) or not path.is_file():
            known = primaries(self.config_dir)
            raise ConfigError(
                f"no configuration {name!r}{_suggestion(name, known)}",
                remedy=f"choose one of {', '.join(known) or '(none in this folder)'}",
                path=self.config_dir,
            )
        return path

    def _preset_path(self, kind: str, name: str) -> Path | None:
        if self.config_dir is None or not _FILE_NAME.fullmatch(name):
            return None
        path = self.config_dir / kind / f"{name}.yaml"
        if not path.is_file():
            return None
        if any(component.name == name for component in self.registry.components(kind)):
            cause = f"preset {name!r} has the name of a component"
            raise ConfigError(cause, remedy="rename the preset", path=path)
        return path

    def _component(self, kind: str, name: str, chain: list[Document]) -> Component:
        try:
            return self.registry.get(kind, name)
        except ConfigError as error:
            if chain:
                raise placed(chain[-1], ("defaults",), error) from None
            known = presets(self.config_dir, kind)
            if not known:
                raise
            names = [component.name for component in self.registry.components(kind)]
            cause = f"no {kind} {name!r}{_suggestion(name, [*known, *names])}"
            remedy = f"{error.remedy}; or a preset: {', '.join(known)}"
            raise ConfigError(cause, remedy=remedy) from None


def choice_kinds(schema: type[Any]) -> tuple[str, ...]:
    """Return the kinds of components that a stage lets the user choose.

    Args:
        schema: the stage's dataclass.

    Returns:
        Names of its fields of type Choice, optional ones included.
    """
    return tuple(name for name, hint in option_types(schema).items() if is_choice(hint))


def presets(config_dir: Path | None, kind: str) -> list[str]:
    """Return the presets of a kind.

    Args:
        config_dir: folder of the configuration, or None.
        kind: kind of component.

    Returns:
        Their names, sorted.
    """
    return primaries(config_dir / kind) if config_dir is not None else []


def primaries(config_dir: Path) -> list[str]:
    """Return the configurations in a folder.

    Args:
        config_dir: the folder.

    Returns:
        Names of its YAML files, sorted, without suffix.
    """
    return sorted(path.stem for path in config_dir.glob("*.yaml"))


def _defaults(document: Document) -> list[Any]:
    """Return a document's defaults list without ``_self_``, which may only come last."""
    content = document.content
    if content is not None and not isinstance(content, dict):
        cause = "holds no mapping"
        raise ConfigError(cause, remedy="write 'key: value' lines", path=document.path, line=1)
    defaults = (content or {}).get("defaults", [])
    if not isinstance(defaults, list):
        error = ConfigError("defaults is no list", remedy="write a list of '- kind: name'")
        raise placed(document, ("defaults",), error)
    if "_self_" in defaults[:-1]:
        error = ConfigError("_self_ is not the last of defaults", remedy="move or remove it")
        raise placed(document, ("defaults",), error)
    return [item for item in defaults if item != "_self_"]


def _base_of_preset(document: Document) -> str:
    defaults = _defaults(document)
    if len(defaults) != 1 or not isinstance(defaults[0], str):
        error = ConfigError(
            f"a preset's defaults list holds {defaults!r}, expected one component or preset",
            remedy="begin the preset with 'defaults: [COMPONENT]'",
        )
        raise placed(document, ("defaults",), error)
    return defaults[0]


def _refuse_component_options(document: Document, kinds: Iterable[str]) -> None:
    for kind in kinds:
        if kind in (document.content or {}):
            error = ConfigError(
                f"{kind}: options of a component stand in a primary file",
                remedy=f"write them to a preset {kind}/NAME.yaml, and choose that in defaults",
            )
            raise placed(document, (kind,), error)


def _is_pair(item: Any) -> bool:
    return isinstance(item, dict) and len(item) == 1


def _suggestion(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=2)
    return f"; did you mean {' or '.join(close)}?" if close else ""
