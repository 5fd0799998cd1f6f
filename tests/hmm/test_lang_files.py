from __future__ import annotations

import re
import shutil

import numpy as np
import pytest
from language_made import LEXICON

from speechlite.core.errors import DataError, EnvironmentProblem
from speechlite.hmm.fst_arrays import from_fst
from speechlite.hmm.lang import make_lang
from speechlite.hmm.lang_files import (
    read_lang,
    read_lang_topology,
    read_lexicon_fst,
    write_lang,
)
from speechlite.hmm.lexicon import Lexicon, Pronunciation


def made(**options):
    return make_lang(
        Lexicon.of(Pronunciation(w, tuple(p.split()), c) for w, p, c in LEXICON), **options
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lang")
    write_lang(folder, made())
    return folder


@pytest.fixture
def copied(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "lang")
    return tmp_path / "lang"


def written(folder, **options):
    lang = made(**options)
    write_lang(folder, lang)
    return lang


def text(folder, name):
    return (folder / name).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("position_dependent", "probability"), [(False, 1 / 3), (True, 0.123456789), (False, 1e-9)]
)
def test_lang_when_written_and_read_is_equal(tmp_path, position_dependent, probability):
    lang = written(tmp_path, position_dependent=position_dependent, silence_probability=probability)
    assert read_lang(tmp_path) == lang


def test_lang_when_written_twice_is_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        written(tmp_path / name)
    names = [p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*") if p.is_file()]
    assert len(names) > 20
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_lang_when_written_over_one_with_positions_has_none(tmp_path):
    written(tmp_path, position_dependent=True)
    lang = written(tmp_path)
    assert read_lang(tmp_path) == lang
    assert not list((tmp_path / "phones").glob("word_boundary*"))


def test_lang_when_written_has_the_files_of_kaldi(whole):
    assert text(whole, "phones.txt").split("\n")[:4] == ["<eps> 0", "SIL 1", "SPN 2", "x 3"]
    assert text(whole, "words.txt").endswith("\u00e9 6\n#0 7\n<s> 8\n</s> 9\n")
    assert text(whole, "oov.txt") == "<UNK>\n"
    assert text(whole, "oov.int") == "2\n"
    assert text(whole, "phones/silence.csl") == "1:2\n"
    assert text(whole, "phones/nonsilence.int") == "3\n4\n5\n"
    assert text(whole, "phones/optional_silence.txt") == "SIL\n"
    assert text(whole, "phones/context_indep.txt") == "SIL\nSPN\n"
    assert text(whole, "phones/disambig.txt") == "#0\n#1\n#2\n#3\n"
    assert text(whole, "phones/disambig.int") == "6\n7\n8\n9\n"
    assert text(whole, "phones/wdisambig_phones.int") == "6\n"
    assert text(whole, "phones/wdisambig_words.int") == "7\n"
    assert text(whole, "phones/roots.txt").split("\n")[1:3] == [
        "not-shared not-split SPN",
        "shared split x",
    ]
    assert text(whole, "phones/roots.int").split("\n")[1:3] == [
        "not-shared not-split 2",
        "shared split 3",
    ]
    assert text(whole, "phones/sets.int") == "1\n2\n3\n4\n5\n"


def test_align_lexicon_when_written_has_each_word_twice_and_the_optional_silence(whole):
    lang = made()
    lines = text(whole, "phones/align_lexicon.txt").splitlines()
    assert "<eps> <eps> SIL" in lines
    assert "a a x y" in lines
    assert len(lines) == len(lang.lexicon.entries) + 1
    numbers = text(whole, "phones/align_lexicon.int").splitlines()
    for named, numbered in zip(lines, numbers, strict=True):
        word, again, *phones = named.split()
        ids = [lang.words[word], lang.words[again], *(lang.phones[p] for p in phones)]
        assert numbered == " ".join(map(str, ids))


def test_word_boundaries_when_positions_are_known_say_what_each_phone_is(tmp_path):
    lang = written(tmp_path, position_dependent=True)
    kinds = dict(line.split() for line in text(tmp_path, "phones/word_boundary.txt").splitlines())
    assert kinds["SIL"] == "nonword"
    assert kinds["SIL_S"] == kinds["x_S"] == "singleton"
    assert (kinds["y_B"], kinds["y_I"], kinds["y_E"]) == ("begin", "internal", "end")
    assert len(kinds) == len(lang.silence_ids) + len(lang.speech_ids)
    numbers = dict(line.split() for line in text(tmp_path, "phones/word_boundary.int").splitlines())
    assert numbers == {str(lang.phones[phone]): kind for phone, kind in kinds.items()}


def test_lexicon_fsts_when_read_are_sorted_by_word(whole):
    lang = made()
    for disambiguated in (False, True):
        fst = from_fst(read_lexicon_fst(whole, disambiguated=disambiguated))
        keys = fst.src_A.astype(np.int64) * 1000 + fst.olabel_A
        assert (np.diff(keys) >= 0).all()
        marks = [lang.phones[name] for name in lang.disambiguation]
        assert np.isin(fst.ilabel_A, marks).any() == disambiguated


def test_topology_when_read_covers_the_phones_of_the_lang(whole):
    lang = made()
    topology = read_lang_topology(whole, lang)
    assert sorted(topology.phones) == [1, 2, 3, 4, 5]


NAMES = ["phones/sets.txt", "phones/silence.txt", "lexiconp.txt", "phones.txt", "words.txt"]


@pytest.mark.parametrize("name", [*NAMES, "silence_probability"])
@pytest.mark.parametrize("damage", ["missing", "empty", "noise", "first line"])
def test_lang_when_a_file_is_damaged_is_refused_in_one_line(copied, name, damage):
    path = copied / name
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        cut = content.split(b"\n", 1)[1]
        path.write_bytes({"empty": b"", "noise": bytes(range(256)), "first line": cut}[damage])
    with pytest.raises(DataError, match=rf"^{re.escape(str(copied))}[^\n]*; [^\n]+$"):
        read_lang(copied)


@pytest.mark.parametrize("content", ["", "SPN\nSIL\n", "x\n"])
def test_lang_when_silence_is_not_what_it_was_is_refused(copied, content):
    (copied / "phones" / "silence.txt").write_text(content)
    with pytest.raises(DataError, match=r"silence.txt: expected the first phones of sets.txt; "):
        read_lang(copied)


def test_lang_when_a_file_is_missing_says_how_to_make_it(tmp_path):
    with pytest.raises(DataError, match=r"sets.txt: cannot be read .*; make the lang again: spee"):
        read_lang(tmp_path)


@pytest.mark.parametrize("value", ["2", "0", "1", "-1", "nan", "some", ""])
def test_lang_when_the_probability_of_silence_is_out_of_range_is_refused(copied, value):
    (copied / "silence_probability").write_text(f"{value}\n")
    with pytest.raises(DataError, match=f"silence_probability: '{value}', expected a number above"):
        read_lang(copied)


def test_lang_when_sets_have_an_empty_line_is_refused(copied):
    (copied / "phones" / "sets.txt").write_text("SIL\n\nSPN\n")
    with pytest.raises(DataError, match=r"sets.txt: has an empty line; make the lang again"):
        read_lang(copied)


def test_lang_when_the_lexicon_has_other_phones_is_refused(copied):
    (copied / "lexiconp.txt").write_text("a 1.0 x q\n")
    with pytest.raises(DataError, match=r"lexiconp.txt: the lexicon uses phones .* lacks: \['q'\]"):
        read_lang(copied)


@pytest.mark.parametrize("name", ["phones.txt", "words.txt"])
def test_lang_when_symbols_are_of_another_is_refused(copied, name):
    other = copied / "other"
    other.mkdir()
    write_lang(other, make_lang(Lexicon.of([Pronunciation("b", ("q",))])))
    shutil.copy(other / name, copied / name)
    with pytest.raises(DataError, match=rf"{name}: does not belong to the lexicon beside it; make"):
        read_lang(copied)


@pytest.mark.parametrize("content", [None, "", "<Topology>\n", "noise\n"])
def test_topology_when_damaged_names_the_file(copied, content):
    lang = made()
    (copied / "topo").unlink()
    if content is not None:
        (copied / "topo").write_text(content)
    with pytest.raises(
        DataError, match=r"topo: (not a topology|cannot be read).*; make the lang a"
    ):
        read_lang_topology(copied, lang)


def test_topology_when_it_lacks_phones_names_them(copied):
    lang = made()
    path = copied / "topo"
    path.write_text(path.read_text().replace("3 4 5\n", "3 5\n"))
    with pytest.raises(
        DataError, match=r"topo: the topology lacks the phones \[4\]; make the lang"
    ):
        read_lang_topology(copied, lang)


def test_lexicon_fst_when_missing_names_it(copied):
    (copied / "L.fst").unlink()
    with pytest.raises(DataError, match=r"L.fst: cannot be read: No such file"):
        read_lexicon_fst(copied, disambiguated=False)
    read_lexicon_fst(copied, disambiguated=True)


def test_lang_when_it_cannot_be_written_says_so(tmp_path):
    (tmp_path / "L.fst").mkdir()
    with pytest.raises(EnvironmentProblem, match=r"L.fst: cannot be written: Is a directory"):
        written(tmp_path)
