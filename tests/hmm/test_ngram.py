"""Modified Kneser-Ney against the published formulas written with dictionaries.

On random texts the same files were also compared with lmplz of KenLM 0.3: orders 1 to 4, pruned
and not, differ by less than 1e-6 in log10, the digits that it prints.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from itertools import product

import pytest
from flashlight.lib.text.decoder.kenlm import KenLM
from flashlight.lib.text.dictionary import Dictionary
from language_made import read_arpa, text_of

from speechlite.core.errors import ConfigError, DataError, EnvironmentProblem
from speechlite.hmm.ngram import estimate_ngram

LETTERS = [f"w{number}" for number in range(12)]


class SlowKneserNey:
    """Chen and Goodman 1998, one n-gram at a time."""

    def __init__(self, sentences, vocabulary, order, *, min_counts=()):
        self.words = ["<unk>", "</s>", *vocabulary]
        self.raw = [Counter() for _ in range(order)]
        for sentence in sentences:
            padded = ["<s>", *(w if w in vocabulary else "<unk>" for w in sentence), "</s>"]
            for n in range(1, order + 1):
                for at in range(len(padded) - n + 1):
                    self.raw[n - 1][tuple(padded[at : at + n])] += 1
        self.counts = [self._adjusted(n) for n in range(order)]
        least = [1, *([*min_counts, *[(min_counts or [1])[-1]] * order][1:])]
        self.kept = [
            {g for g in self.raw[n] if n == 0 or self.raw[n][g] >= least[n]} for n in range(order)
        ]
        self.discounts = [self._discounts(n) for n in range(order)]

    def _adjusted(self, n):
        if n == len(self.raw) - 1:
            counts = Counter(self.raw[n])
        else:
            before = defaultdict(set)
            for longer in self.raw[n + 1]:
                before[longer[1:]].add(longer[0])
            counts = Counter({gram: len(words) for gram, words in before.items()})
            for gram, count in self.raw[n].items():
                if gram[0] == "<s>":
                    counts[gram] = count
        if n == 0:
            del counts[("<s>",)]
        return counts

    def _discounts(self, n):
        t = Counter(self.counts[n].values())
        if not (t[1] and t[2] and t[3]):
            return (0.5, 1.0, 1.5)
        y = t[1] / (t[1] + 2 * t[2])
        found = (1 - 2 * y * t[2] / t[1], 2 - 3 * y * t[3] / t[2], 3 - 4 * y * t[4] / t[3])
        usable = all(0 <= d <= k for k, d in enumerate(found, 1))
        return found if usable else (0.5, 1.0, 1.5)

    def left_over(self, context):
        n = len(context)
        followed = {g: c for g, c in self.counts[n].items() if g[:-1] == context}
        if not followed:
            return 1.0
        taken = sum(c - self._discount(n, c) for g, c in followed.items() if g in self.kept[n])
        return 1.0 - taken / sum(followed.values())

    def _discount(self, n, count):
        return self.discounts[n][min(count, 3) - 1]

    def probability(self, gram):
        n = len(gram) - 1
        followed = {g: c for g, c in self.counts[n].items() if g[:-1] == gram[:-1]}
        lower = self.probability(gram[1:]) if n else 1.0 / len(self.words)
        own = 0.0
        if gram in followed and gram in self.kept[n]:
            own = (followed[gram] - self._discount(n, followed[gram])) / sum(followed.values())
        return own + self.left_over(gram[:-1]) * lower


def estimated(folder, sentences, vocabulary, order, **options):
    path = folder / "lm.arpa"
    counts = estimate_ngram(sentences, vocabulary, path, order=order, **options)
    return read_arpa(path), counts


def spread(model, gram):
    """Return the probability that an ARPA file gives to the last word, by its definition."""
    if gram in model:
        return 10 ** model[gram][0]
    if len(gram) == 1:
        return 0.0
    return 10 ** model.get(gram[:-1], (0, 0.0))[1] * spread(model, gram[1:])


def assert_equals_slow(model, slow):
    grams = {gram for kept in slow.kept for gram in kept if gram != ("<s>",)}
    grams |= {(word,) for word in slow.words}
    assert set(model) == grams | {("<s>",)}
    assert model[("<s>",)][0] == -99
    for gram in grams:
        assert 10 ** model[gram][0] == pytest.approx(slow.probability(gram), rel=3e-6), gram
        if len(gram) < len(slow.raw) and gram[-1] != "</s>":
            weight = 10 ** model[gram][1]
            assert weight == pytest.approx(slow.left_over(gram), rel=3e-6), gram


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_estimate_when_all_is_kept_equals_the_published_formulas(tmp_path, order):
    sentences = text_of(seed=order, num_sentences=60, words=LETTERS)
    model, _ = estimated(tmp_path, sentences, LETTERS, order)
    assert_equals_slow(model, SlowKneserNey(sentences, LETTERS, order))


def test_estimate_when_discounts_come_from_counts_is_not_the_fall_back(tmp_path):
    # the test above would prove little if all its orders took .5, 1, 1.5
    sentences = text_of(seed=2, num_sentences=60, words=LETTERS)
    slow = SlowKneserNey(sentences, LETTERS, 2)
    assert slow.discounts[1] != (0.5, 1.0, 1.5)
    assert slow.discounts[0] == (0.5, 1.0, 1.5)


def test_estimate_when_words_are_outside_the_vocabulary_counts_them_as_unknown(tmp_path):
    sentences = text_of(seed=5, num_sentences=50, words=LETTERS)
    vocabulary = [*LETTERS[:8], "never", "\u00e9t\u00e9"]
    model, counts = estimated(tmp_path, sentences, vocabulary, 3)
    assert_equals_slow(model, SlowKneserNey(sentences, vocabulary, 3))
    tokens = [word for sentence in sentences for word in sentence]
    assert counts["unknown"] == sum(word not in vocabulary for word in tokens)
    assert counts["tokens"] == len(tokens) + len(sentences)
    assert counts["sentences"] == len(sentences)
    assert counts["ngram 1"] == len(vocabulary) + 3


@pytest.mark.parametrize("min_counts", [[1, 2], [0, 1, 2], [1, 2, 3], [3]])
def test_estimate_when_min_counts_are_given_leaves_out_what_the_text_has_less(tmp_path, min_counts):
    sentences = text_of(seed=3, num_sentences=80, words=LETTERS)
    model, counts = estimated(tmp_path, sentences, LETTERS, 3, min_counts=min_counts)
    slow = SlowKneserNey(sentences, LETTERS, 3, min_counts=min_counts)
    assert_equals_slow(model, slow)
    assert counts["ngram 3"] == len(slow.kept[2])


def test_estimate_when_min_counts_are_given_counts_the_text_rather_than_contexts(tmp_path):
    # "x y" stands four times, always after the same word
    sentences = [["a", "x", "y"]] * 4 + [["b", "a"], ["b", "b"]]
    model, _ = estimated(tmp_path, sentences, ["a", "b", "x", "y"], 3, min_counts=[1, 2, 2])
    assert ("x", "y") in model
    assert ("b", "b") not in model


@pytest.mark.parametrize(("order", "min_counts"), [(1, []), (2, []), (3, []), (3, [1, 2, 2])])
def test_estimate_when_summed_over_words_gives_one_in_every_context(tmp_path, order, min_counts):
    sentences = text_of(seed=9, num_sentences=40, words=LETTERS[:6])
    model, _ = estimated(tmp_path, sentences, LETTERS[:7], order, min_counts=min_counts)
    words = ["<unk>", "</s>", *LETTERS[:7]]
    contexts = [context for n in range(order) for context in product(["<s>", *words], repeat=n)]
    for context in contexts:
        total = sum(spread(model, (*context, word)) for word in words)
        assert total == pytest.approx(1.0, abs=2e-6), context


@pytest.mark.parametrize("order", [2, 3, 4])
def test_estimate_when_read_by_kenlm_scores_as_the_formulas(tmp_path, order):
    sentences = text_of(seed=11, num_sentences=40, words=LETTERS)
    estimated(tmp_path, sentences, LETTERS, order)
    slow = SlowKneserNey(sentences, LETTERS, order)
    kenlm = KenLM(str(tmp_path / "lm.arpa"), Dictionary(LETTERS))
    for sentence in text_of(seed=12, num_sentences=6, words=LETTERS):
        state, total = kenlm.start(False), 0.0
        for word in sentence:
            state, logp = kenlm.score(state, LETTERS.index(word))
            total += logp
        total += kenlm.finish(state)[1]
        padded = ["<s>", *sentence, "</s>"]
        expected = sum(
            math.log10(slow.probability(tuple(padded[max(0, at - order + 1) : at + 1])))
            for at in range(1, len(padded))
        )
        assert total == pytest.approx(expected, abs=1e-4)


def test_estimate_when_a_sentence_is_empty_counts_its_end(tmp_path):
    model, counts = estimated(tmp_path, [[], [], ["a"]], ["a"], 2)
    assert counts["tokens"] == 4
    assert_equals_slow(model, SlowKneserNey([[], [], ["a"]], ["a"], 2))


def test_estimate_when_the_vocabulary_is_empty_knows_only_the_unknown_word(tmp_path):
    model, _ = estimated(tmp_path, [["a", "b"]], [], 2)
    assert {gram for gram in model if len(gram) == 1} == {("<unk>",), ("<s>",), ("</s>",)}


def test_estimate_when_the_text_holds_special_symbols_counts_them_as_unknown(tmp_path):
    _, counts = estimated(tmp_path, [["<s>", "a", "</s>", "<unk>"]], ["a"], 2)
    assert counts["unknown"] == 3


def test_estimate_when_run_twice_writes_equal_bytes(tmp_path):
    sentences = text_of(seed=1, num_sentences=20, words=LETTERS)
    written = []
    for name in ("one", "two"):
        estimate_ngram(iter(sentences), LETTERS, tmp_path / name, order=3)
        written.append((tmp_path / name).read_bytes())
    assert written[0] == written[1]


@pytest.mark.parametrize(
    ("order", "min_counts"), [(0, []), (-1, []), (2, [1, 1, 1]), (3, [1, 2, 1])]
)
def test_estimate_when_options_are_out_of_range_says_which(tmp_path, order, min_counts):
    with pytest.raises(ConfigError, match=rf"order={order}, min_counts=.*change lm.order or"):
        estimate_ngram([["a"]], ["a"], tmp_path / "lm.arpa", order=order, min_counts=min_counts)
    assert not list(tmp_path.iterdir())


def test_estimate_when_min_counts_leave_nothing_says_which_order(tmp_path):
    with pytest.raises(ConfigError, match=r"leaves no 2-gram; lower lm.min_counts"):
        estimate_ngram([["a"]], ["a"], tmp_path / "lm.arpa", order=2, min_counts=[1, 9])
    assert not list(tmp_path.iterdir())


def test_estimate_when_there_is_no_sentence_says_so(tmp_path):
    with pytest.raises(DataError, match="there is no sentence to estimate from; name a text"):
        estimate_ngram([], ["a"], tmp_path / "lm.arpa", order=2)
    assert not list(tmp_path.iterdir())


def test_estimate_when_sentences_are_shorter_than_the_order_says_so(tmp_path):
    with pytest.raises(DataError, match=r"no sentence has a 5-gram, <s> and </s> counted; lower"):
        estimate_ngram([["a", "a"], []], ["a"], tmp_path / "lm.arpa", order=5)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("wrong", ["<unk>", "<s>", "</s>", "a"])
def test_estimate_when_the_vocabulary_repeats_a_word_names_it(tmp_path, wrong):
    with pytest.raises(DataError, match=f"the vocabulary has '{wrong}' twice, or it is one of"):
        estimate_ngram([["a"]], ["a", wrong], tmp_path / "lm.arpa", order=2)
    assert not list(tmp_path.iterdir())


def test_estimate_when_the_directory_is_missing_says_so(tmp_path):
    with pytest.raises(EnvironmentProblem, match="cannot be written"):
        estimate_ngram([["a"]], ["a"], tmp_path / "no" / "lm.arpa", order=2)
