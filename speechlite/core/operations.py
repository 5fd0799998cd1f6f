"""Whether layers may compute by kernels of their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import nn

__all__ = ["are_plain", "choose_kernels", "plain_operations"]

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


def choose_kernels(model: nn.Module, rows: int) -> None:
    """Let layers with several ways of computing take the one that is fastest on this machine.

    Layers have a method ``choose_kernel`` for that, which measures; results are the same but for
    rounding.

    Args:
        model: a model in eval mode, on the CPU.
        rows: frames at a time, over all utterances of a batch.
    """
    for module in model.modules():
        choose = getattr(module, "choose_kernel", None)
        if choose is not None:
            choose(rows)
