"""Subword units: what they join to, and what cannot be trained or read."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
import sentencepiece

from speechlite.core.errors import ConfigError, DataError, EnvironmentProblem
from speechlite.data.subwords import WORD_MARK, SubwordTokenizer, train_subwords

TEXTS = ["AB CA BC", "CA AB", "BC BC CA AB", "HELLO WORLD", "THE CAT SAT", "D'\u00c9 HELLO"]


def model_with(**options):
    """Train with sentencepiece's own defaults, which are not ours."""
    stream = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS),
        model_writer=stream,
        minloglevel=2,
        **{"vocab_size": 30, "hard_vocab_limit": False, **options},
    )
    return stream.getvalue()


def text_of(tokenizer, labels):
    pieces = "".join(tokenizer.symbols[label] for label in labels)
    return " ".join(pieces.replace(WORD_MARK, " ").split())


@pytest.mark.parametrize(("kind", "units"), [("unigram", 18), ("bpe", 24)])
def test_units_of_a_text_join_to_the_text(kind, units):
    tokenizer = SubwordTokenizer(train_subwords(TEXTS, units=units, kind=kind))
    assert len(tokenizer.symbols) == units + 1
    assert tokenizer.symbols[0] == "<blank>"
    for text in [*TEXTS, "TAB", ""]:
        labels = tokenizer.encode(text, utterance="u")
        assert labels.dtype == np.int64
        assert (labels > 0).all()
        assert text_of(tokenizer, labels) == text


def test_units_are_fewer_than_characters_where_words_repeat():
    tokenizer = SubwordTokenizer(train_subwords(TEXTS, units=24, kind="bpe"))
    labels = tokenizer.encode("CA AB CA", utterance="u")
    assert [tokenizer.symbols[label] for label in labels] == ["\u2581CA", "\u2581AB", "\u2581CA"]


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_training_when_repeated_gives_equal_bytes(kind):
    assert train_subwords(TEXTS, units=18, kind=kind) == train_subwords(TEXTS, units=18, kind=kind)


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_training_of_too_many_units_names_the_largest_number_which_works(kind):
    with pytest.raises(ConfigError, match=f"1000 {kind} units are more than the training") as error:
        train_subwords(TEXTS, units=1000, kind=kind)
    largest = int(error.value.remedy.split()[-1])
    model = train_subwords(TEXTS, units=largest, kind=kind)
    assert len(SubwordTokenizer(model).symbols) == largest + 1
    with pytest.raises(ConfigError, match=f"set task.subword_units to at most {largest}"):
        train_subwords(TEXTS, units=largest + 1, kind=kind)


def test_training_of_too_few_units_names_the_smallest_number_which_works():
    characters = len(set("".join(TEXTS)))
    with pytest.raises(ConfigError, match=f"4 bpe units are fewer than the {characters} char"):
        train_subwords(TEXTS, units=4, kind="bpe")
    assert train_subwords(TEXTS, units=characters, kind="bpe")


def test_training_that_fails_otherwise_passes_the_reason_on():
    with pytest.raises(ConfigError, match="sentencepiece trains no 18 words units: "):
        train_subwords(TEXTS, units=18, kind="words")


@pytest.mark.parametrize("texts", [[], ["", " "]])
def test_training_without_text_is_an_error(texts):
    with pytest.raises(DataError, match="there is no text to train subword units on; name dir"):
        train_subwords(texts, units=5, kind="bpe")


def test_training_takes_texts_of_any_length():
    long = " ".join(["QUITE"] * 2000)
    tokenizer = SubwordTokenizer(train_subwords([*TEXTS, long], units=24, kind="bpe"))
    assert set("QUI") <= set("".join(tokenizer.symbols))


def test_encode_of_characters_that_are_unknown_is_an_error():
    tokenizer = SubwordTokenizer(train_subwords(TEXTS, units=18, kind="bpe"))
    message = r"utterance u7 has characters \['X', 'Z'\] that no subword unit has; normalise"
    with pytest.raises(DataError, match=message):
        tokenizer.encode("ZAX B", utterance="u7")


def test_model_with_markers_of_sentences_keeps_them_out_of_the_labels():
    tokenizer = SubwordTokenizer(model_with(normalization_rule_name="identity"))
    assert not {"<unk>", "<s>", "</s>"} & set(tokenizer.symbols)
    assert text_of(tokenizer, tokenizer.encode("HELLO CAT", utterance="u")) == "HELLO CAT"


def test_model_that_normalises_its_text_is_an_error_where_it_matters():
    tokenizer = SubwordTokenizer(model_with(normalization_rule_name="nmt_nfkc_cf"))
    with pytest.raises(DataError, match="utterance u1 is 'CAT', its subword units join to 'cat'"):
        tokenizer.encode("CAT", utterance="u1")


def test_model_of_bytes_is_an_error():
    model = model_with(byte_fallback=True, vocab_size=300)
    with pytest.raises(DataError, match="falls back to bytes.*; train it without byte_fallback"):
        SubwordTokenizer(model)


def test_file_is_read_as_its_content(tmp_path):
    (tmp_path / "m").write_bytes(train_subwords(TEXTS, units=18, kind="bpe"))
    symbols = SubwordTokenizer((tmp_path / "m").read_bytes()).symbols
    assert SubwordTokenizer.from_file(tmp_path / "m").symbols == symbols


@pytest.mark.parametrize("content", [b"", b"hello"])
def test_file_that_is_no_model_is_an_error(tmp_path, content):
    (tmp_path / "m").write_bytes(content)
    with pytest.raises(DataError, match="m: is no sentencepiece model; name a model"):
        SubwordTokenizer.from_file(tmp_path / "m")


def test_file_that_is_missing_is_an_error(tmp_path):
    with pytest.raises(DataError, match="m: cannot be read: No such file or directory"):
        SubwordTokenizer.from_file(tmp_path / "m")


def test_tokenizer_without_sentencepiece_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(EnvironmentProblem, match="task.labels=subwords needs sentencepiece: .*"):
        SubwordTokenizer(b"")
