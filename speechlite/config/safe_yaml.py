"""Read YAML that means to everybody what it says: no surprises, no references, no code.

What is refused, with file and line: duplicate keys, tabs, anchors, aliases, tags, several
documents, plain scalars that YAML 1.1 readers turn into something else (``no``, ``0123``,
``12:30``), keys that name code (``_target_``), keys that are no strings, interpolations that call
a resolver, too deep nesting, broken UTF-8 and overlong files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from speechlite.core.errors import ConfigError

__all__ = ["Document", "check_interpolation", "check_yaml", "load_document", "load_yaml"]

MAX_DEPTH = 20
"""Deepest nesting of lists and mappings."""
MAX_DIGITS = 300
"""Most digits of a whole number."""

_NULL = {"", "~", "null", "Null", "NULL"}
_BOOLS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(
    r"[-+]?([0-9]+\.[0-9]*([eE][-+]?[0-9]+)?|\.[0-9]+([eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)"
)
_INFINITY = re.compile(r"([-+]?)\.(inf|Inf|INF)")
_TRAPS = {
    "a word that some readers take for a boolean": re.compile(r"(?i)y|n|yes|no|on|off"),
    "a number with leading zeros, octal to some readers": re.compile(r"[-+]?0[0-9_]+"),
    # no more than that: a SHA-256 may begin with 0b
    "a number in another base to some readers": re.compile(
        r"(?i)[-+]?0(b[01_]+|o[0-7_]+|x[0-9a-f_]+)"
    ),
    "a base-60 number to some readers": re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?"),
    "a number with underscores to some readers": re.compile(r"[-+]?[0-9][0-9_.]*_[0-9_.eE+-]*"),
    "a date to some readers": re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt ].*)?"),
    "not a number": re.compile(r"\.(nan|NaN|NAN)"),
    "a merge key or default value to some readers": re.compile(r"<<|="),
}
_REFERENCE = re.compile(r"\$\{\.*[A-Za-z_]\w*(\.[A-Za-z_]\w*)*\}")
_MAGIC_KEY = re.compile(r"_[a-z]+_")


@dataclass(frozen=True)
class Document:
    """Hold the content of a YAML file, and where each key stands.

    Args:
        path: the file.
        content: plain values; None for an empty file.
        lines: the 1-based line of each key, by its path from the top.
    """

    path: Path
    content: Any
    lines: dict[tuple[str, ...], int]


def load_yaml(path: str | Path, *, max_bytes: int = 1_000_000) -> Any:
    """Return the content of a YAML file.

    Args:
        path: the file.
        max_bytes: largest size.

    Returns:
        Mappings, lists, strings, numbers, booleans and None.

    Raises:
        ConfigError: if the file cannot be read, or holds anything ambiguous or unsafe.
    """
    return load_document(path, max_bytes=max_bytes).content


def check_yaml(path: str | Path) -> None:
    """Refuse a YAML file that is ambiguous or unsafe.

    Args:
        path: the file.

    Raises:
        ConfigError: if ``load_yaml`` would.
    """
    load_document(path)


def load_document(path: str | Path, *, max_bytes: int = 1_000_000) -> Document:
    """Return the content of a YAML file with the lines of its keys.

    Args:
        path: the file.
        max_bytes: largest size.

    Returns:
        The document.

    Raises:
        ConfigError: if the file cannot be read, or holds anything ambiguous or unsafe.
    """
    reader = _Reader(Path(path), _read_text(Path(path), max_bytes))
    return Document(Path(path), reader.read(), reader.lines)


def check_interpolation(text: str) -> str | None:
    """Say what is wrong with a value's interpolations, if anything.

    Args:
        text: a string value.

    Returns:
        The offending part; None where every ``${...}`` is a plain reference to a key.
    """
    rest = _REFERENCE.sub("", text)
    return rest[rest.index("${") :] if "${" in rest else None


def _read_text(path: Path, max_bytes: int) -> str:
    try:
        with path.open("rb") as stream:
            content = stream.read(max_bytes + 1)
    except OSError as error:
        cause = f"cannot be read: {error.strerror}"
        raise ConfigError(cause, remedy="give an existing YAML file", path=path) from None
    if len(content) > max_bytes:
        cause = f"has more than {max_bytes} bytes"
        raise ConfigError(cause, remedy="move data out of the configuration", path=path)
    if content.startswith(b"\xef\xbb\xbf"):
        cause = "begins with a byte-order mark"
        raise ConfigError(cause, remedy="save the file as UTF-8 without one", path=path, line=1)
    return _decode(path, content)


def _decode(path: Path, content: bytes) -> str:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            "is not valid UTF-8", remedy="save the file as UTF-8", path=path, line=line
        ) from None
    for number, line_text in enumerate(text.split("\n"), 1):
        if "\t" in line_text:
            cause = "has a tab"
            raise ConfigError(cause, remedy="indent by spaces", path=path, line=number)
    return text


class _Reader:
    """Build plain values from the events of one YAML stream, by recursion bounded in depth."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.lines: dict[tuple[str, ...], int] = {}
        self.events: Iterator[yaml.Event] = yaml.parse(text, Loader=yaml.SafeLoader)

    def read(self) -> Any:
        """Return the content of the only document."""
        self._next()
        start = self._next()
        if isinstance(start, yaml.StreamEndEvent):
            return None
        self._check_document_start(start)
        content = self._value(self._next(), ())
        self._next()
        rest = self._next()
        if not isinstance(rest, yaml.StreamEndEvent):
            raise self._error(rest, "a second document begins", "keep one document in a file")
        return content

    def _next(self) -> yaml.Event:
        try:
            event = next(self.events)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            cause = getattr(error, "problem", None) or getattr(error, "reason", None)
            raise ConfigError(
                f"is not valid YAML: {cause}",
                remedy="correct the line",
                path=self.path,
                line=mark.line + 1 if mark else None,
            ) from None
        self._check_references(event)
        return event

    def _check_references(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.AliasEvent):
            raise self._error(event, f"alias *{event.anchor}", "write the value out")
        if getattr(event, "anchor", None) is not None:
            raise self._error(event, f"anchor &{event.anchor}", "write the value out where needed")
        if getattr(event, "tag", None) is not None:
            raise self._error(event, f"tag {event.tag}", "remove the tag")

    def _check_document_start(self, event: yaml.Event) -> None:
        if getattr(event, "version", None) or getattr(event, "tags", None):
            raise self._error(event, "a % directive", "remove the directive")

    def _value(self, event: yaml.Event, where: tuple[str, ...]) -> Any:
        if len(where) > MAX_DEPTH:
            cause = f"nesting deeper than {MAX_DEPTH} levels"
            raise self._error(event, cause, "flatten the configuration")
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(where)
        return self._mapping(where)

    def _sequence(self, where: tuple[str, ...]) -> list[Any]:
        values: list[Any] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            values.append(self._value(event, (*where, str(len(values)))))
        return values

    def _mapping(self, where: tuple[str, ...]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            key = self._key(event)
            path = (*where, key)
            if key in values:
                cause = f"key {key!r} stands here and in line {self.lines[path]}"
                raise self._error(event, cause, "keep one of them")
            self.lines[path] = event.start_mark.line + 1
            values[key] = self._value(self._next(), path)
        return values

    def _key(self, event: yaml.Event) -> str:
        key = self._scalar(event) if isinstance(event, yaml.ScalarEvent) else None
        if not isinstance(key, str):
            raise self._error(event, "a key that is no string", "quote the key, or rename it")
        if _MAGIC_KEY.fullmatch(key) and key != "_self_":
            cause = f"key {key!r}, which names code"
            raise self._error(event, cause, "choose a registered component by name instead")
        return key

    def _scalar(self, event: yaml.ScalarEvent) -> Any:
        offence = check_interpolation(event.value)
        if offence is not None:
            cause = (
                f"interpolation {offence!r}, expected a plain reference such as ${{encoder.dim}}"
            )
            raise self._error(event, cause, "write the value out")
        if not event.implicit[0]:
            return event.value
        for meaning, pattern in _TRAPS.items():
            if pattern.fullmatch(event.value):
                cause = f"{event.value} is {meaning}"
                raise self._error(event, cause, "quote it, or write true, false or a number")
        if len(event.value) > MAX_DIGITS and _INT.fullmatch(event.value):
            cause = f"a number of {len(event.value)} digits"
            raise self._error(event, cause, "write a smaller number")
        return _plain_scalar(event.value)

    def _error(self, event: yaml.Event, cause: str, remedy: str) -> ConfigError:
        line = event.start_mark.line + 1
        return ConfigError(cause, remedy=remedy, path=self.path, line=line)


def _plain_scalar(text: str) -> Any:
    if text in _NULL:
        return None
    if text in _BOOLS:
        return _BOOLS[text]
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    infinity = _INFINITY.fullmatch(text)
    return float(f"{infinity[1]}inf") if infinity else text
