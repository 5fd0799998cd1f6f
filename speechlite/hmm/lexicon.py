"""Pronunciations of words."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from speechlite.core.errors import DataError
from speechlite.data.atomic import replace_file
from speechlite.data.corpora.ctm import Mark

__all__ = [
    "RESERVED_WORDS",
    "Lexicon",
    "Pronunciation",
    "is_phone",
    "lexicon_of_alignment",
    "read_lexicon",
    "write_lexicon",
]

_REMEDY = "write 'word phone phone ...' lines, or 'word probability phone phone ...'"
RESERVED_WORDS = ("<eps>", "#0", "<s>", "</s>")
"""Symbols of transducers and language models, which nobody says."""
_ONE_IN = 20
_PAUSE = "SIL"


@dataclass(frozen=True, order=True)
class Pronunciation:
    """Hold one way to say a word.

    Args:
        word: the word.
        phones: its phones; at least one.
        probability: relative to the word's likeliest pronunciation, in (0, 1].
    """

    word: str
    phones: tuple[str, ...]
    probability: float = 1.0


@dataclass(frozen=True)
class Lexicon:
    """Hold all pronunciations, sorted by word; none stands twice.

    Args:
        entries: the pronunciations.
    """

    entries: tuple[Pronunciation, ...]

    @property
    def words(self) -> list[str]:
        """The words in sorted order."""
        return sorted({entry.word for entry in self.entries})

    @property
    def phones(self) -> list[str]:
        """The phones in sorted order."""
        return sorted({phone for entry in self.entries for phone in entry.phones})

    @classmethod
    def of(cls, entries: Iterable[Pronunciation]) -> Lexicon:
        """Sort pronunciations and drop those that stand twice, the likelier one staying.

        Args:
            entries: pronunciations in any order.

        Returns:
            The lexicon.
        """
        best: dict[tuple[str, tuple[str, ...]], float] = {}
        for entry in entries:
            key = (entry.word, entry.phones)
            best[key] = max(best.get(key, 0.0), entry.probability)
        return cls(tuple(Pronunciation(*key, best[key]) for key in sorted(best)))


def read_lexicon(path: Path, *, strip_stress: bool = False) -> Lexicon:
    """Read Kaldi's lexicon.txt or lexiconp.txt, or LibriSpeech's librispeech-lexicon.txt.

    Fields are separated by spaces or tabs. The second field of a line counts as a probability
    where it does so on every line.

    Args:
        path: the file.
        strip_stress: whether to cut the digits off phones such as AH0.

    Returns:
        The lexicon.

    Raises:
        DataError: if the file cannot be read, is empty, or a line is malformed; with file and line.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot be read ({error})", remedy="name a lexicon", path=path) from None
    if lines[0].startswith("\ufeff"):
        raise DataError(
            "begins with a byte order mark (BOM)", remedy="save it without", path=path, line=1
        )
    rows = [(number, line.split()) for number, line in enumerate(lines, 1) if line.strip()]
    if not rows:
        raise DataError("is empty", remedy=_REMEDY, path=path)
    with_probabilities = _have_probabilities(rows, path)
    return Lexicon.of(
        _entry(row, path, number, with_probability=with_probabilities, strip_stress=strip_stress)
        for number, row in rows
    )


def _have_probabilities(rows: list[tuple[int, list[str]]], path: Path) -> bool:
    lacking = [number for number, row in rows if len(row) < 3 or not _is_probability(row[1])]
    # a point tells a probability from a phone that is a number
    having = [number for number, row in rows if row[1:] and "." in row[1] and _is_number(row[1])]
    if lacking and having:
        raise DataError(
            "expected a probability above 0 and at most 1, and phones, on every line or on none; "
            f"line {having[0]} has a number there",
            remedy=_REMEDY,
            path=path,
            line=lacking[0],
        )
    return not lacking


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_probability(text: str) -> bool:
    return _is_number(text) and 0.0 < float(text) <= 1.0


def _entry(
    row: list[str], path: Path, line: int, *, with_probability: bool, strip_stress: bool
) -> Pronunciation:
    word, phones = row[0], row[2 if with_probability else 1 :]
    if word in RESERVED_WORDS or not phones:
        cause = f"{word!r} is reserved" if phones else f"{word!r} has no phones"
        raise DataError(cause, remedy=_REMEDY, path=path, line=line)
    plain = [phone.rstrip("0123456789") if strip_stress else phone for phone in phones]
    wrong = [phone for phone, rest in zip(phones, plain, strict=True) if not is_phone(rest)]
    if wrong:
        cut = " without its digits" if strip_stress else ""
        raise DataError(f"{wrong[0]!r} is no phone{cut}", remedy=_REMEDY, path=path, line=line)
    return Pronunciation(word, tuple(plain), float(row[1]) if with_probability else 1.0)


def is_phone(name: str) -> bool:
    """Tell whether a name may be a phone's: not empty, no ``<eps>``, no ``#`` in front.

    Args:
        name: the name.

    Returns:
        Whether it may.
    """
    return bool(name) and name != "<eps>" and not name.startswith("#")


def write_lexicon(path: Path, lexicon: Lexicon) -> None:
    """Write a lexicon with probabilities, as Kaldi's lexiconp.txt.

    Args:
        path: the file to write or replace.
        lexicon: the lexicon.
    """
    with replace_file(path) as stream:
        for entry in lexicon.entries:
            # all digits, so that what is read back is equal
            line = f"{entry.word} {float(entry.probability)!r} {' '.join(entry.phones)}\n"
            stream.write(line.encode())


def lexicon_of_alignment(
    words: Mapping[str, Sequence[Mark]], phones: Mapping[str, Sequence[Mark]]
) -> Lexicon:
    """Collect how words were said where both words and phones are marked in time.

    Pronunciations that are rarer than a twentieth of a word's most frequent one are left out;
    the probability of the others is their count relative to it.

    Args:
        words: time-marked words by utterance.
        phones: time-marked phones of the same utterances.

    Returns:
        The lexicon.

    Raises:
        DataError: if an utterance has words but no phones.
    """
    counts: dict[str, Counter[tuple[str, ...]]] = defaultdict(Counter)
    for utterance, marks in words.items():
        if utterance not in phones:
            raise DataError(
                f"utterance {utterance} has words but no phones",
                remedy="use words and phones of one alignment",
            )
        for word, said in _spoken(marks, phones[utterance]):
            counts[word][said] += 1
    return Lexicon.of(
        Pronunciation(word, said, count / max(found.values()))
        for word, found in counts.items()
        for said, count in found.items()
        if count * _ONE_IN >= max(found.values())
    )


def _spoken(words: Sequence[Mark], phones: Sequence[Mark]) -> Iterable[tuple[str, tuple[str, ...]]]:
    # a phone belongs to the word that holds its centre
    centres = [phone.start + phone.duration / 2 for phone in phones]
    for word in words:
        inside = [
            phone.token
            for phone, centre in zip(phones, centres, strict=True)
            if word.start <= centre < word.end and phone.token != _PAUSE
        ]
        if inside and math.isfinite(word.end):
            yield word.token, tuple(inside)
