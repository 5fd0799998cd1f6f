"""Which paths wav.scp may name: plain files only, never commands, addresses or escapes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from speechlite.data.problems import Problem, more, shown
from speechlite.data.tables import Table

__all__ = ["check_recording_paths", "resolve"]

_SAFE_PATH = re.compile(r"[^|`$;&<>*?\"\\~:\-][^|`$;&<>*?\"\\:]*")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.,-]+:")
_PLAIN_PATH = "write the path of one WAV or FLAC file"
_PREPARE = "run 'speechlite data prepare --corpus kaldi', which makes the paths absolute"


def check_recording_paths(table: Table) -> Iterator[Problem]:
    """Find the entries of wav.scp that are not plain paths, and relative ones that are absent.

    A path is only ever opened, never given to a shell; anything that another toolkit would run,
    fetch or expand is refused all the same.

    Args:
        table: wav.scp.

    Yields:
        One problem a path that is not plain, and one for all relative paths without a file.
    """
    absent = []
    for index, value in enumerate(table.values):
        if _SAFE_PATH.fullmatch(value) is None or ".." in value:
            fault = _path_fault(value)
            if fault is not None:
                yield table.problem(index, *fault)
                continue
        # Not Path.exists, which raises where a name is too long for the file system.
        if value[0] != "/" and not os.path.exists(table.path.parent / value):
            absent.append(index)
    if absent:
        cause = (
            f"relative path {shown(table.values[absent[0]])} does not exist in the data "
            f"directory{more(len(absent))}"
        )
        yield table.problem(absent[0], cause, _PREPARE)


def _path_fault(value: str) -> tuple[str, str] | None:
    """Return cause and remedy for a path that is not plain."""
    quoted = shown(value)
    if value.startswith("|") or value.endswith("|") or value.startswith("pipe:"):
        cause = f"{quoted} is a command to run, which is refused"
        return cause, "run it once when preparing and write the path of its output"
    if value == "-":
        return "'-' stands for the standard input, which is refused", _PLAIN_PATH
    if value.startswith("-"):
        return f"path {quoted} begins with '-', as an option does", "write './' before it"
    if value.startswith("~"):
        return f"path {quoted} begins with '~', which is not expanded", "write the whole path"
    if ".." in value.split("/"):
        return f"path {quoted} has a '..' component", "write the path without it"
    if _SCHEME.match(value):
        cause = f"{quoted} is an address, not a path, and nothing is fetched"
        return cause, "download the file when preparing and write its path"
    if re.search(r":[0-9]+(\[.*\])?$", value):
        cause = f"{quoted} is a place inside an archive"
        return cause, "copy the recordings to files of their own when preparing"
    found = re.search(r'[|`$;&<>*?"\\:]', value)
    if found is not None:
        cause = f"path {quoted} contains {found[0]!r}, which shells and tools interpret"
        return cause, "rename the file"
    return None


def resolve(directory: Path, value: str) -> Path:
    """Return the file that an entry of wav.scp names.

    Args:
        directory: the data directory, to which relative paths refer.
        value: the entry, already checked.

    Returns:
        Its path.
    """
    return directory / value
