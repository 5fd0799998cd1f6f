"""Beam searches against enumeration of all paths, with a language model read the slow way."""

from __future__ import annotations

import copy
import gzip
import itertools
import math
import pickle
import sys

import numpy as np
import pytest
import torch
from made_hidden import DIM, hidden

from speechlite.core.errors import ConfigError, DataError, EnvironmentProblem
from speechlite.core.types import LabelSpace
from speechlite.heads import ctc_search as module
from speechlite.heads.config import CtcConfig
from speechlite.heads.ctc import CtcHead
from speechlite.heads.ctc_search import beam_searches

CHARACTERS = LabelSpace("characters", ("<blank>", " ", "a", "b"))
SUBWORDS = LabelSpace("subwords", ("<blank>", "_", "_a", "b", "a", "_ab"), word_mark="_")
ARPA = """
\\data\\
ngram 1=7
ngram 2=5

\\1-grams:
-1.3\t<unk>
-99\t<s>\t-0.3
-0.9\t</s>
-0.6\ta\t-0.2
-0.7\tab\t-0.5
-0.4\tba
-0.8\tbb\t-0.1

\\2-grams:
-0.2\t<s> a
-0.5\ta ab
-0.3\tab </s>
-0.9\tba a
-0.1\tbb bb

\\end\\
"""
EXACT = {"search": "beam", "beam_size": 100_000, "beam_threshold": 1000.0, "beam_symbols": 0}


@pytest.fixture
def arpa(tmp_path):
    path = tmp_path / "lm.arpa"
    path.write_text(ARPA.lstrip())
    return path


def emissions(space, *, frames, seed, scale=1.5):
    generator = torch.Generator().manual_seed(seed)
    scores_SC = scale * torch.randn(frames, len(space.symbols), generator=generator)
    return scores_SC.log_softmax(-1).numpy()


def all_sequences(scores_SC, *, sum_paths):
    """Return the score of each sequence of labels, over all paths."""
    values = {}
    for path in itertools.product(range(scores_SC.shape[1]), repeat=len(scores_SC)):
        score = sum(float(scores_SC[frame, label]) for frame, label in enumerate(path))
        labels = tuple(label for label, _ in itertools.groupby(path) if label != 0)
        values.setdefault(labels, []).append(score)
    join = np.logaddexp.reduce if sum_paths else max
    return {labels: float(join(scores)) for labels, scores in values.items()}


def words_of(labels, space):
    return "".join(space.symbols[label] for label in labels).replace(space.word_mark, " ").split()


def grams():
    """Return log-probabilities and back-offs by words."""
    table = {}
    for line in ARPA.splitlines():
        if line.startswith("-"):
            value, words, *back_off = line.split("\t")
            table[tuple(words.split())] = (float(value), float(back_off[0]) if back_off else 0.0)
    return table


def language_score(words):
    """Return the base-10 log-probability of a sentence by the definition of back-off."""
    table, total = grams(), 0.0
    for before, word in itertools.pairwise(["<s>", *words, "</s>"]):
        if (before, word) in table:
            total += table[before, word][0]
        else:
            total += table[(before,)][1] + table[(word,)][0]
    return total


def only(searches):
    (search,) = searches
    return search.text_of


@pytest.mark.parametrize("sum_paths", [False, True])
@pytest.mark.parametrize("space", [CHARACTERS, SUBWORDS])
def test_beam_over_labels_when_all_paths_are_enumerated_then_it_finds_the_best(space, sum_paths):
    text_of = only(beam_searches(CtcConfig(**EXACT, sum_paths=sum_paths), space))
    for seed in range(12):
        scores_SC = emissions(space, frames=5 if space is CHARACTERS else 4, seed=seed)
        values = all_sequences(scores_SC, sum_paths=sum_paths)
        expected = words_of(max(values, key=values.__getitem__), space)
        assert text_of(scores_SC) == " ".join(expected), seed


@pytest.mark.parametrize("sum_paths", [False, True])
@pytest.mark.parametrize(("lm_weight", "word_score"), [(1.0, 0.0), (2.5, -0.7), (0.0, 1.5)])
def test_beam_over_words_when_all_texts_are_enumerated_then_it_finds_the_best(
    arpa, sum_paths, lm_weight, word_score
):
    config = CtcConfig(
        **EXACT,
        sum_paths=sum_paths,
        language_model=str(arpa),
        lm_weight=[lm_weight],
        word_score=[word_score],
    )
    text_of = only(beam_searches(config, CHARACTERS))
    found = set()
    for seed in range(12):
        scores_SC = emissions(CHARACTERS, frames=6, seed=seed)
        texts = {}
        # a text is worth all its paths, whatever spaces stand around its words
        for labels, value in all_sequences(scores_SC, sum_paths=sum_paths).items():
            texts.setdefault(tuple(words_of(labels, CHARACTERS)), []).append(value)
        join = np.logaddexp.reduce if sum_paths else max
        scores = {
            words: join(values) + lm_weight * language_score(words) + word_score * len(words)
            for words, values in texts.items()
            if all((word,) in grams() for word in words)
        }
        best = max(scores, key=scores.__getitem__)
        assert text_of(scores_SC) == " ".join(best), seed
        found.add(best)
    assert len(found) > 3


@pytest.mark.parametrize("sum_paths", [False, True])
@pytest.mark.parametrize(("lm_weight", "word_score"), [(1.0, 0.0), (2.5, -0.7), (0.0, 1.5)])
def test_beam_over_subwords_when_all_cuts_are_enumerated_then_it_finds_the_best(
    arpa, sum_paths, lm_weight, word_score
):
    config = CtcConfig(
        **EXACT,
        sum_paths=sum_paths,
        language_model=str(arpa),
        lm_weight=[lm_weight],
        word_score=[word_score],
    )
    text_of = only(beam_searches(config, SUBWORDS))
    found = set()
    for seed in range(12):
        scores_SC = emissions(SUBWORDS, frames=5, seed=seed)
        scores = {}
        for labels, value in all_sequences(scores_SC, sum_paths=sum_paths).items():
            words = words_of(labels, SUBWORDS)
            begins = not labels or SUBWORDS.symbols[labels[0]].startswith("_")
            if begins and all((word,) in grams() for word in words):
                language = lm_weight * language_score(words) + word_score * len(words)
                scores[labels] = value + language
        best = " ".join(words_of(max(scores, key=scores.__getitem__), SUBWORDS))
        assert text_of(scores_SC) == best, seed
        found.add(best)
    assert len(found) > 3


@pytest.mark.parametrize("space", [CHARACTERS, SUBWORDS])
def test_beam_with_a_lexicon_alone_finds_only_its_words(tmp_path, space):
    (tmp_path / "words").write_text("ab\nbb b b |\n\nab\nXY\n")
    config = CtcConfig(**EXACT, lexicon=str(tmp_path / "words"), word_score=[0.3])
    (search,) = beam_searches(config, space)
    texts = {search.text_of(emissions(space, frames=8, seed=seed)) for seed in range(30)}
    assert set(" ".join(texts).split()) == ({"ab", "bb"})
    assert (search.facts["words"], search.facts["left_out"]) == (2, 2)


@pytest.mark.parametrize("space", [CHARACTERS, SUBWORDS])
def test_beam_where_words_sound_alike_takes_the_likelier_one(tmp_path, arpa, space):
    (tmp_path / "words").write_text("ba a b\na a b\nbb b\n")
    config = CtcConfig(
        **EXACT, language_model=str(arpa), lexicon=str(tmp_path / "words"), lm_weight=[9.0]
    )
    scores_SC = np.full((3, len(space.symbols)), -20.0, dtype=np.float32)
    begin = "_a" if space is SUBWORDS else "a"
    for frame, symbol in enumerate([begin, "b", "<blank>"]):
        scores_SC[frame, space.symbols.index(symbol)] = 0.0
    # <s> a is a bigram; ba needs back-off
    assert only(beam_searches(config, space))(scores_SC) == "a"


def test_beam_when_its_size_is_one_then_the_words_still_come_back(arpa):
    config = CtcConfig(search="beam", beam_size=1, language_model=str(arpa))
    text_of = only(beam_searches(config, SUBWORDS))
    assert all(
        set(text_of(emissions(SUBWORDS, frames=9, seed=seed)).split()) <= {"a", "ab", "ba", "bb"}
        for seed in range(10)
    )


def test_beam_with_an_utterance_of_no_frames_gives_no_words(arpa):
    for space in (CHARACTERS, SUBWORDS):
        for file in (None, str(arpa)):
            config = CtcConfig(search="beam", language_model=file)
            scores_SC = np.zeros((0, len(space.symbols)), dtype=np.float32)
            assert only(beam_searches(config, space))(scores_SC) == ""


def test_searches_of_a_grid_share_the_files_and_say_their_weights(arpa, monkeypatch):
    config = CtcConfig(
        **EXACT, language_model=str(arpa), lm_weight=[0.0, 3.0], word_score=[-1.0, 1.0]
    )
    head = CtcHead(config, dim=DIM, num_layers=3, labels=CHARACTERS)
    read, calls = module._word_model, []
    monkeypatch.setattr(module, "_word_model", lambda *args: calls.append(args) or read(*args))
    searches = head.searches()
    assert len(calls) == 1
    pairs = [(s.facts["lm_weight"], s.facts["word_score"]) for s in searches]
    assert pairs == [(0.0, -1.0), (0.0, 1.0), (3.0, -1.0), (3.0, 1.0)]
    assert searches[0].facts["words"] == 4


def test_search_of_a_head_decodes_each_row_to_its_length(arpa):
    torch.manual_seed(0)
    config = CtcConfig(**EXACT, language_model=str(arpa), recurrent_layers=0, word_score=[3.0])
    head = CtcHead(config, dim=DIM, num_layers=3, labels=CHARACTERS).eval()
    (search,) = head.searches()
    with torch.no_grad():
        together = search.predict(hidden([9, 4], frames=12))
        alone = [search.predict(hidden([9]))[0], search.predict(hidden([9, 4]))[1]]
        assert together == alone
        assert head.predict(hidden([9, 4])) != together


def test_head_after_its_searches_were_used_can_be_copied_and_pickled(arpa):
    config = CtcConfig(**EXACT, language_model=str(arpa), recurrent_layers=0)
    head = CtcHead(config, dim=DIM, num_layers=3, labels=CHARACTERS).eval()
    with torch.no_grad():
        before = head.searches()[0].predict(hidden([7]))
        for twin in (copy.deepcopy(head), pickle.loads(pickle.dumps(head))):
            assert twin.searches()[0].predict(hidden([7])) == before


def test_model_that_is_compressed_is_read_as_well(arpa):
    packed = arpa.with_suffix(".arpa.gz")
    packed.write_bytes(gzip.compress(arpa.read_bytes()))
    config = CtcConfig(search="beam", language_model=str(packed))
    assert beam_searches(config, CHARACTERS)[0].facts["words"] == 4


def broken(tmp_path, *changes):
    path = tmp_path / "lm.arpa"
    text = ARPA.lstrip()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([("-1.3\t<unk>\n", ""), ("1=7", "1=6")], "lm.arpa: has no unigram <unk>, which words"),
        ([(ARPA.lstrip(), "")], "lm.arpa: is no ARPA file: it has no line .1-grams:; name an ARPA"),
        ([("-0.6\ta\t-0.2", "-0.6 a b -0.2")], "lm.arpa:9: 4 fields, expected a log-probability"),
        ([("1=7", "1=9")], "lm.arpa: KenLM cannot read it: .*; set head.language_model to an ARPA"),
        ([("-0.9\t</s>\n", ""), ("1=7", "1=6")], "KenLM cannot read it: .*missing </s>"),
        ([("\ta\t", "\tX\t"), ("ab", "Y"), ("ba", "Z"), ("bb", "W")], "lm.arpa: none of its 4 wor"),
    ],
)
def test_model_that_is_malformed_is_one_clear_error(tmp_path, changes, message, capfd):
    config = CtcConfig(search="beam", language_model=str(broken(tmp_path, *changes)))
    with pytest.raises(DataError, match=message) as caught:
        beam_searches(config, CHARACTERS)
    assert "\n" not in str(caught.value)
    assert "pip-req-build" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["language_model", "lexicon"])
def test_file_that_is_missing_is_an_error(tmp_path, name):
    config = CtcConfig(search="beam", **{name: str(tmp_path / "none")})
    with pytest.raises(DataError, match="none: cannot be read: No such file or directory; correct"):
        beam_searches(config, CHARACTERS)


def test_file_that_is_not_text_is_an_error(tmp_path):
    (tmp_path / "words").write_bytes(b"a\n\xff\xfe\n")
    config = CtcConfig(search="beam", lexicon=str(tmp_path / "words"))
    with pytest.raises(DataError, match="words: is not UTF-8; convert it to UTF-8"):
        beam_searches(config, CHARACTERS)


def test_file_whose_compression_is_broken_is_an_error(tmp_path, arpa):
    packed = tmp_path / "lm.arpa.gz"
    packed.write_bytes(gzip.compress(arpa.read_bytes())[:40])
    config = CtcConfig(search="beam", language_model=str(packed))
    with pytest.raises(DataError, match="lm.arpa.gz: cannot be read: "):
        beam_searches(config, CHARACTERS)


def test_binary_model_without_a_lexicon_is_an_error_and_with_one_goes_to_kenlm(tmp_path):
    path = tmp_path / "lm.bin"
    path.write_bytes(b"mmap lm http://kheafield.com/code format version 5\n\x00broken")
    with pytest.raises(ConfigError, match="lm.bin is a binary, which does not list its words; set"):
        beam_searches(CtcConfig(search="beam", language_model=str(path)), CHARACTERS)
    (tmp_path / "words").write_text("ab\n")
    config = CtcConfig(search="beam", language_model=str(path), lexicon=str(tmp_path / "words"))
    with pytest.raises(DataError, match="KenLM cannot read it"):
        beam_searches(config, CHARACTERS)


def test_search_without_flashlight_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "flashlight.lib.text", None)
    with pytest.raises(EnvironmentProblem, match=r"head.search=beam needs flashlight.*pip install"):
        beam_searches(CtcConfig(search="beam"), CHARACTERS)


def test_language_score_of_the_slow_loop_is_written_out():
    # <s> a, a ab, ab </s>; and <s> backs off to ba, ba backs off to </s> for nothing
    assert math.isclose(language_score(["a", "ab"]), -0.2 - 0.5 - 0.3)
    assert math.isclose(language_score(["ba"]), -0.3 - 0.4 - 0.9)
