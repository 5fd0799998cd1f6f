"""Look components up by name, and import the one that was chosen."""

from __future__ import annotations

import difflib
import importlib
import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from speechlite.core.component import KINDS, Component
from speechlite.core.errors import ConfigError, PluginError
from speechlite.plugins.command import Command
from speechlite.plugins.loading import one_line_cause
from speechlite.plugins.records import Discovery, LoadedPlugin, canonical_name

__all__ = ["Registry"]

CONTRACTS = {
    "frontend": "speechlite.core.model:Frontend",
    "encoder": "speechlite.core.model:Encoder",
    "objective": "speechlite.core.objective:Objective",
    "compressor": "speechlite.core.compressor:Compressor",
    "head": "speechlite.core.head:Head",
}
"""The class that a component of each kind inherits from; imported late, for it needs torch."""


class Registry:
    """Look up what the installed plugins offer.

    Args:
        discovery: the plugins that were found.
    """

    def __init__(self, discovery: Discovery) -> None:
        self.discovery = discovery

    def components(self, kind: str | None = None) -> tuple[Component, ...]:
        """Return the components on offer.

        Args:
            kind: one of ``KINDS``; None means all.

        Returns:
            The components, in the order of their distributions.

        Raises:
            ConfigError: if there is no such kind.
        """
        if kind is not None and kind not in KINDS:
            raise ConfigError(f"no kind {kind!r}", remedy=f"choose one of {', '.join(KINDS)}")
        return tuple(c for _, c in self._offers() if kind in (None, c.kind))

    def get(self, kind: str, name: str) -> Component:
        """Return the component that a name stands for.

        Args:
            kind: the component's kind.
            name: its name, bare or as ``distribution/name``.

        Returns:
            The component.

        Raises:
            ConfigError: if there is no such kind or component.
            PluginError: if two distributions offer the name, or the distribution is broken.
        """
        known = self.components(kind)
        distribution, _, bare = name.rpartition("/")
        matches = [
            component
            for component in known
            if component.name == bare
            and (not distribution or self._is_from(component, distribution))
        ]
        if not matches:
            raise self._unknown(kind, name)
        if len(matches) > 1:
            spellings = ", ".join(self._full_name(component) for component in matches)
            raise PluginError(
                f"{kind} {name!r} is offered by {len(matches)} distributions",
                remedy=f"write one of {spellings}",
            )
        return matches[0]

    def spelling(self, component: Component) -> str:
        """Return the shortest name that stands for a component alone.

        Args:
            component: one of this registry's components.

        Returns:
            The bare name, or ``distribution/name`` where another distribution offers it too.
        """
        same = [c for c in self.components(component.kind) if c.name == component.name]
        return component.name if len(same) == 1 else self._full_name(component)

    def distribution_of(self, component: Component) -> str:
        """Return the name of the distribution that offers a component.

        Args:
            component: one of this registry's components.

        Returns:
            The distribution's name.

        Raises:
            PluginError: if no plugin offers it.
        """
        for plugin, offered in self._offers():
            if offered is component:
                return plugin.distribution
        raise PluginError(
            f"{component.kind} {component.name!r} is offered by no plugin",
            remedy="take components from Registry.get",
        )

    def config_class(self, component: Component) -> type:
        """Import the dataclass of a component's options, without torch.

        Args:
            component: one of this registry's components.

        Returns:
            A frozen dataclass.

        Raises:
            PluginError: if it cannot be imported, imports torch, or is no frozen dataclass.
        """
        had_torch = "torch" in sys.modules
        config_class = self._import(component, component.config)
        if not had_torch and "torch" in sys.modules:
            raise self._at_fault(component, f"{component.config} imports torch")
        if not (inspect.isclass(config_class) and is_dataclass(config_class)):
            raise self._at_fault(component, f"{component.config} is not a dataclass")
        if not config_class.__dataclass_params__.frozen:  # type: ignore[attr-defined]
            raise self._at_fault(component, f"{component.config} is not a frozen dataclass")
        if any(field.name == "name" for field in fields(config_class)):
            raise self._at_fault(component, f"{component.config} has the reserved option 'name'")
        return config_class

    def load(self, component: Component) -> type[Any]:
        """Import a component's class.

        Args:
            component: one of this registry's components.

        Returns:
            The class, a concrete subclass of its kind's contract.

        Raises:
            PluginError: if it cannot be imported, or does not keep the contract.
        """
        module, _, contract_name = CONTRACTS[component.kind].partition(":")
        contract = getattr(importlib.import_module(module), contract_name)
        target = self._import(component, component.target)
        if not (inspect.isclass(target) and issubclass(target, contract)):
            raise self._at_fault(
                component, f"{component.target} is not a subclass of {CONTRACTS[component.kind]}"
            )
        missing = sorted(getattr(target, "__abstractmethods__", ()))
        if missing:
            raise self._at_fault(component, f"{component.target} lacks {', '.join(missing)}")
        return target

    def command(self, name: str) -> Command | None:
        """Return the command that a plugin offers under a name.

        Args:
            name: its name, bare or as ``distribution/name``.

        Returns:
            The command, or None.

        Raises:
            PluginError: if two distributions offer the name.
        """
        distribution, _, bare = name.rpartition("/")
        matches = [
            (plugin, command)
            for plugin in self.discovery.plugins
            for command in plugin.commands
            if command.name == bare
            and canonical_name(distribution) in ("", canonical_name(plugin.distribution))
        ]
        if len(matches) > 1:
            spellings = ", ".join(f"{plugin.distribution}/{bare}" for plugin, _ in matches)
            raise PluginError(
                f"command {name!r} is offered by {len(matches)} distributions",
                remedy=f"write one of {spellings}",
            )
        return matches[0][1] if matches else None

    def load_command(self, command: Command) -> Callable[[list[str]], int]:
        """Import the function behind a command.

        Args:
            command: one of this registry's commands.

        Returns:
            A function from the remaining arguments to the exit code.

        Raises:
            PluginError: if it cannot be imported or called.
        """
        module, _, attribute = command.target.partition(":")
        remedy = "repair the plugin, or set SPEECHLITE_TRACE=1 for the traceback"
        try:
            function = getattr(importlib.import_module(module), attribute)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit at import is real
            cause = f"command {command.name!r} cannot be imported: {one_line_cause(error)}"
            raise PluginError(cause, remedy=remedy) from error
        if not callable(function):
            cause = f"command {command.name!r}: {command.target} is not a function"
            raise PluginError(cause, remedy=remedy)
        return function  # type: ignore[no-any-return]

    def _offers(self) -> list[tuple[LoadedPlugin, Component]]:
        return [(plugin, c) for plugin in self.discovery.plugins for c in plugin.components]

    def _is_from(self, component: Component, distribution: str) -> bool:
        return canonical_name(self.distribution_of(component)) == canonical_name(distribution)

    def _full_name(self, component: Component) -> str:
        return f"{self.distribution_of(component)}/{component.name}"

    def _unknown(self, kind: str, name: str) -> ConfigError | PluginError:
        distribution = canonical_name(name.rpartition("/")[0])
        for broken in self.discovery.broken:
            if distribution and canonical_name(broken.distribution) == distribution:
                return PluginError(
                    f"{kind} {name!r} needs {broken.distribution}, which is broken: {broken.cause}",
                    remedy="repair the plugin, or set SPEECHLITE_TRACE=1 for the traceback",
                )
        return ConfigError(
            f"no {kind} {name!r}{_suggestion(name, self._names(kind))}",
            remedy=f"choose one of {', '.join(self._names(kind)) or 'none installed'}"
            + self._about_broken(),
        )

    def _names(self, kind: str) -> list[str]:
        return sorted({self.spelling(component) for component in self.components(kind)})

    def _about_broken(self) -> str:
        if not self.discovery.broken:
            return ""
        lines = (f"{plugin.distribution} ({plugin.cause})" for plugin in self.discovery.broken)
        return "; broken plugins, which may have offered it: " + ", ".join(lines)

    def _import(self, component: Component, path: str) -> Any:
        module, _, attribute = path.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit at import is real
            cause = f"{path} cannot be imported: {one_line_cause(error)}"
            raise self._at_fault(component, cause) from error

    def _at_fault(self, component: Component, cause: str) -> PluginError:
        distribution = self.distribution_of(component)
        return PluginError(
            f"{component.kind} {component.name!r} of {distribution} cannot be used: {cause}",
            remedy=f"repair {distribution}, or set SPEECHLITE_TRACE=1 for the traceback",
        )


def _suggestion(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name.rpartition("/")[2], known, n=3)
    return f"; did you mean {' or '.join(close)}?" if close else ""
