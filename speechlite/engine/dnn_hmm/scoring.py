"""Score recognised words: dev chooses weights and penalties, test is scored with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from speechlite.core.types import Batch
from speechlite.engine.evaluate import SplitScore
from speechlite.engine.splits import Split
from speechlite.hmm.config import DecodingOptions
from speechlite.hmm.lattice import Hypothesis, ScoredLattice
from speechlite.metrics.error_rate import ErrorRate

__all__ = ["Setting", "best_setting", "hypotheses", "score_words", "settings"]


@dataclass(frozen=True)
class Setting:
    """Hold what is tuned on dev.

    Args:
        lm_weight: factor on the language model's cost.
        word_penalty: cost of a word.
    """

    lm_weight: float
    word_penalty: float


def settings(options: DecodingOptions) -> list[Setting]:
    """Return all settings that dev may choose.

    Args:
        options: the options.

    Returns:
        Every weight with every penalty.
    """
    return [Setting(*pair) for pair in product(options.lm_weights, options.word_penalties)]


def hypotheses(
    lattices: Mapping[str, ScoredLattice], chosen: Sequence[Setting], names: Sequence[str]
) -> list[dict[str, str]]:
    """Return the words of every utterance under each setting.

    Args:
        lattices: by utterance; absent utterances have no words.
        chosen: the settings.
        names: word of each id.

    Returns:
        For each setting the text of each utterance.
    """
    weights = [setting.lm_weight for setting in chosen]
    penalties = [setting.word_penalty for setting in chosen]
    texts: list[dict[str, str]] = [{} for _ in chosen]
    for utterance, lattice in lattices.items():
        for place, found in enumerate(lattice.best(weights, penalties)):
            texts[place][utterance] = _text(found, names)
    return texts


def _text(found: Hypothesis, names: Sequence[str]) -> str:
    return " ".join(names[word] for word in found.words if names[word] != "!SIL")


def score_words(split: Split, texts: Mapping[str, str]) -> SplitScore:
    """Score recognised words against transcripts.

    Args:
        split: the utterances.
        texts: recognised words by utterance; absent ones count as none.

    Returns:
        Word errors, one score an utterance.
    """
    names = sorted(split.utterances)
    references = {name: " ".join((split.utterances[name].text or "").split()) for name in names}
    metric = ErrorRate("wer", lambda batch: [references[name] for name in batch.ids])
    batch = Batch(
        ids=tuple(names), speakers=tuple(split.utterances[name].speaker for name in names)
    )
    scores = metric.score([texts.get(name, "") for name in names], batch)
    return SplitScore(
        split=split,
        metric=metric.name,
        unit=metric.unit,
        higher_is_better=metric.higher_is_better,
        scorer=metric.scorer,
        scores=tuple(scores),
    )


def best_setting(
    split: Split,
    lattices: Mapping[str, ScoredLattice],
    chosen: Sequence[Setting],
    names: Sequence[str],
) -> tuple[Setting, float]:
    """Return the setting with the lowest word error rate.

    Args:
        split: the dev data.
        lattices: its lattices.
        chosen: the settings; the earlier one wins a tie.
        names: word of each id.

    Returns:
        The setting and its word error rate in percent.
    """
    texts = hypotheses(lattices, chosen, names)
    rates = [score_words(split, text).value for text in texts]
    best = min(range(len(rates)), key=rates.__getitem__)
    return chosen[best], rates[best]
