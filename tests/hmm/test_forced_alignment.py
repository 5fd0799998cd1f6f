"""Alignment of new speech, in one pass and in two, and phones and words in time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from gmm_made import lang_of, phonology, speak

from speechlite.core.errors import DataError
from speechlite.hmm.alignment import Segment, phone_segments
from speechlite.hmm.config import GmmStageOptions
from speechlite.hmm.forced_alignment import align_speech, phone_marks, word_marks
from speechlite.hmm.gmm_training import TrainingConditions, train_mono, train_triphones
from speechlite.hmm.lexicon import Lexicon

HOW = TrainingConditions(seed=3)
MONO = GmmStageOptions(0, 8, 25, 4, [1, 2, 3, 4, 5, 6])
SAT = GmmStageOptions(0, 5, 40, 3, [3], 25, "sat", [2, 4])


@pytest.fixture(scope="module")
def trained():
    """Return monophones and adapted triphones, and the speech that they were trained on."""
    spoken = speak(count=40, dim=4, shift=0.8)
    mono = train_mono(spoken.data, phonology(), MONO, HOW)
    return mono, train_triphones(mono, spoken.data, phonology(), SAT, HOW), spoken


def _right(found, model, spoken):
    phone_T = model.tables.phone_T
    return np.concatenate([phone_T[p] == spoken.phones[n] for n, p in found.items()]).mean()


def test_align_speech_when_there_is_no_twin_then_one_pass_gives_the_training_alignments(trained):
    mono, _, spoken = trained
    found, model = align_speech(mono.model, None, spoken.data, phonology(), HOW)
    assert model is mono.model
    assert list(found) == list(spoken.data.words)
    assert all(np.array_equal(found[name], mono.alignments[name]) for name in found)


def test_align_speech_when_speakers_are_new_then_two_passes_adapt_to_them(trained):
    _, sat, spoken = trained
    speakers = {name: f"new-{one}" for name, one in spoken.data.speakers.items()}
    data = replace(spoken.data, speakers=speakers)
    found, adapted = align_speech(sat.model, sat.speaker_independent, data, phonology(), HOW)
    assert sorted(adapted.transforms.speakers) == ["new-s0", "new-s1"]
    assert _right(found, adapted, spoken) > 0.97
    # the same transforms as for the speakers of training, nearly
    for name, affine in adapted.transforms.speakers.items():
        known = sat.model.transforms.speakers[name.removeprefix("new-")]
        assert np.abs(affine - known).mean() < 0.1
    assert sat.model.transforms.speakers.keys() == {"s0", "s1"}


def test_align_speech_when_an_utterance_is_too_short_then_it_alone_is_missing(trained):
    mono, sat, spoken = trained
    data = spoken.data
    cepstra = {**data.cepstra, "u001": data.cepstra["u001"][:2]}
    short = replace(data, cepstra=cepstra)
    for model, twin in ((mono.model, None), (sat.model, sat.speaker_independent)):
        found, _ = align_speech(model, twin, short, phonology(), HOW)
        assert set(data.words) - set(found) == {"u001"}


def test_align_speech_when_all_are_too_short_then_nothing_is_found(trained):
    mono, sat, spoken = trained
    data = spoken.data
    short = replace(data, cepstra={name: values[:2] for name, values in data.cepstra.items()})
    for model, twin in ((mono.model, None), (sat.model, sat.speaker_independent)):
        assert align_speech(model, twin, short, phonology(), HOW)[0] == {}


def test_align_speech_when_a_word_has_no_pronunciation_then_data_error(trained):
    mono, _, spoken = trained
    lang = phonology().lang
    words = {**spoken.data.words, "u002": [lang.words["<s>"]]}
    for num_workers in (1, 2):
        how = replace(HOW, num_workers=num_workers)
        with pytest.raises(DataError, match="have no path through the lexicon"):
            align_speech(mono.model, None, replace(spoken.data, words=words), phonology(), how)


def test_word_marks_when_speech_was_drawn_then_words_lie_where_they_were_said(trained):
    mono, _, spoken = trained
    lang = phonology().lang
    for name, path in mono.alignments.items():
        said = [lang.word_names[number] for number in spoken.data.words[name]]
        segments = phone_segments(path, mono.model.tables)
        marks = word_marks(segments, said, lang)
        assert [mark.token for mark in marks] == said
        for mark in marks:
            inside = spoken.phones[name][round(100 * mark.start) : round(100 * mark.end)]
            # all but frames at the edges are speech
            assert (inside != lang.phones["SIL"]).mean() > 0.7


NAMES = {1: "SIL", 2: "A", 3: "B"}


def test_phone_marks_when_frames_are_counted_then_times_are_hundredths_of_seconds():
    segments = [Segment(1, 0, 3), Segment(2, 3, 4), Segment(3, 4, 250)]
    found = [(m.token, m.start, m.end, m.line) for m in phone_marks(segments, NAMES)]
    expected = [("SIL", 0.0, 0.03, 1), ("A", 0.03, 0.04, 2), ("B", 0.04, 2.5, 3)]
    for mine, theirs in zip(found, expected, strict=True):
        assert mine[0] == theirs[0]
        assert mine[1:] == pytest.approx(theirs[1:])


def test_phone_marks_when_there_is_no_phone_then_there_is_no_mark():
    assert phone_marks([], NAMES) == []


def _segments(lang, phones):
    return [Segment(lang.phones[p], 10 * n, 10 * n + 10) for n, p in enumerate(phones)]


def _tokens(lang, phones, words):
    marks = word_marks(_segments(lang, phones), words, lang)
    return [(m.token, round(m.start, 3), round(m.end, 3)) for m in marks]


MANY = lang_of(
    [
        ("a", ("A",)),
        ("a", ("A", "B")),
        ("b", ("B",)),
        ("bc", ("B", "C")),
        ("c", ("C",)),
        ("\u00e9t\u00e9", ("C", "A", "C")),
        ("pause", ("SIL", "A")),
    ]
)


@pytest.mark.parametrize(
    ("phones", "words", "expected"),
    [
        ("A B C", ["a", "bc"], [("a", 0.0, 0.1), ("bc", 0.1, 0.3)]),
        ("A B C", ["a", "c"], [("a", 0.0, 0.2), ("c", 0.2, 0.3)]),
        ("A B SIL B C", ["a", "b", "c"], [("a", 0.0, 0.2), ("b", 0.3, 0.4), ("c", 0.4, 0.5)]),
        ("SIL A SIL B SIL", ["a", "b"], [("a", 0.1, 0.2), ("b", 0.3, 0.4)]),
        ("A B B", ["a", "b"], [("a", 0.0, 0.2), ("b", 0.2, 0.3)]),
        ("A B", ["a", "b"], [("a", 0.0, 0.1), ("b", 0.1, 0.2)]),
        ("C A C", ["\u00e9t\u00e9"], [("\u00e9t\u00e9", 0.0, 0.3)]),
        ("C A C", ["c", "a", "c"], [("c", 0.0, 0.1), ("a", 0.1, 0.2), ("c", 0.2, 0.3)]),
        ("SIL A", ["pause"], [("pause", 0.0, 0.2)]),
        ("SIL SIL A", ["pause"], [("pause", 0.1, 0.3)]),
        ("SIL SIL", ["!SIL"], [("!SIL", 0.1, 0.2)]),
        ("SPN SIL A", ["<UNK>", "a"], [("<UNK>", 0.0, 0.1), ("a", 0.2, 0.3)]),
        ("SIL", [], []),
        ("", [], []),
    ],
)
def test_word_marks_when_words_have_several_pronunciations_then_phones_decide(
    phones, words, expected
):
    assert _tokens(MANY, phones.split(), words) == expected


def test_word_marks_when_phones_know_their_place_then_words_are_found():
    lang = lang_of([("ab", ("A", "B")), ("a", ("A",))], position_dependent=True)
    found = _tokens(lang, ["SIL", "A_B", "B_E", "A_S", "SIL"], ["ab", "a"])
    assert found == [("ab", 0.1, 0.3), ("a", 0.3, 0.4)]


def test_word_marks_when_an_utterance_is_very_long_then_all_words_are_found():
    phones = ["A", "B", "SIL"] * 3000
    found = _tokens(MANY, phones, ["a"] * 3000)
    assert len(found) == 3000
    assert found[-1] == ("a", 899.7, 899.9)


class _Unread(tuple):
    """Pronunciations that may be looked up but not read from end to end."""

    def __iter__(self):
        raise AssertionError("all of the lexicon was read for one utterance")


def test_word_marks_when_the_lexicon_is_large_then_words_are_looked_up():
    lang = lang_of([(f"w{n:04d}", ("A", "B")) for n in range(2000)])
    segments = _segments(lang, ["A", "B"])
    assert lang.phones["A"] > 0
    unread = replace(lang, lexicon=Lexicon(_Unread(lang.lexicon.entries)))
    # what a lang computes once
    unread.__dict__["phones"] = lang.phones
    for word in ("w0000", "w0007", "w1999"):
        assert [mark.token for mark in word_marks(segments, [word], unread)] == [word]
