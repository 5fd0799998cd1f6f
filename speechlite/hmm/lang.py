"""The lang directory: phones, words, the lexicon as a transducer, as Kaldi's prepare_lang makes it.

Phone 0 is ``<eps>``; silence phones, speech phones and disambiguation symbols ``#0``, ``#1`` ...
follow. Word 0 is ``<eps>``; the last three are ``#0``, ``<s>`` and ``</s>``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from speechlite.core.errors import DataError
from speechlite.hmm.lexicon import RESERVED_WORDS, Lexicon, Pronunciation, is_phone

__all__ = [
    "SILENCE",
    "SILENCE_WORD",
    "SPOKEN_NOISE",
    "UNKNOWN_WORD",
    "Lang",
    "make_lang",
]

SILENCE = "SIL"
"""The optional silence between words."""
SPOKEN_NOISE = "SPN"
"""The phone of words outside the lexicon."""
SILENCE_WORD = "!SIL"
"""A word that is silence."""
UNKNOWN_WORD = "<UNK>"
"""The word that stands for all words outside the lexicon."""
_POSITIONS = ("_B", "_E", "_I", "_S")


@dataclass(frozen=True)
class Lang:
    """Hold what words, phones and pronunciations are.

    Args:
        lexicon: pronunciations with the phones as they stand in ``phones``.
        silence_phones: groups of silence phones; a group is one phone in its word positions. The
            first phone is the optional silence.
        speech_phones: groups of speech phones.
        position_dependent: whether phones know their place in the word.
        silence_probability: of the optional silence between words, in (0, 1).
    """

    lexicon: Lexicon
    silence_phones: tuple[tuple[str, ...], ...]
    speech_phones: tuple[tuple[str, ...], ...]
    position_dependent: bool = False
    silence_probability: float = 0.5

    @cached_property
    def disambiguated(self) -> tuple[tuple[str, ...], ...]:
        """Phones of each entry of the lexicon with its disambiguation symbol."""
        return _disambiguate([entry.phones for entry in self.lexicon.entries])

    @cached_property
    def num_disambiguation(self) -> int:
        """Number of symbols ``#0``, ``#1`` ...; the last is that of the optional silence."""
        last = (phones[-1] for phones in self.disambiguated)
        return 2 + max((int(phone[1:]) for phone in last if phone[0] == "#"), default=0)

    @cached_property
    def phones(self) -> dict[str, int]:
        """Id of each phone and disambiguation symbol."""
        groups = [*self.silence_phones, *self.speech_phones]
        names = ["<eps>", *(phone for group in groups for phone in group), *self.disambiguation]
        return {name: number for number, name in enumerate(names)}

    @cached_property
    def words(self) -> dict[str, int]:
        """Id of each word and of ``#0``, ``<s>``, ``</s>``."""
        names = ["<eps>", *self.lexicon.words, "#0", "<s>", "</s>"]
        return {name: number for number, name in enumerate(names)}

    @cached_property
    def word_names(self) -> list[str]:
        """Word of each id."""
        return list(self.words)

    @property
    def disambiguation(self) -> list[str]:
        """The disambiguation symbols of phones."""
        return [f"#{number}" for number in range(self.num_disambiguation)]

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """All groups of phones, silence first."""
        return (*self.silence_phones, *self.speech_phones)

    @cached_property
    def silence_ids(self) -> list[int]:
        """Ids of all silence phones."""
        return [self.phones[phone] for group in self.silence_phones for phone in group]

    @cached_property
    def speech_ids(self) -> list[int]:
        """Ids of all speech phones."""
        return [self.phones[phone] for group in self.speech_phones for phone in group]

    @cached_property
    def base_phones(self) -> dict[int, str]:
        """Name of each phone id without its position in the word."""
        return {
            self.phones[phone]: _base(phone) if self.position_dependent else phone
            for group in self.groups
            for phone in group
        }

    def word_ids(self, text: str) -> tuple[list[int], list[str]]:
        """Return the words of a transcript.

        Args:
            text: words with spaces between.

        Returns:
            Their ids, ``<UNK>`` where the lexicon lacks a word, and the words that it lacks.
        """
        words = text.split()
        known = [word in self.words and word not in RESERVED_WORDS for word in words]
        ids = [
            self.words[word if there else UNKNOWN_WORD]
            for word, there in zip(words, known, strict=True)
        ]
        return ids, [word for word, there in zip(words, known, strict=True) if not there]


def make_lang(
    lexicon: Lexicon,
    *,
    position_dependent: bool = False,
    silence_probability: float = 0.5,
    silence_phones: Sequence[str] = (SILENCE, SPOKEN_NOISE),
) -> Lang:
    """Make a lang from pronunciations.

    ``!SIL`` and ``<UNK>`` are added where the lexicon lacks them. Pronunciations that are those of
    another word, or begin another one, get a disambiguation symbol, as add_lex_disambig.pl does.

    Args:
        lexicon: pronunciations over plain phones.
        position_dependent: whether phones get the suffixes _B, _E, _I, _S (begin, end, inside,
            single).
        silence_probability: of the optional silence, in (0, 1).
        silence_phones: the phones that are no speech; the first is the optional silence.

    Returns:
        The lang.

    Raises:
        DataError: if the probability is out of range, a word or phone has a name that is reserved,
            or a phone's name ends like a position.
    """
    if not 0.0 < silence_probability < 1.0:
        raise DataError(
            f"silence_probability={silence_probability}, expected more than 0 and less than 1",
            remedy="change it",
        )
    _refuse_reserved(lexicon)
    speech = [phone for phone in lexicon.phones if phone not in silence_phones]
    if position_dependent:
        _refuse_positions([*speech, *silence_phones])
    entries = [*lexicon.entries, *_special_words(lexicon, silence_phones)]
    if position_dependent:
        entries = [Pronunciation(e.word, _placed(e.phones), e.probability) for e in entries]
    complete = Lexicon.of(entries)
    return Lang(
        lexicon=complete,
        silence_phones=tuple(
            _group(phone, position_dependent=position_dependent, plain=True)
            for phone in silence_phones
        ),
        speech_phones=tuple(
            _group(phone, position_dependent=position_dependent, plain=False) for phone in speech
        ),
        position_dependent=position_dependent,
        silence_probability=silence_probability,
    )


def _special_words(lexicon: Lexicon, silence_phones: Sequence[str]) -> list[Pronunciation]:
    known = {entry.word for entry in lexicon.entries}
    noise = SPOKEN_NOISE if SPOKEN_NOISE in silence_phones else silence_phones[-1]
    wanted = [(SILENCE_WORD, silence_phones[0]), (UNKNOWN_WORD, noise)]
    return [Pronunciation(word, (phone,)) for word, phone in wanted if word not in known]


def _refuse_reserved(lexicon: Lexicon) -> None:
    wrong = [entry.word for entry in lexicon.entries if entry.word in RESERVED_WORDS]
    wrong += [phone for phone in lexicon.phones if not is_phone(phone)]
    if wrong:
        raise DataError(
            f"the name {wrong[0]!r} is reserved, expected another of a word or phone",
            remedy="take it out of the lexicon, or of the transcripts and alignments it is made of",
        )


def _refuse_positions(phones: Iterable[str]) -> None:
    wrong = [phone for phone in phones if phone.endswith(_POSITIONS)]
    if wrong:
        raise DataError(
            f"phone {wrong[0]!r} ends like a word position",
            remedy="rename it, or set lang.position_dependent=false",
        )


def _placed(phones: Sequence[str]) -> tuple[str, ...]:
    if len(phones) == 1:
        return (f"{phones[0]}_S",)
    inside = [f"{phone}_I" for phone in phones[1:-1]]
    return (f"{phones[0]}_B", *inside, f"{phones[-1]}_E")


def _group(phone: str, *, position_dependent: bool, plain: bool) -> tuple[str, ...]:
    if not position_dependent:
        return (phone,)
    placed = tuple(phone + position for position in _POSITIONS)
    # the optional silence stands between words, in no position of one
    return (phone, *placed) if plain else placed


def _base(phone: str) -> str:
    return phone[:-2] if phone.endswith(_POSITIONS) else phone


def _disambiguate(
    pronunciations: Sequence[tuple[str, ...]],
) -> tuple[tuple[str, ...], ...]:
    """Append ``#k`` where a pronunciation stands twice or begins another."""
    repeats: dict[tuple[str, ...], int] = {}
    beginnings = {phones[:end] for phones in pronunciations for end in range(1, len(phones))}
    for phones in pronunciations:
        repeats[phones] = repeats.get(phones, 0) + 1
    used: dict[tuple[str, ...], int] = {}
    result = []
    for phones in pronunciations:
        if repeats[phones] == 1 and phones not in beginnings:
            result.append(phones)
            continue
        used[phones] = used.get(phones, 0) + 1
        result.append((*phones, f"#{used[phones]}"))
    return tuple(result)
