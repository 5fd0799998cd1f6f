"""Run a function over items in forked processes that share what the parent has loaded.

Kaldi's wheels hold the interpreter lock while they align and decode, so threads gain nothing; and
their graphs can neither be pickled nor loaded twice cheaply.
"""

from __future__ import annotations

import multiprocessing
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar, cast

from speechlite.core.errors import EnvironmentProblem

__all__ = ["map_forked", "usable_workers"]

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


def usable_workers(num_workers: int) -> int:
    """Return how many processes to use.

    Args:
        num_workers: as asked; 0 takes all cores.

    Returns:
        At least 1.
    """
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    return num_workers or available


def map_forked(
    function: Callable[[Item], Outcome],
    items: Sequence[Item],
    *,
    num_workers: int,
    on_result: Callable[[int], None] = lambda done: None,
) -> list[Outcome]:
    """Apply a function to all items.

    The function runs in children forked from this process: it may use anything that the parent
    has, nothing that it changes comes back, and it must not run torch, whose threads a fork loses.

    Args:
        function: what to apply; its results are pickled.
        items: the items.
        num_workers: processes; 1 runs in this one.
        on_result: called with the number of results so far.

    Returns:
        The results in the order of the items.

    Raises:
        EnvironmentProblem: if a child dies, of too little memory for example, or fails in a way
            that cannot be sent here. Other errors of the function come as they are.
    """
    workers = min(num_workers, len(items))
    if workers < 2 or "fork" not in multiprocessing.get_all_start_methods():
        results = []
        for item in items:
            results.append(function(item))
            on_result(len(results))
        return results
    found: dict[int, Outcome] = {}
    children, readers = _fork(function, items, workers)
    try:
        for index, outcome in _receive(readers):
            found[index] = outcome
            on_result(len(found))
    finally:
        for child in children:
            child.terminate()
            child.join()
    return [found[index] for index in range(len(items))]


def _fork(
    function: Callable[[Item], Outcome], items: Sequence[Item], workers: int
) -> tuple[list[Any], list[Connection]]:
    context = multiprocessing.get_context("fork")
    children, readers = [], []
    for first in range(workers):
        reader, writer = context.Pipe(duplex=False)
        child = context.Process(
            target=_run, args=(function, items, range(first, len(items), workers), writer)
        )
        with warnings.catch_warnings():
            # Python 3.12 warns of threads; the children use none of them
            warnings.simplefilter("ignore", DeprecationWarning)
            child.start()
        writer.close()
        children.append(child)
        readers.append(reader)
    return children, readers


def _run(
    function: Callable[[Item], Outcome], items: Sequence[Item], places: range, writer: Connection
) -> None:
    try:
        for place in places:
            writer.send((place, function(items[place])))
        writer.send(None)
    except Exception as error:  # noqa: BLE001  the parent raises it
        _send_error(writer, error)


def _send_error(writer: Connection, error: Exception) -> None:
    try:
        writer.send(error)
    except Exception:  # noqa: BLE001  an error may hold what cannot be pickled
        writer.send(
            EnvironmentProblem(
                f"a worker process failed: {type(error).__name__}: {error}",
                remedy="run it in one process to see where: decoding.workers=1",
            )
        )


def _receive(readers: list[Connection]) -> Iterator[tuple[int, Any]]:
    open_readers = list(readers)
    while open_readers:
        for reader in cast("list[Connection]", wait(open_readers)):
            try:
                message = reader.recv()
            except (EOFError, OSError):
                raise EnvironmentProblem(
                    "a worker process died",
                    remedy="give it more memory, or fewer processes: decoding.workers=1",
                ) from None
            if isinstance(message, Exception):
                raise message
            if message is None:
                open_readers.remove(reader)
                continue
            yield message
