"""Characters as CTC labels."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from speechlite.core.errors import DataError

__all__ = ["CharacterTokenizer"]

_BLANK = "<blank>"
_SPACE = " "


class CharacterTokenizer:
    """Map texts to character labels; label 0 is the CTC blank.

    Args:
        symbols: the symbol of each label, the blank first.
    """

    def __init__(self, symbols: tuple[str, ...]) -> None:
        self.symbols = symbols
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
        unknown = sorted(set(text) - set(self._label_of))
        if unknown:
            raise DataError(
                f"utterance {utterance} has characters {unknown} that the training text lacks",
                remedy="normalise the transcripts, or add training text that has them",
            )
        return np.array([self._label_of[character] for character in text], dtype=np.int64)
