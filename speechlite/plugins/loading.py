"""Load one plugin in isolation: whatever it does wrong becomes a line about it."""

from __future__ import annotations

import contextlib
import io
import random
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from importlib.metadata import Distribution, EntryPoint
from types import ModuleType
from typing import Any, TypeVar

from pluggy import PluginManager

from speechlite.core.component import Component
from speechlite.core.errors import PluginError, SpeechliteError
from speechlite.plugins.command import Command
from speechlite.plugins.records import BrokenPlugin, LoadedPlugin

__all__ = ["distribution_name", "identity", "load_plugin", "one_line", "one_line_cause"]

SLOW_SECONDS = 2.0
"""Loading time beyond which a plugin is noted as slow."""
MAX_RECORDS = 1000
"""Most records that one hook may return."""
MAX_CAUSE = 300
"""Longest cause in characters; longer ones are cut."""

Record = TypeVar("Record", Component, Command)


def identity(entry_point: EntryPoint) -> tuple[str, str]:
    """Return the distribution that an entry point belongs to.

    Args:
        entry_point: the entry point.

    Returns:
        The distribution's name and version; the top module and "unknown" where it has none.
    """
    distribution = entry_point.dist
    top_module = entry_point.value.partition(":")[0].partition(".")[0].strip()
    if distribution is None:
        return top_module, "unknown"
    version = distribution.metadata["Version"] if distribution.metadata else None
    return distribution_name(distribution) or top_module, str(version or "unknown")


def distribution_name(distribution: Distribution) -> str | None:
    """Return the name in a distribution's metadata.

    Args:
        distribution: an installed distribution.

    Returns:
        The name; None where the metadata or the name in it are missing.
    """
    name = distribution.metadata["Name"] if distribution.metadata else None
    return None if name is None else one_line(str(name))


def load_plugin(entry_point: EntryPoint) -> LoadedPlugin | BrokenPlugin:
    """Import a plugin and ask it what it offers.

    Nothing of a plugin that fails halfway is kept. Only an interrupt by the user passes through.

    Args:
        entry_point: where the plugin is.

    Returns:
        The plugin, or why there is none.
    """
    distribution, version = identity(entry_point)
    names = (distribution, version, entry_point.name, entry_point.value)
    started = time.perf_counter()
    notes: list[str] = []
    try:
        with _observed(notes):
            manager = _registered(entry_point.load(), module=entry_point.value)
            components = _offered(manager, "speechlite_components", Component)
            commands = _offered(manager, "speechlite_commands", Command)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit at import is real
        return BrokenPlugin(*names, cause=one_line_cause(error), trace=_trace(error))
    seconds = time.perf_counter() - started
    if seconds > SLOW_SECONDS:
        notes.append(f"took {seconds:.1f} s to load")
    return LoadedPlugin(*names, components, commands, tuple(notes), seconds, manager)


def one_line(text: str) -> str:
    """Return text that is safe to print: one line, no control characters, not overlong.

    Args:
        text: anything.

    Returns:
        At most 300 characters.
    """
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= MAX_CAUSE else line[: MAX_CAUSE - 3] + "..."


def one_line_cause(error: BaseException) -> str:
    """Return an error as one line.

    Args:
        error: the error.

    Returns:
        Its type and message; the cause alone where it is one of ours.
    """
    if isinstance(error, SpeechliteError):
        return one_line(error.cause)
    try:
        message = str(error)
    except Exception:
        message = ""
    return one_line(f"{type(error).__name__}: {message}" if message else type(error).__name__)


def _trace(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except Exception:
        return "(the traceback cannot be formatted)\n"


@contextlib.contextmanager
def _observed(notes: list[str]) -> Iterator[None]:
    """Keep printing off the terminal, put Python's random state back, and note both."""
    printed = io.StringIO()
    random_state = random.getstate()
    had_torch = "torch" in sys.modules
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            yield
    finally:
        if random.getstate() != random_state:
            random.setstate(random_state)
            notes.append("changes the state of random when imported")
    if printed.getvalue().strip():
        notes.append(f"prints when imported: {one_line(printed.getvalue())}")
    if not had_torch and "torch" in sys.modules:
        notes.append("imports torch when listed")


def _registered(plugin: object, *, module: str) -> PluginManager:
    from speechlite import hookspecs

    manager = PluginManager("speechlite")
    manager.add_hookspecs(hookspecs)
    _refuse_unmarked_hooks(plugin, manager)
    if manager.register(plugin, name=module) is None or not manager.get_hookcallers(plugin):
        raise PluginError(
            f"{module} implements no hook",
            remedy="decorate speechlite_components() with speechlite.hookimpl",
        )
    manager.check_pending()
    return manager


def _refuse_unmarked_hooks(plugin: object, manager: PluginManager) -> None:
    if not isinstance(plugin, ModuleType):
        return
    for name, value in vars(plugin).items():
        is_hook = name.startswith("speechlite_") and _defined_in(plugin, value)
        if is_hook and manager.parse_hookimpl_opts(plugin, name) is None:
            raise PluginError(
                f"{name}() lacks the @hookimpl decorator",
                remedy="decorate it with speechlite.hookimpl, or rename it",
            )


def _defined_in(module: ModuleType, value: object) -> bool:
    return callable(value) and getattr(value, "__module__", None) == module.__name__


def _offered(manager: PluginManager, hook: str, record_type: type[Record]) -> tuple[Record, ...]:
    caller = getattr(manager.hook, hook)
    answers = caller()
    if caller.get_hookimpls() and not answers:
        raise _wrong_answer(hook, record_type, None)
    records: list[Record] = []
    for answer in answers:
        if isinstance(answer, (str, bytes)) or not hasattr(answer, "__iter__"):
            raise _wrong_answer(hook, record_type, answer)
        for record in answer:
            if not isinstance(record, record_type):
                raise _wrong_answer(hook, record_type, record)
            record.check()
            _refuse_repetition(hook, record, records)
            records.append(record)
    return tuple(records)


def _wrong_answer(hook: str, record_type: type, answer: object) -> PluginError:
    return PluginError(
        f"{hook}() gave {type(answer).__name__}, expected {record_type.__name__} records",
        remedy=f"return a list of {record_type.__name__}",
    )


def _refuse_repetition(hook: str, record: Any, earlier: Sequence[Any]) -> None:
    kind = getattr(record, "kind", "command")
    if any(other.name == record.name and getattr(other, "kind", kind) == kind for other in earlier):
        raise PluginError(f"{kind} {record.name!r} is offered twice", remedy="rename one of them")
    if len(earlier) == MAX_RECORDS:
        raise PluginError(
            f"{hook}() gave more than {MAX_RECORDS} records", remedy="return a finite list"
        )
