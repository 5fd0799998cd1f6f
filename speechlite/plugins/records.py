"""What discovery finds: plugins that loaded, plugins that did not, and the names of both."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pluggy import PluginManager

from speechlite.core.component import Component
from speechlite.plugins.command import Command

__all__ = ["BrokenPlugin", "Discovery", "LoadedPlugin", "canonical_name"]


@dataclass(frozen=True)
class LoadedPlugin:
    """Hold a plugin that loaded, and what it offers.

    Args:
        distribution: name of the installed distribution.
        version: its version.
        entry_point: name of its entry point.
        module: import path of the plugin.
        components: the components that it offers.
        commands: the commands that it offers.
        notes: what an author should know, in words: printing at import, slowness ...
        seconds: time that loading took.
        manager: a plugin manager that knows this plugin alone.
    """

    distribution: str
    version: str
    entry_point: str
    module: str
    components: tuple[Component, ...]
    commands: tuple[Command, ...]
    notes: tuple[str, ...]
    seconds: float
    manager: PluginManager


@dataclass(frozen=True)
class BrokenPlugin:
    """Hold a plugin that did not load, and why.

    Args:
        distribution: name of the installed distribution.
        version: its version.
        entry_point: name of its entry point.
        module: import path of the plugin.
        cause: the reason in one line.
        trace: the traceback as text.
    """

    distribution: str
    version: str
    entry_point: str
    module: str
    cause: str
    trace: str


@dataclass(frozen=True)
class Discovery:
    """Hold everything that one look at the installed plugins found.

    Args:
        plugins: those that loaded, sorted by distribution and entry point.
        broken: those that did not, in the same order.
        blocked: distributions that ``SPEECHLITE_BLOCK`` kept from being imported.
    """

    plugins: tuple[LoadedPlugin, ...]
    broken: tuple[BrokenPlugin, ...] = ()
    blocked: tuple[str, ...] = ()


def canonical_name(distribution: str) -> str:
    """Return a distribution's name with case and separators evened out.

    Args:
        distribution: a name as written by anybody.

    Returns:
        Lower case, with one dash for each run of dashes, dots and underscores.
    """
    return re.sub(r"[-_.]+", "-", distribution).lower()
