"""Every hook that a plugin can implement, on one screen; docs/plugins.md explains each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pluggy import HookspecMarker

from speechlite.core.component import Component
from speechlite.plugins.command import Command

__all__ = ["Command", "speechlite_commands", "speechlite_components", "speechlite_result"]

hookspec = HookspecMarker("speechlite")


@hookspec
def speechlite_components() -> Iterable[Component]:  # type: ignore[empty-body]
    """Offer components: frontends, encoders, objectives, compressors and heads.

    Called whenever plugins are listed, so it must be quick and import no torch.

    Returns:
        One record a component.
    """


@hookspec
def speechlite_commands() -> Iterable[Command]:  # type: ignore[empty-body]
    """Offer commands that stand beside ``speechlite pretrain`` and its like.

    Called whenever plugins are listed, so it must be quick and import no torch.

    Returns:
        One record a command.
    """


@hookspec
def speechlite_result(result: Mapping[str, Any]) -> None:
    """Take note of a result record, after it has been written.

    An implementation that raises is reported; the record stands, and other plugins are told too.

    Args:
        result: the record as plain JSON values; a copy that may be kept.
    """
