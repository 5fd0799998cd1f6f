"""ARPA files as acceptors against all back-off paths of the file and against KenLM."""

from __future__ import annotations

import gzip
import math
from itertools import product

import numpy as np
import pytest
from flashlight.lib.text.decoder.kenlm import KenLM
from flashlight.lib.text.dictionary import Dictionary
from language_made import (
    BIGRAMS,
    MODELS,
    UNIGRAMS,
    WORDS,
    arpa_text,
    read_arpa,
    text_of,
    write_arpa,
)

from speechlite.core.errors import DataError
from speechlite.hmm.arpa import arpa_order, read_grammar, read_unigrams
from speechlite.hmm.fst_arrays import to_fst
from speechlite.hmm.ngram import estimate_ngram
from speechlite.hmm.wheels import load_wheels

TEXT = arpa_text(*MODELS[3])


def path_costs(grams, sentence):
    """Give the cost of every way through the back-off weights of an ARPA file."""
    histories = {gram[:-1] for gram in grams} | {g for g, (_, b) in grams.items() if b is not None}

    def longest(history):
        while history and history not in histories:
            history = history[1:]
        return history

    def walk(history, rest):
        if not rest:
            yield 0.0
            return
        spent = 0.0
        for start in range(len(history) + 1):
            shorter = history[start:]
            if shorter in histories or not shorter:
                gram = (*shorter, rest[0])
                if gram in grams and grams[gram][0] > -98:
                    for cost in walk(longest(gram), rest[1:]):
                        yield spent - grams[gram][0] + cost
                spent -= grams.get(shorter, (0, 0))[1] or 0.0

    return [math.log(10) * c for c in walk(longest(("<s>",)), [*sentence, "</s>"])]


def composed_cost(grammar, sentence, words):
    """Give the cost of the cheapest path through the acceptor by composition."""
    fst = load_wheels().kaldifst
    back = words["#0"]
    lines = [f"{at} {at} {back} {back}" for at in range(len(sentence) + 1)]
    lines += [f"{at} {at + 1} {words[w]} {words[w]}" for at, w in enumerate(sentence)]
    # a transducer starts in the state of its first line
    linear = fst.compile(s="\n".join([*lines, f"{len(sentence)}", ""]))
    fst.arcsort(linear, sort_type="olabel")
    acceptor = to_fst(grammar.fst)
    fst.arcsort(acceptor, sort_type="ilabel")
    best = fst.shortest_path(fst.compose(linear, acceptor))
    if best.num_states == 0:
        return math.inf
    return fst.get_linear_symbol_sequence(best)[3].value


def kenlm_costs(path, sentences, names):
    model = KenLM(str(path), Dictionary(names))
    for sentence in sentences:
        state, total = model.start(False), 0.0
        for word in sentence:
            state, logp = model.score(state, names.index(word))
            total += logp
        yield -math.log(10) * (total + model.finish(state)[1])


@pytest.mark.parametrize("order", [1, 2, 3])
def test_grammar_when_composed_costs_what_the_cheapest_way_through_the_file_costs(tmp_path, order):
    grams = {gram: row for level in MODELS[order] for gram, row in level.items()}
    grammar = read_grammar(write_arpa(tmp_path, *MODELS[order]), WORDS)
    for length in range(4):
        for sentence in product("abc", repeat=length):
            expected = min(path_costs(grams, sentence))
            found = composed_cost(grammar, sentence, WORDS)
            assert found == pytest.approx(expected, abs=1e-5), sentence


@pytest.mark.parametrize("order", [2, 3, 4])
def test_grammar_when_compared_with_kenlm_costs_no_more_and_mostly_the_same(tmp_path, order):
    letters = list("abcdef")
    words = {name: number for number, name in enumerate(["<eps>", *letters, "#0", "<s>", "</s>"])}
    path = tmp_path / "lm.arpa"
    estimate_ngram(text_of(seed=7, num_sentences=40, words=letters), letters, path, order=order)
    grams = {gram: (p, b) for gram, (p, b) in read_arpa(path).items()}
    grammar = read_grammar(path, words)
    sentences = text_of(seed=8, num_sentences=20, words=letters)
    equal = 0
    for sentence, kenlm in zip(sentences, kenlm_costs(path, sentences, letters), strict=True):
        found = composed_cost(grammar, sentence, words)
        assert found <= kenlm + 1e-4
        # the way of the file itself, longest n-grams first, is among the acceptor's
        assert min(abs(cost - kenlm) for cost in path_costs(grams, sentence)) < 1e-3
        equal += abs(found - kenlm) < 1e-4
    assert equal >= len(sentences) // 2


def test_grammar_when_read_reports_what_the_file_has(tmp_path):
    grammar = read_grammar(write_arpa(tmp_path, *MODELS[3]), WORDS)
    assert grammar.order == 3
    assert grammar.counts == (6, 4, 2)
    assert grammar.missing == ()
    assert grammar.has_unknown
    # <unk> alone is outside the lexicon, and is no loss
    assert grammar.num_skipped == 0


def test_grammar_when_arcs_are_counted_has_one_for_each_ngram_and_each_back_off(tmp_path):
    fst = read_grammar(write_arpa(tmp_path, *MODELS[3]), WORDS).fst
    words_read = [int(label) for label in fst.ilabel_A if label != WORDS["#0"]]
    # a, b, c; <s> a, a b, b a; two trigrams; never <s>, and </s> is a final cost
    assert sorted(words_read) == sorted(WORDS[w] for w in "abcababa")
    num_histories = len(fst.finals_N)
    assert (fst.ilabel_A == WORDS["#0"]).sum() == num_histories - 1
    assert (fst.olabel_A[fst.ilabel_A == WORDS["#0"]] == 0).all()
    assert np.isfinite(fst.finals_N).sum() == 2


def test_grammar_when_words_are_outside_the_lexicon_counts_their_ngrams(tmp_path):
    words = {name: number for name, number in WORDS.items() if name != "b"}
    grammar = read_grammar(write_arpa(tmp_path, *MODELS[3]), words)
    # b; a b, b a, b </s>; both trigrams; not <unk>, which is never recognised
    assert grammar.num_skipped == 6
    assert WORDS["b"] not in grammar.fst.ilabel_A


def test_grammar_when_it_lacks_words_of_the_lexicon_names_them(tmp_path):
    words = {**WORDS, "zoo": 7, "\u00e9t\u00e9": 8, "!SIL": 9, "<UNK>": 10}
    grammar = read_grammar(write_arpa(tmp_path, *MODELS[2]), words)
    assert grammar.missing == ("zoo", "\u00e9t\u00e9")


def test_grammar_when_a_word_has_no_probability_cannot_be_recognised(tmp_path):
    path = write_arpa(tmp_path, {**UNIGRAMS, ("c",): (-99, None)}, BIGRAMS)
    grammar = read_grammar(path, WORDS)
    assert grammar.missing == ("c",)
    assert composed_cost(grammar, ["c"], WORDS) == math.inf
    assert composed_cost(grammar, ["a"], WORDS) < math.inf


def test_grammar_when_the_file_has_no_unknown_word_says_so(tmp_path):
    unigrams = {gram: row for gram, row in UNIGRAMS.items() if gram != ("<unk>",)}
    grammar = read_grammar(write_arpa(tmp_path, unigrams, BIGRAMS), WORDS)
    assert not grammar.has_unknown
    assert grammar.num_skipped == 0


def test_grammar_when_words_are_symbols_of_the_acceptor_leaves_them_out(tmp_path):
    unigrams = {**UNIGRAMS, ("<eps>",): (-1, -0.5), ("#0",): (-1, -0.5)}
    grammar = read_grammar(write_arpa(tmp_path, unigrams, BIGRAMS), WORDS)
    plain = read_grammar(write_arpa(tmp_path, UNIGRAMS, BIGRAMS), WORDS)
    assert grammar.num_skipped == plain.num_skipped + 2
    assert (grammar.fst.ilabel_A == plain.fst.ilabel_A).all()


def test_grammar_when_a_middle_order_is_empty_is_read(tmp_path):
    grammar = read_grammar(write_arpa(tmp_path, UNIGRAMS, {}), WORDS)
    assert grammar.counts == (6, 0)
    assert composed_cost(grammar, ["a"], WORDS) < math.inf


@pytest.mark.parametrize("form", ["crlf", "spaces", "before", "after"])
def test_grammar_when_the_file_is_formatted_otherwise_is_the_same(tmp_path, form):
    text = {
        "crlf": TEXT.replace("\n", "\r\n"),
        "spaces": TEXT.replace("\t", "   ").replace("=", " = "),
        "before": "made by hand\n\n" + TEXT,
        "after": TEXT + "anything",
    }[form]
    (tmp_path / "lm.arpa").write_bytes(text.encode())
    found = read_grammar(tmp_path / "lm.arpa", WORDS)
    expected = read_grammar(write_arpa(tmp_path, *MODELS[3]), WORDS)
    assert found.counts == expected.counts
    assert (found.fst.weight_A == expected.fst.weight_A).all()
    assert (found.fst.finals_N == expected.fst.finals_N).all()


def test_grammar_when_compressed_is_the_same(tmp_path):
    (tmp_path / "lm.arpa.gz").write_bytes(gzip.compress(TEXT.encode()))
    found = read_grammar(tmp_path / "lm.arpa.gz", WORDS)
    assert (
        found.fst.weight_A == read_grammar(write_arpa(tmp_path, *MODELS[3]), WORDS).fst.weight_A
    ).all()
    assert arpa_order(tmp_path / "lm.arpa.gz") == 3


def test_unigrams_when_read_are_all_words_of_the_file(tmp_path):
    found = read_unigrams(write_arpa(tmp_path, *MODELS[2]))
    assert found == {"<unk>", "<s>", "</s>", "a", "b", "c"}


@pytest.mark.parametrize("order", [1, 2, 3])
def test_order_when_read_is_that_of_the_longest_ngram(tmp_path, order):
    assert arpa_order(write_arpa(tmp_path, *MODELS[order])) == order


def test_grammar_when_cut_anywhere_is_refused(tmp_path):
    path = tmp_path / "cut.arpa"
    whole = TEXT.rstrip("\n").encode()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"cut.arpa:.*; name a complete ARPA file"):
            read_grammar(path, WORDS)


def test_grammar_when_compressed_and_cut_or_damaged_is_refused(tmp_path):
    path = tmp_path / "lm.arpa.gz"
    whole = gzip.compress(TEXT.encode(), mtime=0)
    damaged = [whole[:length] for length in range(0, len(whole), 5)]
    damaged += [
        whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :] for at in range(10, len(whole))
    ]
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"lm.arpa.gz:.*; name a complete ARPA file"):
            read_grammar(path, WORDS)


REFUSED = {
    "head": (("ngram 2=4", "ngram 3=4"), r"lm.arpa:3: 'ngram 3=4', expected 'ngram 2=COUNT'"),
    "no count": (("ngram 2=4", "ngram 2=many"), r":3: 'ngram 2=many', expected"),
    "negative": (("ngram 2=4", "ngram 2=-4"), r":3: 'ngram 2=-4', expected"),
    "no data": (("\\data\\", "data"), r"has no \\data\\ section"),
    "fewer": (("ngram 2=4", "ngram 2=5"), r"4 2-grams, its head says 5"),
    "more": (("ngram 2=4", "ngram 2=3"), r"4 2-grams, its head says 3"),
    "section": (("\\2-grams:", "\\5-grams:"), r":14: '\\\\5-grams:', expected \\2-grams:"),
    "no end": (("\\end\\", ""), r"ends before \\end\\"),
    "short": (("-0.6\ta b\t-0.25", "-0.6\ta"), r":16: '-0.6 a' is not a 2-gram with its log10"),
    "long": (("-0.6\ta b\t-0.25", "-0.6\ta b\t-0.25\t7"), r":16: '-0.6 a b -0.25 7' is not a 2-gr"),
    "no number": (("-0.6\ta b", "much\ta b"), r":16: 'much a b -0.25' is not a 2-gram"),
    "positive": (("-0.6\ta b", "0.6\ta b"), r":16: '0.6 a b -0.25' is not a 2-gram"),
    "nan": (("-0.6\ta b", "nan\ta b"), r":16: 'nan a b -0.25' is not a 2-gram"),
    "nan back": (("a b\t-0.25", "a b\tnan"), r":16: '-0.6 a b nan' is not a 2-gram"),
    "infinite back": (("a b\t-0.25", "a b\tinf"), r":16: '-0.6 a b inf' is not a 2-gram"),
    "no back": (("a b\t-0.25", "a b\tfew"), r":16: '-0.6 a b few' is not a 2-gram"),
    "repeated": (("-0.6\ta b\t-0.25", "-0.6\tb a\t-0.25"), r"holds 'b a' twice"),
    "no sentence end": (("-0.7\t</s>", "-99\t</s>"), r"gives </s> no probability"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_grammar_when_malformed_says_what_and_where(tmp_path, name):
    (given, wrong), says = REFUSED[name]
    assert TEXT.count(given) == 1
    (tmp_path / "lm.arpa").write_text(TEXT.replace(given, wrong))
    with pytest.raises(DataError, match=says):
        read_grammar(tmp_path / "lm.arpa", WORDS)


def test_grammar_when_no_word_is_in_the_lexicon_says_so(tmp_path):
    words = {"<eps>": 0, "A": 1, "B": 2, "#0": 3, "<s>": 4, "</s>": 5}
    with pytest.raises(DataError, match=r"none of its words is in the lexicon; use a lexicon and"):
        read_grammar(write_arpa(tmp_path, *MODELS[2]), words)


@pytest.mark.parametrize(
    "read", [arpa_order, read_unigrams, lambda path: read_grammar(path, WORDS)]
)
@pytest.mark.parametrize("kind", ["missing", "missing.gz", "directory", "empty", "bytes", "no.gz"])
def test_file_when_it_cannot_be_read_is_named(tmp_path, read, kind):
    path = tmp_path / kind
    if kind == "directory":
        path.mkdir()
    elif kind in ("empty", "bytes", "no.gz"):
        path.write_bytes(b"" if kind == "empty" else bytes(range(256)))
    with pytest.raises(DataError, match=rf"{kind}: (cannot be read|has no .data)"):
        read(path)


def test_unigrams_when_a_line_is_malformed_says_where(tmp_path):
    (tmp_path / "lm.arpa").write_text(TEXT.replace("-0.8\tb", "b"))
    with pytest.raises(DataError, match=r"lm.arpa:11: 'b -0.4' is not a 1-gram"):
        read_unigrams(tmp_path / "lm.arpa")
