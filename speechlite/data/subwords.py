"""Subword units of sentencepiece as CTC labels."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from speechlite.core.errors import ConfigError, DataError, EnvironmentProblem

__all__ = ["WORD_MARK", "SubwordTokenizer", "train_subwords"]

WORD_MARK = "\u2581"
"""What a unit that begins a word starts with."""
_BLANK = "<blank>"
_REMEDY = "name a model that sentencepiece trained, or set task.subword_units instead"


class SubwordTokenizer:
    """Map texts to subword units; label 0 is the CTC blank.

    Args:
        model: the content of a sentencepiece model file.
        path: where it comes from, for error messages.

    Raises:
        DataError: if it is no model, or one of bytes.
        EnvironmentProblem: if sentencepiece is not installed.
    """

    def __init__(self, model: bytes, *, path: Path | None = None) -> None:
        processor = _sentencepiece().SentencePieceProcessor()
        try:
            # sentencepiece takes an empty file for a model that is to follow
            loaded = bool(model) and processor.load_from_serialized_proto(model)
        except RuntimeError:
            loaded = False
        if not loaded:
            raise DataError("is no sentencepiece model", remedy=_REMEDY, path=path)
        pieces = range(processor.get_piece_size())
        if any(processor.is_byte(piece) for piece in pieces):
            raise DataError(
                "falls back to bytes, which no text can be joined from",
                remedy="train it without byte_fallback",
                path=path,
            )
        units = [
            piece
            for piece in pieces
            if not (
                processor.is_unknown(piece)
                or processor.is_control(piece)
                or processor.is_unused(piece)
            )
        ]
        self.symbols = (_BLANK, *(processor.id_to_piece(piece) for piece in units))
        self._processor = processor
        self._label_of = {piece: label for label, piece in enumerate(units, start=1)}

    @classmethod
    def from_file(cls, path: str | Path) -> SubwordTokenizer:
        """Read a sentencepiece model.

        Args:
            path: the model file.

        Returns:
            Its tokenizer.

        Raises:
            DataError: if it cannot be read, is no model, or one of bytes.
            EnvironmentProblem: if sentencepiece is not installed.
        """
        path = Path(path)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise DataError(
                f"cannot be read: {error.strerror}", remedy=_REMEDY, path=path
            ) from None
        return cls(content, path=path)

    def encode(self, text: str, *, utterance: str) -> np.ndarray:
        """Return the labels of a text.

        Args:
            text: a transcript, its words parted by single spaces.
            utterance: its utterance, for error messages.

        Returns:
            int64 labels (L,).

        Raises:
            DataError: if units cannot give the text back: it has characters that the units lack,
                or the model writes it otherwise.
        """
        pieces = self._processor.encode(text)
        unknown = [piece for piece in pieces if piece not in self._label_of]
        if unknown:
            known = set("".join(self.symbols[1:])) | {" "}
            raise DataError(
                f"utterance {utterance} has characters {sorted(set(text) - known)} that no "
                "subword unit has",
                remedy="normalise the transcripts, or add training text that has them",
            )
        labels = [self._label_of[piece] for piece in pieces]
        joined = "".join(self.symbols[label] for label in labels).replace(WORD_MARK, " ")
        if joined.split() != text.split():
            raise DataError(
                f"utterance {utterance} is {text!r}, its subword units join to {joined.strip()!r}",
                remedy="train the model without normalisation, or normalise the transcripts",
            )
        return np.array(labels, dtype=np.int64)


def train_subwords(texts: Iterable[str], *, units: int, kind: str) -> bytes:
    """Train a sentencepiece model; equal texts and options give equal bytes.

    Args:
        texts: transcripts, in an order that does not change.
        units: number of units, the blank not counted.
        kind: ``unigram`` (Kudo 2018, arXiv 1804.10959) or ``bpe`` (Sennrich et al. 2016,
            arXiv 1508.07909).

    Returns:
        The content of a model file.

    Raises:
        ConfigError: if the texts have fewer units, or more characters, than ``units``.
        DataError: if all texts are empty.
        EnvironmentProblem: if sentencepiece is not installed.
    """
    lines = [text for text in texts if text.strip()]
    if not lines:
        raise DataError(
            "there is no text to train subword units on",
            remedy="name directories with transcripts in task.train",
        )
    model = io.BytesIO()
    try:
        _sentencepiece().SentencePieceTrainer.train(
            sentence_iterator=iter(lines), model_writer=model, **_options(lines, units, kind)
        )
    except (RuntimeError, ValueError) as error:
        raise _unfit(units, kind, str(error)) from None
    return model.getvalue()


def _options(lines: Sequence[str], units: int, kind: str) -> dict[str, Any]:
    return {
        # the unknown unit takes the place of the blank
        "vocab_size": units + 1,
        "model_type": kind,
        "character_coverage": 1.0,
        "normalization_rule_name": "identity",
        "max_sentence_length": max(len(line.encode()) for line in lines) + 1,
        "shuffle_input_sentence": False,
        "num_threads": 1,
        "unk_id": 0,
        "bos_id": -1,
        "eos_id": -1,
        "pad_id": -1,
        "minloglevel": 2,
    }


def _unfit(units: int, kind: str, message: str) -> ConfigError:
    cause = f"sentencepiece trains no {units} {kind} units: {message.splitlines()[-1]}"
    remedy = "change task.subword_units"
    if largest := re.search(r"too high .*<= (\d+)", message):
        most = int(largest[1]) - 1
        cause = f"{units} {kind} units are more than the training text has, which is {most}"
        remedy = f"set task.subword_units to at most {most}"
    elif smallest := re.search(r"smaller than required_chars\. \d+ vs (\d+)", message):
        least = int(smallest[1]) - 1
        cause = f"{units} {kind} units are fewer than the {least} characters of the training text"
        remedy = f"set task.subword_units to at least {least}"
    return ConfigError(cause, remedy=remedy)


def _sentencepiece() -> Any:
    try:
        import sentencepiece
    except ImportError as error:
        raise EnvironmentProblem(
            f"task.labels=subwords needs sentencepiece: {error}",
            remedy="pip install sentencepiece",
        ) from None
    return sentencepiece
