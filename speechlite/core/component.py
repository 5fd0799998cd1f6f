"""The record by which a plugin offers one component; strings only, so a listing costs no torch."""

from __future__ import annotations

import re
from dataclasses import dataclass

from speechlite.core.errors import PluginError

__all__ = ["KINDS", "Component"]

KINDS = ("frontend", "encoder", "objective", "compressor", "head")
"""Every kind of component; each has a contract in ``speechlite.core``."""

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


@dataclass(frozen=True)
class Component:
    """Describe one component of a plugin without importing it.

    Args:
        kind: one of ``KINDS``.
        name: lower-case name, unique within its kind and distribution.
        target: ``"package.module:Class"`` of the component itself; may import torch.
        config: ``"package.module:Class"`` of its frozen dataclass; must not import torch.
        summary: one line for the listing.
    """

    kind: str
    name: str
    target: str
    config: str
    summary: str

    def check(self) -> None:
        """Refuse a record with a kind, name or import path that cannot be right.

        Raises:
            PluginError: if a field is malformed.
        """
        for field in ("kind", "name", "target", "config", "summary"):
            value = getattr(self, field)
            if not isinstance(value, str):
                raise PluginError(
                    f"a Component has {field}={value!r}, expected a string",
                    remedy="give every field of the Component as a string",
                )
        if self.kind not in KINDS:
            raise PluginError(
                f"component {self.name!r} has kind {self.kind!r}, expected one of {list(KINDS)}",
                remedy="correct the kind in speechlite_components()",
            )
        if not _NAME.fullmatch(self.name):
            raise PluginError(
                f"{self.kind} has name {self.name!r}, expected lower-case letters, digits and _",
                remedy="rename the component",
            )
        for field in ("target", "config"):
            value = getattr(self, field)
            if not _TARGET.fullmatch(value):
                raise PluginError(
                    f"{self.kind} {self.name!r} has {field}={value!r}, expected 'module:Class'",
                    remedy="write the import path as package.module:Class",
                )
