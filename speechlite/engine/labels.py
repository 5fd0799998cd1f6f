"""Label streams of a task: phones of frames, or characters of transcripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from speechlite.config.schema import TaskOptions
from speechlite.core.errors import ConfigError, DataError
from speechlite.core.types import LabelSpace
from speechlite.data.corpora.phone_labels import read_phone_labels, read_phones
from speechlite.data.tokenizer import CharacterTokenizer
from speechlite.engine.splits import Split

__all__ = ["LAYOUTS", "read_labels"]

LAYOUTS = {"phones": "frame", "characters": "sequence"}
"""What the labels of each stream belong to, as in ``Head.label_layout``."""


def read_labels(
    task: TaskOptions, splits: Mapping[str, Split]
) -> tuple[LabelSpace, dict[str, np.ndarray]]:
    """Return a task's classes, and the labels of all its utterances.

    Args:
        task: the task.
        splits: its splits; the one named ``train`` defines the characters.

    Returns:
        The classes, and int64 labels by utterance id.

    Raises:
        ConfigError: if the label stream is unknown.
        DataError: if labels are missing or malformed.
    """
    if task.labels == "phones":
        return _phones(task, list(splits.values()))
    if task.labels == "characters":
        return _characters(splits)
    raise ConfigError(
        f"task.labels={task.labels!r}, expected one of {list(LAYOUTS)}",
        remedy="change task.labels",
    )


def _phones(task: TaskOptions, splits: Sequence[Split]) -> tuple[LabelSpace, dict[str, np.ndarray]]:
    files = [Path(name) for name in task.label_files]
    if not files:
        files = [path / "phone_labels" for split in splits for path in split.directories]
    labels: dict[str, np.ndarray] = {}
    for file in files:
        if not file.is_file():
            raise DataError(
                "there are no phone labels",
                remedy="run the data stage with alignments, or set task.label_files",
                path=file,
            )
        labels.update(read_phone_labels(file))
    symbols = Path(task.symbols) if task.symbols else _inventory(files)
    return LabelSpace("phones", _symbols(symbols, labels)), labels


def _inventory(files: Sequence[Path]) -> Path:
    found = [file.with_name("phones.txt") for file in files]
    contents = {path.read_bytes() if path.is_file() else b"" for path in found}
    if len(contents) > 1:
        raise DataError(
            f"{len(contents)} different phones.txt stand beside the labels of one task",
            remedy="label all directories by one 'speechlite data labels', or set task.symbols",
            path=found[0],
        )
    return found[0]


def _symbols(path: Path, labels: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    largest = max(int(row.max(initial=-1)) for row in labels.values())
    if not path.is_file():
        return tuple(str(label) for label in range(largest + 1))
    names = {label: symbol for symbol, label in read_phones(path).items()}
    if sorted(names) != list(range(len(names))) or largest >= len(names):
        raise DataError(
            f"names {len(names)} labels, the label files use 0 to {largest}",
            remedy="give one line 'symbol id' for every id from 0 on",
            path=path,
        )
    return tuple(names[label] for label in range(len(names)))


def _characters(splits: Mapping[str, Split]) -> tuple[LabelSpace, dict[str, np.ndarray]]:
    texts = {
        name: " ".join((utterance.text or "").split())
        for split in splits.values()
        for name, utterance in split.utterances.items()
    }
    tokenizer = CharacterTokenizer.from_texts(texts[name] for name in splits["train"].utterances)
    labels = {name: tokenizer.encode(text, utterance=name) for name, text in texts.items()}
    return LabelSpace("characters", tokenizer.symbols), labels
