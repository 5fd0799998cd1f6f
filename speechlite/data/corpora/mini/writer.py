"""Write the text files of the synthetic corpus: transcripts, lists, alignments and its record."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from speechlite.data.corpora.mini.channel import RATE_HZ
from speechlite.data.corpora.mini.job import Result
from speechlite.data.corpora.mini.plan import CorpusPlan, Subset

__all__ = ["hash_tree", "write_lists", "write_record"]

_TICKS_PER_SECOND = 10000
_SPEAKERS_HEADER = """\
; Readers of a synthetic corpus, in the format of LibriSpeech's list:
; reader_id, gender, subset, minutes of speech, and the voice that stands for the name
;
;ID  |SEX| SUBSET           |MINUTES| NAME
"""
_CHAPTERS_HEADER = """\
; Chapters of a synthetic corpus, in the format of LibriSpeech's list:
; chapter_id, reader_id, minutes of speech, subset, project, book, and two titles
;
;ID    |READER|MINUTES| SUBSET           | PROJ.|BOOK ID| CH. TITLE | PROJECT TITLE
"""


def write_lists(
    plan: CorpusPlan, results: Mapping[str, Result], *, library: Path, engine: str
) -> None:
    """Write every file of the corpus but the audio.

    Args:
        plan: the corpus.
        results: what was written for each utterance id.
        library: the folder that holds the subsets.
        engine: version of the engine, for the speakers' names.
    """
    for subset in plan.subsets:
        _write_transcripts(subset, library=library)
        _write_alignments(subset, results, library=library)
    _write_text(library / "SPEAKERS.TXT", _speakers(plan, results, engine=engine))
    _write_text(library / "CHAPTERS.TXT", _chapters(plan, results))


def write_record(path: Path, record: Mapping[str, object]) -> None:
    """Write a JSON file so that it is either whole or absent.

    Args:
        path: the file.
        record: what to write.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    _write_text(temporary, [json.dumps(record, indent=2, sort_keys=True) + "\n"])
    temporary.replace(path)


def hash_tree(folder: Path, known: Mapping[str, str]) -> str:
    """Return one hash over the names and contents of all files in a folder.

    Args:
        folder: the folder.
        known: SHA-256 of files that were hashed before, by path relative to the folder.

    Returns:
        SHA-256 in hexadecimal of the sorted lines "<sha256>  <path>".
    """
    lines = []
    for path in folder.rglob("*"):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            digest = known.get(name) or hashlib.sha256(path.read_bytes()).hexdigest()
            lines.append(f"{digest}  {name}\n")
    lines.sort(key=lambda line: line[64:].encode())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _write_transcripts(subset: Subset, *, library: Path) -> None:
    for reader in subset.readers:
        for chapter in reader.chapters:
            folder = library / subset.name / str(reader.id) / str(chapter.id)
            lines = (f"{job.utterance} {job.transcript}\n" for job in chapter.jobs)
            _write_text(folder / f"{reader.id}-{chapter.id}.trans.txt", lines)


def _write_alignments(subset: Subset, results: Mapping[str, Result], *, library: Path) -> None:
    found = [results[job.utterance] for job in subset.jobs()]
    folder = library / "alignments"
    folder.mkdir(exist_ok=True)
    for kind in ("phones", "words"):
        lines = (
            f"{result.utterance} 1 {_seconds(start)} {_seconds(end - start)} {token}\n"
            for result in found
            for start, end, token in getattr(result, kind)
        )
        _write_text(folder / f"{subset.name}.{kind}.ctm", lines)


def _speakers(plan: CorpusPlan, results: Mapping[str, Result], *, engine: str) -> Iterable[str]:
    yield _SPEAKERS_HEADER
    for subset in plan.subsets:
        for reader in subset.readers:
            voice = reader.speaker
            jobs = (job.utterance for chapter in reader.chapters for job in chapter.jobs)
            name = f"{voice.accent} {voice.f0_hz:.0f} Hz, eSpeak NG {engine}"
            minutes = _minutes(results, jobs)
            yield f"{reader.id:<4} | {voice.sex} | {subset.name:<16} | {minutes:5.2f} | {name}\n"


def _chapters(plan: CorpusPlan, results: Mapping[str, Result]) -> Iterable[str]:
    yield _CHAPTERS_HEADER
    for subset in plan.subsets:
        for reader in subset.readers:
            for chapter in reader.chapters:
                minutes = _minutes(results, (job.utterance for job in chapter.jobs))
                yield (
                    f"{chapter.id:<6} | {reader.id:<4} | {minutes:5.2f} | {subset.name:<16} "
                    f"| 0 | 0 | Chapter {chapter.id % 10} | Synthetic speech\n"
                )


def _minutes(results: Mapping[str, Result], utterances: Iterable[str]) -> float:
    return sum(results[utterance].num_samples for utterance in utterances) / RATE_HZ / 60


def _seconds(ticks: int) -> str:
    return f"{ticks / _TICKS_PER_SECOND:.4f}"


def _write_text(path: Path, lines: Iterable[str]) -> None:
    with path.open("w", encoding="ascii", newline="\n") as file:
        file.writelines(lines)
        file.flush()
        os.fsync(file.fileno())
