"""ARPA language models as acceptors, as Kaldi's arpa2fst makes them."""

from __future__ import annotations

import gzip
import math
import zlib
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import numpy as np

from speechlite.core.errors import DataError
from speechlite.hmm.fst_arrays import FstArrays

__all__ = ["Grammar", "arpa_order", "read_grammar", "read_unigrams"]

_REMEDY = "name a complete ARPA file; SRILM, lmplz and 'speechlite hmm lm' write such files"
_NO_PROBABILITY = -98.0
_NO_WORDS = ("<eps>", "#0")
"""Symbols of the acceptor itself."""

History = tuple[int, ...]


@dataclass
class Grammar:
    """Hold a language model as an acceptor with ``#0`` on back-off arcs.

    Args:
        order: longest n-gram.
        counts: n-grams of each order, as the file's head says.
        fst: the acceptor; inputs are words and ``#0``, outputs words.
        num_skipped: n-grams left out because a word is not in the lexicon.
        missing: words of the lexicon that the model lacks: they cannot be recognised.
        has_unknown: whether the model gives ``<unk>`` a probability.
    """

    order: int
    counts: tuple[int, ...]
    fst: FstArrays
    num_skipped: int
    missing: tuple[str, ...]
    has_unknown: bool


@dataclass
class _Builder:
    """Collect states and arcs while the file is read."""

    words: Mapping[str, int]
    states: dict[History, int] = field(default_factory=dict)
    backoffs: dict[History, float] = field(default_factory=dict)
    # endings of arcs are known once all histories are
    src: array[int] = field(default_factory=lambda: array("i"))
    word: array[int] = field(default_factory=lambda: array("i"))
    cost: array[float] = field(default_factory=lambda: array("f"))
    ends: list[History] = field(default_factory=list)
    finals: dict[int, float] = field(default_factory=dict)

    def state(self, history: History) -> int:
        return self.states.setdefault(history, len(self.states))

    def add(self, ngram: History, cost: float, backoff: float | None) -> None:
        history, word = ngram[:-1], ngram[-1]
        begin, end = self.words["<s>"], self.words["</s>"]
        if word == end:
            self.finals[self.state(history)] = cost
            return
        if backoff is not None:
            self.backoffs[ngram] = backoff
            self.state(ngram)
        # only as a history does <s> matter
        if word != begin:
            self.src.append(self.state(history))
            self.word.append(word)
            self.cost.append(cost)
            self.ends.append(ngram)

    def longest(self, history: History) -> int:
        while history not in self.states:
            history = history[1:]
        return self.states[history]

    def fst(self) -> FstArrays:
        begin = (self.words["<s>"],)
        self.state(())
        start = self.longest(begin)
        arcs = [self.longest(end) for end in self.ends]
        src, ilabel, olabel = list(self.src), list(self.word), list(self.word)
        cost, back = list(self.cost), self.words["#0"]
        for history, state in list(self.states.items()):
            if history:
                src.append(state)
                ilabel.append(back)
                olabel.append(0)
                cost.append(self.backoffs.get(history, 0.0))
                arcs.append(self.longest(history[1:]))
        finals = np.full(len(self.states), np.inf, np.float32)
        for state, value in self.finals.items():
            finals[state] = value
        order = np.argsort(np.asarray(src), kind="stable")
        columns = [np.asarray(column, np.int32)[order] for column in (src, ilabel, olabel, arcs)]
        weights = np.asarray(cost, np.float32)[order]
        return FstArrays(start, finals, columns[0], columns[1], columns[2], weights, columns[3])


def _open(path: Path) -> TextIO:
    try:
        if path.suffix == ".gz":
            return gzip.open(path, "rt", encoding="utf-8", newline="\n")
        return path.open(encoding="utf-8", newline="\n")
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", remedy=_REMEDY, path=path) from None


def _head(lines: Iterator[tuple[int, str]], path: Path) -> tuple[int, ...]:
    for _, line in lines:
        if line.strip() == "\\data\\":
            break
    counts: list[int] = []
    for number, line in lines:
        if not line.strip():
            break
        name, _, count = line.partition("=")
        if name.split() != ["ngram", str(len(counts) + 1)] or not count.strip().isdecimal():
            raise DataError(
                f"{line.strip()[:60]!r}, expected 'ngram {len(counts) + 1}=COUNT'",
                remedy=_REMEDY,
                path=path,
                line=number,
            )
        counts.append(int(count))
    if not counts:
        raise DataError("has no \\data\\ section", remedy=_REMEDY, path=path)
    return tuple(counts)


def arpa_order(path: Path) -> int:
    """Return the length of the longest n-gram of an ARPA file.

    Args:
        path: the file, perhaps compressed by gzip.

    Returns:
        The order.

    Raises:
        DataError: if the file cannot be read or has no head.
    """
    with _open(path) as stream:
        return len(_head(_numbered(stream, path), path))


def read_unigrams(path: Path) -> frozenset[str]:
    """Return the words of an ARPA file.

    Args:
        path: the file, perhaps compressed by gzip.

    Returns:
        The words, with ``<s>``, ``</s>`` and ``<unk>`` where it has them.

    Raises:
        DataError: if the file cannot be read or is malformed.
    """
    with _open(path) as stream:
        lines = _numbered(stream, path)
        _head(lines, path)
        _section(lines, path, "\\1-grams:")
        rows = iter(lambda: next(lines, (0, "")), (0, ""))
        words = set()
        for number, line in rows:
            if not line.split():
                break
            words.add(_ngram(line.split(), 1, path, number)[1][0])
    return frozenset(words)


def _numbered(stream: TextIO, path: Path) -> Iterator[tuple[int, str]]:
    try:
        yield from enumerate(stream, start=1)
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise DataError(f"cannot be read ({error})", remedy=_REMEDY, path=path) from None


def read_grammar(path: Path, words: Mapping[str, int]) -> Grammar:
    """Read an ARPA file as an acceptor.

    Args:
        path: the file, perhaps compressed by gzip.
        words: id of each word, with ``#0``, ``<s>`` and ``</s>``.

    Returns:
        The grammar.

    Raises:
        DataError: if the file cannot be read or is malformed, with its line, or none of its words
            is in the lexicon.
    """
    builder = _Builder(words)
    builder.state(())
    with _open(path) as stream:
        lines = _numbered(stream, path)
        counts = _head(lines, path)
        seen, skipped, found = _read_levels(lines, path, counts, builder)
    if builder.finals.get(builder.state(()), math.inf) == math.inf:
        raise DataError("gives </s> no probability", remedy=_REMEDY, path=path)
    _refuse_repeats(builder, path)
    real = [w for w in words if w not in ("<eps>", "#0", "<s>", "</s>", "!SIL", "<UNK>")]
    missing = tuple(word for word in real if words[word] not in seen)
    if len(missing) == len(real):
        raise DataError(
            "none of its words is in the lexicon",
            remedy="use a lexicon and a language model of one language and spelling",
            path=path,
        )
    return Grammar(len(counts), counts, builder.fst(), skipped, missing, found)


def _refuse_repeats(builder: _Builder, path: Path) -> None:
    # one row for each arc: its state and its word
    arcs = np.stack([np.asarray(builder.src, np.int64), np.asarray(builder.word, np.int64)])
    keys = np.sort(arcs[0] << 32 | arcs[1])
    repeated = keys[1:][keys[1:] == keys[:-1]]
    if len(repeated):
        first = next(
            ngram
            for src, ngram in zip(builder.src, builder.ends, strict=True)
            if src << 32 | ngram[-1] == repeated[0]
        )
        names = {number: name for name, number in builder.words.items()}
        raise DataError(
            f"holds {' '.join(names[word] for word in first)!r} twice", remedy=_REMEDY, path=path
        )


def _read_levels(
    lines: Iterator[tuple[int, str]], path: Path, counts: tuple[int, ...], builder: _Builder
) -> tuple[set[int], int, bool]:
    """Return the words met, the n-grams skipped and whether <unk> was there."""
    seen: set[int] = set()
    words = builder.words
    skipped, has_unknown = 0, False
    for order, expected in enumerate(counts, start=1):
        _section(lines, path, f"\\{order}-grams:")
        found = 0
        for number, line in lines:
            fields = line.split()
            if not fields:
                break
            found += 1
            cost, names, backoff = _ngram(fields, order, path, number)
            ids = tuple(-1 if name in _NO_WORDS else words.get(name, -1) for name in names)
            has_unknown |= names == ["<unk>"] or names == ["<UNK>"]
            if -1 in ids:
                # the unknown word is not recognised, and is no loss
                skipped += names != ["<unk>"]
                continue
            if order == 1 and cost < math.inf:
                seen.add(ids[0])
            builder.add(ids, cost, backoff)
        if found != expected:
            raise DataError(
                f"{found} {order}-grams, its head says {expected}", remedy=_REMEDY, path=path
            )
    _section(lines, path, "\\end\\")
    # only at its end does a compressed file tell that it is damaged
    for _ in lines:
        pass
    return seen, skipped, has_unknown


def _section(lines: Iterator[tuple[int, str]], path: Path, wanted: str) -> None:
    for number, line in lines:
        if line.strip() == wanted:
            return
        if line.strip():
            raise DataError(
                f"{line.strip()[:60]!r}, expected {wanted}", remedy=_REMEDY, path=path, line=number
            )
    raise DataError(f"ends before {wanted}", remedy=_REMEDY, path=path)


def _ngram(
    fields: list[str], order: int, path: Path, line: int
) -> tuple[float, list[str], float | None]:
    try:
        if not order + 1 <= len(fields) <= order + 2:
            raise ValueError
        logp = float(fields[0])
        backoff = float(fields[-1]) if len(fields) == order + 2 else None
        if not logp <= 1e-6 or not (backoff or 0.0) < math.inf:
            raise ValueError
    except ValueError:
        raise DataError(
            f"{' '.join(fields)[:60]!r} is not a {order}-gram with its log10 probability",
            remedy=_REMEDY,
            path=path,
            line=line,
        ) from None
    cost = math.inf if logp < _NO_PROBABILITY else -logp * math.log(10.0)
    weight = None if backoff is None else -backoff * math.log(10.0)
    return cost, fields[1 : order + 1], weight
