from __future__ import annotations

import numpy as np
import pytest

from speechlite.core.errors import DataError
from speechlite.data.tokenizer import CharacterTokenizer


def test_inventory_is_blank_space_and_characters_in_code_order():
    tokenizer = CharacterTokenizer.from_texts(["BE A", "D'\u00c9"])
    assert tokenizer.symbols == ("<blank>", " ", "'", "A", "B", "D", "E", "\u00c9")


def test_inventory_of_no_text_is_blank_and_space():
    assert CharacterTokenizer.from_texts([]).symbols == ("<blank>", " ")


def test_encode_gives_the_place_of_each_character():
    tokenizer = CharacterTokenizer.from_texts(["ABC"])
    labels = tokenizer.encode("CA B", utterance="u")
    assert labels.dtype == np.int64
    assert "".join(tokenizer.symbols[label] for label in labels) == "CA B"


def test_encode_of_an_empty_text_is_empty():
    assert CharacterTokenizer.from_texts(["A"]).encode("", utterance="u").shape == (0,)


def test_encode_of_characters_that_are_unknown_is_an_error():
    tokenizer = CharacterTokenizer.from_texts(["AB"])
    with pytest.raises(DataError, match=r"utterance u7 has characters \['X', 'Z'\] that the train"):
        tokenizer.encode("ZAX", utterance="u7")


@pytest.mark.parametrize(("letters", "text"), [("ab'", "A B'a"), ("AB'", "a b'A")])
def test_head_of_one_case_hears_texts_of_the_other(letters, text):
    symbols = ("<blank>", " ", *letters)
    tokenizer = CharacterTokenizer(symbols, of_head=True)
    labels = tokenizer.encode(text, utterance="u")
    assert "".join(symbols[label] for label in labels) in (text.lower(), text.upper())
    with pytest.raises(DataError, match=r"has characters \['[zZ]'\] that the model's head lacks"):
        tokenizer.encode("z", utterance="u")


def test_head_of_both_cases_tells_them_apart():
    tokenizer = CharacterTokenizer(("<blank>", "a", "A"), of_head=True)
    assert tokenizer.encode("aA", utterance="u").tolist() == [1, 2]
