"""Find the installed plugins on behalf of a verb, and say which are broken."""

from __future__ import annotations

import os
import sys

from speechlite.plugins.discovery import discover
from speechlite.plugins.registry import Registry

__all__ = ["open_registry"]


def open_registry() -> Registry:
    """Find the installed plugins, and print one line about each broken one on standard error.

    A verb calls it once.

    Returns:
        The registry of what loaded.
    """
    registry = Registry(discover())
    traced = os.environ.get("SPEECHLITE_TRACE") == "1"
    for plugin in registry.discovery.broken:
        print(
            f"speechlite: plugin {plugin.distribution} {plugin.version} is broken: {plugin.cause}",
            file=sys.stderr,
        )
        if traced and plugin.trace:
            print(plugin.trace, end="", file=sys.stderr)
    return registry
