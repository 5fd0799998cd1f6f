"""The lexicon as a transducer from phones to words, as Kaldi's make_lexicon_fst.py makes it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from speechlite.hmm.fst_arrays import FstArrays, to_fst
from speechlite.hmm.lang import Lang

__all__ = ["lexicon_fst"]

_START, _LOOP, _SILENCE = 0, 1, 2


class _Arcs:
    """Collect arcs in any order of states."""

    def __init__(self, num_states: int) -> None:
        self.num_states = num_states
        self.rows: list[tuple[int, int, int, float, int]] = []

    def new_state(self) -> int:
        self.num_states += 1
        return self.num_states - 1

    def add(self, src: int, labels: tuple[int, int], dst: int, cost: float = 0.0) -> None:
        self.rows.append((src, *labels, cost, dst))

    def fst(self, final: int) -> Any:
        rows = np.array(self.rows, dtype=np.float64)
        rows = rows[np.argsort(rows[:, 0], kind="stable")]
        finals = np.full(self.num_states, np.inf, np.float32)
        finals[final] = 0.0
        src, ilabel, olabel, dst = (rows[:, c].astype(np.int32) for c in (0, 1, 2, 4))
        return to_fst(
            FstArrays(_START, finals, src, ilabel, olabel, rows[:, 3].astype(np.float32), dst)
        )


def lexicon_fst(lang: Lang, *, disambiguated: bool) -> Any:
    """Build L.fst or L_disambig.fst.

    A word's first phone carries the word and the cost of its pronunciation. Before the first word
    and after every word the optional silence stands with its probability.

    Args:
        lang: pronunciations and symbols.
        disambiguated: whether disambiguation symbols are kept, with a loop that lets the
            language model's ``#0`` pass.

    Returns:
        A ``kaldifst.StdVectorFst``, final between words.
    """
    phones, words = lang.phones, lang.words
    without = -math.log(1.0 - lang.silence_probability)
    with_silence = -math.log(lang.silence_probability)
    arcs = _Arcs(3)
    arcs.add(_START, (0, 0), _LOOP, without)
    arcs.add(_START, (0, 0), _SILENCE, with_silence)
    _add_silence(arcs, lang, disambiguated=disambiguated)
    for entry, marked in zip(lang.lexicon.entries, lang.disambiguated, strict=True):
        path = [phones[phone] for phone in (marked if disambiguated else entry.phones)]
        state, word, cost = _LOOP, words[entry.word], -math.log(entry.probability)
        for phone in path[:-1]:
            following = arcs.new_state()
            arcs.add(state, (phone, word), following, cost)
            state, word, cost = following, 0, 0.0
        arcs.add(state, (path[-1], word), _LOOP, cost + without)
        arcs.add(state, (path[-1], word), _SILENCE, cost + with_silence)
    if disambiguated:
        arcs.add(_LOOP, (phones["#0"], words["#0"]), _LOOP)
    return arcs.fst(final=_LOOP)


def _add_silence(arcs: _Arcs, lang: Lang, *, disambiguated: bool) -> None:
    silence = lang.phones[lang.silence_phones[0][0]]
    if not disambiguated:
        arcs.add(_SILENCE, (silence, 0), _LOOP)
        return
    state = arcs.new_state()
    arcs.add(_SILENCE, (silence, 0), state)
    arcs.add(state, (lang.phones[lang.disambiguation[-1]], 0), _LOOP)
