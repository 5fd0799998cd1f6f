from __future__ import annotations

import pytest
from language_made import LEXICON

from speechlite.core.errors import DataError, EnvironmentProblem
from speechlite.data.corpora.ctm import Mark
from speechlite.hmm.lexicon import (
    Lexicon,
    Pronunciation,
    is_phone,
    lexicon_of_alignment,
    read_lexicon,
    write_lexicon,
)


def read(folder, text, **options):
    path = folder / "lexicon.txt"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    entries = read_lexicon(path, **options).entries
    return [(e.word, " ".join(e.phones), e.probability) for e in entries]


def marks(text):
    """Read "token:start-end token:start-end"."""
    found = []
    for line, part in enumerate(text.split(), start=1):
        token, _, times = part.rpartition(":")
        start, end = map(float, times.split("-"))
        found.append(Mark(start, end - start, token, line))
    return found


def test_lexicon_when_plain_gives_every_pronunciation_one(tmp_path):
    found = read(tmp_path, "B\tx y\nA  x\n\nA y  z \n")
    assert found == [("A", "x", 1.0), ("A", "y z", 1.0), ("B", "x y", 1.0)]


def test_lexicon_when_it_has_probabilities_reads_them(tmp_path):
    assert read(tmp_path, "A 1.0 x\nA 0.25 y z\n") == [("A", "x", 1.0), ("A", "y z", 0.25)]


def test_lexicon_when_in_the_form_of_librispeech_is_read(tmp_path):
    found = read(tmp_path, "A\t\tAH0\nABLE\t\tEY1 B AH0 L\n")
    assert found == [("A", "AH0", 1.0), ("ABLE", "EY1 B AH0 L", 1.0)]


def test_lexicon_when_stress_is_stripped_merges_what_becomes_equal(tmp_path):
    found = read(tmp_path, "A AH0\nA AH1\nB B3X IY12\n", strip_stress=True)
    assert found == [("A", "AH", 1.0), ("B", "B3X IY", 1.0)]


def test_lexicon_when_lines_end_in_crlf_or_nowhere_is_the_same(tmp_path):
    assert read(tmp_path, "A x y\r\nB y\r\n") == read(tmp_path, "A x y\nB y")


def test_lexicon_when_words_are_not_ascii_are_sorted_as_bytes_are(tmp_path):
    words = ["\u00e9t\u00e9", "Z", "a", "\u65e5\u672c", "\U0001f600", "'T"]
    found = read(tmp_path, "".join(f"{word} x\n" for word in words))
    assert [word for word, *_ in found] == sorted(words, key=str.encode)


def test_lexicon_when_a_line_stands_twice_keeps_the_likelier(tmp_path):
    assert read(tmp_path, "A 0.5 x\nA 0.75 x\nA 0.1 x\n") == [("A", "x", 0.75)]


def test_lexicon_when_phones_are_numbers_takes_them_for_phones(tmp_path):
    # not every second field is a probability
    assert read(tmp_path, "A 1 2\nB 3 1\n") == [("A", "1 2", 1.0), ("B", "3 1", 1.0)]


def test_lexicon_when_asked_gives_words_and_phones_in_order(tmp_path):
    lexicon = Lexicon.of(Pronunciation(w, tuple(p.split()), c) for w, p, c in LEXICON)
    assert lexicon.words == ["a", "b", "c", "\u00e9"]
    assert lexicon.phones == ["x", "y", "z"]


def test_lexicon_when_written_and_read_is_equal(tmp_path):
    lexicon = Lexicon.of(
        Pronunciation(word, ("x", str(number)), probability)
        for number, (word, probability) in enumerate(
            [("a", 1 / 3), ("a", 1.0), ("b", 1e-7), ("\u00e9", 0.1), ("c", 1)]
        )
    )
    write_lexicon(tmp_path / "lexiconp.txt", lexicon)
    assert read_lexicon(tmp_path / "lexiconp.txt") == lexicon


REFUSED = {
    "no phones": ("A x\nB\n", r"lexicon.txt:2: 'B' has no phones; write 'word phone phone"),
    "probability alone": ("A 1.0 x\nB 0.5\n", r":2: expected a probability above 0 and at most 1"),
    "probability of zero": ("A 1.0 x\nB 0.0 y\n", r":2: expected a probability.*line 1 has"),
    "probability above one": ("A 1.5 x\nB 0.5 y\n", r":1: expected a probability.*line 1 has"),
    "probability not a number": ("A 1.0 x\nB nan y\n", r":2: expected a probability"),
    "probability missing": ("A 1.0 x\nB 0.5 x\nC x y\n", r":3: expected a probability"),
    "reserved": ("A x\n<s> y\n", r":2: '<s>' is reserved"),
    "epsilon": ("<eps> x\n", r":1: '<eps>' is reserved"),
    "back-off": ("#0 x\n", r":1: '#0' is reserved"),
    "disambiguation": ("A x #1\n", r":1: '#1' is no phone;"),
    "epsilon phone": ("A <eps>\n", r":1: '<eps>' is no phone;"),
    "mark": ("\ufeffA x\n", r":1: begins with a byte order mark \(BOM\); save it without"),
    "empty": ("", r"lexicon.txt: is empty; write 'word"),
    "blank": (" \n\t\n", r"lexicon.txt: is empty; write 'word"),
    "bytes": (b"A \xff\n", r"lexicon.txt: cannot be read \(.*utf-8.*\); name a lexicon"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_lexicon_when_malformed_says_what_and_where(tmp_path, name):
    text, says = REFUSED[name]
    with pytest.raises(DataError, match=says):
        read(tmp_path, text)


def test_lexicon_when_stripping_leaves_no_phone_says_which(tmp_path):
    with pytest.raises(DataError, match=r":2: '12' is no phone without its digits;"):
        read(tmp_path, "A AH0\nB 12 x\n", strip_stress=True)


def test_lexicon_when_the_file_is_missing_or_a_directory_says_so(tmp_path):
    with pytest.raises(DataError, match=r"no.txt: cannot be read \(.*\); name a lexicon"):
        read_lexicon(tmp_path / "no.txt")
    with pytest.raises(DataError, match=r"cannot be read \(.*\); name a lexicon"):
        read_lexicon(tmp_path)


def test_lexicon_when_the_directory_is_missing_cannot_be_written(tmp_path):
    with pytest.raises(EnvironmentProblem, match="cannot be written"):
        write_lexicon(tmp_path / "no" / "lexiconp.txt", Lexicon(()))


@pytest.mark.parametrize(
    ("name", "may"), [("AH0", True), ("1", True), ("", False), ("#1", False), ("<eps>", False)]
)
def test_phone_when_its_name_is_that_of_a_symbol_is_none(name, may):
    assert is_phone(name) is may


def test_alignment_when_collected_gives_words_the_phones_whose_centres_they_hold():
    words = {"u": marks("a:0.1-0.3 b:0.3-0.6")}
    # the third phone crosses the border, its centre in b
    phones = {"u": marks("SIL:0-0.1 x:0.1-0.2 y:0.2-0.28 z:0.28-0.4 x:0.4-0.5 SIL:0.5-0.6")}
    found = lexicon_of_alignment(words, phones)
    assert found.entries == (Pronunciation("a", ("x", "y")), Pronunciation("b", ("z", "x")))


def test_alignment_when_words_are_said_in_ways_gives_counts_relative_to_the_most_frequent():
    said = ["x"] * 8 + ["y"] * 2
    words = {f"u{n}": marks("a:0-1") for n in range(10)}
    phones = {f"u{n}": marks(f"{phone}:0-1") for n, phone in enumerate(said)}
    found = lexicon_of_alignment(words, phones)
    assert found.entries == (Pronunciation("a", ("x",), 1.0), Pronunciation("a", ("y",), 0.25))


@pytest.mark.parametrize(("frequent", "stays"), [(20, True), (21, False)])
def test_alignment_when_a_way_is_rarer_than_a_twentieth_leaves_it_out(frequent, stays):
    said = ["x"] * frequent + ["y"]
    words = {f"u{n}": marks("a:0-1") for n in range(len(said))}
    phones = {f"u{n}": marks(f"{phone}:0-1") for n, phone in enumerate(said)}
    found = {entry.phones for entry in lexicon_of_alignment(words, phones).entries}
    assert (("y",) in found) is stays


def test_alignment_when_a_word_holds_only_a_pause_gives_it_no_pronunciation():
    found = lexicon_of_alignment({"u": marks("a:0-1 b:1-2")}, {"u": marks("SIL:0-1 x:1-2")})
    assert found.words == ["b"]


def test_alignment_when_there_is_no_utterance_is_empty():
    assert lexicon_of_alignment({}, {}).entries == ()


def test_alignment_when_phones_are_missing_names_the_utterance():
    with pytest.raises(DataError, match="utterance u2 has words but no phones; use words and ph"):
        lexicon_of_alignment({"u2": marks("a:0-1")}, {"u1": marks("x:0-1")})
