"""Scorers against the file's own numbers, brute force and KenLM; perplexity in closed form."""

from __future__ import annotations

import gzip
import math
import sys
from itertools import product

import numpy as np
import pytest
from language_made import BIGRAMS, MODELS, UNIGRAMS, WORDS, arpa_text, text_of, write_arpa

from speechlite.core.errors import DataError, EnvironmentProblem
from speechlite.hmm.arpa import read_grammar
from speechlite.hmm.fst_arrays import FstArrays
from speechlite.hmm.language_model import GrammarScorer, KenlmScorer, perplexity
from speechlite.hmm.ngram import estimate_ngram

LN10 = math.log(10)


def sentence_cost(scorer, ids):
    state, total = scorer.start(), 0.0
    for word in ids:
        state, cost = scorer.step(state, word)
        total += cost
    return total + scorer.final(state)


def file_cost(levels, sentence):
    """Score by the definition of ARPA: the longest n-gram there is, else back-off and shorter."""
    grams = {gram: row for level in levels for gram, row in level.items()}

    def logp(history, word):
        if (*history, word) in grams:
            return grams[(*history, word)][0]
        if not history:
            return grams[("<unk>",)][0]
        return (grams.get(history, (0, 0))[1] or 0.0) + logp(history[1:], word)

    padded = ["<s>", *sentence, "</s>"]
    return -LN10 * sum(
        logp(tuple(padded[max(0, at - len(levels) + 1) : at]), padded[at])
        for at in range(1, len(padded))
    )


@pytest.mark.parametrize("order", [2, 3])
def test_kenlm_when_it_scores_sentences_costs_what_the_file_says(tmp_path, order):
    words = list(WORDS)
    scorer = KenlmScorer(write_arpa(tmp_path, *MODELS[order]), words)
    for length in range(4):
        for sentence in product("abc", repeat=length):
            found = sentence_cost(scorer, [words.index(word) for word in sentence])
            assert found == pytest.approx(file_cost(MODELS[order], sentence), abs=1e-4)


@pytest.mark.parametrize("name", ["<UNK>", "<unk>", "zoo", "\u00e9t\u00e9"])
def test_kenlm_when_the_file_has_an_unknown_word_gives_its_cost_to_what_it_lacks(tmp_path, name):
    scorer = KenlmScorer(write_arpa(tmp_path, *MODELS[2]), ["a", name])
    _, cost = scorer.step(scorer.start(), 1)
    # nothing follows <s> with it, so that <s> backs off
    assert cost == pytest.approx(1.8 * LN10, rel=1e-5)
    assert scorer.unknown_words == (frozenset() if "unk" in name.lower() else frozenset({1}))


def test_kenlm_when_the_lexicon_has_both_unknown_words_scores_them_alike(tmp_path):
    scorer = KenlmScorer(write_arpa(tmp_path, *MODELS[2]), ["<unk>", "<UNK>"])
    assert scorer.step(scorer.start(), 0)[1] == scorer.step(scorer.start(), 1)[1]


def test_kenlm_when_the_file_has_no_unknown_word_gives_it_a_large_finite_cost(tmp_path):
    unigrams = {gram: row for gram, row in UNIGRAMS.items() if gram != ("<unk>",)}
    scorer = KenlmScorer(write_arpa(tmp_path, unigrams, BIGRAMS), ["a", "<UNK>", "<eps>", "#0"])
    state, cost = scorer.step(scorer.start(), 1)
    assert cost == pytest.approx(10 * LN10)
    assert scorer.unknown_words == {1}
    # after it the context is empty
    assert scorer.step(state, 0)[1] == pytest.approx(0.5 * LN10, rel=1e-5)


@pytest.mark.parametrize("order", [2, 3, 4])
def test_kenlm_when_states_are_equal_scores_every_continuation_alike(tmp_path, order):
    letters = list("abcd")
    path = tmp_path / "lm.arpa"
    estimate_ngram(text_of(seed=1, num_sentences=30, words=letters), letters, path, order=order)
    used = KenlmScorer(path, letters)
    sentences = list(product(range(4), repeat=4))
    costs = {sentence: sentence_cost(used, sentence) for sentence in sentences}
    # a scorer that never met another sentence has only its own states
    for sentence in sentences[::25]:
        assert sentence_cost(KenlmScorer(path, letters), sentence) == costs[sentence]


def test_kenlm_when_a_word_is_not_ascii_finds_it(tmp_path):
    unigrams = {**UNIGRAMS, ("\u00e9t\u00e9",): (-0.25, None)}
    scorer = KenlmScorer(write_arpa(tmp_path, unigrams, BIGRAMS), ["\u00e9t\u00e9"])
    assert scorer.step(scorer.start(), 0)[1] == pytest.approx(0.55 * LN10, rel=1e-5)
    assert scorer.unknown_words == frozenset()


def test_kenlm_when_the_file_is_compressed_scores_as_the_plain_one(tmp_path):
    (tmp_path / "lm.arpa.gz").write_bytes(gzip.compress(arpa_text(*MODELS[3]).encode()))
    found = KenlmScorer(tmp_path / "lm.arpa.gz", list("abc"))
    plain = KenlmScorer(write_arpa(tmp_path, *MODELS[3]), list("abc"))
    assert sentence_cost(found, [0, 1, 0]) == sentence_cost(plain, [0, 1, 0])


def test_kenlm_when_loaded_says_nothing_on_standard_error(tmp_path, capfd):
    KenlmScorer(write_arpa(tmp_path, *MODELS[2]), ["a"])
    print("still there", file=sys.stderr)
    assert capfd.readouterr().err == "still there\n"


def test_kenlm_when_the_file_is_damaged_says_so_and_keeps_standard_error(tmp_path, capfd):
    (tmp_path / "lm.arpa").write_text(arpa_text(*MODELS[2]).replace("-0.6\ta b", "-0.6\ta"))
    with pytest.raises(DataError, match=r"lm.arpa: KenLM cannot read it: .*; name a complete ARPA"):
        KenlmScorer(tmp_path / "lm.arpa", ["a"])
    print("still there", file=sys.stderr)
    assert capfd.readouterr().err == "still there\n"


@pytest.mark.parametrize("marker", ["<s>", "</s>"])
def test_kenlm_when_the_file_lacks_a_sentence_marker_says_so(tmp_path, marker):
    unigrams = {gram: row for gram, row in UNIGRAMS.items() if gram != (marker,)}
    with pytest.raises(DataError, match=rf"missing {marker} and the model is configured to reject"):
        KenlmScorer(write_arpa(tmp_path, unigrams, {("a", "b"): (-1, None)}), ["a"])


def test_kenlm_when_the_file_is_cut_anywhere_says_so(tmp_path):
    path, whole = tmp_path / "lm.arpa", arpa_text(*MODELS[2]).rstrip("\n").encode()
    for length in range(0, len(whole), 3):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"lm.arpa.*; (name|estimate) a"):
            KenlmScorer(path, ["a"])


def test_kenlm_when_the_model_has_single_words_alone_says_so(tmp_path):
    with pytest.raises(DataError, match=r"is a unigram model, expected bigrams or more; estimate"):
        KenlmScorer(write_arpa(tmp_path, UNIGRAMS), ["a"])


def test_kenlm_when_flashlight_is_missing_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "flashlight.lib.text.decoder.kenlm", None)
    with pytest.raises(EnvironmentProblem, match=r"flashlight-text is not installed.*\[hmm\]"):
        KenlmScorer(write_arpa(tmp_path, *MODELS[2]), ["a"])


def acceptor_costs(fst, backoff, sentence):
    """Give the cost of every path of an acceptor, arc by arc."""
    arcs = list(zip(fst.src_A, fst.ilabel_A, fst.weight_A, fst.dst_A, strict=True))

    def walk(state, rest):
        if not rest and math.isfinite(fst.finals_N[state]):
            yield float(fst.finals_N[state])
        for src, label, cost, dst in arcs:
            if src == state and label == backoff:
                yield from (cost + more for more in walk(dst, rest))
            elif src == state and rest and label == rest[0]:
                yield from (cost + more for more in walk(dst, rest[1:]))

    return list(walk(fst.start, list(sentence)))


@pytest.mark.parametrize("order", [2, 3])
def test_grammar_scorer_when_it_scores_gives_the_cheapest_of_all_paths(tmp_path, order):
    fst = read_grammar(write_arpa(tmp_path, *MODELS[order]), WORDS).fst
    scorer = GrammarScorer(fst, backoff=WORDS["#0"])
    for length in range(5):
        for sentence in product([WORDS[w] for w in "abc"], repeat=length):
            expected = min(acceptor_costs(fst, WORDS["#0"], sentence))
            assert sentence_cost(scorer, sentence) == pytest.approx(expected, abs=1e-5)


def test_grammar_scorer_when_backing_off_is_cheaper_costs_less_than_the_file_says(tmp_path):
    # the file gives "<s> a b" 1.9, though 0.1 + 0.6 are left by way of "a b"
    path = write_arpa(tmp_path, *MODELS[3])
    ids = [WORDS["a"], WORDS["b"]]
    grammar = GrammarScorer(read_grammar(path, WORDS).fst, backoff=WORDS["#0"])
    kenlm = KenlmScorer(path, list(WORDS))
    # "a b" ends no sentence in the file: both back off to b
    assert sentence_cost(kenlm, ids) == pytest.approx((0.3 + 1.9 + 0.25 + 0.2) * LN10, rel=1e-4)
    least = 0.3 + (0.1 + 0.6) + 0.25 + 0.2
    assert sentence_cost(grammar, ids) == pytest.approx(least * LN10, rel=1e-4)


def test_grammar_scorer_when_the_grammar_lacks_a_word_costs_infinity(tmp_path):
    scorer = GrammarScorer(read_grammar(write_arpa(tmp_path, *MODELS[2]), WORDS).fst, backoff=4)
    state, cost = scorer.step(scorer.start(), 77)
    assert cost == math.inf
    assert scorer.step(state, WORDS["a"])[1] == math.inf
    assert scorer.final(state) == math.inf


def test_grammar_scorer_when_the_grammar_has_no_arc_scores_the_empty_sentence():
    nothing = np.zeros(0, np.int32)
    fst = FstArrays(
        0, np.array([2.5], np.float32), *[nothing] * 3, np.zeros(0, np.float32), nothing
    )
    scorer = GrammarScorer(fst, backoff=4)
    assert scorer.final(scorer.start()) == 2.5
    assert scorer.step(scorer.start(), 1)[1] == math.inf


def test_perplexity_when_worked_out_by_hand_is_equal(tmp_path):
    found = perplexity(write_arpa(tmp_path, *MODELS[2]), [["a", "b"], ["b"]])
    # <s> a, a b, b </s>; <s> backs off to b, b </s>
    logs = [0.3, 0.6, 0.2, 0.3 + 0.8, 0.2]
    assert found.value == pytest.approx(10 ** (sum(logs) / 5), rel=1e-5)
    assert found.num_tokens == 5
    assert found.unknown == {}


def test_perplexity_when_the_model_lacks_words_leaves_them_out_and_counts_them(tmp_path):
    path = write_arpa(tmp_path, *MODELS[2])
    found = perplexity(path, [["zoo", "a", "\u00e9"], ["\u00e9"]])
    # after a word that it lacks nothing is known: a; </s>; </s>
    assert found.value == pytest.approx(10 ** ((0.5 + 0.7 + 0.7) / 3), rel=1e-5)
    assert found.num_tokens == 3
    assert found.unknown == {"zoo": 1, "\u00e9": 2}


def test_perplexity_when_a_text_holds_special_symbols_counts_them_as_lacking(tmp_path):
    found = perplexity(write_arpa(tmp_path, *MODELS[2]), [["<s>", "</s>", "<eps>", "#0"]])
    assert found.unknown == {"<s>": 1, "</s>": 1, "<eps>": 1, "#0": 1}
    assert found.num_tokens == 1
    assert math.isfinite(found.value)


def test_perplexity_when_the_model_is_estimated_from_its_text_is_below_the_words(tmp_path):
    letters = list("abcdefgh")
    text = text_of(seed=3, num_sentences=80, words=letters)
    estimate_ngram(text, letters, tmp_path / "lm.arpa", order=3)
    found = perplexity(tmp_path / "lm.arpa", iter(text))
    assert 1 < found.value < len(letters)
    assert found.num_tokens == sum(map(len, text)) + len(text)


def test_perplexity_when_sentences_are_empty_counts_their_ends(tmp_path):
    found = perplexity(write_arpa(tmp_path, *MODELS[2]), [[], []])
    assert found.value == pytest.approx(10 ** (0.3 + 0.7), rel=1e-5)
    assert found.num_tokens == 2


def test_perplexity_when_there_is_no_sentence_says_so(tmp_path):
    with pytest.raises(DataError, match="there is no sentence to measure on; name a text"):
        perplexity(write_arpa(tmp_path, *MODELS[2]), [])
