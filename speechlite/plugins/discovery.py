"""Find installed plugins and load each on its own, so that a broken one harms no other.

What no loader survives in its own process is a plugin that ends the process (``os._exit``) or
never returns while it is imported; ``SPEECHLITE_BLOCK`` keeps such a distribution from being
imported at all.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Mapping
from importlib.metadata import Distribution, EntryPoint, distributions
from typing import Any

from speechlite.plugins.loading import distribution_name, identity, load_plugin, one_line_cause
from speechlite.plugins.records import BrokenPlugin, Discovery, LoadedPlugin, canonical_name

__all__ = ["ENTRY_POINT_GROUP", "discover", "notify_result"]

ENTRY_POINT_GROUP = "speechlite"
"""The one entry-point group that plugins stand in."""


def discover(
    *,
    entry_points: Iterable[EntryPoint] | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Discovery:
    """Load every installed plugin that can be loaded.

    Args:
        entry_points: the entry points to load; None takes those of all installed distributions.
        environ: environment; ``SPEECHLITE_BLOCK`` holds distributions to leave alone, separated
            by commas.

    Returns:
        What loaded, what is broken and what was blocked.
    """
    found: list[LoadedPlugin | BrokenPlugin] = []
    if entry_points is None:
        entry_points, found = _installed()
    names = environ.get("SPEECHLITE_BLOCK", "").split(",")
    blocklist = {canonical_name(name.strip()) for name in names if name.strip()}
    blocked = set()
    for entry_point in sorted(entry_points, key=_order):
        distribution, _ = identity(entry_point)
        if canonical_name(distribution) in blocklist:
            blocked.add(distribution)
        else:
            found.append(_without_repetition(load_plugin(entry_point), found))
    return Discovery(
        tuple(plugin for plugin in found if isinstance(plugin, LoadedPlugin)),
        tuple(plugin for plugin in found if isinstance(plugin, BrokenPlugin)),
        tuple(sorted(blocked)),
    )


def notify_result(discovery: Discovery, result: Mapping[str, Any]) -> tuple[str, ...]:
    """Tell every plugin about a result record that has been written.

    Args:
        discovery: the plugins.
        result: the record as plain JSON values.

    Returns:
        One line for each plugin that failed to take note; the others were told all the same.
    """
    failures = []
    for plugin in discovery.plugins:
        try:
            plugin.manager.hook.speechlite_result(result=copy.deepcopy(dict(result)))
        except (Exception, SystemExit) as error:
            cause = one_line_cause(error)
            failures.append(f"plugin {plugin.distribution} failed in speechlite_result: {cause}")
    return tuple(failures)


def _order(entry_point: EntryPoint) -> tuple[str, str]:
    return canonical_name(identity(entry_point)[0]), entry_point.name


def _installed() -> tuple[list[EntryPoint], list[LoadedPlugin | BrokenPlugin]]:
    """Return our entry points, and the distributions of which they cannot be read.

    Each distribution is read by itself: one malformed file must not stop the rest. Of several with
    one name the first on the path counts, as it does for imports.
    """
    entry_points: list[EntryPoint] = []
    unreadable: list[LoadedPlugin | BrokenPlugin] = []
    seen: set[str] = set()
    for distribution in distributions():
        ours = _ours(distribution)
        if not ours:
            continue
        name = canonical_name(_name_or_empty(distribution))
        if name and name in seen:
            continue
        seen.add(name)
        if isinstance(ours, BrokenPlugin):
            unreadable.append(ours)
        else:
            entry_points += ours
    return entry_points, unreadable


def _ours(distribution: Distribution) -> list[EntryPoint] | BrokenPlugin:
    try:
        text = distribution.read_text("entry_points.txt")
        if not text or f"[{ENTRY_POINT_GROUP}]" not in text:
            return []
        found = [entry for entry in distribution.entry_points if entry.group == ENTRY_POINT_GROUP]
        # The metadata is wanted soon; here one that cannot be read harms its own plugin only.
        distribution_name(distribution)
    except Exception as error:
        name = _name_or_empty(distribution) or "unknown"
        cause = f"entry_points.txt or METADATA cannot be read: {one_line_cause(error)}"
        return BrokenPlugin(name, "unknown", "unknown", "unknown", cause, trace="")
    return found


def _name_or_empty(distribution: Distribution) -> str:
    try:
        return distribution_name(distribution) or ""
    except Exception:
        return ""


def _without_repetition(
    plugin: LoadedPlugin | BrokenPlugin, earlier: list[LoadedPlugin | BrokenPlugin]
) -> LoadedPlugin | BrokenPlugin:
    """Call a plugin broken that repeats what its own distribution offers already."""
    if isinstance(plugin, BrokenPlugin):
        return plugin
    offered = {
        (component.kind, component.name)
        for other in earlier
        if isinstance(other, LoadedPlugin) and other.distribution == plugin.distribution
        for component in other.components
    }
    for component in plugin.components:
        if (component.kind, component.name) in offered:
            return _repeating(plugin, f"{component.kind} {component.name!r}")
    return plugin


def _repeating(plugin: LoadedPlugin, what: str) -> BrokenPlugin:
    cause = f"{what} is offered by another entry point of {plugin.distribution} too"
    return BrokenPlugin(
        plugin.distribution, plugin.version, plugin.entry_point, plugin.module, cause, ""
    )
