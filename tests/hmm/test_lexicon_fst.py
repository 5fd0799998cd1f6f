"""L against all ways to say sentences, by the lexicon; and what L and G together must allow."""

from __future__ import annotations

import math
from collections import defaultdict
from itertools import product

import pytest
from language_made import LEXICON, MODELS, write_arpa

from speechlite.hmm.arpa import read_grammar
from speechlite.hmm.fst_arrays import from_fst, to_fst
from speechlite.hmm.lang import make_lang
from speechlite.hmm.lexicon import Lexicon, Pronunciation
from speechlite.hmm.lexicon_fst import lexicon_fst
from speechlite.hmm.wheels import load_wheels


def made(rows=LEXICON, **options):
    return make_lang(
        Lexicon.of(Pronunciation(w, tuple(p.split()), c) for w, p, c in rows), **options
    )


def paths(fst, *, most_words, free=()):
    """Give phones, words and cost of every path with so many words; ``free`` loops are left out."""
    arcs = defaultdict(list)
    columns = (fst.src_A, fst.ilabel_A, fst.olabel_A, fst.weight_A, fst.dst_A)
    for src, ilabel, olabel, cost, dst in zip(*(c.tolist() for c in columns), strict=True):
        if ilabel not in free:
            arcs[src].append((ilabel, olabel, cost, dst))

    def walk(state, phones, words, cost):
        if math.isfinite(fst.finals_N[state]):
            yield phones, words, cost + float(fst.finals_N[state])
        for ilabel, olabel, more, dst in arcs[state]:
            longer = words + ((olabel,) if olabel else ())
            if len(longer) <= most_words:
                yield from walk(dst, phones + ((ilabel,) if ilabel else ()), longer, cost + more)

    return list(walk(fst.start, (), (), 0.0))


def said(lang, *, most_words, disambiguated):
    """Give the same by the lexicon: each pronunciation of each word, silence or none around."""
    silence = [lang.phones[lang.silence_phones[0][0]]]
    if disambiguated:
        silence.append(lang.phones[lang.disambiguation[-1]])
    pauses = [((), 1 - lang.silence_probability), (tuple(silence), lang.silence_probability)]
    phones = lang.disambiguated if disambiguated else [e.phones for e in lang.lexicon.entries]
    words = [
        (tuple(lang.phones[p] for p in spoken), lang.words[entry.word], entry.probability)
        for entry, spoken in zip(lang.lexicon.entries, phones, strict=True)
    ]
    for length in range(most_words + 1):
        for chosen in product(words, repeat=length):
            for gaps in product(pauses, repeat=length + 1):
                spoken, shares = gaps[0]
                for (phones_said, _, share), (gap, gap_share) in zip(chosen, gaps[1:], strict=True):
                    spoken, shares = spoken + phones_said + gap, shares * share * gap_share
                yield spoken, tuple(word for _, word, _ in chosen), -math.log(shares)


def assert_same(found, expected):
    found, expected = sorted(found), sorted(expected)
    assert [row[:2] for row in found] == [row[:2] for row in expected]
    for one, other in zip(found, expected, strict=True):
        assert one[2] == pytest.approx(other[2], abs=1e-5)


@pytest.mark.parametrize("position_dependent", [False, True])
@pytest.mark.parametrize("disambiguated", [False, True])
def test_lexicon_fst_when_walked_has_every_way_to_say_two_words(disambiguated, position_dependent):
    lang = made(silence_probability=0.3, position_dependent=position_dependent)
    fst = from_fst(lexicon_fst(lang, disambiguated=disambiguated))
    assert_same(
        paths(fst, most_words=2, free=(lang.phones["#0"],)),
        said(lang, most_words=2, disambiguated=disambiguated),
    )


def test_lexicon_fst_when_disambiguated_lets_back_off_pass_between_words():
    lang = made()
    fst = from_fst(lexicon_fst(lang, disambiguated=True))
    loops = fst.ilabel_A == lang.phones["#0"]
    assert loops.sum() == 1
    assert fst.olabel_A[loops] == lang.words["#0"]
    assert fst.src_A[loops] == fst.dst_A[loops]
    assert fst.finals_N[fst.src_A[loops][0]] == 0
    plain = from_fst(lexicon_fst(lang, disambiguated=False))
    assert plain.ilabel_A.max() <= max(lang.speech_ids)


def test_lexicon_fst_when_a_word_is_longer_has_a_state_for_each_phone_but_the_last():
    lang = made([("a", "x y z x", 1.0), ("b", "y", 1.0)])
    fst = from_fst(lexicon_fst(lang, disambiguated=False))
    assert len(fst.finals_N) == 3 + 3
    # two at the start, silence; !SIL, <UNK>, b twice each; a: three and two
    assert len(fst.src_A) == 3 + 3 * 2 + 5


def composed(lang, folder, order):
    fst = load_wheels().kaldifst
    lexicon = lexicon_fst(lang, disambiguated=True)
    fst.arcsort(lexicon, sort_type="olabel")
    grammar = to_fst(read_grammar(write_arpa(folder, *MODELS[order]), lang.words).fst)
    fst.arcsort(grammar, sort_type="ilabel")
    return fst.compose(lexicon, grammar)


def is_deterministic(fst):
    keys = list(zip(fst.src_A.tolist(), fst.ilabel_A.tolist(), strict=True))
    return len(set(keys)) == len(keys) and 0 not in fst.ilabel_A


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("position_dependent", [False, True])
def test_lexicon_and_grammar_when_composed_can_be_determinized(tmp_path, order, position_dependent):
    composition = composed(made(position_dependent=position_dependent), tmp_path, order)
    before = from_fst(composition)
    assert not is_deterministic(before)
    load_wheels().kaldifst.determinize_star(composition, use_log=True)
    assert composition.num_states > 0
    assert is_deterministic(from_fst(composition))


def test_lexicon_and_grammar_when_composed_keep_homophones_apart(tmp_path):
    lang = made()
    composition = composed(lang, tmp_path, 1)
    marks = {lang.phones[name] for name in lang.disambiguation}
    spoken = defaultdict(set)
    for phones, words, _ in paths(from_fst(composition), most_words=1, free=()):
        plain = tuple(p for p in phones if p not in marks and p != lang.phones["SIL"])
        spoken[plain].add(words)
    # "x" is a, b or the beginning of more
    assert {(lang.words["a"],), (lang.words["b"],)} <= spoken[(lang.phones["x"],)]
