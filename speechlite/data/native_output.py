"""What native libraries write to standard error, below Python's streams."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["silent_stderr"]


@contextmanager
def silent_stderr() -> Iterator[None]:
    """Keep what C++ writes to standard error from the terminal, KenLM's progress bar for example.

    Yields:
        Nothing; standard error is what it was afterwards.
    """
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
