"""Beam search over CTC's labels or over words, by flashlight-text and KenLM.

Shapes: B batch, S frames, C classes.

A search maximises log P(path) + lm_weight * log10 P(words) + word_score * number of words, over the
best path of a text or the sum of its paths.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from speechlite.core.errors import DataError, EnvironmentProblem
from speechlite.core.types import LabelSpace
from speechlite.data.native_output import silent_stderr
from speechlite.heads.config import CtcConfig
from speechlite.heads.ctc_labels import BLANK, collapse, text_of
from speechlite.heads.ctc_vocabulary import (
    Vocabulary,
    has_separator,
    is_binary_model,
    read_vocabulary,
)

__all__ = ["BeamSearch", "beam_searches"]

_IMPOSSIBLE = -1.0e30


@dataclass(frozen=True)
class BeamSearch:
    """Hold a search with the weights that it was made with.

    Args:
        text_of: from log-probabilities (S, C), float32, to the text of one utterance.
        facts: its weights and the size of its vocabulary, for records.
    """

    text_of: Callable[[np.ndarray], str]
    facts: dict[str, Any]


def beam_searches(config: CtcConfig, labels: LabelSpace) -> list[BeamSearch]:
    """Return one search for each pair of weights; files are read once for all of them.

    Args:
        config: the head's options.
        labels: the classes.

    Returns:
        The searches, lm_weight changing slowest.

    Raises:
        ConfigError: if the words stand in no file.
        DataError: if a file is missing or malformed.
        EnvironmentProblem: if flashlight-text is not installed.
    """
    flashlight = _import_flashlight()
    facts = {"search": "beam", "beam_size": config.beam_size}
    if config.language_model is None and config.lexicon is None:
        return [BeamSearch(_over_labels(flashlight, config, labels), facts)]
    vocabulary = read_vocabulary(
        labels, lexicon=config.lexicon, language_model=config.language_model
    )
    facts |= {"words": len(vocabulary.words), "left_out": vocabulary.left_out}
    model = _word_model(flashlight, config.language_model, vocabulary)
    material = _Material(flashlight, config, labels, vocabulary, model)
    over_words = _OverSeparatedWords(material) if has_separator(labels) else _OverSubwords(material)
    return [
        BeamSearch(
            over_words.weighted(lm_weight=lm_weight, word_score=word_score),
            {**facts, "lm_weight": lm_weight, "word_score": word_score},
        )
        for lm_weight, word_score in itertools.product(config.lm_weight, config.word_score)
    ]


@dataclass(frozen=True)
class _Material:
    flashlight: Any
    config: CtcConfig
    labels: LabelSpace
    vocabulary: Vocabulary
    model: Any

    def text(self, words: Iterable[int]) -> str:
        return " ".join(self.vocabulary.words[word] for word in words)


def _import_flashlight() -> Any:
    try:
        from flashlight.lib.text import decoder
        from flashlight.lib.text.decoder import kenlm  # noqa: F401 (has it KenLM?)
    except ImportError as error:
        raise EnvironmentProblem(
            f"head.search=beam needs flashlight-text: {error}",
            remedy="pip install 'speechlite[hmm]'",
        ) from None
    return decoder


def _over_labels(
    flashlight: Any, config: CtcConfig, labels: LabelSpace
) -> Callable[[np.ndarray], str]:
    decoder = _label_decoder(flashlight, config, labels, flashlight.ZeroLM())

    def text(scores_SC: np.ndarray) -> str:
        return text_of(_best_labels(decoder, scores_SC), labels)

    return text


class _OverSubwords:
    """Words that begin within a symbol: a search over symbols, which a model of words follows."""

    def __init__(self, material: _Material) -> None:
        self.material = material

    def weighted(self, *, lm_weight: float, word_score: float) -> Callable[[np.ndarray], str]:
        from speechlite.heads.ctc_words import SubwordLanguageModel

        given = self.material
        words = SubwordLanguageModel(
            given.labels,
            given.vocabulary,
            given.model,
            lm_weight=lm_weight,
            word_score=word_score,
        )
        decoder = _label_decoder(given.flashlight, given.config, given.labels, words)

        def text(scores_SC: np.ndarray) -> str:
            return given.text(words.words_after(_best_labels(decoder, scores_SC)))

        return text


def _label_decoder(flashlight: Any, config: CtcConfig, labels: LabelSpace, model: Any) -> Any:
    options = flashlight.LexiconFreeDecoderOptions(
        **_common_options(flashlight, config, labels), lm_weight=1.0
    )
    # The blank stands where a silence is asked for: a hypothesis begins as if after it, and a
    # first label that equals it would count as repeated.
    return flashlight.LexiconFreeDecoder(options, model, BLANK, BLANK, [])


def _best_labels(decoder: Any, scores_SC: np.ndarray) -> list[int]:
    results = decoder.decode(scores_SC.ctypes.data, *scores_SC.shape)
    # a token before the first frame and one after the last are the decoder's own
    return collapse(results[0].tokens[1:-1]) if results else []


class _OverSeparatedWords:
    """Words with a symbol between them: a search through a trie of their spellings."""

    def __init__(self, material: _Material) -> None:
        self.material = material
        self.separator = material.labels.symbols.index(material.labels.word_mark)
        self.trie = _trie(material, self.separator)

    def weighted(self, *, lm_weight: float, word_score: float) -> Callable[[np.ndarray], str]:
        given, separator = self.material, self.separator
        options = given.flashlight.LexiconDecoderOptions(
            **_common_options(given.flashlight, given.config, given.labels),
            lm_weight=lm_weight,
            word_score=word_score,
            unk_score=float("-inf"),
        )
        decoder = given.flashlight.LexiconDecoder(
            options, self.trie, given.model, separator, BLANK, -1, [], False
        )

        def text(scores_SC: np.ndarray) -> str:
            # every word of the trie ends with the separator, the last one of an utterance too
            ended_SC = np.full((len(scores_SC) + 1, scores_SC.shape[1]), _IMPOSSIBLE, np.float32)
            ended_SC[:-1] = scores_SC
            ended_SC[-1, separator] = 0.0
            results = decoder.decode(ended_SC.ctypes.data, *ended_SC.shape)
            found = results[0].words if results else []
            return given.text(word for word in found if word >= 0)

        return text


def _common_options(flashlight: Any, config: CtcConfig, labels: LabelSpace) -> dict[str, Any]:
    return {
        "beam_size": config.beam_size,
        "beam_size_token": config.beam_symbols or len(labels.symbols),
        "beam_threshold": config.beam_threshold,
        "sil_score": 0.0,
        "log_add": config.sum_paths,
        "criterion_type": flashlight.CriterionType.CTC,
    }


def _trie(material: _Material, separator: int) -> Any:
    flashlight, labels = material.flashlight, material.labels
    label_of = {symbol: label for label, symbol in enumerate(labels.symbols)}
    trie = flashlight.Trie(len(labels.symbols), separator)
    nothing = material.model.start(True)
    for word, symbols in material.vocabulary.spellings:
        path = [*(label_of[symbol] for symbol in symbols), separator]
        trie.insert(path, word, material.model.score(nothing, word)[1])
    trie.smear(flashlight.SmearingMode.MAX)
    return trie


def _word_model(flashlight: Any, path: str | None, vocabulary: Vocabulary) -> Any:
    if path is None:
        return flashlight.ZeroLM()
    from flashlight.lib.text.decoder.kenlm import KenLM
    from flashlight.lib.text.dictionary import Dictionary

    # KenLM reports a missing file by the place in its own source
    is_binary_model(Path(path))
    dictionary = Dictionary()
    for word in vocabulary.words:
        dictionary.add_entry(word)
    try:
        with silent_stderr():
            return KenLM(path, dictionary)
    except RuntimeError as error:
        detail = (str(error).splitlines() or ["no detail"])[-1]
        raise DataError(
            f"KenLM cannot read it: {detail}",
            remedy="set head.language_model to an ARPA file of order 2 or more, or a KenLM binary",
            path=path,
        ) from None
