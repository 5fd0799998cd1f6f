"""Estimate n-gram language models: interpolated modified Kneser-Ney, as lmplz does.

Chen and Goodman 1998 (TR-10-98), section 2.7 and Eq. 26; Heafield et al. 2013 (P13-2121),
section 3. The vocabulary is closed: words outside it count as ``<unk>``.

Shapes: T tokens, K n-grams of one order, N order of an n-gram.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from speechlite.core.errors import ConfigError, DataError
from speechlite.data.atomic import replace_file

__all__ = ["estimate_ngram"]

_UNKNOWN, _BEGIN, _END = 0, 1, 2
_SPECIAL = ("<unk>", "<s>", "</s>")
_FALL_BACK = (0.5, 1.0, 1.5)
_NO_PROBABILITY = -99.0

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Level:
    """Hold the n-grams of one order, in lexicographic order of their words.

    ``counts_K`` are raw for the highest order and for n-grams that begin with <s>, else the number
    of different words seen before the n-gram. ``raw_K`` says how often the text has each.
    """

    words_KN: Ints
    counts_K: Ints
    raw_K: Ints


def estimate_ngram(
    sentences: Iterable[Sequence[str]],
    vocabulary: Sequence[str],
    out: Path,
    *,
    order: int,
    min_counts: Sequence[int] = (),
) -> dict[str, int]:
    """Estimate a model and write it as ARPA.

    Args:
        sentences: the words of each sentence.
        vocabulary: words that get a probability; others count as ``<unk>``.
        out: the ARPA file to write or replace.
        order: longest n-gram, at least 1.
        min_counts: n-grams of each order that the text has fewer times are left out, from order 1
            on (never words); the last one holds for all longer n-grams, empty leaves none out.
            Must not fall from one order to the next.

    Returns:
        ``sentences``, ``tokens``, ``unknown`` (words outside the vocabulary) and the number of
        n-grams of each order as ``ngram 1`` ...

    Raises:
        ConfigError: if the order or the counts are out of range, or leave no n-gram.
        DataError: if there is no sentence, no sentence as long as ``order``, or the vocabulary
            has a word twice or one of <unk>, <s>, </s>.
    """
    _check(order, min_counts)
    _check_vocabulary(vocabulary)
    ids = {word: number for number, word in enumerate(vocabulary, start=len(_SPECIAL))}
    tokens_T, num_sentences = _tokens(sentences, ids, order)
    counted = _count(tokens_T, order)
    if not len(counted[-1].words_KN):
        raise DataError(
            f"no sentence has a {order}-gram, <s> and </s> counted",
            remedy="lower the order of the model, or name a text of longer sentences",
        )
    levels = _prune(counted, min_counts)
    probabilities, backoffs = _interpolate(counted, levels, num_words=len(ids) + len(_SPECIAL))
    names = [*_SPECIAL, *vocabulary]
    _write(out, names, levels, probabilities, backoffs)
    return {
        "sentences": num_sentences,
        "tokens": int((tokens_T > _BEGIN).sum()) + int((tokens_T == _UNKNOWN).sum()),
        "unknown": int((tokens_T == _UNKNOWN).sum()),
        **{f"ngram {n}": len(level.words_KN) for n, level in enumerate(levels, start=1)},
    }


def _check(order: int, min_counts: Sequence[int]) -> None:
    counts = list(min_counts)
    if order < 1 or len(counts) > order or counts != sorted(counts):
        raise ConfigError(
            f"order={order}, min_counts={counts}, expected an order of at least 1 and at most as "
            "many counts that do not fall",
            remedy="change lm.order or lm.min_counts",
        )


def _check_vocabulary(vocabulary: Sequence[str]) -> None:
    seen = set(_SPECIAL)
    for word in vocabulary:
        if word in seen:
            raise DataError(
                f"the vocabulary has {word!r} twice, or it is one of {', '.join(_SPECIAL)}",
                remedy="take the word out of the lexicon",
            )
        seen.add(word)


def _tokens(
    sentences: Iterable[Sequence[str]], ids: dict[str, int], order: int
) -> tuple[Ints, int]:
    # one <s> and one </s> a sentence; -1 keeps n-grams from crossing into the next one
    tokens: list[int] = []
    count = 0
    for words in sentences:
        tokens.append(_BEGIN)
        tokens += [ids.get(word, _UNKNOWN) for word in words]
        tokens += [_END, *([-1] * (order - 1))]
        count += 1
    if not count:
        raise DataError("there is no sentence to estimate from", remedy="name a text with words")
    return np.array(tokens, np.int64), count


def _count(tokens_T: Ints, order: int) -> list[_Level]:
    windows = np.lib.stride_tricks.sliding_window_view(tokens_T, order)
    windows = windows[windows[:, 0] >= 0]
    levels: list[_Level] = []
    for n in range(order, 0, -1):
        rows = windows[:, :n]
        rows = rows[(rows >= 0).all(1)]
        words, raw = np.unique(rows, axis=0, return_counts=True)
        counts = _continuations(words, raw, levels[0]) if levels else raw
        levels.insert(0, _Level(words, counts, raw))
    return levels


def _continuations(words_KN: Ints, raw_K: Ints, higher: _Level) -> Ints:
    """Count the different words before each n-gram; those with <s> in front keep raw counts."""
    before, numbers = np.unique(higher.words_KN[:, 1:], axis=0, return_counts=True)
    counts = np.where(words_KN[:, 0] == _BEGIN, raw_K, 0)
    counts[_find(words_KN, before)] = numbers
    return counts


def _keys(words_KN: Ints) -> npt.NDArray[np.void]:
    # big-endian bytes compare as the words do
    rows = np.ascontiguousarray(words_KN.astype(">u4"))
    return rows.view(np.dtype((np.void, rows.shape[1] * 4))).ravel()


def _find(table_KN: Ints, wanted_KN: Ints) -> Ints:
    """Return the row of each wanted n-gram in a sorted table that holds it."""
    return np.searchsorted(_keys(table_KN), _keys(wanted_KN))


def _contains(table_KN: Ints, wanted_KN: Ints) -> npt.NDArray[np.bool_]:
    keys, wanted = _keys(table_KN), _keys(wanted_KN)
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.asarray(keys[places] == wanted)


def _prune(levels: list[_Level], min_counts: Sequence[int]) -> list[_Level]:
    kept = [levels[0]]
    for n, level in enumerate(levels[1:], start=2):
        least = min_counts[n - 1] if n <= len(min_counts) else (min_counts or [0])[-1]
        stays = level.raw_K >= least
        # an n-gram needs its beginning and its ending
        lower = kept[-1].words_KN
        stays &= _contains(lower, level.words_KN[:, :-1]) & _contains(lower, level.words_KN[:, 1:])
        if not stays.any():
            raise ConfigError(
                f"min_counts={list(min_counts)} leaves no {n}-gram", remedy="lower lm.min_counts"
            )
        kept.append(_Level(level.words_KN[stays], level.counts_K[stays], level.raw_K[stays]))
    return kept


def _discounts(counts_K: Ints | Floats) -> Floats:
    """Return the discounts of counts 0, 1, 2, and 3 or more (Chen and Goodman, Eq. 26)."""
    t = [int((counts_K == k).sum()) for k in range(5)]
    if 0 in t[1:4]:
        return np.array([0.0, *_FALL_BACK])
    y = t[1] / (t[1] + 2 * t[2])
    found = [k - (k + 1) * y * t[k + 1] / t[k] for k in (1, 2, 3)]
    usable = all(0 <= d <= k for k, d in enumerate(found, start=1))
    return np.array([0.0, *(found if usable else _FALL_BACK)])


def _interpolate(
    counted: list[_Level], levels: list[_Level], *, num_words: int
) -> tuple[list[Floats], list[Floats]]:
    """Return the probability and the back-off weight of every n-gram that is kept."""
    # every word but <s>, among them those that no sentence holds
    uniform = 1.0 / (num_words - 1)
    counts = levels[0].counts_K.astype(np.float64)
    counts[levels[0].words_KN[:, 0] == _BEGIN] = 0
    own = (counts - _discount(counts, counts)) / counts.sum()
    left_over = 1.0 - own.sum()
    levels[0], own = _complete(levels[0], own, num_words)
    probabilities = [own + left_over * uniform]
    backoffs: list[Floats] = [np.ones(len(level.words_KN)) for level in levels]
    for n in range(1, len(levels)):
        level, lower = levels[n], levels[n - 1].words_KN
        context = _find(lower, level.words_KN[:, :-1])
        # what was left out gives its probability to the lower order
        totals = _totals(counted[n], lower)
        raw_K = level.counts_K.astype(np.float64)
        share = (raw_K - _discount(raw_K, counted[n].counts_K)) / totals[context]
        gamma = (1.0 - np.bincount(context, share, len(lower))).astype(np.float64)
        backoffs[n - 1] = gamma
        ending = probabilities[n - 1][_find(lower, level.words_KN[:, 1:])]
        probabilities.append(share + gamma[context] * ending)
    return probabilities, backoffs


def _discount(counts_K: Floats, all_counts_K: Ints | Floats) -> Floats:
    table = _discounts(all_counts_K)
    return np.asarray(table[np.minimum(counts_K, 3).astype(np.int64)])


def _totals(counted: _Level, lower_KN: Ints) -> Floats:
    contexts = counted.words_KN[:, :-1]
    known = _contains(lower_KN, contexts)
    places = _find(lower_KN, contexts[known])
    weights = counted.counts_K[known].astype(np.float64)
    return np.bincount(places, weights, len(lower_KN)).astype(np.float64)


def _complete(level: _Level, own_K: Floats, num_words: int) -> tuple[_Level, Floats]:
    """Give words that no sentence holds a place among the unigrams."""
    full = np.zeros(num_words)
    full[level.words_KN[:, 0]] = own_K
    none = np.zeros(num_words, np.int64)
    return _Level(np.arange(num_words)[:, None], none, none), full


def _write(
    out: Path,
    names: Sequence[str],
    levels: Sequence[_Level],
    probabilities: Sequence[Floats],
    backoffs: Sequence[Floats],
) -> None:
    with replace_file(out) as stream:
        head = [f"ngram {n}={len(level.words_KN)}" for n, level in enumerate(levels, start=1)]
        stream.write("\n".join(["\\data\\", *head, "", ""]).encode())
        for n, level in enumerate(levels, start=1):
            logs = np.log10(probabilities[n - 1])
            if n == 1:
                logs[_BEGIN] = _NO_PROBABILITY
            highest = n == len(levels)
            weights = None if highest else np.log10(np.maximum(backoffs[n - 1], 1e-99))
            stream.write(f"\\{n}-grams:\n".encode())
            for k, words in enumerate(level.words_KN.tolist()):
                text = " ".join(names[word] for word in words)
                ends = weights is None or words[-1] == _END
                tail = "" if weights is None or ends else f"\t{weights[k]:.7g}"
                stream.write(f"{logs[k]:.7g}\t{text}{tail}\n".encode())
            stream.write(b"\n")
        stream.write(b"\\end\\\n")
