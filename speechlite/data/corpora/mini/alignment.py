"""Turn the events of a rendering into phones and words that lie edge to edge.

eSpeak's events are not always where a phone begins, and three kinds are mended here:

- A stop is reported when its burst begins; the closure, exact digital silence before the burst,
  would count as the phone before it, so it is moved back to the stop.
- After a nasal or a liquid the vowel is reported after its onset transition, about 11 ms late
  (28 ms in Klatt voices); it is moved back by that much.
- An L at the end of a syllable is played inside the vowel before it, and its event comes when it
  is nearly or wholly over; vowel and L then share their time in equal parts.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from speechlite.data.corpora.mini.engine import Rendering
from speechlite.data.corpora.mini.phones import NASALS_LIQUIDS, PAUSE, STOPS, VOWELS, to_arpabet

__all__ = ["Phone", "Word", "align_phones", "align_words"]

_CLOSURE_LIMIT_SECONDS = 0.06
_BURST_TOLERANCE_SECONDS = 0.005
_SHORTEST_CLOSURE_SECONDS = 0.004
_LATE_VOWEL_SECONDS = 0.011
_LATE_KLATT_VOWEL_SECONDS = 0.028
_SHORTEST_LIQUID_SECONDS = 0.035
# eSpeak says some pairs of function words from one dictionary entry and reports the first only.
_NUM_PHONES_OF_SWALLOWED = {"the": 2, "was": 3, "a": 1, "an": 2, "shall": 3}


@dataclass(frozen=True)
class Phone:
    """Hold one phone or pause.

    Args:
        symbol: ARPAbet, or SIL for a pause.
        start: first sample.
        end: sample after the last.
        event: index of the engine's event that it comes from.
    """

    symbol: str
    start: int
    end: int
    event: int


@dataclass(frozen=True)
class Word:
    """Hold one word.

    Args:
        text: the word in capitals.
        start: first sample.
        end: sample after the last.
    """

    text: str
    start: int
    end: int


def align_phones(rendering: Rendering, *, rhotic: bool, klatt: bool) -> list[Phone]:
    """Return the phones and pauses of a rendering, edge to edge.

    Args:
        rendering: samples and events.
        rhotic: whether the accent says the R of "car".
        klatt: whether the voice is a Klatt synthesiser's.

    Returns:
        The phones in time order; none is empty.
    """
    starts = [event.sample for event in rendering.phones]
    ends = [*starts[1:], len(rendering.samples)]
    symbols = to_arpabet([event.name for event in rendering.phones], rhotic=rhotic)
    phones: list[Phone] = []
    for index, (start, end, units) in enumerate(zip(starts, ends, symbols, strict=True)):
        if not units and phones:
            phones[-1] = replace(phones[-1], end=end)
        phones += _split(units, start, end, event=index)
    phones = _with_final_liquids(phones, rate_hz=rendering.rate_hz)
    phones = [phone for phone in phones if phone.end > phone.start]
    late = _LATE_KLATT_VOWEL_SECONDS if klatt else _LATE_VOWEL_SECONDS
    phones = _with_vowel_onsets(phones, late=round(late * rendering.rate_hz))
    return _with_closures(phones, rendering)


def align_words(rendering: Rendering, phones: Sequence[Phone], *, spoken: str) -> list[Word]:
    """Return where each word of the text was said.

    Args:
        rendering: events of the words.
        phones: its phones, from :func:`align_phones`.
        spoken: the text that was said.

    Returns:
        One word for each word of the text, in order.

    Raises:
        ValueError: no phone was said for a word.
    """
    tokens = list(re.finditer(r"[a-z']+", spoken))
    first_event = _first_events(rendering, ends=[token.end() for token in tokens])
    groups: list[list[str]] = []
    starts: list[int] = []
    for index, token in enumerate(tokens):
        if index in first_event or not groups:
            groups.append([])
            starts.append(first_event.get(index, 0))
        groups[-1].append(token.group())
    words: list[Word] = []
    for group, start, end in zip(groups, starts, [*starts[1:], 1 << 31], strict=True):
        said = [p for p in phones if start <= p.event < end and p.symbol != PAUSE]
        words += _share(group, said)
    return words


def _split(units: Sequence[str], start: int, end: int, *, event: int) -> list[Phone]:
    edges = [start + (end - start) * part // len(units) for part in range(len(units))] + [end]
    return [Phone(unit, edges[part], edges[part + 1], event) for part, unit in enumerate(units)]


def _with_final_liquids(phones: Sequence[Phone], *, rate_hz: int) -> list[Phone]:
    result = list(phones)
    for index in range(1, len(result)):
        vowel, liquid = result[index - 1], result[index]
        is_short = liquid.end - liquid.start < _SHORTEST_LIQUID_SECONDS * rate_hz
        if liquid.symbol == "L" and vowel.symbol in VOWELS and is_short:
            _move(result, index, (vowel.start + liquid.end) // 2)
    return result


def _with_vowel_onsets(phones: Sequence[Phone], *, late: int) -> list[Phone]:
    result = list(phones)
    for index in range(1, len(result)):
        before, vowel = result[index - 1], result[index]
        if vowel.symbol in VOWELS and before.symbol in NASALS_LIQUIDS:
            _move(result, index, max(vowel.start - late, _middle(before)))
    return result


def _with_closures(phones: Sequence[Phone], rendering: Rendering) -> list[Phone]:
    result = list(phones)
    for index in range(1, len(result)):
        before, stop = result[index - 1], result[index]
        if stop.symbol in STOPS:
            start = _closure_start(rendering, stop.start)
            _move(result, index, min(stop.start, max(start, _middle(before))))
    return [phone for phone in result if phone.end > phone.start]


def _move(phones: list[Phone], index: int, start: int) -> None:
    phones[index - 1] = replace(phones[index - 1], end=start)
    phones[index] = replace(phones[index], start=start)


def _middle(phone: Phone) -> int:
    # A phone that gives away time keeps at least half of its length.
    return (phone.start + phone.end) // 2


def _closure_start(rendering: Rendering, burst: int) -> int:
    rate_hz = rendering.rate_hz
    first = max(0, burst - int(_CLOSURE_LIMIT_SECONDS * rate_hz))
    sounding = np.flatnonzero(rendering.samples[first:burst])
    edges = np.concatenate(([-1], sounding, [burst - first]))
    gaps = np.diff(edges) - 1
    longest = int(np.argmax(gaps))
    end_of_gap = int(edges[longest + 1])
    is_long = gaps[longest] >= _SHORTEST_CLOSURE_SECONDS * rate_hz
    is_near = burst - first - end_of_gap <= _BURST_TOLERANCE_SECONDS * rate_hz
    return first + int(edges[longest]) + 1 if is_long and is_near else burst


def _first_events(rendering: Rendering, *, ends: Sequence[int]) -> dict[int, int]:
    samples = np.array([event.sample for event in rendering.phones])
    # In a second sentence the position may be that of the space before the word.
    return {
        bisect_right(ends, word.position): int(np.searchsorted(samples, word.sample))
        for word in rendering.words
    }


def _share(group: Sequence[str], said: Sequence[Phone]) -> list[Word]:
    counts = _counts(group, len(said))
    words: list[Word] = []
    first = 0
    for text, count in zip(group, counts, strict=True):
        part = said[first : first + count]
        if not part:
            raise ValueError(f"no phone was said for {text!r}")
        words.append(Word(text.upper(), part[0].start, part[-1].end))
        first += count
    return words


def _counts(group: Sequence[str], total: int) -> list[int]:
    if len(group) == 1:
        return [total]
    tail = [_NUM_PHONES_OF_SWALLOWED.get(text, 0) for text in group[1:]]
    if all(tail) and sum(tail) < total:
        return [total - sum(tail), *tail]
    letters = np.cumsum([0] + [len(text) for text in group])
    edges = np.round(letters * total / letters[-1]).astype(int)
    return [int(count) for count in np.diff(edges)]
