"""The words that a search may find: of a lexicon, or of a language model's unigrams."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from speechlite.core.errors import ConfigError, DataError
from speechlite.core.types import LabelSpace

__all__ = ["Vocabulary", "has_separator", "is_binary_model", "read_vocabulary"]

_GZIP = b"\x1f\x8b"
_KENLM = b"mmap lm http://kheafield.com/code"
_UNKNOWN = frozenset({"<unk>", "<UNK>"})
_MARKERS = _UNKNOWN | {"<s>", "</s>"}


@dataclass(frozen=True)
class Vocabulary:
    """Hold words with their spellings.

    Args:
        words: the words, each once.
        spellings: pairs of a word's index and the symbols that spell it, without word marks.
        left_out: spellings that the symbols cannot give.
    """

    words: tuple[str, ...]
    spellings: tuple[tuple[int, tuple[str, ...]], ...]
    left_out: int


def has_separator(labels: LabelSpace) -> bool:
    """Say whether words are parted by a symbol of its own, as characters are by the space.

    Args:
        labels: the label space.

    Returns:
        False where the mark is a part of other symbols, as of subword units.
    """
    marked = [symbol for symbol in labels.symbols[1:] if labels.word_mark in symbol]
    return marked == [labels.word_mark]


def read_vocabulary(
    labels: LabelSpace, *, lexicon: str | None, language_model: str | None
) -> Vocabulary:
    """Return the words of a lexicon, or where there is none, of an ARPA file.

    Args:
        labels: the symbols that must spell them.
        lexicon: file of lines ``WORD`` or ``WORD SYMBOL SYMBOL ...``, or None; a last symbol ``|``
            does not count.
        language_model: ARPA file or binary of KenLM, or None.

    Returns:
        The words that the symbols can spell.

    Raises:
        ConfigError: if no file lists the words.
        DataError: if a file is missing or malformed, or no word is left.
    """
    if lexicon is not None:
        source, entries = Path(lexicon), list(_lexicon_entries(Path(lexicon)))
    elif language_model is not None:
        source = Path(language_model)
        entries = [(word, tuple(word)) for word in _unigrams(source)]
    else:
        raise ConfigError("no file lists the words", remedy="set head.lexicon")
    can_spell = _SeparatedSpeller(labels) if has_separator(labels) else _MarkedSpeller(labels)
    kept = list(dict.fromkeys(entry for entry in entries if can_spell(entry[1])))
    if not kept:
        raise DataError(
            f"none of its {len(entries)} words can be spelled by the {len(labels.symbols) - 1} "
            f"{labels.stream}",
            remedy="name a file whose words are written as the transcripts are",
            path=source,
        )
    index = {word: number for number, word in enumerate(dict.fromkeys(word for word, _ in kept))}
    return Vocabulary(
        words=tuple(index),
        spellings=tuple((index[word], symbols) for word, symbols in kept),
        left_out=len(entries) - len(kept),
    )


class _SeparatedSpeller:
    def __init__(self, labels: LabelSpace) -> None:
        self.symbols = set(labels.symbols[1:]) - {labels.word_mark}

    def __call__(self, symbols: Sequence[str]) -> bool:
        return bool(symbols) and self.symbols.issuperset(symbols)


class _MarkedSpeller:
    """Say whether some sequence of subword units joins to a word."""

    def __init__(self, labels: LabelSpace) -> None:
        self.symbols = set(labels.symbols[1:])
        self.mark = labels.word_mark
        self.longest = max(map(len, self.symbols), default=0)

    def __call__(self, symbols: Sequence[str]) -> bool:
        text = self.mark + "".join(symbols)
        if not symbols or self.mark in text[1:]:
            return False
        reached = {0}
        for end in range(1, len(text) + 1):
            starts = range(max(0, end - self.longest), end)
            if any(start in reached and text[start:end] in self.symbols for start in starts):
                reached.add(end)
        return len(text) in reached


def _lexicon_entries(path: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    for _, line in _lines(path):
        fields = line.split()
        if fields:
            spelling = fields[1:-1] if fields[-1] == "|" else fields[1:]
            yield fields[0], tuple(spelling or fields[0])


def _unigrams(path: Path) -> list[str]:
    """Return the words of an ARPA file, which is a text file."""
    if is_binary_model(path):
        raise ConfigError(
            f"language_model={path} is a binary, which does not list its words",
            remedy="set head.lexicon to a file with a word a line",
        )
    words, found, inside = [], False, False
    for number, line in _lines(path):
        if line.startswith("\\"):
            if inside:
                break
            found = inside = line.strip() == "\\1-grams:"
        elif inside and line.strip():
            words.append(_unigram(path, number, line))
    if not found:
        raise DataError(
            "is no ARPA file: it has no line \\1-grams:", remedy="name an ARPA file", path=path
        )
    if not _UNKNOWN.intersection(words):
        raise DataError(
            "has no unigram <unk>, which words outside of it are scored by",
            remedy="estimate the model with an unknown word, or add a line for <unk>",
            path=path,
        )
    return [word for word in words if word not in _MARKERS]


def _unigram(path: Path, number: int, line: str) -> str:
    fields = line.split()
    if len(fields) not in (2, 3):
        raise DataError(
            f"{len(fields)} fields, expected a log-probability, a word and perhaps a back-off",
            remedy="make the ARPA file anew",
            path=path,
            line=number,
        )
    return fields[1]


def is_binary_model(path: Path) -> bool:
    """Say whether a file is a binary of KenLM.

    Args:
        path: the file.

    Returns:
        True where it begins as KenLM's binaries do.

    Raises:
        DataError: if it cannot be read.
    """
    return _beginning(path, len(_KENLM)) == _KENLM


def _beginning(path: Path, count: int) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(count)
    except OSError as error:
        raise _unreadable(path, error) from None


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    opener = gzip.open if _beginning(path, 2) == _GZIP else open
    try:
        with opener(path, "rt", encoding="utf-8") as stream:
            yield from enumerate(stream, start=1)
    except UnicodeDecodeError:
        raise DataError("is not UTF-8", remedy="convert it to UTF-8", path=path) from None
    except (OSError, EOFError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> DataError:
    detail = getattr(error, "strerror", None) or str(error)
    return DataError(
        f"cannot be read: {detail}",
        remedy="correct head.language_model or head.lexicon",
        path=path,
    )
