"""Build a folder under a temporary name, one builder at a time."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

__all__ = ["staging_folder"]

_PREFIX = ".generating-"
_STALE_PREFIX = ".stale-"
_LOCK = ".generating.lock"


@contextmanager
def staging_folder(root: Path) -> Iterator[Path]:
    """Provide an empty folder inside ``root`` and remove what is left of it afterwards.

    Waits while another process builds in ``root``. A lock is free when its owner is dead, so that
    folders which killed processes left can be told from those in use, and are removed first.

    Args:
        root: an existing folder.

    Yields:
        The empty folder.
    """
    with FileLock(root / _LOCK):
        _sweep(root)
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=root))
        try:
            yield folder
        finally:
            _remove(folder)


def _sweep(root: Path) -> None:
    for prefix in (_PREFIX, _STALE_PREFIX):
        for leftover in root.glob(f"{prefix}*"):
            _remove(leftover)


def _remove(folder: Path) -> None:
    # Renamed first: a worker that outlives its run cannot add a file while others are deleted.
    stale = folder.with_name(folder.name.replace(_PREFIX, _STALE_PREFIX))
    folder.rename(stale)
    shutil.rmtree(stale, ignore_errors=True)
