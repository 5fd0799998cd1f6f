"""What every step of DNN-HMM evaluation has in common: a stamp, a lock, a report."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from speechlite.core.errors import DataError
from speechlite.data.atomic import replace_file
from speechlite.engine.directories import own_directory
from speechlite.engine.progress import say
from speechlite.engine.stamps import Stamp

__all__ = ["read_report", "run_step", "write_lines", "write_report"]

_REPORT = "report.json"


def run_step(
    name: str,
    directory: Path,
    stamp: Callable[[], Stamp],
    run: Callable[[], Iterable[str]],
) -> bool:
    """Run a step unless its output is up to date.

    Args:
        name: what messages call it.
        directory: where it writes; owned meanwhile.
        stamp: gives what it is made with.
        run: makes the output, and returns the names of its files in the directory.

    Returns:
        Whether it ran.
    """
    with own_directory(directory):
        made_with = stamp()
        reason = made_with.reason_to_run(directory)
        if reason is None:
            say(f"{name}: up to date")
            return False
        say(f"{name}: {reason}")
        made_with.write(directory, outputs=run())
        return True


def write_report(directory: Path, facts: Mapping[str, Any]) -> str:
    """Write what a step found.

    Args:
        directory: the step's directory.
        facts: plain values.

    Returns:
        The file's name.
    """
    with replace_file(directory / _REPORT) as stream:
        stream.write((json.dumps(facts, indent=1, sort_keys=True) + "\n").encode())
    return _REPORT


def read_report(directory: Path) -> dict[str, Any]:
    """Read what a step found.

    Args:
        directory: the step's directory.

    Returns:
        The facts.

    Raises:
        DataError: if the step has not run.
    """
    path = directory / _REPORT
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise DataError(
            "is missing or unreadable", remedy="run the step that makes it", path=path
        ) from None
    return dict(facts)


def write_lines(path: Path, lines: Iterable[str]) -> str:
    """Write a text file.

    Args:
        path: the file to write or replace.
        lines: its lines.

    Returns:
        The file's name.
    """
    with replace_file(path) as stream:
        for line in lines:
            stream.write(f"{line}\n".encode())
    return path.name
