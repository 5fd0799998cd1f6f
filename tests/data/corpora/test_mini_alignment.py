from __future__ import annotations

import numpy as np
import pytest

from speechlite.data.corpora.mini.alignment import align_phones, align_words
from speechlite.data.corpora.mini.engine import Event, Rendering
from speechlite.data.corpora.mini.phones import ARPABET, to_arpabet

RATE = 22050


def rendering(phones, *, words=(), total=4000, zeros=()):
    samples = np.ones(total)
    for start, end in zeros:
        samples[start:end] = 0.0
    return Rendering(
        samples,
        RATE,
        tuple(Event(sample, "", position) for sample, position in words),
        tuple(Event(sample, name, -1) for sample, name in phones),
    )


def aligned(said, *, klatt=False):
    return align_phones(said, rhotic=True, klatt=klatt)


def spans(phones):
    return [(phone.symbol, phone.start, phone.end) for phone in phones]


def test_arpabet_when_listed_has_39_phones():
    assert len(ARPABET) == 39


@pytest.mark.parametrize(("rhotic", "expected"), [(True, ("AA", "R")), (False, ("AA",))])
def test_phones_when_accent_is_rhotic_or_not_keep_or_drop_the_r(rhotic, expected):
    assert list(to_arpabet(["'A@"], rhotic=rhotic)) == [expected]


def test_phones_when_an_r_follows_say_it_once():
    assert list(to_arpabet(["A@", "r-"], rhotic=True)) == [("AA",), ("R",)]


def test_phones_when_mnemonic_is_unknown_raise():
    with pytest.raises(KeyError, match="q!"):
        list(to_arpabet(["q!"], rhotic=True))


def test_alignment_when_unit_has_two_phones_splits_it_in_half():
    said = aligned(rendering([(0, "b"), (1000, "@L"), (3000, "_")]))
    assert spans(said) == [
        ("B", 0, 1000),
        ("AH", 1000, 2000),
        ("L", 2000, 3000),
        ("SIL", 3000, 4000),
    ]


def test_alignment_when_silence_precedes_a_burst_gives_it_to_the_stop():
    said = aligned(rendering([(0, "a"), (3000, "t"), (3500, "s")], zeros=[(2100, 2970)]))
    assert spans(said) == [("AE", 0, 2100), ("T", 2100, 3500), ("S", 3500, 4000)]


def test_alignment_when_silence_precedes_no_stop_stays():
    said = aligned(rendering([(0, "a"), (3000, "s")], zeros=[(2100, 2970)]))
    assert spans(said)[0] == ("AE", 0, 3000)


def test_alignment_when_silence_is_too_far_from_the_burst_stays():
    said = aligned(rendering([(0, "a"), (3000, "t")], zeros=[(2100, 2700)]))
    assert spans(said)[0] == ("AE", 0, 3000)


def test_alignment_when_glide_mark_follows_extends_the_phone():
    said = aligned(rendering([(0, "s"), (1000, ";"), (1500, "a")]))
    assert spans(said) == [("S", 0, 1500), ("AE", 1500, 4000)]


@pytest.mark.parametrize(("klatt", "late_ms"), [(False, 11), (True, 28)])
@pytest.mark.parametrize(("name", "symbol"), [("m", "M"), ("r", "R")])
def test_alignment_when_vowel_follows_a_nasal_or_liquid_moves_it_back(klatt, late_ms, name, symbol):
    said = aligned(rendering([(0, name), (2000, "a")]), klatt=klatt)
    edge = 2000 - round(late_ms * 22.05)
    assert spans(said) == [(symbol, 0, edge), ("AE", edge, 4000)]


def test_alignment_when_nasal_is_short_leaves_it_half_of_its_length():
    said = aligned(rendering([(0, "s"), (1000, "n"), (1200, "a")]))
    assert spans(said) == [("S", 0, 1000), ("N", 1000, 1100), ("AE", 1100, 4000)]


def test_alignment_when_vowel_follows_another_consonant_leaves_it():
    assert spans(aligned(rendering([(0, "s"), (2000, "a")])))[1] == ("AE", 2000, 4000)


@pytest.mark.parametrize("event_of_l", [2700, 3000])
def test_alignment_when_final_l_was_played_in_its_vowel_shares_the_time(event_of_l):
    said = aligned(rendering([(0, "O:"), (event_of_l, "l"), (3000, "s")]))
    assert spans(said) == [("AO", 0, 1500), ("L", 1500, 3000), ("S", 3000, 4000)]


def test_alignment_when_final_l_has_time_of_its_own_leaves_it():
    said = aligned(rendering([(0, "O:"), (1500, "l"), (3000, "s")]))
    assert spans(said)[:2] == [("AO", 0, 1500), ("L", 1500, 3000)]


def test_words_when_pair_has_one_event_are_cut_by_phone_count():
    phones = [(0, "I"), (1000, "n"), (2000, "D"), (3000, "@2")]
    said = rendering(phones, words=[(0, 0)])
    words = align_words(said, aligned(said), spoken="in the")
    assert [(w.text, w.start, w.end) for w in words] == [("IN", 0, 2000), ("THE", 2000, 4000)]


def test_words_when_event_points_at_the_space_before_get_their_own_start():
    phones = [(0, "I"), (1000, "_"), (2000, "I"), (3000, "t")]
    said = rendering(phones, words=[(0, 0), (2000, 2)])
    words = align_words(said, aligned(said), spoken="i. it.")
    assert [(w.text, w.start, w.end) for w in words] == [("I", 0, 1000), ("IT", 2000, 4000)]


def test_words_when_swallowed_word_is_unknown_are_cut_by_letters():
    phones = [(0, "n"), (1000, "oU"), (2000, "s"), (3000, "oU")]
    said = rendering(phones, words=[(0, 0)])
    words = align_words(said, aligned(said), spoken="no so")
    assert [word.end for word in words] == [2000, 4000]


def test_words_when_nothing_was_said_raise():
    said = rendering([(0, "_")], words=[(0, 0)])
    with pytest.raises(ValueError, match="no phone was said for 'no'"):
        align_words(said, aligned(said), spoken="no")
