"""Output directories that appear complete or not at all, and that one process owns at a time."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from speechlite.core.errors import EnvironmentProblem, LockError

__all__ = ["new_directory", "own_directory", "sha256_of"]


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content.

    Args:
        path: a regular file.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """Give a temporary directory beside ``path`` that takes its name when the block ends well.

    An older directory of that name is replaced; if the block fails, it stays as it was.

    Args:
        path: the final name.

    Yields:
        The directory to write into.

    Raises:
        EnvironmentProblem: if it cannot be written.
    """
    token = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
    temporary = path.with_name(f".{path.name}.tmp-{token}")
    old = path.with_name(f".{path.name}.old-{token}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        yield temporary
        _flush(temporary)
        if path.exists():
            os.replace(path, old)
        os.replace(temporary, path)
    except OSError as error:
        raise EnvironmentProblem(
            f"cannot be written: {error.strerror or error}",
            remedy="make sure that its parent exists, is writable and has free space",
            path=path,
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _flush(directory: Path) -> None:
    # a rename may survive a crash that the content does not
    for path in [*directory.rglob("*"), directory]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def own_directory(path: Path) -> Iterator[None]:
    """Own a directory while the block runs, so that two runs never write into one.

    Args:
        path: the directory; made if it is missing.

    Yields:
        Nothing.

    Raises:
        LockError: if another running process owns it.
        EnvironmentProblem: if it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path / ".lock")
        lock.acquire(timeout=0)
    except Timeout:
        raise LockError(
            f"in use by {_owner(path)}",
            remedy="wait until that process has ended, or choose another directory",
            path=path,
        ) from None
    except OSError as error:
        raise EnvironmentProblem(
            f"cannot be written: {error.strerror or error}",
            remedy="choose a directory that you may write to",
            path=path,
        ) from error
    try:
        owner = {"pid": os.getpid(), "host": socket.gethostname()}
        (path / ".owner").write_text(json.dumps(owner), encoding="utf-8")
        yield
    finally:
        lock.release()


def _owner(path: Path) -> str:
    try:
        owner = json.loads((path / ".owner").read_text(encoding="utf-8"))
        return f"process {owner['pid']} on {owner['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
