"""Score word sequences with language models: KenLM for any ARPA file, or a graph's own grammar.

Costs are negative natural logarithms. A state stands for the words before; states that are equal
score every continuation alike.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from speechlite.core.errors import DataError, EnvironmentProblem
from speechlite.data.native_output import silent_stderr
from speechlite.hmm.arpa import arpa_order, read_unigrams
from speechlite.hmm.fst_arrays import FstArrays
from speechlite.hmm.lexicon import RESERVED_WORDS

__all__ = ["GrammarScorer", "KenlmScorer", "Perplexity", "WordScorer", "perplexity"]

_UNKNOWN_LOG10 = -10.0
"""Log10 probability of a word that a model without ``<unk>`` lacks."""


class WordScorer(Protocol):
    """Score words one after the other."""

    def start(self) -> Hashable:
        """Return the state at the beginning of a sentence.

        Returns:
            The state.
        """

    def step(self, state: Any, word: int) -> tuple[Hashable, float]:
        """Return the state after a word, and the word's cost.

        Args:
            state: the state before.
            word: id of the word.

        Returns:
            The state and the cost.
        """

    def final(self, state: Any) -> float:
        """Return the cost of the end of the sentence.

        Args:
            state: the state before it.

        Returns:
            The cost.
        """


class KenlmScorer:
    """Score with KenLM.

    Args:
        path: an ARPA file.
        words: word of each id.

    Raises:
        DataError: if the file cannot be read, or is a unigram model.
        EnvironmentProblem: if flashlight-text, which holds KenLM, is not installed.
    """

    def __init__(self, path: Path, words: Sequence[str]) -> None:
        try:
            from flashlight.lib.text.decoder.kenlm import KenLM
            from flashlight.lib.text.dictionary import Dictionary
        except ImportError:
            raise EnvironmentProblem(
                "flashlight-text is not installed; language models are scored with it",
                remedy="run tools/setup.sh, or pip install 'speechlite[hmm]'",
            ) from None
        self._context = arpa_order(path) - 1
        if self._context < 1:
            raise DataError(
                "is a unigram model, expected bigrams or more",
                remedy="estimate a longer order: lm.order=2 or more",
                path=path,
            )
        self._unknown_words = _absent_words(path, words)
        try:
            with silent_stderr():
                # every word that the file lacks, <UNK> too, is KenLM's <unk>
                self._model = KenLM(str(path), Dictionary(list(words)))
        except RuntimeError as error:
            raise DataError(
                f"KenLM cannot read it: {' '.join(str(error).split())[-200:]}",
                remedy="name a complete ARPA file",
                path=path,
            ) from None
        self._states: dict[tuple[int, ...], Any] = {(-1,): self._model.start(False)}

    @property
    def unknown_words(self) -> frozenset[int]:
        """Ids of words that the model lacks."""
        return self._unknown_words

    def start(self) -> tuple[int, ...]:
        """Return the state at the beginning of a sentence.

        Returns:
            The state.
        """
        return (-1,)

    def step(self, state: tuple[int, ...], word: int) -> tuple[tuple[int, ...], float]:
        """Return the state after a word, and the word's cost.

        Args:
            state: the state before.
            word: id of the word.

        Returns:
            The state and the cost.
        """
        following, logp = self._model.score(self._states[state], word)
        after = (*state, word)[-self._context :]
        self._states.setdefault(after, following)
        if word in self._unknown_words and logp < _UNKNOWN_LOG10:
            logp = _UNKNOWN_LOG10
        return after, -logp * math.log(10.0)

    def final(self, state: tuple[int, ...]) -> float:
        """Return the cost of the end of the sentence.

        Args:
            state: the state before it.

        Returns:
            The cost.
        """
        _, logp = self._model.finish(self._states[state])
        return -float(logp) * math.log(10.0)


def _absent_words(path: Path, words: Sequence[str]) -> frozenset[int]:
    known = read_unigrams(path)
    return frozenset(
        number
        for number, word in enumerate(words)
        if word not in RESERVED_WORDS
        and word not in known
        and not (word == "<UNK>" and "<unk>" in known)
    )


class GrammarScorer:
    """Score with a graph's own grammar: the cheapest path through its back-off arcs.

    Such a path may cost less than the ARPA file says, because the acceptor may back off where the
    file has the longer n-gram. What a decoder saw of the model is this cost.

    Args:
        grammar: the acceptor.
        backoff: label of its back-off arcs.
    """

    def __init__(self, grammar: FstArrays, *, backoff: int) -> None:
        num_states = len(grammar.finals_N)
        self._grammar = grammar
        self._first = np.searchsorted(grammar.src_A, np.arange(num_states + 1))
        self._arcs: dict[int, dict[int, tuple[float, int]]] = {}
        is_backoff = grammar.ilabel_A == backoff
        self._back = {
            int(src): (float(cost), int(dst))
            for src, cost, dst in zip(
                grammar.src_A[is_backoff],
                grammar.weight_A[is_backoff],
                grammar.dst_A[is_backoff],
                strict=True,
            )
        }

    def start(self) -> tuple[tuple[int, float], ...]:
        """Return the state at the beginning of a sentence.

        Returns:
            The state: grammar states with their costs above the cheapest one's.
        """
        return self._closed({self._grammar.start: 0.0})[0]

    def step(
        self, state: tuple[tuple[int, float], ...], word: int
    ) -> tuple[tuple[tuple[int, float], ...], float]:
        """Return the state after a word, and the word's cost.

        Args:
            state: the state before.
            word: id of the word.

        Returns:
            The state and the cost; infinite where the grammar lacks the word.
        """
        reached: dict[int, float] = {}
        for source, above in state:
            arc = self._arcs_of(source).get(word)
            if arc is not None and above + arc[0] < reached.get(arc[1], math.inf):
                reached[arc[1]] = above + arc[0]
        return self._closed(reached)

    def final(self, state: tuple[tuple[int, float], ...]) -> float:
        """Return the cost of the end of the sentence.

        Args:
            state: the state before it.

        Returns:
            The cost.
        """
        finals = self._grammar.finals_N
        return min((above + float(finals[source]) for source, above in state), default=math.inf)

    def _arcs_of(self, state: int) -> dict[int, tuple[float, int]]:
        found = self._arcs.get(state)
        if found is None:
            part = slice(self._first[state], self._first[state + 1])
            fst = self._grammar
            rows = zip(
                fst.ilabel_A[part].tolist(),
                fst.weight_A[part].tolist(),
                fst.dst_A[part].tolist(),
                strict=True,
            )
            found = self._arcs[state] = {word: (cost, dst) for word, cost, dst in rows}
        return found

    def _closed(self, reached: dict[int, float]) -> tuple[tuple[tuple[int, float], ...], float]:
        """Follow back-off arcs, and move the cheapest cost out of the state."""
        pending = list(reached)
        while pending:
            state = pending.pop()
            back = self._back.get(state)
            if back is not None and reached[state] + back[0] < reached.get(back[1], math.inf):
                reached[back[1]] = reached[state] + back[0]
                pending.append(back[1])
        if not reached:
            return (), math.inf
        least = min(reached.values())
        return tuple(sorted((s, cost - least) for s, cost in reached.items())), least


@dataclass(frozen=True)
class Perplexity:
    """Hold how well a model predicts sentences.

    Args:
        value: perplexity over words and sentence ends, words that the model lacks left out.
        num_tokens: words and sentence ends counted.
        unknown: count of each word that the model lacks.
    """

    value: float
    num_tokens: int
    unknown: dict[str, int]


def perplexity(path: Path, sentences: Iterable[Sequence[str]]) -> Perplexity:
    """Measure the perplexity of a language model.

    Args:
        path: an ARPA file.
        sentences: the words of each sentence.

    Returns:
        The perplexity; words that the file lacks are left out and counted, as SRILM does.

    Raises:
        DataError: if the file cannot be read, or there is no sentence.
    """
    texts = [list(sentence) for sentence in sentences]
    names = sorted({word for text in texts for word in text})
    scorer = KenlmScorer(path, names)
    ids = {name: number for number, name in enumerate(names)}
    cost, tokens = 0.0, 0
    unknown: dict[str, int] = {}
    for text in texts:
        state = scorer.start()
        for word in text:
            state, price = scorer.step(state, ids[word])
            if word in RESERVED_WORDS or ids[word] in scorer.unknown_words:
                unknown[word] = unknown.get(word, 0) + 1
                continue
            cost, tokens = cost + price, tokens + 1
        cost, tokens = cost + scorer.final(state), tokens + 1
    if not tokens:
        raise DataError("there is no sentence to measure on", remedy="name a text with words")
    return Perplexity(math.exp(cost / tokens), tokens, unknown)
