"""A recipe's experiments: which systems are pretrained, compressed and evaluated as which rows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from speechlite.config.safe_yaml import load_yaml
from speechlite.core.errors import ConfigError, UsageError

__all__ = [
    "Experiment",
    "Experiments",
    "Row",
    "Step",
    "System",
    "at_scale",
    "read_experiments",
    "read_seeds",
]

NO_CHAIN = "none"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_TAKEN = ("all", "pretrain")
_CONFIG = "config="
_REMEDY = "see the comments at the head of the file for its form"


@dataclass(frozen=True)
class Row:
    """Name a row of a table that an experiment fills.

    Args:
        table: the table, as the paper calls it.
        row: the row, as the paper calls it.
        layer: inference layers, in tables that list them; else None.
        line: the line of the table's figure that the row is a point of; None for none.
    """

    table: str
    row: str
    layer: str | None = None
    line: str | None = None


@dataclass(frozen=True)
class System:
    """Name a model before compression.

    Args:
        name: its name; part of its directory.
        overrides: options that differ from the primary file.
        trained: False for features alone, which need no pretraining.
    """

    name: str
    overrides: tuple[str, ...]
    trained: bool


@dataclass(frozen=True)
class Step:
    """Name one compression of a chain.

    Args:
        name: part of its directory: the chain's name, with a number where it is not the last.
        config: primary file without the scale at its end; None for the defaults.
        overrides: options.
    """

    name: str
    config: str | None
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class Experiment:
    """Join a system and a chain of compressors with the rows that they fill.

    Args:
        id: what the command line calls it.
        system: the model before compression.
        chain: name of the chain; ``none`` for no compression.
        steps: the compressions, in order; those of a chain that it follows come first.
        rows: rows of tables.
        convention: by which costs are counted beside the honest ones: honest for none, or paper.
    """

    id: str
    system: System
    chain: str
    steps: tuple[Step, ...]
    rows: tuple[Row, ...]
    convention: str = "honest"

    def directory(self, exp_dir: Path, seed: int) -> Path:
        """Return where a seed of this system goes.

        Args:
            exp_dir: directory of the sweep.
            seed: the seed.

        Returns:
            ``<exp_dir>/<system>/seed<seed>``.
        """
        return exp_dir / self.system.name / f"seed{seed}"

    def model_directory(self, exp_dir: Path, seed: int) -> Path:
        """Return the checkpoint that is evaluated.

        Args:
            exp_dir: directory of the sweep.
            seed: the seed.

        Returns:
            A model directory below ``directory``.
        """
        stage = "pretrain" if self.chain == NO_CHAIN else self.chain
        return self.directory(exp_dir, seed) / stage / "model"


@dataclass(frozen=True)
class Experiments:
    """Hold all experiments of a recipe.

    Args:
        recipe: name for records.
        all: experiments by id, in the order of the file.
        default: ids that run when none are named.
        path: the file.
    """

    recipe: str
    all: Mapping[str, Experiment]
    default: tuple[str, ...]
    path: Path

    def select(self, text: str | None) -> list[Experiment]:
        """Return the experiments that a command line names.

        Args:
            text: ids joined by commas, ``all``, or None for the default ones.

        Returns:
            Experiments in the order of the file.

        Raises:
            UsageError: if an id is unknown.
        """
        names = list(self.default) if text is None else [name for name in text.split(",") if name]
        if names == ["all"]:
            return list(self.all.values())
        unknown = [name for name in names if name not in self.all]
        if unknown or not names:
            raise UsageError(
                f"unknown experiments {unknown}" if unknown else "no experiment is named",
                remedy=f"choose among {', '.join(self.all)}, or all",
                path=self.path,
            )
        return [experiment for key, experiment in self.all.items() if key in names]


def at_scale(overrides: Sequence[str], scale: str) -> list[str]:
    """Return options whose presets differ by scale, as ``encoder=conformer_{scale}`` does.

    Args:
        overrides: options of a system or a step.
        scale: what ``{scale}`` in them stands for: the end of the primary file's name.

    Returns:
        The options of this scale.
    """
    return [override.replace("{scale}", scale) for override in overrides]


def read_seeds(text: str) -> list[int]:
    """Return the seeds that a command line names.

    Args:
        text: integers joined by commas.

    Returns:
        The seeds.

    Raises:
        UsageError: if one is not a non-negative integer, or stands twice.
    """
    parts = text.split(",")
    numeric = all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts)
    if not numeric or len({int(part) for part in parts}) < len(parts):
        raise UsageError(
            f"seeds {text!r}, expected different non-negative integers joined by commas",
            remedy="write for example --seeds 1,2,3",
        )
    return [int(part) for part in parts]


def read_experiments(path: Path) -> Experiments:
    """Read a recipe's experiments.

    Args:
        path: a YAML file with ``recipe``, ``systems``, ``chains``, ``experiments``, ``default``,
            and perhaps the ``convention`` of costs.

    Returns:
        The experiments.

    Raises:
        ConfigError: if the file does not have that form.
    """
    content = load_yaml(path)
    expected = {"recipe", "systems", "chains", "experiments", "default"}
    if not isinstance(content, dict) or set(content) - {"convention"} != expected:
        raise ConfigError(f"expected the keys {sorted(expected)}", remedy=_REMEDY, path=path)
    _check_sections(content, path)
    systems = {name: _system(name, body, path) for name, body in content["systems"].items()}
    chains = _chains(content["chains"], path)
    convention = str(content.get("convention", "honest"))
    experiments = {
        str(key): replace(_experiment(str(key), body, systems, chains, path), convention=convention)
        for key, body in content["experiments"].items()
    }
    default = tuple(str(name) for name in content["default"])
    unknown = [name for name in default if name not in experiments]
    if unknown:
        raise ConfigError(f"default names unknown {unknown}", remedy=_REMEDY, path=path)
    return Experiments(str(content["recipe"]), experiments, default, path)


def _check_sections(content: Mapping[str, Any], path: Path) -> None:
    for section in ("systems", "chains", "experiments"):
        names = content[section]
        if not isinstance(names, dict):
            raise ConfigError(
                f"{section} is {names!r}, expected a mapping", remedy=_REMEDY, path=path
            )
        # they become names of directories
        bad = [name for name in names if not _NAME.fullmatch(str(name)) or name in _TAKEN]
        if bad:
            raise ConfigError(
                f"{section} has {bad[0]!r}, expected letters, digits, '.', '_' or '-'"
                f" other than {' and '.join(_TAKEN)}",
                remedy="choose another name",
                path=path,
            )
    default = content["default"]
    if not isinstance(default, list) or not isinstance(content["recipe"], str):
        raise ConfigError(
            f"recipe is {content['recipe']!r}, default is {default!r}, expected a name and a list",
            remedy=_REMEDY,
            path=path,
        )


def _system(name: str, body: Any, path: Path) -> System:
    if not isinstance(body, dict) or not set(body) <= {"overrides", "trained"}:
        raise ConfigError(
            f"system {name} has {body!r}, expected overrides and trained",
            remedy=_REMEDY,
            path=path,
        )
    overrides = _strings(body.get("overrides", []), f"systems.{name}.overrides", path)
    return System(name, overrides, bool(body.get("trained", True)))


def _chains(content: Mapping[str, Any], path: Path) -> dict[str, tuple[Step, ...]]:
    chains: dict[str, tuple[Step, ...]] = {}
    for name, body in content.items():
        after = body.get("after") if isinstance(body, dict) else None
        own = _own_steps(name, body, path)
        if after is not None and str(after) not in chains:
            raise ConfigError(
                f"chain {name} follows {after!r}, expected a chain that stands before it",
                remedy=_REMEDY,
                path=path,
            )
        chains[name] = (*chains.get(str(after), ()), *own)
    return chains


def _own_steps(name: str, body: Any, path: Path) -> list[Step]:
    steps = (
        body.get("steps") if isinstance(body, dict) and set(body) <= {"after", "steps"} else body
    )
    if not isinstance(steps, list) or not steps or name == NO_CHAIN:
        raise ConfigError(
            f"chain {name} has {body!r}, expected a list of compressions, each a list of options",
            remedy=_REMEDY,
            path=path,
        )
    rows = [_strings(step, f"chains.{name}", path) for step in steps]
    names = [f"{name}.step{number}" for number in range(1, len(rows))] + [name]
    return [_step(*pair) for pair in zip(names, rows, strict=True)]


def _step(name: str, options: tuple[str, ...]) -> Step:
    files = [option.removeprefix(_CONFIG) for option in options if option.startswith(_CONFIG)]
    others = tuple(option for option in options if not option.startswith(_CONFIG))
    return Step(name, files[-1] if files else None, others)


def _strings(value: Any, key: str, path: Path) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ConfigError(
            f"{key} is {value!r}, expected a list of strings", remedy=_REMEDY, path=path
        )
    return tuple(value)


def _experiment(
    key: str,
    body: Any,
    systems: Mapping[str, System],
    chains: Mapping[str, tuple[Step, ...]],
    path: Path,
) -> Experiment:
    _check_experiment(key, body, path)
    chain = body.get("chain", NO_CHAIN)
    try:
        system = systems[body["system"]]
        steps = () if chain == NO_CHAIN else chains[str(chain)]
        rows = tuple(
            Row(
                row["table"],
                row["row"],
                str(row["layer"]) if "layer" in row else None,
                row.get("line"),
            )
            for row in body["rows"]
        )
    except (KeyError, TypeError) as error:
        raise ConfigError(
            f"experiment {key} lacks or misnames {error}", remedy=_REMEDY, path=path
        ) from None
    return Experiment(key, system, str(chain), steps, rows)


def _check_experiment(key: str, body: Any, path: Path) -> None:
    rows = body.get("rows") if isinstance(body, dict) else None
    fits = isinstance(rows, list) and rows and set(body) <= {"system", "chain", "rows"}
    if not fits or not all(_is_row(row) for row in rows or []):
        raise ConfigError(
            f"experiment {key} has {body!r}, expected a system, perhaps a chain, and rows, each "
            "with a table and a row, perhaps a layer or a line",
            remedy=_REMEDY,
            path=path,
        )


def _is_row(row: Any) -> bool:
    names = set(row) if isinstance(row, dict) else set()
    texts = [row.get(name, "") for name in ("table", "row", "line")] if names else [None]
    return {"table", "row"} <= names <= {"table", "row", "layer", "line"} and all(
        isinstance(text, str) for text in texts
    )
