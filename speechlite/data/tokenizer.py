"""Characters as CTC labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from speechlite.core.errors import DataError

__all__ = ["CharacterTokenizer"]

_BLANK = "<blank>"
_SPACE = " "


class CharacterTokenizer:
    """Map texts to character labels; label 0 is the CTC blank.

    Args:
        symbols: the symbol of each label, the blank first.
        of_head: whether they are those of a head that was trained before: texts take its case,
            where its letters have only one.
    """

    def __init__(self, symbols: tuple[str, ...], *, of_head: bool = False) -> None:
        self.symbols = symbols
        self._source = "the model's head" if of_head else "the training text"
        self._remedy = (
            "fine-tune a head that has them" if of_head else "add training text that has them"
        )
        letters = "".join(symbol for symbol in symbols if len(symbol) == 1)
        self._fold: Callable[[str], str] = str
        if of_head and letters.isupper():
            self._fold = str.upper
        elif of_head and letters.islower():
            self._fold = str.lower
        self._label_of = {symbol: label for label, symbol in enumerate(symbols)}

    @classmethod
    def from_texts(cls, texts: Iterable[str]) -> CharacterTokenizer:
        """Build the inventory of all characters that occur.

        Args:
            texts: transcripts.

        Returns:
            A tokenizer with the blank, the space and the characters in code order.
        """
        characters = set().union(*(set(text) for text in texts)) - {_SPACE}
        return cls((_BLANK, _SPACE, *sorted(characters)))

    def encode(self, text: str, *, utterance: str) -> np.ndarray:
        """Return the labels of a text.

        Args:
            text: a transcript.
            utterance: its utterance, for error messages.

        Returns:
            int64 labels (L,).

        Raises:
            DataError: if a character is not in the inventory.
        """
        text = self._fold(text)
        unknown = sorted(set(text) - set(self._label_of))
        if unknown:
            raise DataError(
                f"utterance {utterance} has characters {unknown} that {self._source} lacks",
                remedy=f"normalise the transcripts, or {self._remedy}",
            )
        return np.array([self._label_of[character] for character in text], dtype=np.int64)
