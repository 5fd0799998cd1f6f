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
    "Lexicon",
    "Pronunciation",
    "lexicon_of_alignment",
    "read_lexicon",
    "write_lexicon",
]

_REMEDY = "write 'word phone phone ...' lines, or 'word probability phone phone ...'"
_RESERVED = ("<eps>", "#0", "<s>", "</s>")
_FEWEST_SHARE = 0.05
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
    rows = [(number, line.split()) for number, line in enumerate(lines, 1) if line.strip()]
    if not rows:
        raise DataError("is empty", remedy=_REMEDY, path=path)
    with_probabilities = all(len(row) > 2 and _is_probability(row[1]) for _, row in rows)
    entries = []
    for number, row in rows:
        entries.append(_entry(row, path, number, with_probability=with_probabilities))
    if strip_stress:
        entries = [
            Pronunciation(e.word, tuple(p.rstrip("0123456789") for p in e.phones), e.probability)
            for e in entries
        ]
    return Lexicon.of(entries)


def _is_probability(text: str) -> bool:
    try:
        return 0.0 < float(text) <= 1.0
    except ValueError:
        return False


def _entry(row: list[str], path: Path, line: int, *, with_probability: bool) -> Pronunciation:
    word, phones = row[0], row[2 if with_probability else 1 :]
    if word in _RESERVED or not phones:
        cause = f"{word!r} is reserved" if phones else f"{word!r} has no phones"
        raise DataError(cause, remedy=_REMEDY, path=path, line=line)
    wrong = [phone for phone in phones if phone.startswith("#") or phone == "<eps>"]
    if wrong:
        raise DataError(f"{wrong[0]!r} is no phone", remedy=_REMEDY, path=path, line=line)
    return Pronunciation(word, tuple(phones), float(row[1]) if with_probability else 1.0)


def write_lexicon(path: Path, lexicon: Lexicon) -> None:
    """Write a lexicon with probabilities, as Kaldi's lexiconp.txt.

    Args:
        path: the file to write or replace.
        lexicon: the lexicon.
    """
    with replace_file(path) as stream:
        for entry in lexicon.entries:
            line = f"{entry.word} {entry.probability:.4f} {' '.join(entry.phones)}\n"
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
        if count > _FEWEST_SHARE * max(found.values())
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
