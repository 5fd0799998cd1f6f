"""Label streams of a task: phones of frames, characters or subword units of transcripts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from speechlite.config.schema import TaskOptions
from speechlite.core.errors import ConfigError, DataError, EnvironmentProblem
from speechlite.core.types import LabelSpace
from speechlite.data.atomic import replace_file
from speechlite.data.corpora.phone_labels import read_phone_labels, read_phones
from speechlite.data.subwords import WORD_MARK, SubwordTokenizer, train_subwords
from speechlite.data.tokenizer import CharacterTokenizer
from speechlite.engine.splits import Split

__all__ = ["LAYOUTS", "TEXT_STREAMS", "describe_labels", "read_labels"]

LAYOUTS = {"phones": "frame", "characters": "sequence", "subwords": "sequence"}
"""What the labels of each stream belong to, as in ``Head.label_layout``."""
TEXT_STREAMS = ("characters", "subwords")
"""The streams that are made of transcripts."""


def read_labels(
    task: TaskOptions, splits: Mapping[str, Split], *, known: LabelSpace | None = None
) -> tuple[LabelSpace, dict[str, np.ndarray]]:
    """Return a task's classes, and the labels of all its utterances.

    Args:
        task: the task.
        splits: its splits; the one named ``train`` defines characters and subword units.
        known: the characters that a trained head has; None takes those of the training text.

    Returns:
        The classes, and int64 labels by utterance id.

    Raises:
        ConfigError: if the label stream is unknown, or more subword units are wanted than the text
            has.
        DataError: if labels are missing or malformed.
    """
    if task.labels == "phones":
        return _phones(task, list(splits.values()))
    if task.labels == "characters":
        return _characters(splits, known)
    if task.labels == "subwords":
        return _subwords(task, splits)
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


def _characters(
    splits: Mapping[str, Split], known: LabelSpace | None
) -> tuple[LabelSpace, dict[str, np.ndarray]]:
    texts = _texts(splits)
    if known is not None and known.stream == "characters":
        tokenizer = CharacterTokenizer(known.symbols, of_head=True)
    else:
        own = (texts[name] for name in splits["train"].utterances)
        tokenizer = CharacterTokenizer.from_texts(own)
    labels = {name: tokenizer.encode(text, utterance=name) for name, text in texts.items()}
    return LabelSpace("characters", tokenizer.symbols), labels


def _subwords(
    task: TaskOptions, splits: Mapping[str, Split]
) -> tuple[LabelSpace, dict[str, np.ndarray]]:
    texts = _texts(splits)
    if task.subword_model is not None:
        path = Path(task.subword_model)
    else:
        path = _trained(task, splits["train"], [texts[n] for n in splits["train"].utterances])
    tokenizer = SubwordTokenizer.from_file(path)
    labels = {name: tokenizer.encode(text, utterance=name) for name, text in texts.items()}
    return LabelSpace("subwords", tokenizer.symbols, word_mark=WORD_MARK), labels


def _texts(splits: Mapping[str, Split]) -> dict[str, str]:
    return {
        name: " ".join((utterance.text or "").split())
        for split in splits.values()
        for name, utterance in split.utterances.items()
    }


def _trained(task: TaskOptions, train: Split, texts: Sequence[str]) -> Path:
    """Return the model trained on these texts, which an earlier run may have left.

    It lies in a hidden folder beside the training data, which does not count as part of it, under
    a name made of all that it depends on.
    """
    units = task.subword_units or 0
    sources = json.dumps([units, task.subword_type, _sentencepiece_version(), sorted(texts)])
    digest = hashlib.sha256(sources.encode()).hexdigest()[:16]
    directory = train.directories[0] / ".subwords"
    path = directory / f"{task.subword_type}-{units}-{digest}.model"
    if path.is_file():
        return path
    model = train_subwords(sorted(texts), units=units, kind=task.subword_type)
    try:
        directory.mkdir(exist_ok=True)
    except OSError as error:
        raise EnvironmentProblem(
            f"subword units cannot be kept here: {error.strerror}",
            remedy="make the directory writable, or set task.subword_model",
            path=directory,
        ) from None
    with replace_file(path) as stream:
        stream.write(model)
    return path


def _sentencepiece_version() -> str:
    try:
        return version("sentencepiece")
    except PackageNotFoundError:
        return "none"


def describe_labels(labels: LabelSpace) -> dict[str, Any]:
    """Return what identifies the classes of a label stream.

    Args:
        labels: the classes.

    Returns:
        The stream, the number of classes, and the SHA-256 of their symbols.
    """
    symbols = json.dumps(labels.symbols).encode()
    return {
        "stream": labels.stream,
        "classes": len(labels.symbols),
        "sha256": hashlib.sha256(symbols).hexdigest(),
    }
