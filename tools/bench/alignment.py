"""Compare time-marked phones with a reference: tools/bench/alignment.py REFERENCE.ctm FOUND.ctm.

Phones are matched by edit distance within an utterance, silence left out; each matched phone gives
two boundaries, its start and its end. The mini corpus divides what its engine reports as one unit
("AA R") in equal parts; a boundary between touching phones of equal length is such a guess and is
counted apart. Prints one line of JSON for all boundaries, one for those without the guesses and,
with --kinds, one for each kind of the latter: V vowel, N nasal, L liquid or glide, S stop,
F fricative, sil is silence.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from kaldialign import align

from speechlite.data.corpora.ctm import Mark, read_ctm

__all__ = ["boundary_errors", "main"]

_KINDS = {
    "V": "AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW",
    "N": "M N NG",
    "L": "L R W Y HH",
    "S": "P T K B D G CH JH",
}
_KIND_OF = {phone: kind for kind, phones in _KINDS.items() for phone in phones.split()}
_PAUSE = "SIL"
_TOUCHING_SECONDS = 0.005
_EQUAL_SECONDS = 0.00025
_GUESS = "divided in equal parts"


def boundary_errors(
    reference: Sequence[Mark], found: Sequence[Mark]
) -> tuple[list[tuple[str, float]], int]:
    """Return how far boundaries of an utterance are from those of the reference.

    Args:
        reference: its phones.
        found: the phones to judge.

    Returns:
        Kind and found minus reference seconds of each boundary, and the phones not matched.
    """
    ours = [mark for mark in found if mark.token != _PAUSE]
    theirs = [mark for mark in reference if mark.token != _PAUSE]
    pairs = align([m.token for m in theirs], [m.token for m in ours], "*")
    errors: list[tuple[str, float]] = []
    first = second = unmatched = 0
    for want, have in pairs:
        if want == have:
            errors.append((_before(theirs, first), ours[second].start - theirs[first].start))
            errors.append((_after(theirs, first), ours[second].end - theirs[first].end))
        else:
            unmatched += want != "*"
        first += want != "*"
        second += have != "*"
    return errors, unmatched


def _kind(mark: Mark) -> str:
    return _KIND_OF.get(mark.token, "F")


def _before(marks: Sequence[Mark], place: int) -> str:
    if place and _touch(marks[place - 1], marks[place]):
        return _between(marks[place - 1], marks[place])
    return f"sil>{_kind(marks[place])}"


def _after(marks: Sequence[Mark], place: int) -> str:
    if place + 1 < len(marks) and _touch(marks[place], marks[place + 1]):
        return _between(marks[place], marks[place + 1])
    return f"{_kind(marks[place])}>sil"


def _touch(first: Mark, second: Mark) -> bool:
    return second.start - first.end < _TOUCHING_SECONDS


def _between(first: Mark, second: Mark) -> str:
    difference = (second.end - second.start) - (first.end - first.start)
    return _GUESS if abs(difference) < _EQUAL_SECONDS else f"{_kind(first)}>{_kind(second)}"


def _told(kind: str, errors: Sequence[float]) -> dict[str, object]:
    milliseconds = 1000 * np.array(errors)
    return {
        "boundaries": kind,
        "count": len(errors),
        "within_20_ms_percent": round(100 * float((abs(milliseconds) <= 20).mean()), 2),
        "median_ms": round(float(np.median(milliseconds)), 1),
    }


def main() -> None:
    """Print what the comparison found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reference", type=Path)
    parser.add_argument("found", type=Path)
    parser.add_argument("--kinds", action="store_true", help="one line for each kind, too")
    arguments = parser.parse_args()
    reference, found = read_ctm(arguments.reference), read_ctm(arguments.found)
    kinds: dict[str, list[float]] = defaultdict(list)
    unmatched = 0
    for utterance in sorted(set(reference) & set(found)):
        errors, missed = boundary_errors(reference[utterance], found[utterance])
        unmatched += missed
        for kind, error in errors:
            kinds[kind].append(error)
    everything = [error for errors in kinds.values() for error in errors]
    known = [error for kind, errors in kinds.items() for error in errors if kind != _GUESS]
    print(json.dumps({**_told("all", everything), "phones_not_matched": unmatched}))
    print(json.dumps(_told("known to the engine", known)))
    for kind in sorted(kinds, key=lambda one: -len(kinds[one])) if arguments.kinds else ():
        print(json.dumps(_told(kind, kinds[kind])))


if __name__ == "__main__":
    main()
