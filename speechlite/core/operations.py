"""Whether layers may compute by kernels of their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["are_plain", "plain_operations"]

_PLAIN: ContextVar[bool] = ContextVar("plain", default=False)


@contextmanager
def plain_operations() -> Iterator[None]:
    """Make layers compute by torch's plain operations, which counters see.

    Yields:
        Nothing.
    """
    token = _PLAIN.set(True)
    try:
        yield
    finally:
        _PLAIN.reset(token)


def are_plain() -> bool:
    """Return whether layers are to use plain operations only.

    Returns:
        True inside of ``plain_operations``.
    """
    return _PLAIN.get()
