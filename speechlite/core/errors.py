"""The errors a user can cause, each with its cause, its place, its remedy and its exit code."""

from __future__ import annotations

import copyreg
from pathlib import Path

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "EnvironmentProblem",
    "LockError",
    "PlanError",
    "PluginError",
    "SpeechliteError",
    "UsageError",
]


class SpeechliteError(Exception):
    """Say in one line what was given, what was expected and what to do.

    Args:
        cause: what was given and what was expected instead.
        remedy: what the user can do about it; an imperative sentence without a full stop.
        path: the file or directory at fault, if there is one.
        line: the 1-based line in ``path``, if there is one.
    """

    exit_code = 1

    def __init__(
        self,
        cause: str,
        *,
        remedy: str,
        path: str | Path | None = None,
        line: int | None = None,
    ) -> None:
        self.cause = cause
        self.remedy = remedy
        self.path = None if path is None else Path(path)
        self.line = line
        super().__init__(self._one_line())

    def __reduce__(self) -> tuple[object, ...]:
        # BaseException's own calls the constructor with the message alone, which it does not take
        rebuild = copyreg.__newobj__  # type: ignore[attr-defined]  # typeshed leaves it out
        return rebuild, (type(self), *self.args), self.__dict__

    def _one_line(self) -> str:
        place = ""
        if self.path is not None:
            place = f"{self.path}:{self.line}: " if self.line is not None else f"{self.path}: "
        text = f"{place}{self.cause}; {self.remedy}"
        return " ".join(text.split())


class UsageError(SpeechliteError):
    """Report a command line that asks for something that does not exist."""

    exit_code = 2


class ConfigError(SpeechliteError):
    """Report an unknown option, a wrong type, a value out of range or an unsafe configuration."""

    exit_code = 2


class PlanError(ConfigError):
    """Report a compression plan that would change nothing, or that a model cannot carry out."""


class DataError(SpeechliteError):
    """Report audio, a data directory, labels or a manifest that cannot be used as they are."""

    exit_code = 3


class CheckpointError(DataError):
    """Report a checkpoint that is damaged, unsafe, or made for another model."""


class LockError(SpeechliteError):
    """Report a directory that another running process owns."""

    exit_code = 4


class PluginError(SpeechliteError):
    """Report a plugin that is missing, broken, clashing or mistyped."""

    exit_code = 5


class EnvironmentProblem(SpeechliteError):  # noqa: N818 (EnvironmentError is a built-in name)
    """Report a missing package, a full disk or a directory that cannot be written."""

    exit_code = 5
