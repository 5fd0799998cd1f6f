"""Read ``key=value`` arguments by Hydra's grammar, and refuse what a user must not do by them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from speechlite.config.checks import check_option
from speechlite.config.safe_yaml import check_interpolation
from speechlite.config.sources import Selection
from speechlite.config.typed import option_types, unknown_option
from speechlite.core.errors import ConfigError

__all__ = ["Override", "check_overrides", "parse_overrides"]


@dataclass(frozen=True)
class Override:
    """Hold one ``key=value`` argument.

    Args:
        text: the argument as given.
        keys: the key's parts.
        value: the plain value.
    """

    text: str
    keys: tuple[str, ...]
    value: Any


def parse_overrides(texts: Sequence[str]) -> list[Override]:
    """Return arguments as keys and plain values.

    Args:
        texts: arguments such as ``encoder.layers=4``.

    Returns:
        One override an argument.

    Raises:
        ConfigError: if one is malformed, or does more than set a value.
    """
    return [_parse(text) for text in texts]


def check_overrides(
    overrides: Sequence[Override], schema: type[Any], *, selections: Mapping[str, Selection]
) -> None:
    """Refuse overrides of options that do not exist, or by values of a wrong type.

    Args:
        overrides: overrides other than choices.
        schema: the stage's dataclass.
        selections: what each choice stands for, by kind.

    Raises:
        ConfigError: if an override is wrong.
    """
    for override in overrides:
        top = override.keys[0]
        if top in selections:
            cls = selections[top].options_class
            check_option(cls, override.keys[1:], value=override.value, where=top)
        elif top not in option_types(schema):
            known = list(option_types(schema))
            raise unknown_option(".".join(override.keys), key=top, known=known)
        else:
            check_option(schema, override.keys, value=override.value, where="")


def _parse(text: str) -> Override:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    remedy = "write KEY=VALUE, with quotes around values of odd characters"
    try:
        parsed = OverridesParser.create().parse_override(text)
    except HydraException as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"argument {text!r} is malformed: {reason}", remedy=remedy) from None
    if parsed.is_add() or parsed.is_force_add() or parsed.is_delete():
        cause = f"argument {text!r} adds or removes a key"
        raise ConfigError(cause, remedy="set an existing option by KEY=VALUE")
    if parsed.is_sweep_override():
        cause = f"argument {text!r} gives several values"
        raise ConfigError(cause, remedy="run once a value, or write a list as [a,b]")
    if parsed.package is not None or "/" in parsed.key_or_group:
        cause = f"argument {text!r} names a group or package"
        raise ConfigError(cause, remedy="write the key with dots, such as encoder.layers=4")
    value = parsed.value()
    _refuse_resolvers(text, value)
    return Override(text, tuple(parsed.key_or_group.split(".")), value)


def _refuse_resolvers(text: str, value: Any) -> None:
    if isinstance(value, Mapping):
        for inner in value.values():
            _refuse_resolvers(text, inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            _refuse_resolvers(text, inner)
    elif isinstance(value, str) and check_interpolation(value) is not None:
        cause = f"argument {text!r} has an interpolation other than a plain reference to a key"
        raise ConfigError(cause, remedy="write the value out")
