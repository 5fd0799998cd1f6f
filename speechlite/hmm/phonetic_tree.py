"""Phonetic decision trees (Young, Odell and Woodland 1994), grown as Kaldi's build-tree does.

Every state of every phone has a root of its own; leaves over all roots are split best first.

Shapes: K triphone states, Q questions, D features, P densities.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
import numpy.typing as npt

from speechlite.core.errors import ConfigError
from speechlite.hmm.tree_bytes import Leaf, Node, Split, tree_bytes
from speechlite.hmm.triphone_stats import TriphoneStats, log_likelihood_gain, pooled_log_likelihood

__all__ = ["GrownTree", "grow_tree", "phone_questions"]

Doubles = npt.NDArray[np.float64]
Question = tuple[int, frozenset[int]]


@dataclass(frozen=True)
class GrownTree:
    """Hold a tree and the statistics of its leaves.

    Args:
        content: the tree in Kaldi's binary form.
        counts_P: frames of each density.
        means_PD: mean of each; that of all frames where a density has none.
        variances_PD: variance of each.
    """

    content: bytes
    counts_P: Doubles
    means_PD: Doubles
    variances_PD: Doubles


@dataclass
class _Growing:
    """A leaf that may still be split."""

    rows: npt.NDArray[np.int64]
    question: Question | None = None
    children: tuple[_Growing, _Growing] | None = None
    pdf: int = -1

    def node(self) -> Node:
        if self.children is None or self.question is None:
            return Leaf(self.pdf)
        key, values = self.question
        return Split(key, values, self.children[0].node(), self.children[1].node())

    def leaves(self) -> list[_Growing]:
        if self.children is None:
            return [self]
        return [leaf for child in self.children for leaf in child.leaves()]


def phone_questions(
    stats: TriphoneStats, groups: Sequence[Sequence[int]], *, middle: int = 1
) -> list[frozenset[int]]:
    """Find sets of similar phones by joining the two most alike again and again.

    Args:
        stats: statistics of triphone states.
        groups: phones that always stay together.
        middle: pdf-class whose features are compared.

    Returns:
        Every set that arose, single groups first; groups that never occurred are in none.
    """
    sets, totals = [], []
    for group in groups:
        rows = np.isin(stats.contexts_K4[:, 1], group) & (stats.contexts_K4[:, 3] == middle)
        if rows.any():
            part = stats.part(rows)
            sets.append(frozenset(group))
            totals.append((part.counts_K.sum(), part.sums_KD.sum(0), part.squares_KD.sum(0)))
    questions = list(sets)
    while len(sets) > 2:
        first, second = _closest(totals)
        joined = sets[first] | sets[second]
        merged = tuple(a + b for a, b in zip(totals[first], totals[second], strict=True))
        for place in sorted((first, second), reverse=True):
            del sets[place], totals[place]
        sets.append(joined)
        totals.append(merged)
        questions.append(joined)
    return questions


def _closest(totals: Sequence[tuple[Doubles, Doubles, Doubles]]) -> tuple[int, int]:
    counts, sums, squares = (np.array(column) for column in zip(*totals, strict=True))
    alone = pooled_log_likelihood(counts, sums, squares)
    together = pooled_log_likelihood(
        counts[:, None] + counts, sums[:, None] + sums, squares[:, None] + squares
    )
    loss = alone[:, None] + alone - together
    np.fill_diagonal(loss, np.inf)
    first, second = np.unravel_index(int(loss.argmin()), loss.shape)
    return int(first), int(second)


def grow_tree(
    stats: TriphoneStats,
    *,
    silence_groups: Sequence[Sequence[int]],
    speech_groups: Sequence[Sequence[int]],
    position_sets: Sequence[frozenset[int]],
    silence_classes: int,
    speech_classes: int,
    num_leaves: int,
    min_count: float = 100.0,
) -> GrownTree:
    """Grow a tree.

    Args:
        stats: statistics of triphone states.
        silence_groups: groups of phones that share densities and are never split.
        speech_groups: groups of phones that share roots.
        position_sets: phones by their place in the word; empty without such phones.
        silence_classes: pdf-classes of silence phones.
        speech_classes: pdf-classes of speech phones.
        num_leaves: most densities; 0 splits no state.
        min_count: fewest frames of a leaf that a split makes.

    Returns:
        The tree.

    Raises:
        ConfigError: if there are more states than densities to share among them.
    """
    sets = phone_questions(stats, [*silence_groups, *speech_groups])
    questions = [(key, one) for key in (0, 2) for one in [*sets, *position_sets]]
    questions += [(1, one) for one in position_sets]
    classes = {tuple(group): silence_classes for group in silence_groups}
    classes |= {tuple(group): speech_classes for group in speech_groups}
    roots = {
        (group, pdf_class): _root(stats, group, pdf_class)
        for group, number in classes.items()
        for pdf_class in range(number)
    }
    if 0 < num_leaves < len(roots):
        raise ConfigError(
            f"leaves={num_leaves}, but {len(roots)} states of phones need a density each",
            remedy=f"give at least {len(roots)} leaves, or 0 for no splits",
        )
    speech = {tuple(group) for group in speech_groups}
    splittable = [root for (group, _), root in roots.items() if group in speech]
    _split_best(splittable, stats, questions, num_leaves - len(roots), min_count)
    leaves = [leaf for root in roots.values() for leaf in root.leaves()]
    for pdf, leaf in enumerate(leaves):
        leaf.pdf = pdf
    nodes = {
        phone: [roots[group, pdf_class].node() for pdf_class in range(number)]
        for group, number in classes.items()
        for phone in group
    }
    return _with_gaussians(tree_bytes(nodes), leaves, stats)


def _root(stats: TriphoneStats, group: Sequence[int], pdf_class: int) -> _Growing:
    contexts = stats.contexts_K4
    return _Growing(np.flatnonzero(np.isin(contexts[:, 1], group) & (contexts[:, 3] == pdf_class)))


def _split_best(
    leaves: Sequence[_Growing],
    stats: TriphoneStats,
    questions: Sequence[Question],
    num_splits: int,
    min_count: float,
) -> None:
    if not questions:
        return
    answers = np.array([np.isin(stats.contexts_K4[:, key], list(one)) for key, one in questions])
    order = count()
    heap: list[tuple[float, int, int, _Growing]] = []

    def offer(leaf: _Growing) -> None:
        part = stats.part(leaf.rows)
        if len(leaf.rows) < 2:
            return
        gains, smaller = log_likelihood_gain(part, answers[:, leaf.rows].astype(np.float64))
        gains = np.where(smaller >= min_count, gains, -np.inf)
        best = int(gains.argmax())
        if gains[best] > 0:
            heapq.heappush(heap, (-float(gains[best]), next(order), best, leaf))

    for leaf in leaves:
        offer(leaf)
    for _ in range(num_splits):
        if not heap:
            return
        _, _, best, leaf = heapq.heappop(heap)
        yes = answers[best, leaf.rows]
        leaf.question = questions[best]
        leaf.children = (_Growing(leaf.rows[yes]), _Growing(leaf.rows[~yes]))
        for child in leaf.children:
            offer(child)


def _with_gaussians(content: bytes, leaves: Sequence[_Growing], stats: TriphoneStats) -> GrownTree:
    counts = np.array([stats.counts_K[leaf.rows].sum() for leaf in leaves])
    sums = np.array([stats.sums_KD[leaf.rows].sum(0) for leaf in leaves])
    squares = np.array([stats.squares_KD[leaf.rows].sum(0) for leaf in leaves])
    # a density without frames gets those of all
    empty = counts < 1
    sums[empty], squares[empty] = stats.sums_KD.sum(0), stats.squares_KD.sum(0)
    total = np.where(empty, stats.counts_K.sum(), counts)[:, None]
    means = sums / total
    variances = np.maximum(squares / total - np.square(means), 0.01)
    return GrownTree(content, counts, means, variances)
