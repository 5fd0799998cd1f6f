from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from language_made import LEXICON

from speechlite.core.errors import DataError
from speechlite.hmm.lang import make_lang
from speechlite.hmm.lexicon import Lexicon, Pronunciation


def lexicon_of(rows):
    return Lexicon.of(Pronunciation(word, tuple(phones.split()), p) for word, phones, p in rows)


def made(**options):
    return make_lang(lexicon_of(LEXICON), **options)


def marked_the_slow_way(pronunciations):
    """Follow add_lex_disambig.pl: count, mark beginnings, number what is not alone."""
    count, begins, last_used, result = {}, set(), {}, []
    for phones in pronunciations:
        count[phones] = count.get(phones, 0) + 1
        rest = list(phones)
        while rest:
            rest.pop()
            begins.add(tuple(rest))
    for phones in pronunciations:
        if count[phones] == 1 and phones not in begins:
            result.append(phones)
        else:
            last_used[phones] = last_used.get(phones, 0) + 1
            result.append((*phones, f"#{last_used[phones]}"))
    return result


def test_phones_when_numbered_begin_with_epsilon_and_silence_and_end_with_symbols():
    # a and b share x, which also begins "x y"; y x begins y x z
    names = ["<eps>", "SIL", "SPN", "x", "y", "z", "#0", "#1", "#2", "#3"]
    assert made().phones == {name: number for number, name in enumerate(names)}


def test_words_when_numbered_are_sorted_with_the_special_ones_around():
    assert list(made().words) == [
        "<eps>",
        "!SIL",
        "<UNK>",
        "a",
        "b",
        "c",
        "\u00e9",
        "#0",
        "<s>",
        "</s>",
    ]
    assert made().word_names[3] == "a"
    assert sorted(made().words.values()) == list(range(10))


def test_words_when_special_ones_are_missing_are_added_as_silence_and_noise():
    said = {entry.word: entry.phones for entry in made().lexicon.entries}
    assert said["!SIL"] == ("SIL",)
    assert said["<UNK>"] == ("SPN",)


def test_words_when_special_ones_are_given_stay():
    lang = make_lang(lexicon_of([("<UNK>", "x y", 1.0), ("a", "x", 1.0)]))
    assert {e.phones for e in lang.lexicon.entries if e.word == "<UNK>"} == {("x", "y")}


def test_lang_when_the_lexicon_uses_silence_phones_does_not_take_them_for_speech():
    lang = make_lang(lexicon_of([("!SIL", "SIL", 1.0), ("<NOISE>", "SPN", 1.0), ("a", "x", 1.0)]))
    assert lang.speech_phones == (("x",),)
    assert lang.silence_phones == (("SIL",), ("SPN",))


def test_disambiguation_when_made_by_hand_is_this():
    marked = dict(zip(made().lexicon.entries, made().disambiguated, strict=True))
    by_word = {(e.word, " ".join(e.phones)): " ".join(m) for e, m in marked.items()}
    assert by_word == {
        ("!SIL", "SIL"): "SIL",
        ("<UNK>", "SPN"): "SPN",
        ("a", "x"): "x #1",
        ("a", "x y"): "x y",
        ("b", "x"): "x #2",
        ("c", "y x z"): "y x z",
        ("\u00e9", "y x"): "y x #1",
    }


PHONES = st.lists(st.sampled_from("xyz"), min_size=1, max_size=3).map(tuple)


@given(st.lists(st.tuples(st.sampled_from("abcd"), PHONES), min_size=1, max_size=14))
def test_disambiguation_when_random_is_that_of_add_lex_disambig(rows):
    lang = make_lang(Lexicon.of(Pronunciation(word, phones) for word, phones in rows))
    plain = [entry.phones for entry in lang.lexicon.entries]
    marked = marked_the_slow_way(plain)
    assert list(lang.disambiguated) == marked
    # no marked pronunciation is another's beginning, or another's
    assert len(set(marked)) == len(marked)
    assert not any(m[:end] in set(marked) for m in marked for end in range(1, len(m)))
    highest = max((int(m[-1][1:]) for m in marked if m[-1].startswith("#")), default=0)
    assert lang.disambiguation == [f"#{n}" for n in range(highest + 2)]


def test_disambiguation_when_nothing_needs_it_has_back_off_and_silence():
    assert make_lang(lexicon_of([("a", "x", 1), ("b", "y", 1)])).disambiguation == ["#0", "#1"]


def test_positions_when_asked_for_mark_phones_by_their_place_in_the_word():
    lang = make_lang(
        lexicon_of([("a", "x", 1), ("b", "x y", 1), ("c", "x y z x", 1)]), position_dependent=True
    )
    said = {entry.word: " ".join(entry.phones) for entry in lang.lexicon.entries}
    assert said == {
        "a": "x_S",
        "b": "x_B y_E",
        "c": "x_B y_I z_I x_E",
        "!SIL": "SIL_S",
        "<UNK>": "SPN_S",
    }
    assert lang.speech_phones[0] == ("x_B", "x_E", "x_I", "x_S")
    assert lang.silence_phones[0] == ("SIL", "SIL_B", "SIL_E", "SIL_I", "SIL_S")
    assert len(lang.phones) == 1 + 2 * 5 + 3 * 4 + len(lang.disambiguation)


def test_positions_when_asked_for_are_cut_off_base_phones():
    lang = made(position_dependent=True)
    assert {lang.base_phones[i] for i in lang.speech_ids} == set("xyz")
    assert {lang.base_phones[i] for i in lang.silence_ids} == {"SIL", "SPN"}


def test_positions_when_not_asked_for_leave_names_that_look_like_one():
    lang = make_lang(lexicon_of([("a", "x_B", 1)]))
    assert lang.base_phones[lang.phones["x_B"]] == "x_B"


def test_ids_when_of_silence_and_speech_are_those_of_their_phones():
    lang = made()
    assert lang.silence_ids == [1, 2]
    assert lang.speech_ids == [3, 4, 5]
    assert lang.groups == (("SIL",), ("SPN",), ("x",), ("y",), ("z",))


def test_transcript_when_words_are_known_gives_their_ids():
    lang = made()
    assert lang.word_ids(" a  \u00e9 ") == ([lang.words["a"], lang.words["\u00e9"]], [])
    assert lang.word_ids("") == ([], [])


def test_transcript_when_words_are_missing_gives_unknown_and_their_names():
    lang = made()
    unknown = lang.words["<UNK>"]
    assert lang.word_ids("zoo a zoo") == ([unknown, lang.words["a"], unknown], ["zoo", "zoo"])


@pytest.mark.parametrize("symbol", ["<eps>", "#0", "<s>", "</s>"])
def test_transcript_when_it_holds_a_symbol_takes_it_for_a_missing_word(symbol):
    lang = made()
    assert lang.word_ids(symbol) == ([lang.words["<UNK>"]], [symbol])


@pytest.mark.parametrize("probability", [0.0, 1.0, -0.5, float("nan")])
def test_lang_when_silence_is_impossible_or_certain_is_refused(probability):
    with pytest.raises(DataError, match=f"silence_probability={probability}, expected more than 0"):
        made(silence_probability=probability)


def test_lang_when_phones_end_like_positions_is_refused():
    with pytest.raises(DataError, match=r"phone 'x_E' ends like a word position; rename it, or"):
        make_lang(lexicon_of([("a", "x_E", 1)]), position_dependent=True)


@pytest.mark.parametrize("word", ["<eps>", "#0", "<s>", "</s>"])
def test_lang_when_a_word_is_reserved_is_refused(word):
    with pytest.raises(DataError, match=f"the name '{word}' is reserved, expected another"):
        make_lang(lexicon_of([("a", "x", 1), (word, "y", 1)]))


@pytest.mark.parametrize("phone", ["#1", "<eps>", ""])
def test_lang_when_a_phone_is_reserved_is_refused(phone):
    with pytest.raises(DataError, match=f"the name '{phone}' is reserved, expected another"):
        make_lang(Lexicon.of([Pronunciation("a", ("x", phone))]))
