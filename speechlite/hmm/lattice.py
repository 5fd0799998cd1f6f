"""Word lattices: rescoring with another language model, weights and penalties; n-best lists.

Costs are negative natural logarithms. Shapes: A arcs, W settings of weight and penalty.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from speechlite.hmm.fst_arrays import FstArrays, LatticeArrays, from_fst, to_fst
from speechlite.hmm.language_model import WordScorer
from speechlite.hmm.wheels import load_wheels

__all__ = ["Hypothesis", "ScoredLattice", "word_lattice"]

_ACCEPTOR = 0x10000
"""OpenFst's property bit of transducers whose input and output labels are equal."""
_MOST_STATES = 5000
"""States of a word lattice; where scores are so flat that more are within the beam, the cheapest
sequences stay."""

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]


def word_lattice(lattice: LatticeArrays, *, beam: float) -> FstArrays:
    """Reduce a lattice to its words: every sequence once, with the cost of its best path.

    Args:
        lattice: states and arcs, with words as output labels.
        beam: sequences that cost more than the best one by this much are left out.

    Returns:
        A deterministic acyclic acceptor of words; of very many sequences only the cheapest.
    """
    arcs = FstArrays(
        start=lattice.start,
        finals_N=lattice.finals_N2.sum(1),
        src_A=lattice.src_A,
        ilabel_A=lattice.olabel_A,
        olabel_A=lattice.olabel_A,
        weight_A=lattice.graph_A + lattice.acoustic_A,
        dst_A=lattice.dst_A,
    )
    kaldifst = load_wheels().kaldifst
    words = to_fst(arcs)
    kaldifst.rmepsilon(words)
    # OpenFst prunes while it determinises only what it knows to be an acceptor; anything else it
    # determinises in full before, which may never end
    words.properties(_ACCEPTOR, True)
    return from_fst(kaldifst.determinize(words, weight=str(beam), nstate=_MOST_STATES))


@dataclass(frozen=True)
class Hypothesis:
    """Hold a sequence of words.

    Args:
        words: ids of the words.
        cost: its cost.
    """

    words: tuple[int, ...]
    cost: float


@dataclass
class ScoredLattice:
    """Hold a word lattice whose costs are split into acoustic and language model.

    State 0 is the start. Arcs into a state stand before those out of it. Acoustic costs are all
    that is not language model: frames, transitions, pronunciations.

    Args:
        src_A: source states.
        dst_A: destination states.
        word_A: words; -1 on arcs into the end.
        acoustic_A: costs without any language model.
        model_A: costs of the language model.
        num_states: number of states; the last one is the end.
    """

    src_A: npt.NDArray[np.int32]
    dst_A: npt.NDArray[np.int32]
    word_A: npt.NDArray[np.int32]
    acoustic_A: Doubles
    model_A: Doubles
    num_states: int

    @classmethod
    def of(cls, words: FstArrays, model: WordScorer) -> ScoredLattice:
        """Tell the language model's part of a lattice's costs from the rest.

        Args:
            words: what ``word_lattice`` gave.
            model: the language model in its costs.

        Returns:
            The lattice; states are split where the words before differ for the model.
        """
        ends = np.flatnonzero(np.isfinite(words.finals_N)).astype(np.int32)
        end = len(words.finals_N)
        joined = cls(
            src_A=np.append(words.src_A, ends),
            dst_A=np.append(words.dst_A, np.full(len(ends), end, np.int32)),
            word_A=np.append(words.ilabel_A, np.full(len(ends), -1, np.int32)),
            acoustic_A=np.append(words.weight_A, words.finals_N[ends]).astype(np.float64),
            model_A=np.zeros(len(words.src_A) + len(ends)),
            num_states=end + 1,
        )
        found = _Expansion(joined, words.start, model).run()
        return replace(found, acoustic_A=found.acoustic_A - found.model_A)

    def rescored(self, model: WordScorer) -> ScoredLattice:
        """Put another language model in the place of this lattice's.

        Args:
            model: the model.

        Returns:
            The lattice; every path has the model's exact cost.
        """
        return _Expansion(self, 0, model).run()

    def best(self, weights_W: Sequence[float], penalties_W: Sequence[float]) -> list[Hypothesis]:
        """Return the best words under each setting.

        Args:
            weights_W: factors on the language model's cost.
            penalties_W: costs of a word, one for each weight.

        Returns:
            One hypothesis a setting.
        """
        costs_W, back = self._search(np.asarray(weights_W), np.asarray(penalties_W))
        return [
            Hypothesis(self._trace(back, setting), float(costs_W[setting]))
            for setting in range(len(weights_W))
        ]

    def _arc_costs(self, weights_W: Doubles, penalties_W: Doubles) -> Doubles:
        is_word_A1 = (self.word_A >= 0)[:, None]
        return (
            self.acoustic_A[:, None]
            + self.model_A[:, None] * weights_W
            + np.where(is_word_A1, penalties_W, 0.0)
        )

    def _search(
        self, weights_W: Doubles, penalties_W: Doubles
    ) -> tuple[Doubles, npt.NDArray[np.int32]]:
        costs_AW = self._arc_costs(weights_W, penalties_W)
        best = np.full((self.num_states, len(weights_W)), np.inf)
        best[0] = 0.0
        back = np.full((self.num_states, len(weights_W)), -1, np.int32)
        for arc, (src, dst) in enumerate(
            zip(self.src_A.tolist(), self.dst_A.tolist(), strict=True)
        ):
            reached_W = best[src] + costs_AW[arc]
            better = reached_W < best[dst]
            best[dst][better] = reached_W[better]
            back[dst][better] = arc
        return best[-1], back

    def _trace(self, back: npt.NDArray[np.int32], setting: int) -> tuple[int, ...]:
        words, state = [], self.num_states - 1
        while state and back[state, setting] >= 0:
            arc = int(back[state, setting])
            if self.word_A[arc] >= 0:
                words.append(int(self.word_A[arc]))
            state = int(self.src_A[arc])
        return tuple(reversed(words))

    def n_best(self, count: int, *, weight: float = 1.0, penalty: float = 0.0) -> list[Hypothesis]:
        """Return the best sequences of words, each once.

        Args:
            count: how many at most.
            weight: factor on the language model's cost.
            penalty: cost of a word.

        Returns:
            Hypotheses, the best first.
        """
        costs_A = self._arc_costs(np.array([weight]), np.array([penalty]))[:, 0]
        to_end = self._costs_to_end(costs_A)
        leaving: dict[int, list[int]] = {}
        for arc, src in enumerate(self.src_A.tolist()):
            leaving.setdefault(src, []).append(arc)
        heap: list[tuple[float, tuple[int, ...], int, float]] = [(to_end[0], (), 0, 0.0)]
        found: dict[tuple[int, ...], float] = {}
        while heap and len(found) < count:
            _, words, state, cost = heapq.heappop(heap)
            if state == self.num_states - 1:
                found.setdefault(words, cost)
                continue
            for arc in leaving.get(state, ()):
                word, dst = int(self.word_A[arc]), int(self.dst_A[arc])
                after = cost + float(costs_A[arc])
                if math.isfinite(after + to_end[dst]):
                    path = (*words, word) if word >= 0 else words
                    heapq.heappush(heap, (after + to_end[dst], path, dst, after))
        return [Hypothesis(words, cost) for words, cost in found.items()]

    def _costs_to_end(self, costs_A: Doubles) -> list[float]:
        to_end = [math.inf] * self.num_states
        to_end[-1] = 0.0
        for arc in range(len(costs_A) - 1, -1, -1):
            src, dst = int(self.src_A[arc]), int(self.dst_A[arc])
            to_end[src] = min(to_end[src], float(costs_A[arc]) + to_end[dst])
        return to_end


class _Expansion:
    """Split the states of a word lattice by the states of a language model, and score its arcs."""

    def __init__(self, lattice: ScoredLattice, start: int, model: WordScorer) -> None:
        self.lattice, self.start, self.model = lattice, start, model
        self.numbers: dict[tuple[int, Any], int] = {}
        self.rows: list[tuple[int, int, int, float, float]] = []

    def run(self) -> ScoredLattice:
        """Expand in topological order."""
        lattice, end = self.lattice, self.lattice.num_states - 1
        leaving = _leaving(lattice)
        before = {self.start: {self.model.start(): 0}}
        self.numbers[self.start, self.model.start()] = 0
        for state in _topological(lattice, leaving):
            for context, number in before.pop(state, {}).items():
                for arc in leaving[state]:
                    word, dst = int(lattice.word_A[arc]), int(lattice.dst_A[arc])
                    if dst == end:
                        after, cost = None, self.model.final(context)
                    else:
                        after, cost = self.model.step(context, word)
                    target = self.numbers.setdefault((dst, after), len(self.numbers))
                    before.setdefault(dst, {})[after] = target
                    self.rows.append((number, target, word, float(lattice.acoustic_A[arc]), cost))
        return self._result(end)

    def _result(self, end: int) -> ScoredLattice:
        # the end got its number when it was first reached; it becomes the last one
        reached = self.numbers.setdefault((end, None), len(self.numbers))
        table = np.array(self.rows, np.float64).reshape(-1, 5)
        src, dst, word = (table[:, column].astype(np.int32) for column in (0, 1, 2))
        for states in (src, dst):
            is_end = states == reached
            states[states > reached] -= 1
            states[is_end] = len(self.numbers) - 1
        return ScoredLattice(src, dst, word, table[:, 3], table[:, 4], len(self.numbers))


def _leaving(lattice: ScoredLattice) -> list[list[int]]:
    found: list[list[int]] = [[] for _ in range(lattice.num_states)]
    for arc, src in enumerate(lattice.src_A.tolist()):
        found[src].append(arc)
    return found


def _topological(lattice: ScoredLattice, leaving: Sequence[Sequence[int]]) -> list[int]:
    incoming = np.bincount(lattice.dst_A, minlength=lattice.num_states)
    ready = [int(state) for state in np.flatnonzero(incoming == 0)]
    order = []
    while ready:
        state = ready.pop()
        order.append(state)
        for arc in leaving[state]:
            dst = int(lattice.dst_A[arc])
            incoming[dst] -= 1
            if not incoming[dst]:
                ready.append(dst)
    # a lattice goes forward in time
    assert len(order) == lattice.num_states
    return order
