"""Check options against the dataclass that they belong to, before anything is composed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import is_dataclass
from typing import Any

from speechlite.config.safe_yaml import Document
from speechlite.config.typed import convert, option_types, unknown_option
from speechlite.core.component import KINDS
from speechlite.core.errors import ConfigError

__all__ = ["MISSING", "check_content", "check_option", "placed", "unfilled"]

MISSING = "???"
"""What stands for a value that must be given elsewhere."""


def check_content(document: Document, cls: type[Any], *, where: str) -> None:
    """Refuse a document that sets an option that does not exist, or to a wrong type.

    Args:
        document: a mapping of options; its defaults list is left alone.
        cls: the dataclass of the options.
        where: key path of that dataclass, for messages.

    Raises:
        ConfigError: with the file and line.
    """
    for keys, value in _leaves(document.content or {}, cls):
        if keys == ("defaults",):
            continue
        try:
            check_option(cls, keys, value=value, where=where)
        except ConfigError as error:
            raise placed(document, keys, error) from None


def check_option(cls: type[Any], keys: tuple[str, ...], *, value: Any, where: str) -> None:
    """Refuse a value that an option cannot take.

    Args:
        cls: the config dataclass that the first key belongs to.
        keys: path of the option in it.
        value: a plain value; one that refers to other keys is left to be checked later.
        where: key path of the dataclass, for messages.

    Raises:
        ConfigError: if there is no such option, or the value has a wrong type.
    """
    hints = option_types(cls)
    path = f"{where}.{keys[0]}" if where else keys[0]
    if where in KINDS and keys[0] == "name":
        cause = f"{path}: the component's name cannot be set like an option"
        raise ConfigError(cause, remedy=f"choose another component by {where}=NAME")
    if keys[0] not in hints:
        raise unknown_option(path, key=keys[0], known=list(hints))
    hint = hints[keys[0]]
    if len(keys) > 1:
        if not is_dataclass(hint):
            raise unknown_option(".".join((path, *keys[1:])), key=keys[1], known=[])
        check_option(hint, keys[1:], value=value, where=path)  # type: ignore[arg-type]
    elif not _is_deferred(value):
        _check_value(hint, value, path)


def unfilled(documents: Iterable[Document], cls: type[Any]) -> dict[tuple[str, ...], ConfigError]:
    """Return the options that documents leave to be given elsewhere.

    Merging would drop ``???`` where an option has a default, so it is looked for here.

    Args:
        documents: checked documents, in the order in which they are merged.
        cls: the dataclass of their options.

    Returns:
        By the option's path, the error to raise unless a value is given.
    """
    missing: dict[tuple[str, ...], ConfigError] = {}
    for document in documents:
        for keys, value in _leaves(document.content or {}, cls):
            missing.pop(keys, None)
            if value == MISSING:
                error = ConfigError(
                    "no value is given", remedy="write one, or give it as KEY=VALUE"
                )
                missing[keys] = placed(document, keys, error)
    return missing


def placed(document: Document, keys: tuple[str, ...], error: ConfigError) -> ConfigError:
    """Return an error with the file and line of a key.

    Args:
        document: the document at fault.
        keys: path of the key; where it has no line, the nearest one above it counts.
        error: the error without a place.

    Returns:
        The error with one.
    """
    line = next(
        (document.lines[keys[:n]] for n in range(len(keys), 0, -1) if keys[:n] in document.lines), 1
    )
    return ConfigError(error.cause, remedy=error.remedy, path=document.path, line=line)


def _check_value(hint: Any, value: Any, path: str) -> None:
    if is_dataclass(hint) and isinstance(value, Mapping):
        for key, inner in value.items():
            check_option(hint, (str(key),), value=inner, where=path)  # type: ignore[arg-type]
    elif not _holds_deferred(value):
        convert(hint, value, where=path)


def _is_deferred(value: Any) -> bool:
    return isinstance(value, str) and (value == MISSING or "${" in value)


def _holds_deferred(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_holds_deferred(inner) for inner in value.values())
    if isinstance(value, (list, tuple)):
        return any(_holds_deferred(inner) for inner in value)
    return _is_deferred(value)


def _leaves(content: Any, cls: type[Any]) -> Iterable[tuple[tuple[str, ...], Any]]:
    """Give each option of a mapping with its path, entering what is a dataclass in the schema."""
    hints = option_types(cls)
    for key, value in content.items():
        inner = hints.get(key)
        if is_dataclass(inner) and isinstance(value, Mapping) and value:
            for keys, leaf in _leaves(value, inner):  # type: ignore[arg-type]
                yield (key, *keys), leaf
        else:
            yield (key,), value
