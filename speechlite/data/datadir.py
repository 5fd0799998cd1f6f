"""A Kaldi-style data directory as values: its utterances, each with its speaker and its sound."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from speechlite.core.errors import DataError
from speechlite.data.problems import Problem
from speechlite.data.recording_paths import resolve
from speechlite.data.tables import Table, read_table, write_table
from speechlite.data.validation import load_tables

__all__ = ["DataDir", "Utterance", "read_datadir", "read_table", "write_table"]

_LIMIT = 50


@dataclass(frozen=True, slots=True)
class Utterance:
    """Hold what the tables say about one utterance.

    Args:
        id: the utterance's id.
        speaker: its speaker's id.
        audio_path: the recording that it is, or is a part of.
        start_seconds: where it begins in the recording; None for a whole recording.
        end_seconds: where it ends; None for a whole recording.
        text: the transcript, if the directory has any.
        duration_seconds: length by utt2dur, else by its segment, else None.
        num_samples: length by utt2num_samples, else None.
    """

    id: str
    speaker: str
    audio_path: Path
    start_seconds: float | None
    end_seconds: float | None
    text: str | None
    duration_seconds: float | None
    num_samples: int | None


@dataclass(frozen=True)
class DataDir:
    """Hold the utterances of a data directory that passed the quick checks.

    Args:
        path: the directory.
        utterances: in C byte order of their ids; at least one.
    """

    path: Path
    utterances: tuple[Utterance, ...]


def read_datadir(path: str | Path, *, need_text: bool = False) -> DataDir:
    """Read a data directory after checking all of its tables; no sound is opened.

    Args:
        path: the directory with wav.scp, utt2spk and spk2utt.
        need_text: whether transcripts must be there.

    Returns:
        Its utterances; relative audio paths are resolved against the directory.

    Raises:
        DataError: the first problem with its file and line, and how many more there are.
    """
    directory = Path(path)
    text = "required" if need_text else "auto"
    tables, problems = load_tables(directory, text=text, limit=_LIMIT)
    if problems:
        raise _first_error(directory, problems)
    return DataDir(directory, _utterances(directory, tables))


def _first_error(directory: Path, problems: list[Problem]) -> DataError:
    first, rest = problems[0], len(problems) - 1
    if rest == 0:
        return first.error()
    at_least = "at least " if len(problems) == _LIMIT else ""
    remedy = (
        f"{first.remedy} ({at_least}{rest} more: 'speechlite data check {directory}' lists them)"
    )
    return DataError(first.cause, remedy=remedy, path=first.path, line=first.line)


def _utterances(directory: Path, tables: dict[str, Table]) -> tuple[Utterance, ...]:
    """Join the tables, whose keys are known to agree."""
    text, seconds, counts = (_rows(tables, name) for name in ("text", "utt2dur", "utt2num_samples"))
    scp = tables["wav.scp"]
    audio = {
        key: resolve(directory, value) for key, value in zip(scp.keys, scp.values, strict=True)
    }
    segments = {key: value.split(" ") for key, value in _rows(tables, "segments").items()}
    utterances = []
    for key, speaker in _rows(tables, "utt2spk").items():
        recording, start, end = segments.get(key, (key, None, None))
        begin_seconds = None if start is None else float(start)
        end_seconds = None if end is None else float(end)
        duration_seconds = float(seconds[key]) if key in seconds else None
        if duration_seconds is None and begin_seconds is not None and end_seconds is not None:
            duration_seconds = end_seconds - begin_seconds
        utterances.append(
            Utterance(
                id=key,
                speaker=speaker,
                audio_path=audio[str(recording)],
                start_seconds=begin_seconds,
                end_seconds=end_seconds,
                text=text.get(key),
                duration_seconds=duration_seconds,
                num_samples=int(counts[key]) if key in counts else None,
            )
        )
    return tuple(utterances)


def _rows(tables: dict[str, Table], name: str) -> dict[str, str]:
    table = tables.get(name)
    return {} if table is None else dict(zip(table.keys, table.values, strict=True))
