"""speechlite config: print the configuration that a command would use."""

from __future__ import annotations

import argparse
from pathlib import Path

from speechlite.cli.registry import open_registry
from speechlite.config.stages import STAGES
from speechlite.plugins.registry import Registry

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb.

    Args:
        parser: the parser to add them to.
    """
    parser.add_argument("stage", choices=list(STAGES), help="whose configuration")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="choices and options")
    parser.add_argument("--config_dir", type=Path, help="folder of the recipe's YAML files")
    parser.add_argument("--config", metavar="NAME", help="primary file in that folder")
    parser.add_argument("--list", action="store_true", help="list what can be chosen")


def run(args: argparse.Namespace) -> int:
    """Print a resolved configuration as YAML, or what can be chosen.

    Args:
        args: the parsed options.

    Returns:
        0.
    """
    registry = open_registry()
    if args.list:
        print(_alternatives(args.stage, registry, args.config_dir))
        return 0
    import yaml

    from speechlite.config.compose import compose, to_mapping

    config = compose(
        args.stage,
        registry=registry,
        config_dir=args.config_dir,
        config_name=args.config,
        overrides=args.overrides,
    )
    print(yaml.safe_dump(to_mapping(config), sort_keys=False), end="")
    return 0


def _alternatives(stage: str, registry: Registry, config_dir: Path | None) -> str:
    from speechlite.config.sources import choice_kinds, presets, primaries

    lines = []
    if config_dir is not None:
        lines.append(f"config: {', '.join(primaries(config_dir)) or '(none)'}")
    for kind in choice_kinds(STAGES[stage]):
        names = [registry.spelling(component) for component in registry.components(kind)]
        own = presets(config_dir, kind)
        lines.append(
            f"{kind}: {', '.join(names)}" + (f"; presets: {', '.join(own)}" if own else "")
        )
    return "\n".join(lines)
