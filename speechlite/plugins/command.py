"""The record by which a plugin offers one command; strings only, so a listing imports nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass

from speechlite.core.errors import PluginError

__all__ = ["Command"]

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


@dataclass(frozen=True)
class Command:
    """Describe one command of a plugin without importing it.

    Args:
        name: what follows ``speechlite`` on the command line; lower-case.
        summary: one line for the listing.
        target: ``"package.module:function"``; called with the list of the remaining arguments, it
            returns the exit code.
    """

    name: str
    summary: str
    target: str

    def check(self) -> None:
        """Refuse a record with a name or import path that cannot be right.

        Raises:
            PluginError: if a field is malformed.
        """
        for field in ("name", "summary", "target"):
            value = getattr(self, field)
            if not isinstance(value, str):
                raise PluginError(
                    f"a Command has {field}={value!r}, expected a string",
                    remedy="give every field of the Command as a string",
                )
        if not _NAME.fullmatch(self.name):
            raise PluginError(
                f"command has name {self.name!r}, expected lower-case letters, digits and _",
                remedy="rename the command",
            )
        if not _TARGET.fullmatch(self.target):
            raise PluginError(
                f"command {self.name!r} has target={self.target!r}, expected 'module:function'",
                remedy="write the import path as package.module:function",
            )
