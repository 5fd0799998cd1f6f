"""Files that are either the old version or the complete new one, whatever happens half-way."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from speechlite.core.errors import EnvironmentProblem

__all__ = ["replace_file"]


@contextmanager
def replace_file(path: str | Path) -> Iterator[BinaryIO]:
    """Give a binary file to write that takes the name ``path`` only when it is complete.

    The temporary name lies in the same directory, so that the last step is a rename inside one
    file system; file and directory are flushed to the disk, since a rename alone may survive a
    crash that the content does not.

    Args:
        path: the final name; its directory must exist.

    Yields:
        The open temporary file, readable and seekable too.

    Raises:
        EnvironmentProblem: the directory is missing, not writable or full. ``path`` is then what
            it was before.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}-{uuid.uuid4().hex[:8]}")
    try:
        with temporary.open("x+b") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
        _flush_directory(path.parent)
    except OSError as error:
        raise EnvironmentProblem(
            f"cannot be written: {error.strerror or error}",
            remedy="make sure that its directory exists, is writable and has free space",
            path=path,
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _flush_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
