"""Problems with data, collected rather than raised: where, what, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from speechlite.core.errors import DataError

__all__ = ["Problem", "more", "shown"]


@dataclass(frozen=True)
class Problem:
    """Name one thing that is wrong with a data directory, where it stands and what to do.

    Args:
        path: the file or directory at fault.
        line: the 1-based line in ``path``, if there is one.
        cause: what was found and what was expected.
        remedy: what the user can do about it.
    """

    path: Path
    line: int | None
    cause: str
    remedy: str

    def __str__(self) -> str:
        """Say it in one line, ``file:line: cause; remedy``."""
        return str(self.error())

    def error(self) -> DataError:
        """Return the problem as the error that stops a program.

        Returns:
            The error, not raised.
        """
        return DataError(self.cause, remedy=self.remedy, path=self.path, line=self.line)


def shown(text: str) -> str:
    """Quote a piece of a file for a message: printable ASCII, at most 60 characters.

    Args:
        text: anything that a file may contain.

    Returns:
        The quoted text, so that a terminal shows it and never obeys it.
    """
    return ascii(text if len(text) <= 60 else text[:57] + "...")


def more(count: int) -> str:
    """Say that a problem stands for further ones of its kind.

    Args:
        count: how many there are in all; at least 1.

    Returns:
        Nothing for one, else `` (and N more)``.
    """
    return f" (and {count - 1} more)" if count > 1 else ""
