"""Progress of long work: a bar with remaining time on a terminal, timestamped lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

__all__ = ["Tracker", "say", "track"]

_SECONDS_BETWEEN_LINES = 10.0


def say(text: str) -> None:
    """Print one timestamped line on stderr.

    Args:
        text: the line.
    """
    print(f"{time.strftime('%Y-%m-%dT%H:%M:%S')} {text}", file=sys.stderr, flush=True)


class Tracker:
    """Take note of progress; made by ``track``.

    Args:
        description: what is being done.
        total: units of work.
        bar: the terminal's bar, or None for lines.
    """

    def __init__(self, description: str, total: int, bar: Progress | None) -> None:
        self.description = description
        self.total = total
        self._bar = bar
        self._task = None if bar is None else bar.add_task(description, total=total)
        self._started = self._last_line = time.monotonic()
        self._first: int | None = None

    def update(self, done: int, note: str = "") -> None:
        """Show how far the work is.

        Args:
            done: units finished so far.
            note: a few words, such as the loss.
        """
        if self._first is None:
            self._first = done - 1
        if self._bar is not None and self._task is not None:
            text = f"{self.description} {note}".strip()
            self._bar.update(self._task, completed=done, description=text)
            return
        now = time.monotonic()
        if now - self._last_line >= _SECONDS_BETWEEN_LINES or done == self.total:
            self._last_line = now
            seconds = (now - self._started) / max(done - self._first, 1) * (self.total - done)
            left = f"{int(seconds // 60)}:{int(seconds % 60):02d} left"
            say(f"{self.description} {done}/{self.total} {note} {left}".replace("  ", " "))


@contextmanager
def track(description: str, total: int, *, quiet: bool = False) -> Iterator[Tracker]:
    """Show the progress of a block of work.

    Args:
        description: what is being done.
        total: units of work.
        quiet: whether to show nothing, as in all processes but the first.

    Yields:
        The tracker to update.
    """
    console = Console(stderr=True, quiet=quiet)
    if not console.is_terminal or quiet:
        tracker = Tracker(description, total, None)
        if quiet:
            tracker._last_line = float("inf")
            tracker.total = -1
        yield tracker
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=False) as bar:
        yield Tracker(description, total, bar)
