"""Compose a stage's configuration from defaults, YAML files and arguments, without torch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from speechlite.config.checks import unfilled
from speechlite.config.overrides import Override, check_overrides, parse_overrides
from speechlite.config.safe_yaml import Document
from speechlite.config.schema import Choice
from speechlite.config.sources import Selection, Sources, choice_kinds, presets
from speechlite.config.stages import STAGES
from speechlite.config.store import ROOT, stored
from speechlite.config.typed import (
    build,
    config_hash,
    from_mapping,
    option_types,
    to_mapping,
)
from speechlite.core.errors import ConfigError
from speechlite.plugins.registry import Registry

__all__ = ["compose", "config_hash", "from_mapping", "stage_schema", "to_mapping"]


def compose(
    stage: str,
    *,
    registry: Registry,
    config_dir: Path | None = None,
    config_name: str | None = None,
    overrides: Sequence[str] = (),
) -> Any:
    """Return a stage's configuration as its frozen dataclass.

    Args:
        stage: one of ``STAGES``.
        registry: what is installed.
        config_dir: folder of primary YAML files, and of one folder of presets a kind.
        config_name: the primary file in it; None starts from the stage's own defaults.
        overrides: arguments such as ``encoder=conformer`` and ``encoder.layers=4``.

    Returns:
        The dataclass in ``STAGES``; each choice is a Choice with typed options.

    Raises:
        ConfigError: if a file, a choice, an option or a value is wrong.
        PluginError: if a chosen component's plugin is broken, or its name ambiguous.
    """
    schema = stage_schema(stage)
    sources = Sources(schema, registry, _checked_folder(config_dir))
    documents = sources.read_primary(config_name.removesuffix(".yaml")) if config_name else []
    options = _take_choices(parse_overrides(overrides), sources)
    selections = _selections(sources)
    check_overrides(options, schema, selections=selections)
    _refuse_unfilled(sources, selections, documents, options)
    return _typed(schema, _composed(sources, selections, documents, options), sources, selections)


def stage_schema(stage: str) -> type[Any]:
    """Return the dataclass of a stage's options.

    Args:
        stage: the stage's name.

    Returns:
        The dataclass.

    Raises:
        ConfigError: if there is no such stage.
    """
    if stage not in STAGES:
        raise ConfigError(f"no stage {stage!r}", remedy=f"choose one of {', '.join(STAGES)}")
    schema: type[Any] = STAGES[stage]
    return schema


def _checked_folder(config_dir: Path | None) -> Path | None:
    if config_dir is not None and not Path(config_dir).is_dir():
        cause = "is no folder"
        raise ConfigError(cause, remedy="give the folder of the configuration", path=config_dir)
    return None if config_dir is None else Path(config_dir)


def _take_choices(overrides: Sequence[Override], sources: Sources) -> list[Override]:
    """Move choices such as ``encoder=conformer`` to the sources; return the other overrides."""
    kinds = choice_kinds(sources.schema)
    options = []
    for override in overrides:
        if len(override.keys) > 1 or override.keys[0] not in kinds:
            options.append(override)
        elif isinstance(override.value, str):
            sources.choices[override.keys[0]] = override.value
        else:
            cause = f"argument {override.text!r} does not name a component"
            raise ConfigError(cause, remedy=f"write {override.keys[0]}=NAME")
    return options


def _selections(sources: Sources) -> dict[str, Selection]:
    kinds = choice_kinds(sources.schema)
    required = [kind for kind in kinds if option_types(sources.schema)[kind] is Choice]
    for kind in required:
        if kind not in sources.choices:
            registry = sources.registry
            names = [registry.spelling(component) for component in registry.components(kind)]
            names += presets(sources.config_dir, kind)
            cause = f"{kind}: nothing is chosen"
            raise ConfigError(cause, remedy=f"add {kind}=NAME with one of {', '.join(names)}")
    chosen = [kind for kind in kinds if kind in sources.choices]
    return {kind: sources.select(kind, sources.choices[kind]) for kind in chosen}


def _refuse_unfilled(
    sources: Sources,
    selections: Mapping[str, Selection],
    documents: Sequence[Document],
    options: Sequence[Override],
) -> None:
    """Refuse ``???`` in files unless an argument gives the value."""
    given = {option.keys for option in options}
    missing = dict(unfilled(documents, sources.schema))
    for kind, selection in selections.items():
        errors = unfilled(reversed(selection.chain), selection.options_class)
        missing.update({(kind, *keys): error for keys, error in errors.items()})
    for keys, error in missing.items():
        if not any(keys[: len(key)] == key for key in given):
            path = ".".join(keys)
            cause, remedy = f"{path}: no value is given", f"add {path}=VALUE"
            raise ConfigError(cause, remedy=remedy, path=error.path, line=error.line)


def _composed(
    sources: Sources,
    selections: Mapping[str, Selection],
    documents: Sequence[Document],
    options: Sequence[Override],
) -> dict[str, Any]:
    from hydra import compose as hydra_compose
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    spellings = {k: sources.registry.spelling(s.component) for k, s in selections.items()}
    nodes = stored(sources.schema, selections, primaries=documents, spellings=spellings)
    try:
        with _fresh_hydra(), nodes:
            config = hydra_compose(ROOT, overrides=[option.text for option in options])
        _refuse_missing(sorted(OmegaConf.missing_keys(config)))
        plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise _translated(error) from None
    return dict(plain)  # type: ignore[arg-type]


@contextlib.contextmanager
def _fresh_hydra() -> Iterator[None]:
    """Lend Hydra's global state to one composition, and give it back as it was."""
    from hydra import initialize
    from hydra.core.global_hydra import GlobalHydra

    state = GlobalHydra.instance()
    before = state.hydra
    state.clear()
    try:
        with initialize(version_base="1.3", config_path=None):
            yield
    finally:
        state.hydra = before


def _refuse_missing(keys: Sequence[str]) -> None:
    if keys:
        cause = f"{keys[0]}: no value is given"
        raise ConfigError(cause, remedy=f"add {keys[0]}=VALUE")


def _translated(error: Exception) -> ConfigError:
    key = getattr(error, "full_key", None)
    reason = next(iter(str(error).splitlines()), type(error).__name__)
    where = f"{key}: " if key else ""
    return ConfigError(f"{where}{reason}", remedy="correct the value or the reference")


def _typed(
    schema: type[Any],
    plain: Mapping[str, Any],
    sources: Sources,
    selections: Mapping[str, Selection],
) -> Any:
    values = dict(plain)
    for kind, selection in selections.items():
        options = {key: value for key, value in values[kind].items() if key != "name"}
        name = sources.registry.spelling(selection.component)
        values[kind] = Choice(kind, name, build(selection.options_class, options, where=kind))
    return build(schema, values, where="")
