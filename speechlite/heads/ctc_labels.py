"""What CTC classes stand for: labels of a path, and the text of labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from speechlite.core.types import LabelSpace

__all__ = ["BLANK", "collapse", "text_of"]

BLANK = 0
"""Class of the blank; symbols follow from 1."""


def collapse(path: Sequence[int]) -> list[int]:
    """Merge repeated classes, then drop blanks (Graves et al. 2006, section 3.1).

    Args:
        path: one class a frame.

    Returns:
        The labels that the path stands for.
    """
    merged = [label for index, label in enumerate(path) if index == 0 or path[index - 1] != label]
    return [label for label in merged if label != BLANK]


def text_of(labels: Iterable[int], space: LabelSpace) -> str:
    """Join the symbols of labels to words parted by single spaces.

    Args:
        labels: the labels, without blanks.
        space: their symbols, and the mark that parts words.

    Returns:
        The text.
    """
    joined = "".join(space.symbols[label] for label in labels)
    return " ".join(joined.replace(space.word_mark, " ").split())
