"""Check the recipes: their files, their scripts, and that every configuration composes.

A finding is printed as ``file:line: message``; any finding makes the exit code 1.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

from speechlite.config.compose import compose
from speechlite.config.safe_yaml import load_yaml
from speechlite.config.schema import Choice
from speechlite.config.stages import STAGES
from speechlite.core.component import KINDS
from speechlite.core.errors import SpeechliteError
from speechlite.engine.experiments import at_scale, read_experiments
from speechlite.plugins.discovery import discover
from speechlite.plugins.registry import Registry

__all__ = ["check_recipe", "check_template", "check_tree", "main"]

ROOT = Path(__file__).resolve().parent.parent
MAX_RUN_LINES = 25
MAX_DRIVER_LINES = 150
NEEDED = ("run.sh", "conf/experiments.yaml", "conf/claims.yaml", "local/data.sh", "README.md")
INTERNAL = ("recipe_features", "recipe_stages")
"""What run.sh tells the driver without offering it as an option."""

_OPTION = re.compile(r"([a-z_]+)=")
_DOCUMENTED = re.compile(r"[a-z_]+=([^#]*[^# ])? +# \S")
_INTERPRETER = re.compile(r"(?:^|[\s|;&(])(awk|perl|python3?|ruby|bc)(?=\s)")
_MACHINE_PATH = re.compile(
    r"(?<![\w.})*\]])(?:~|/(?:home|root|work|mnt|tmp|opt|usr|srv|media|Users|export|scratch|var))/"
)
_SHEBANG = "#!/usr/bin/env bash"


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def _check_paths(path: Path) -> Iterator[str]:
    for number, line in enumerate(_lines(path), start=1):
        if line != _SHEBANG and _MACHINE_PATH.search(line):
            yield f"{path}:{number}: a path of one machine; make it an option or a relative path"


def _check_options(path: Path, lines: Sequence[tuple[int, str]]) -> Iterator[str]:
    for number, line in lines:
        name = _OPTION.match(line)
        if name and name[1] not in INTERNAL and not _DOCUMENTED.match(line):
            yield f"{path}:{number}: option {name[1]} has no comment beside its default"


def _check_script(path: Path, *, max_lines: int) -> Iterator[str]:
    lines = _lines(path)
    if len(lines) > max_lines:
        yield f"{path}:{len(lines)}: {len(lines)} lines, at most {max_lines} expected"
    for number, line in enumerate(lines, start=1):
        found = _INTERPRETER.search(line.partition("#")[0])
        if found:
            yield f"{path}:{number}: calls {found[1]}; shell sequences, speechlite thinks"


def check_template(folder: Path) -> list[str]:
    """Return what is wrong with what recipes share.

    Args:
        folder: ``egs/TEMPLATE``.

    Returns:
        One ``file:line: message`` a finding.
    """
    driver = folder / "driver.sh"
    findings = [*_check_script(driver, max_lines=MAX_DRIVER_LINES)]
    # The options are the first block of assignments; what follows is the driver's own.
    options: list[tuple[int, str]] = []
    for number, line in enumerate(_lines(driver), start=1):
        if _OPTION.match(line):
            options.append((number, line))
        elif options:
            break
    findings += _check_options(driver, options)
    return findings + [text for path in sorted(folder.glob("*.sh")) for text in _check_paths(path)]


def _check_run(path: Path) -> Iterator[str]:
    yield from _check_script(path, max_lines=MAX_RUN_LINES)
    yield from _check_options(path, list(enumerate(_lines(path), start=1)))
    for script in (path, *sorted(path.parent.glob("local/*.sh"))):
        if not os.access(script, os.X_OK):
            yield f"{script}:1: not executable; run chmod +x"


def _reported(path: Path, check: Callable[[], Any]) -> Iterator[str]:
    """Give the error of a check, if any, at the place where it is."""
    try:
        check()
    except SpeechliteError as error:
        place = error.path or path
        yield f"{place}:{error.line or 1}: {error.cause}; {error.remedy}"


def _stage_of(path: Path) -> str | None:
    stage = path.stem.partition("_")[0]
    return stage if stage in STAGES else None


def _check_configs(conf: Path, registry: Registry) -> Iterator[str]:
    presets = [(kind, path.stem) for kind in KINDS for path in sorted(conf.glob(f"{kind}/*.yaml"))]
    for path in sorted(conf.glob("*.yaml")):
        stage = _stage_of(path)
        if stage is None:
            yield from _reported(path, partial(load_yaml, path))
            continue
        refused = list(_composed(stage, path, registry, []))
        yield from refused
        kinds = set() if refused else _chosen_kinds(stage, path, registry)
        for kind, name in presets:
            if kind in kinds:
                yield from _composed(stage, path, registry, [f"{kind}={name}"])


def _chosen_kinds(stage: str, path: Path, registry: Registry) -> set[str]:
    # a choice that the file leaves out is left out for a reason
    config = compose(stage, registry=registry, config_dir=path.parent, config_name=path.stem)
    values = ((field.name, getattr(config, field.name)) for field in fields(STAGES[stage]))
    return {name for name, value in values if isinstance(value, Choice)}


def _composed(
    stage: str, path: Path, registry: Registry, overrides: Sequence[str], *, primary: bool = True
) -> Iterator[str]:
    yield from _reported(
        path,
        lambda: compose(
            stage,
            registry=registry,
            config_dir=path.parent,
            config_name=path.stem if primary else None,
            overrides=at_scale(overrides, path.stem.rpartition("_")[2]),
        ),
    )


def _check_experiments(path: Path, registry: Registry) -> Iterator[str]:
    refused = list(_reported(path, lambda: read_experiments(path)))
    if refused:
        yield from refused
        return
    experiments = read_experiments(path)
    systems = {item.system.name: item.system for item in experiments.all.values()}
    chains = {item.chain: item.steps for item in experiments.all.values()}
    for primary in sorted(path.parent.glob("pretrain_*.yaml")):
        for system in systems.values():
            yield from _composed("pretrain", primary, registry, system.overrides)
    for step in dict.fromkeys(step for steps in chains.values() for step in steps):
        if step.config is None:
            yield from _composed("compress", path, registry, step.overrides, primary=False)
            continue
        primaries = sorted(path.parent.glob(f"{step.config}_*.yaml"))
        if not primaries:
            yield f"{path}:1: chain {step.name} names {step.config}, which no file begins with"
        for primary in primaries:
            yield from _composed("compress", primary, registry, step.overrides)


def check_recipe(folder: Path, registry: Registry) -> list[str]:
    """Return what is wrong with a recipe.

    Args:
        folder: the folder that holds its run.sh.
        registry: where the components that its configurations name are looked up.

    Returns:
        One ``file:line: message`` a finding.
    """
    missing = [name for name in NEEDED if not (folder / name).exists()]
    if missing:
        return [f"{folder}:1: lacks {name}" for name in missing]
    findings = [*_check_run(folder / "run.sh"), *_check_configs(folder / "conf", registry)]
    findings += _check_experiments(folder / "conf" / "experiments.yaml", registry)
    texts = [folder / "run.sh", folder / "README.md"]
    texts += [path for name in ("conf", "local") for path in sorted((folder / name).rglob("*.*"))]
    return findings + [text for path in texts if path.is_file() for text in _check_paths(path)]


def check_tree(root: Path = ROOT) -> list[str]:
    """Return what is wrong with the recipes and what they share.

    Args:
        root: the folder that holds ``egs``.

    Returns:
        One ``file:line: message`` a finding.
    """
    registry = Registry(discover())
    template = root / "egs" / "TEMPLATE"
    recipes = [
        folder for folder in sorted((root / "egs").glob("*/*/")) if template != folder.parent
    ]
    findings = [finding for folder in recipes for finding in check_recipe(folder, registry)]
    return check_template(template) + findings


def main() -> int:
    """Print the findings.

    Returns:
        1 where there are any, else 0.
    """
    findings = check_tree()
    print("\n".join(findings), end="\n" if findings else "")
    return int(bool(findings))


if __name__ == "__main__":
    sys.exit(main())
