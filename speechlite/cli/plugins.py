"""speechlite plugins: list what is installed, and check a component."""

from __future__ import annotations

import argparse
import sys

from speechlite.cli.registry import open_registry
from speechlite.core.component import KINDS
from speechlite.core.errors import PluginError, UsageError
from speechlite.plugins.listing import as_json, as_text
from speechlite.plugins.registry import Registry

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb.

    Args:
        parser: the parser to add them to.
    """
    parser.add_argument("--kind", choices=KINDS, help="list components of this kind only")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--strict", action="store_true", help="exit 5 if any plugin is broken")
    parser.add_argument(
        "--check",
        metavar="NAME",
        help="run the conformance suite on a component; give its --kind "
        "where the name alone is ambiguous",
    )


def run(args: argparse.Namespace) -> int:
    """List what is installed, or check one component.

    Args:
        args: the parsed options.

    Returns:
        0, or 5 where ``--strict`` finds a broken plugin, or 1 where a check fails.

    Raises:
        UsageError: if the name to check stands for no component, or for several.
    """
    registry = open_registry()
    if args.check is not None:
        return _check(registry, kind=args.kind, name=args.check)
    sys.stdout.write((as_json if args.json else as_text)(registry, kind=args.kind))
    return PluginError.exit_code if args.strict and registry.discovery.broken else 0


def _check(registry: Registry, *, kind: str | None, name: str) -> int:
    kind = kind or _kind_of(registry, name)
    registry.get(kind, name)
    from speechlite.testing.conformance import check_component

    check_component(kind, name)
    print(f"{kind} {name} conforms")
    return 0


def _kind_of(registry: Registry, name: str) -> str:
    bare = name.rpartition("/")[2]
    kinds = sorted({c.kind for c in registry.components() if c.name == bare})
    if len(kinds) == 1:
        return kinds[0]
    if kinds:
        raise UsageError(
            f"{name!r} is the name of {' and '.join(kinds)}", remedy="say which one by --kind"
        )
    raise UsageError(
        f"no component {name!r}", remedy="see 'speechlite plugins' for those there are"
    )
