"""Share jobs between worker processes and collect their results."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Lock

import speechlite
from speechlite.core.errors import EnvironmentProblem
from speechlite.data.corpora.mini.job import Job, Result, result_from_json, to_json

__all__ = ["perform_jobs"]

_WORKER = "speechlite.data.corpora.mini.worker"


def perform_jobs(
    jobs: Sequence[Job],
    root: Path,
    *,
    workers: int,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[Result], str]:
    """Speak jobs in worker processes.

    Args:
        jobs: what to say.
        root: folder that the paths of the jobs start from.
        workers: number of processes; 0 starts a fresh process for every job instead of forking.
        progress: called with the number of finished jobs and of all jobs.

    Returns:
        The results in the order of the jobs, and the version of the engine.

    Raises:
        EnvironmentProblem: the engine is missing, or the audio cannot be written.
    """
    _check_fork(workers)
    _make_folders(jobs, root)
    board = _Board(jobs, progress=progress)
    serve = _serve_forking if workers > 0 else _serve_fresh
    with ThreadPoolExecutor(max(workers, 1)) as threads:
        futures = [threads.submit(serve, board, root) for _ in range(max(workers, 1))]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            # A failure or an interrupt ends the other workers at their next job.
            board.clear()
        for future in futures:
            future.result()
    return board.results(), ", ".join(sorted(board.versions))


class _Board:
    """Hold the jobs that are left and the results so far, for all threads."""

    def __init__(self, jobs: Sequence[Job], *, progress: Callable[[int, int], None] | None) -> None:
        self._jobs = jobs
        self._progress = progress
        self._left: SimpleQueue[int] = SimpleQueue()
        for index in range(len(jobs)):
            self._left.put(index)
        self._results: dict[int, Result] = {}
        self._lock = Lock()
        self.versions: set[str] = set()

    def take(self) -> tuple[int, Job] | None:
        try:
            index = self._left.get_nowait()
        except Empty:
            return None
        return index, self._jobs[index]

    def finish(self, index: int, result: Result) -> None:
        with self._lock:
            self._results[index] = result
            if self._progress is not None:
                self._progress(len(self._results), len(self._jobs))

    def clear(self) -> None:
        while self.take() is not None:
            pass

    def results(self) -> list[Result]:
        return [self._results[index] for index in range(len(self._jobs))]


def _check_fork(workers: int) -> None:
    if workers > 0 and not hasattr(os, "fork"):
        raise EnvironmentProblem(
            "this system cannot fork processes, which the synthetic corpus needs for speed",
            remedy="ask for 0 workers, or generate the corpus on Linux or macOS",
        )


def _make_folders(jobs: Sequence[Job], root: Path) -> None:
    # Not left to the workers: one that outlives a killed run must not bring its folder back.
    try:
        for folder in {(root / job.path).parent for job in jobs}:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentProblem(
            f"the corpus cannot be written ({error})",
            remedy="free space or choose another folder",
        ) from error


def _serve_forking(board: _Board, root: Path) -> None:
    with _worker(root, mode="fork") as (process, version):
        board.versions.add(version)
        while (item := board.take()) is not None:
            board.finish(item[0], _ask(process, item[1]))


def _serve_fresh(board: _Board, root: Path) -> None:
    while (item := board.take()) is not None:
        with _worker(root, mode="fresh") as (process, version):
            board.versions.add(version)
            board.finish(item[0], _ask(process, item[1]))


@contextmanager
def _worker(root: Path, *, mode: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    source = str(Path(speechlite.__file__).parents[1])
    environment = dict(os.environ, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (source, os.getenv("PYTHONPATH"))))
    process = subprocess.Popen(  # noqa: S603  our own module and interpreter
        [sys.executable, "-m", _WORKER, str(root), mode],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    with process:
        try:
            yield process, _read(process)["engine"]
        finally:
            if process.stdin is not None:
                process.stdin.close()


def _ask(process: subprocess.Popen[str], job: Job) -> Result:
    assert process.stdin is not None  # noqa: S101  opened as a pipe above
    process.stdin.write(to_json(job) + "\n")
    process.stdin.flush()
    return result_from_json(json.dumps(_read(process)))


def _read(process: subprocess.Popen[str]) -> dict[str, str]:
    assert process.stdout is not None  # noqa: S101  opened as a pipe above
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"a worker of the synthetic corpus ended with status {process.wait()}")
    answer: dict[str, str] = json.loads(line)
    if "problem" in answer:
        raise EnvironmentProblem(answer["problem"], remedy=answer["remedy"])
    return answer
