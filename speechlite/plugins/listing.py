"""Show what is installed: as a table for people, as JSON for programs."""

from __future__ import annotations

import json
from typing import Any

from speechlite.plugins.loading import one_line
from speechlite.plugins.records import BrokenPlugin, LoadedPlugin
from speechlite.plugins.registry import Registry

__all__ = ["as_json", "as_mapping", "as_text"]


def as_mapping(registry: Registry, *, kind: str | None = None) -> dict[str, Any]:
    """Return all plugins and what they offer as plain JSON values.

    Args:
        registry: what is installed.
        kind: list components of this kind only; None means all.

    Returns:
        ``{"plugins": [{distribution, version, entry_point, module, status, cause, notes, seconds,
        components, commands}, ...]}`` with status ``ok``, ``broken`` or ``blocked``.

    Raises:
        ConfigError: if there is no such kind.
    """
    registry.components(kind)
    discovery = registry.discovery
    rows = [_loaded_row(registry, plugin, kind) for plugin in discovery.plugins]
    rows += [_broken_row(plugin) for plugin in discovery.broken]
    rows += [_row(distribution=name, status="blocked") for name in discovery.blocked]
    return {"plugins": rows}


def as_json(registry: Registry, *, kind: str | None = None) -> str:
    """Return all plugins and what they offer as JSON text.

    Args:
        registry: what is installed.
        kind: list components of this kind only; None means all.

    Returns:
        JSON with one final newline.

    Raises:
        ConfigError: if there is no such kind.
    """
    return json.dumps(as_mapping(registry, kind=kind), indent=1, sort_keys=True) + "\n"


def as_text(registry: Registry, *, kind: str | None = None) -> str:
    """Return all plugins and what they offer as lines for a terminal.

    Args:
        registry: what is installed.
        kind: list components of this kind only; None means all.

    Returns:
        A paragraph a plugin, with one line a component, and one line a broken plugin.

    Raises:
        ConfigError: if there is no such kind.
    """
    lines: list[str] = []
    for row in as_mapping(registry, kind=kind)["plugins"]:
        lines += _paragraph(row)
    return "\n".join(lines) + "\n"


def _row(**known: Any) -> dict[str, Any]:
    empty: dict[str, Any] = dict.fromkeys(("version", "entry_point", "module", "cause", "seconds"))
    return {**empty, "notes": [], "components": [], "commands": [], **known}


def _loaded_row(registry: Registry, plugin: LoadedPlugin, kind: str | None) -> dict[str, Any]:
    components = [
        {
            "kind": component.kind,
            "name": component.name,
            "write": registry.spelling(component),
            "target": component.target,
            "config": component.config,
            "summary": one_line(component.summary),
        }
        for component in plugin.components
        if kind in (None, component.kind)
    ]
    commands = [
        {"name": command.name, "summary": one_line(command.summary), "target": command.target}
        for command in plugin.commands
    ]
    return _row(
        distribution=plugin.distribution,
        version=plugin.version,
        entry_point=plugin.entry_point,
        module=plugin.module,
        status="ok",
        notes=list(plugin.notes),
        seconds=round(plugin.seconds, 3),
        components=components,
        commands=[] if kind else commands,
    )


def _broken_row(plugin: BrokenPlugin) -> dict[str, Any]:
    return _row(
        distribution=plugin.distribution,
        version=plugin.version,
        entry_point=plugin.entry_point,
        module=plugin.module,
        status="broken",
        cause=plugin.cause,
    )


def _paragraph(row: dict[str, Any]) -> list[str]:
    version = f" {row['version']}" if row["version"] else ""
    title = one_line(f"{row['distribution']}{version}")
    if row["status"] != "ok":
        return [f"{title}: {row['status'].upper()}" + (f": {row['cause']}" if row["cause"] else "")]
    lines = [f"{title} ({row['module']})"]
    lines += [f"  note: {note}" for note in row["notes"]]
    for item in row["components"] + row["commands"]:
        name = item.get("write", item["name"])
        lines.append(f"  {item.get('kind', 'command'):<11} {name:<16} {item['summary']}")
    return lines
