"""Checkpoints for resuming a training run: durable, verified, two of them.

The name of a checkpoint carries the beginning of its SHA-256, so that file and hash appear in
one rename, and a damaged one is told from a good one without trust in either.
"""

from __future__ import annotations

import hashlib
import io
import re
import shutil
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO

from speechlite.core.errors import CheckpointError, EnvironmentProblem
from speechlite.data.atomic import replace_file
from speechlite.engine.progress import say

__all__ = ["DurableCheckpointIO", "latest_checkpoint", "step_path", "sweep_temporaries"]

_NAME = re.compile(r"step-(\d{9})\.([0-9a-f]{16})\.ckpt")
_KEPT = 2


def step_path(directory: Path, step: int) -> Path:
    """Return the name to save a step's checkpoint under; the hash is added when it is written.

    Args:
        directory: where checkpoints lie.
        step: optimiser steps done.

    Returns:
        The path to give to Lightning.
    """
    return directory / f"step-{step:09d}.ckpt"


def latest_checkpoint(directory: Path) -> Path | None:
    """Return the newest checkpoint that is whole.

    Args:
        directory: where checkpoints lie; may be missing.

    Returns:
        Its path, or None where there is none.
    """
    for path in _newest_first(directory):
        match = _NAME.fullmatch(path.name)
        if match is not None and _digest(path.read_bytes()) == match[2]:
            return path
        say(f"{path}: damaged, falling back to the checkpoint before it")
    return None


def _newest_first(directory: Path) -> list[Path]:
    found = [path for path in directory.glob("step-*.ckpt") if _NAME.fullmatch(path.name)]
    return sorted(found, key=lambda path: path.name, reverse=True)


def _digest(content: bytes | memoryview) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


class DurableCheckpointIO(CheckpointIO):
    """Write checkpoints that are never half there, and read them without executing anything."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write a checkpoint, then remove all but the newest two.

        Args:
            checkpoint: what Lightning gathered; plain containers and tensors.
            path: what ``step_path`` gave.
            storage_options: not supported.

        Raises:
            EnvironmentProblem: if the directory is not writable or full; older ones stay.
        """
        path = Path(path)
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        content = buffer.getbuffer()
        final = path.with_name(f"{path.stem}.{_digest(content)}.ckpt")
        path.parent.mkdir(parents=True, exist_ok=True)
        with replace_file(final) as stream:
            stream.write(content)
        if final.stat().st_size != len(content):
            raise EnvironmentProblem(
                "was not written whole", remedy="check the file system", path=final
            )
        for old in _newest_first(path.parent):
            if old.name[:14] == final.name[:14] and old != final:
                old.unlink(missing_ok=True)
        for old in _newest_first(path.parent)[_KEPT:]:
            old.unlink(missing_ok=True)

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Read a checkpoint.

        Args:
            path: what ``latest_checkpoint`` gave.
            map_location: where tensors go, as for ``torch.load``.
            weights_only: ignored; nothing but tensors and plain containers is ever read.

        Returns:
            The checkpoint.

        Raises:
            CheckpointError: if it is damaged.
        """
        try:
            content: dict[str, Any] = torch.load(path, map_location=map_location, weights_only=True)
        except Exception as error:
            raise CheckpointError(
                f"cannot be read: {str(error).splitlines()[0]}",
                remedy="remove it; training goes on from the checkpoint before it",
                path=path,
            ) from None
        return content

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove a checkpoint.

        Args:
            path: its path.
        """
        Path(path).unlink(missing_ok=True)


def sweep_temporaries(directory: Path) -> None:
    """Remove what dead runs left half written; call it only while owning the directory.

    Args:
        directory: the run's directory.
    """
    found = [*directory.rglob(".*.tmp-*"), *directory.rglob(".*.old-*")]
    for path in found:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
