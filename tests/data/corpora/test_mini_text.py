from __future__ import annotations

import re
from collections import Counter

from speechlite.data.corpora.mini.text import ScriptWriter, vocabulary


def write(count, *, seed=1, held_out=False):
    writer = ScriptWriter(seed)
    return [writer.write(held_out=held_out) for _ in range(count)]


def test_words_when_written_are_capitals_and_apostrophes():
    assert all(re.fullmatch(r"[A-Z']+", word) for script in write(300) for word in script.words)


def test_sentences_when_many_are_written_never_repeat():
    sentences = [sentence for script in write(3000) for sentence in script.sentences]
    assert len(sentences) == len(set(sentences))


def test_scripts_when_seed_is_equal_are_equal():
    assert write(20, seed=7) == write(20, seed=7)


def test_scripts_when_seed_differs_differ():
    assert write(20, seed=7) != write(20, seed=8)


def test_vocabulary_when_held_out_is_excluded_lacks_nineteen_stems():
    extra = vocabulary(held_out=True) - vocabulary(held_out=False)
    assert len({word.removesuffix("'s") for word in extra}) == 19


def test_vocabulary_when_counted_has_about_860_types():
    assert 800 <= len(vocabulary(held_out=True)) <= 900


def test_words_when_training_are_all_in_its_vocabulary():
    words = {word.lower() for script in write(3000) for word in script.words}
    assert words <= vocabulary(held_out=False)


def test_words_when_held_out_are_about_one_in_a_hundred():
    words = [w.lower() for script in write(3000, held_out=True) for w in script.words]
    share = sum(word not in vocabulary(held_out=False) for word in words) / len(words)
    assert 0.005 < share < 0.015


def test_length_when_averaged_is_about_17_words():
    lengths = [len(script.words) for script in write(1000)]
    assert 15 < sum(lengths) / len(lengths) < 19


def test_counts_when_ranked_fall_as_zipf_says():
    counts = Counter(word for script in write(3000) for word in script.words)
    ranked = [count for _, count in counts.most_common()]
    # The tenth word is far more frequent than the hundredth, that than the five-hundredth.
    assert ranked[9] > 4 * ranked[99] > 8 * ranked[499]


def test_articles_when_a_vowel_follows_are_an():
    text = " ".join(script.spoken for script in write(2000))
    assert re.search(r"\ba [aeiu]", text.replace("a one", "")) is None
    assert re.search(r"\ban [bcdfgjklmnpqrstvwxz]", text) is None
