"""A word language model behind subword units: it lets only units pass that spell known words.

Words begin with a mark and end where the next one begins, so that no unit tells that a word is
complete. A lexicon trie of units would end a word at its last unit, which CTC may still repeat;
here units are labels of a search without a lexicon, and words are what their texts join to. Every
way to cut a word into units is thereby allowed.

This module imports flashlight-text and is itself imported only where a search needs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from flashlight.lib.text.decoder import LM, LMState

from speechlite.core.types import LabelSpace
from speechlite.heads.ctc_vocabulary import Vocabulary

__all__ = ["SubwordLanguageModel"]

_IMPOSSIBLE = -1.0e30


@dataclass
class _Step:
    """What is known after some units.

    ``beginning`` is the text of the word that has begun, ``before`` the word model's state before
    it, ``words`` the complete ones.
    """

    beginning: str
    before: Any
    words: tuple[int, ...]
    following: dict[int, tuple[Any, float]] = field(default_factory=dict)


class SubwordLanguageModel(LM):
    """Score subword units by the words that they join to.

    Weights are applied here, so that the search around it takes the weight 1.

    Args:
        labels: the units.
        vocabulary: the words that they may join to.
        word_model: a language model of flashlight-text over the indices of these words.
        lm_weight: what the word model's base-10 log-probabilities are multiplied by.
        word_score: what each word adds.
    """

    def __init__(
        self,
        labels: LabelSpace,
        vocabulary: Vocabulary,
        word_model: Any,
        *,
        lm_weight: float,
        word_score: float,
    ) -> None:
        super().__init__()
        self.mark = labels.word_mark
        self.symbols = labels.symbols
        self.word_model = word_model
        self.lm_weight = lm_weight
        self.word_score = word_score
        self.words: dict[str, list[int]] = {}
        for word, symbols in vocabulary.spellings:
            self.words.setdefault(self.mark + "".join(symbols), []).append(word)
        self.beginnings = {text[:end] for text in self.words for end in range(len(text) + 1)}
        self._steps: dict[Any, _Step] = {}
        self._first: Any = None
        self._nowhere = LMState()

    def start(self, start_with_nothing: bool) -> Any:
        """Return the state before the first unit, and forget the last utterance.

        Args:
            start_with_nothing: whether the word model begins without its sentence mark.

        Returns:
            The state.
        """
        self._first = LMState()
        # the dictionary keeps the Python objects alive, by which the states are found again
        self._steps = {self._first: _Step("", self.word_model.start(start_with_nothing), ())}
        return self._first

    def score(self, state: Any, token: int) -> tuple[Any, float]:
        """Return what a further unit costs.

        Args:
            state: a state of this utterance.
            token: the unit.

        Returns:
            The state after it, and its score.
        """
        step = self._steps.get(state)
        if step is None:
            return self._nowhere, _IMPOSSIBLE
        known = step.following.get(token)
        if known is None:
            known = step.following[token] = self._extend(state, step, token)
        return known

    def finish(self, state: Any) -> tuple[Any, float]:
        """Return what ending the utterance costs.

        Args:
            state: a state of this utterance.

        Returns:
            The state after the end, and its score; a word cut short is as good as impossible.
        """
        step = self._steps.get(state)
        ended = None if step is None else self._complete(step)
        if ended is None:
            return state.child(-1), _IMPOSSIBLE
        _, history, score = ended
        return state.child(-1), score + self.lm_weight * self.word_model.finish(history)[1]

    def words_after(self, tokens: Sequence[int]) -> tuple[int, ...]:
        """Return the words that units of the last utterance join to.

        Args:
            tokens: units that the search has followed.

        Returns:
            Indices of the words; one cut short is left out.
        """
        state = self._first
        for token in tokens:
            state = self.score(state, token)[0]
        step = self._steps.get(state)
        if step is None:
            return ()
        ended = self._complete(step)
        return step.words if ended is None else ended[0]

    def _extend(self, state: Any, step: _Step, token: int) -> tuple[Any, float]:
        symbol = self.symbols[token]
        words, history, score = step.words, step.before, 0.0
        text = step.beginning + symbol
        if symbol.startswith(self.mark):
            ended = self._complete(step)
            if ended is None:
                return self._nowhere, _IMPOSSIBLE
            words, history, score = ended
            text = symbol
        if not text or text not in self.beginnings:
            return self._nowhere, _IMPOSSIBLE
        following = state.child(token)
        self._steps[following] = _Step(text, history, words)
        return following, score

    def _complete(self, step: _Step) -> tuple[tuple[int, ...], Any, float] | None:
        """Return words, state and score at the end of the word that has begun, if it is one."""
        if step.beginning in ("", self.mark):
            return step.words, step.before, 0.0
        best = None
        for word in self.words.get(step.beginning, ()):
            history, value = self.word_model.score(step.before, word)
            if best is None or value > best[2]:
                best = ((*step.words, word), history, value)
        if best is None:
            return None
        return best[0], best[1], self.lm_weight * best[2] + self.word_score
