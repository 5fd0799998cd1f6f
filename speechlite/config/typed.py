"""Plain values to typed options and back: strict about keys and types, free of Hydra and torch."""

from __future__ import annotations

import dataclasses
import difflib
import enum
import hashlib
import json
import math
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from speechlite.config.schema import Choice
from speechlite.core.errors import ConfigError
from speechlite.plugins.registry import Registry

__all__ = [
    "build",
    "config_hash",
    "convert",
    "describe",
    "from_mapping",
    "is_choice",
    "option_types",
    "to_mapping",
    "unknown_option",
]


def to_mapping(config: Any) -> Any:
    """Return typed options as plain JSON values.

    Args:
        config: a config dataclass; lists and plain values pass through.

    Returns:
        A dict; a Choice becomes ``{"name": ..., option: value, ...}``.
    """
    if isinstance(config, Choice):
        return {"name": config.name, **to_mapping(config.options)}
    if dataclasses.is_dataclass(config):
        fields = dataclasses.fields(config)
        return {field.name: to_mapping(getattr(config, field.name)) for field in fields}
    if isinstance(config, enum.Enum):
        return config.name
    if isinstance(config, Path):
        return str(config)
    if isinstance(config, Mapping):
        return {str(key): to_mapping(value) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return [to_mapping(value) for value in config]
    return config


def config_hash(config: Any) -> str:
    """Return a hash that changes whenever an option does.

    Args:
        config: a config dataclass, or plain JSON values.

    Returns:
        SHA-256 of the canonical JSON (sorted keys, no spaces), in hexadecimal.
    """
    text = json.dumps(to_mapping(config), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def from_mapping(kind: str, mapping: Mapping[str, Any], registry: Registry) -> Choice:
    """Return the choice of a component that a checkpoint or record describes.

    Args:
        kind: the component's kind.
        mapping: ``{"name": ..., option: value, ...}``; absent options take their defaults.
        registry: what is installed.

    Returns:
        The choice with typed options.

    Raises:
        ConfigError: if the name, an option or a type is wrong.
        PluginError: if the component's plugin is.
    """
    options = dict(mapping)
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise ConfigError(
            f"{kind}.name: expected a component's name, got {name!r}",
            remedy="write the name of a registered component",
        )
    component = registry.get(kind, name)
    options_class = registry.config_class(component)
    return Choice(kind, registry.spelling(component), build(options_class, options, where=kind))


def build(cls: type[Any], mapping: Mapping[str, Any], *, where: str) -> Any:
    """Return an instance of a config dataclass.

    Args:
        cls: the dataclass.
        mapping: options; absent ones take their defaults.
        where: key path of the mapping, for messages.

    Returns:
        The instance.

    Raises:
        ConfigError: if an option is unknown, missing, of a wrong type or out of range.
    """
    hints = option_types(cls)
    for key in mapping:
        if key not in hints:
            raise unknown_option(_join(where, str(key)), key=str(key), known=list(hints))
    values = {
        key: convert(hints[key], value, where=_join(where, key)) for key, value in mapping.items()
    }
    for field in dataclasses.fields(cls):
        required = (
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        )
        if required and field.name not in values:
            path = _join(where, field.name)
            raise ConfigError(f"{path}: no value is given", remedy=f"add {path}=VALUE")
    return _instance(cls, values, where)


def option_types(cls: type[Any]) -> dict[str, Any]:
    """Return the options of a config dataclass with their types.

    Args:
        cls: the dataclass.

    Returns:
        Types by name, in the order of declaration.
    """
    hints = get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls) if field.init}


def is_choice(hint: Any) -> bool:
    """Tell whether an option is the choice of a component.

    Args:
        hint: the option's type.

    Returns:
        True for Choice, also where it may be left out.
    """
    return hint is Choice or Choice in get_args(hint)


def unknown_option(path: str, *, key: str, known: Sequence[str]) -> ConfigError:
    """Return the error about an option that does not exist.

    Args:
        path: key path of the option.
        key: the part of the path that does not exist.
        known: names that would have been right in its place.

    Returns:
        The error, with a suggestion where one is close.
    """
    close = difflib.get_close_matches(key, known, n=2)
    hint = f", did you mean {' or '.join(close)}?" if close else ""
    return ConfigError(
        f"{path}: unknown option{hint}", remedy=f"choose one of {', '.join(known) or '(none)'}"
    )


def convert(hint: Any, value: Any, *, where: str) -> Any:
    """Return a plain value as the type that an option is annotated with.

    Numbers are not cut, and strings are not guessed at: an int may stand for a float, a list for a
    tuple, a string for a path or an enumeration's member, and nothing else is changed.

    Args:
        hint: the annotation.
        value: the plain value.
        where: key path of the value, for messages.

    Returns:
        The value, of the annotated type.

    Raises:
        ConfigError: if the value does not fit.
    """
    if hint is Any:
        return value
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return build(hint, value, where=where)  # type: ignore[arg-type]
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _convert_union(hint, value, where)
    if origin is Literal:
        if any(value == choice and type(value) is type(choice) for choice in get_args(hint)):
            return value
    elif (origin or hint) in (list, tuple, dict):
        return _convert_collection(hint, value, where)
    elif isinstance(hint, type):
        return _convert_scalar(hint, value, where)
    raise _mismatch(hint, value, where)


def describe(hint: Any) -> str:
    """Return an annotation in words that a user understands.

    Args:
        hint: the annotation.

    Returns:
        For example ``int``, ``list of str`` or ``one of 'mean', 'max'``.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(describe(argument) for argument in arguments)
    if origin is Literal:
        return "one of " + ", ".join(repr(argument) for argument in arguments)
    if (origin or hint) in (list, tuple):
        inner = [describe(argument) for argument in arguments if argument is not ...]
        return f"list of {', '.join(inner)}" if inner else "list"
    if hint is type(None):
        return "null"
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return "one of " + ", ".join(member.name for member in hint)
    if dataclasses.is_dataclass(hint) or (origin or hint) is dict:
        return "a mapping"
    return getattr(hint, "__name__", str(hint))


def _instance(cls: type[Any], values: dict[str, Any], where: str) -> Any:
    place = f"{where}: " if where else ""
    try:
        return cls(**values)
    except ConfigError as error:
        raise ConfigError(f"{place}{error.cause}", remedy=error.remedy) from None
    except (ValueError, TypeError, ArithmeticError) as error:
        raise ConfigError(f"{place}{error}", remedy="correct the value") from None


def _convert_union(hint: Any, value: Any, where: str) -> Any:
    members = get_args(hint)
    if value is None and type(None) in members:
        return None
    candidates = [member for member in members if member is not type(None)]
    exact = [member for member in candidates if member is type(value)]
    for member in exact + candidates:
        try:
            return convert(member, value, where=where)
        except ConfigError:
            if len(candidates) == 1 and not _is_scalar(member):
                raise
    raise _mismatch(hint, value, where)


def _is_scalar(hint: Any) -> bool:
    # Python 3.10 calls list[int] a type
    is_plain = isinstance(hint, type) and get_origin(hint) is None
    return is_plain and not dataclasses.is_dataclass(hint)


def _convert_collection(hint: Any, value: Any, where: str) -> Any:
    kind, arguments = get_origin(hint) or hint, get_args(hint)
    if kind is dict:
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            raise _mismatch(hint, value, where)
        inner = arguments[1] if arguments else Any
        return {k: convert(inner, v, where=_join(where, k)) for k, v in value.items()}
    if not isinstance(value, (list, tuple)):
        raise _mismatch(hint, value, where)
    inners = _element_types(kind, arguments, len(value))
    if len(inners) != len(value):
        cause = f"{where}: expected {len(inners)} values, got {len(value)}"
        raise ConfigError(cause, remedy="give as many values as the option has")
    return kind(
        convert(inner, item, where=f"{where}[{i}]")
        for i, (inner, item) in enumerate(zip(inners, value, strict=True))
    )


def _element_types(kind: type, arguments: tuple[Any, ...], length: int) -> list[Any]:
    if not arguments:
        return [Any] * length
    if kind is tuple and arguments[-1] is not ...:
        return list(arguments)
    return [arguments[0]] * length


def _convert_scalar(hint: type, value: Any, where: str) -> Any:
    if hint is float:
        if type(value) in (int, float) and not math.isnan(value):
            return float(value)
        raise _mismatch(hint, value, where)
    if hint is Path and isinstance(value, (str, Path)):
        return Path(value)
    if issubclass(hint, enum.Enum):
        if isinstance(value, str) and value in hint.__members__:
            return hint[value]
    elif type(value) is hint:
        return value
    raise _mismatch(hint, value, where)


def _mismatch(hint: Any, value: Any, where: str) -> ConfigError:
    got = "null" if value is None else f"{type(value).__name__} {value!r}"
    wants_text = hint is str or str in get_args(hint)
    quote = wants_text and isinstance(value, (int, float, bool))
    remedy = "put the value in quotes" if quote else "give a value of that type"
    return ConfigError(f"{where}: expected {describe(hint)}, got {got}", remedy=remedy)


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key
