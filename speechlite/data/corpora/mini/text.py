"""Write the sentences of the synthetic corpus with a seeded grammar.

Words are drawn with Zipf-like frequencies. Held-out words stand only in development and test
sentences, where they take a few per cent of the content slots, so that a recogniser meets words
that its training never had.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from speechlite.data.corpora.mini.lexicon import HELD_OUT, WORD_CLASSES

__all__ = ["Script", "ScriptWriter", "vocabulary"]

_HELD_OUT_SHARE = 0.03
_ZIPF_OFFSET = 2.0
_ZIPF_EXPONENT = 0.8
_TWO_SENTENCES_BELOW_WORDS = 11

# Weighted productions; a symbol in capitals is a production or a word class, the rest are words.
_GRAMMAR: Mapping[str, tuple[tuple[int, str], ...]] = {
    "S": (
        (6, "NP VT NP PP"),
        (4, "NP VP and VP"),
        (4, "NP VI PP , and NP VT NP"),
        (4, "CONJ NP VP , NP VT NP"),
        (3, "NP SAID that NP MODAL VB NP"),
        (3, "there was a ADJ OBJECT PP"),
        (3, "WHEN NP VP"),
        (3, "NP was VING PP WHEN"),
        (2, "NP had NUM PLURAL and a ADJ OBJECT"),
        (2, "PRO MODAL not VB the OBJECT of NP"),
        (2, "the ABSTRACT of the PERSON was ADJ and ADJ"),
        (2, "it was the ADJ OBJECT that NP had VT_DONE"),
        (2, "NP and NP VI PP for NUM PLURAL"),
        (2, "at HOUR o'clock NP VP"),
        (1, "what a ADJ OBJECT , SAID NAME , and NP VI"),
        (1, "no PERSON in the PLACE MODAL VB OWN OBJECT WHEN"),
        (1, "all the PLURAL were ADJ , but the OBJECT was ADJ"),
    ),
    "NP": (
        (6, "the PERSON"),
        (4, "the ADJ PERSON"),
        (4, "PRO"),
        (4, "NAME"),
        (2, "TITLE NAME"),
        (3, "OWN PERSON"),
        (3, "the ADJ OBJECT"),
        (2, "the OBJECT"),
        (2, "a PERSON of the PLACE"),
        (1, "NUM ADJ PLURAL"),
        (1, "the PLURAL"),
        (1, "OWN ADJ OBJECT"),
    ),
    "VP": (
        (4, "VT NP"),
        (3, "VI PP"),
        (2, "ADV VT the OBJECT"),
        (2, "VT PRO_OBJ PP"),
        (2, "VI ADV"),
        (1, "MODAL VB the PLURAL"),
    ),
    "PP": (
        (5, "in the PLACE"),
        (4, "PREP the PLACE"),
        (3, "to the ADJ PLACE"),
        (3, "PREP the OBJECT"),
        (2, "from the PLACE"),
        (2, "with a ADJ OBJECT"),
        (2, "into OWN PLACE"),
        (1, "PREP the PLACE of ABSTRACT"),
        (1, "with ABSTRACT"),
    ),
    "WHEN": (
        (3, "in the PART"),
        (2, "on DAY PART"),
        (2, "in MONTH"),
        (2, "that PART"),
        (2, "after NUM PLURAL"),
        (1, "one SEASON day"),
        (1, "at half past HOUR"),
        (1, "at HOUR o'clock"),
        (1, "before the SEASON"),
    ),
    "OWN": ((6, "POSS"), (2, "NAME_S"), (2, "the PERSON_S")),
    "VT_DONE": (
        (3, "found"),
        (2, "bought"),
        (2, "lost"),
        (1, "made"),
        (1, "stolen"),
        (1, "broken"),
        (1, "given"),
        (1, "chosen"),
        (1, "forgotten"),
    ),
}
_SUFFIXES = {"NAME_S": "NAME", "PERSON_S": "PERSON"}


@dataclass(frozen=True)
class Script:
    """Hold the text of one utterance.

    Args:
        spoken: lower-case text with commas and full stops, for the synthesiser.
        sentences: the sentences of ``spoken``, in order.
    """

    spoken: str
    sentences: tuple[str, ...]

    @property
    def words(self) -> tuple[str, ...]:
        """Return the words of the transcript.

        Returns:
            The words in capitals A-Z with apostrophes.
        """
        plain = self.spoken.replace(",", " ").replace(".", " ")
        return tuple(plain.upper().split())


class ScriptWriter:
    """Write utterances so that no sentence is ever written twice.

    Args:
        seed: the same seed writes the same utterances.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(f"text/{seed}")  # noqa: S311  not for secrets
        self._written: set[str] = set()

    def write(self, *, held_out: bool) -> Script:
        """Return the next utterance: one long sentence or two short ones.

        Args:
            held_out: whether words that training never has may be drawn.

        Returns:
            The script; its sentences are in no other script of this writer.
        """
        sentences = [self._new_sentence(held_out=held_out)]
        if len(sentences[0].split()) < _TWO_SENTENCES_BELOW_WORDS:
            sentences.append(self._new_sentence(held_out=held_out))
        return Script(" ".join(sentences), tuple(sentences))

    def _new_sentence(self, *, held_out: bool) -> str:
        while True:
            words = _with_articles(self._expand("S", held_out=held_out))
            sentence = " ".join(words).replace(" ,", ",") + "."
            if sentence not in self._written:
                self._written.add(sentence)
                return sentence

    def _expand(self, symbol: str, *, held_out: bool) -> list[str]:
        if symbol in _SUFFIXES:
            return [self._word(_SUFFIXES[symbol], held_out=held_out) + "'s"]
        if symbol in WORD_CLASSES:
            return [self._word(symbol, held_out=held_out)]
        if symbol not in _GRAMMAR:
            return [symbol]
        weights, rules = zip(*_GRAMMAR[symbol], strict=True)
        rule = self._random.choices(rules, weights)[0]
        return [word for part in rule.split() for word in self._expand(part, held_out=held_out)]

    def _word(self, word_class: str, *, held_out: bool) -> str:
        rare = HELD_OUT.get(word_class, ())
        if held_out and rare and self._random.random() < _HELD_OUT_SHARE:
            return self._random.choice(rare)
        words = WORD_CLASSES[word_class]
        weights = [(rank + _ZIPF_OFFSET) ** -_ZIPF_EXPONENT for rank in range(len(words))]
        return self._random.choices(words, weights)[0]


def vocabulary(*, held_out: bool) -> frozenset[str]:
    """Return every word that the grammar can write.

    Args:
        held_out: whether to include the words that training never has.

    Returns:
        The words, lower-case.
    """
    classes = [(name, WORD_CLASSES[name]) for name in WORD_CLASSES]
    if held_out:
        classes += [(name, HELD_OUT[name]) for name in HELD_OUT]
    words = {word for _, members in classes for word in members}
    stems = set(_SUFFIXES.values())
    words |= {f"{word}'s" for name, members in classes if name in stems for word in members}
    rules = (rule for options in _GRAMMAR.values() for _, rule in options)
    words |= {part for rule in rules for part in rule.split() if part.islower()}
    return frozenset(words | {"an"})


def _with_articles(words: list[str]) -> list[str]:
    following = [*words[1:], ""]
    vowels = ("a", "e", "i", "o", "u")
    return [
        "an" if word == "a" and after.startswith(vowels) and after != "one" else word
        for word, after in zip(words, following, strict=True)
    ]
