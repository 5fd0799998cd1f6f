"""Generate the synthetic corpus: all of it under its final name, or nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from speechlite.core.errors import DataError, EnvironmentProblem
from speechlite.data.corpora.mini.job import Result
from speechlite.data.corpora.mini.plan import CorpusPlan, plan_corpus
from speechlite.data.corpora.mini.pool import perform_jobs
from speechlite.data.corpora.mini.staging import staging_folder
from speechlite.data.corpora.mini.writer import hash_tree, write_lists, write_record

__all__ = ["GENERATOR_VERSION", "generate_corpus"]

GENERATOR_VERSION = 2
"""Version of the corpus's content; raised with every change that changes a file of it."""
_LIBRARY = "LibriSpeech"
_RECORD = "corpus.json"


def generate_corpus(
    root: Path,
    *,
    size: str,
    seed: int,
    workers: int | None,
    progress: Callable[[int, int], None] | None,
) -> Path:
    """Generate a corpus, or return at once when it is there.

    Args:
        root: folder to hold the corpus; made where it is missing.
        size: "tiny", "mini" or "small".
        seed: the same seed gives the same files, bit for bit.
        workers: number of processes; None for one a core.
        progress: called with the number of finished utterances and of all.

    Returns:
        The folder ``root``/LibriSpeech.

    Raises:
        DataError: the size is unknown, the number of workers is negative, or the folder holds
            another corpus.
        EnvironmentProblem: the engine is missing, or the folder cannot be written.
    """
    plan = plan_corpus(size, seed=seed)
    if workers is not None and workers < 0:
        raise DataError(f"{workers} workers were asked for", remedy="ask for 0 or more")
    root = Path(root).absolute()
    wanted = {"size": size, "seed": seed, "generator_version": GENERATOR_VERSION}
    if _is_complete(root, wanted):
        return root / _LIBRARY
    count = _default_workers() if workers is None else workers
    try:
        root.mkdir(parents=True, exist_ok=True)
        with staging_folder(root) as folder:
            # Another process may have made it while this one waited for the lock.
            if not _is_complete(root, wanted):
                record = _build(plan, folder, workers=count, progress=progress)
                _publish(folder, root, record={**wanted, **record})
    except OSError as error:
        raise EnvironmentProblem(
            f"the corpus cannot be written ({error.strerror or error})",
            remedy="free space or choose another folder",
            path=root,
        ) from error
    return root / _LIBRARY


def _default_workers() -> int:
    if not hasattr(os, "fork"):
        return 0
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _is_complete(root: Path, wanted: Mapping[str, object]) -> bool:
    library, record_path = root / _LIBRARY, root / _RECORD
    if not library.exists():
        return False
    if not record_path.is_file():
        raise DataError(
            f"there is a {_LIBRARY} folder that this generator did not make",
            remedy="choose another folder for the synthetic corpus",
            path=root,
        )
    found = _read_record(record_path)
    differing = [name for name, value in wanted.items() if found.get(name) != value]
    if differing:
        has = ", ".join(f"{name} {found.get(name)}" for name in differing)
        asked = ", ".join(f"{name} {wanted[name]}" for name in differing)
        raise DataError(
            f"the folder holds a synthetic corpus of {has}, but {asked} was asked for",
            remedy="choose another folder, or remove this one",
            path=root,
        )
    return True


def _read_record(path: Path) -> dict[str, object]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(
            f"the record of the synthetic corpus is not JSON ({error})",
            remedy="remove the folder and generate the corpus again",
            path=path,
        ) from error
    return record if isinstance(record, dict) else {}


def _build(
    plan: CorpusPlan,
    folder: Path,
    *,
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> dict[str, object]:
    jobs = list(plan.jobs())
    library = folder / _LIBRARY
    library.mkdir()
    found, engine = perform_jobs(jobs, library, workers=workers, progress=progress)
    results: dict[str, Result] = {result.utterance: result for result in found}
    write_lists(plan, results, library=library, engine=engine)
    known = {job.path: results[job.utterance].sha256 for job in jobs}
    return {
        "engine": f"eSpeak NG {engine}",
        "num_utterances": len(jobs),
        "num_samples": sum(result.num_samples for result in found),
        "sha256": hash_tree(library, known),
    }


def _publish(folder: Path, root: Path, *, record: Mapping[str, object]) -> None:
    # The record goes first: a record without a corpus only means that one was begun.
    write_record(root / _RECORD, record)
    (folder / _LIBRARY).rename(root / _LIBRARY)
