"""Directories that are either the old version or the complete new one."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from speechlite.core.errors import DataError, EnvironmentProblem

__all__ = ["replace_datadir"]


@contextmanager
def replace_datadir(path: Path) -> Iterator[Path]:
    """Give an empty directory to fill that takes the name ``path`` only when it is complete.

    Args:
        path: the final name; a data directory that stands there is replaced.

    Yields:
        The directory to write into.

    Raises:
        DataError: ``path`` is something else than a data directory, which is not ours to remove.
        EnvironmentProblem: the directory cannot be written.
    """
    if path.exists() and not (path / "wav.scp").is_file():
        raise DataError(
            "exists and is not a data directory, so it is not replaced",
            remedy="choose another output directory",
            path=path,
        )
    mark = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
    fresh = path.with_name(f".{path.name}.tmp-{mark}")
    stale = path.with_name(f".{path.name}.old-{mark}")
    try:
        fresh.mkdir(parents=True)
        yield fresh
        if path.exists():
            path.rename(stale)
        fresh.rename(path)
    except OSError as error:
        raise EnvironmentProblem(
            f"cannot be written: {error.strerror or error}",
            remedy="make sure that it is writable and has free space",
            path=path,
        ) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(stale, ignore_errors=True)
