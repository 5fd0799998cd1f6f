"""Texts, ARPA files and lexicons small enough to work out by hand, for the tests of language."""

from __future__ import annotations

import random

WORDS = {"<eps>": 0, "a": 1, "b": 2, "c": 3, "#0": 4, "<s>": 5, "</s>": 6}
LEXICON = (
    ("a", "x y", 1.0),
    ("a", "x", 0.25),
    ("b", "x", 1.0),
    ("c", "y x z", 1.0),
    ("\u00e9", "y x", 0.5),
)
"""Homophones, beginnings of others, two ways to say a word, a letter outside ASCII."""

UNIGRAMS = {
    ("<unk>",): (-1.5, None),
    ("<s>",): (-99.0, -0.3),
    ("</s>",): (-0.7, None),
    ("a",): (-0.5, -0.2),
    ("b",): (-0.8, -0.4),
    ("c",): (-1.1, None),
}
INNER_BIGRAMS = {
    ("<s>", "a"): (-0.3, -0.1),
    ("a", "b"): (-0.6, -0.25),
    ("b", "a"): (-0.9, None),
    ("b", "</s>"): (-0.2, None),
}
# KenLM refuses back-off weights of the longest n-grams
BIGRAMS = {words: (logp, None) for words, (logp, _) in INNER_BIGRAMS.items()}
TRIGRAMS = {("<s>", "a", "b"): (-1.9, None), ("a", "b", "a"): (-0.15, None)}

MODELS = {1: (UNIGRAMS,), 2: (UNIGRAMS, BIGRAMS), 3: (UNIGRAMS, INNER_BIGRAMS, TRIGRAMS)}


def arpa_text(*levels):
    """Write n-grams with their log10 probabilities and back-off weights as ARPA."""
    lines = ["\\data\\", *(f"ngram {n}={len(level)}" for n, level in enumerate(levels, 1)), ""]
    for n, level in enumerate(levels, 1):
        lines.append(f"\\{n}-grams:")
        for words, (logp, backoff) in level.items():
            tail = "" if backoff is None else f"\t{backoff}"
            lines.append(f"{logp}\t{' '.join(words)}{tail}")
        lines.append("")
    return "\n".join([*lines, "\\end\\", ""])


def write_arpa(folder, *levels, name="made.arpa"):
    path = folder / name
    path.write_text(arpa_text(*levels), encoding="utf-8")
    return path


def read_arpa(path):
    """Read an ARPA file the plain way: log10 probability and back-off of each n-gram."""
    order, found = 0, {}
    for line in path.read_text(encoding="utf-8").split("\n"):
        if line.startswith("\\"):
            order = int(line[1]) if line[1].isdigit() else 0
        elif order and line:
            fields = line.split("\t")
            words = tuple(fields[1].split(" "))
            assert len(words) == order
            found[words] = (float(fields[0]), float(fields[2]) if fields[2:] else 0.0)
    return found


def text_of(*, seed, num_sentences, words):
    """Draw sentences in which words follow one another with some rule."""
    generator = random.Random(seed)
    shares = [1 / (rank + 2) for rank in range(len(words))]
    sentences = []
    for _ in range(num_sentences):
        sentence = []
        for _ in range(generator.randint(0, 7)):
            if sentence and generator.random() < 0.4:
                sentence.append(words[(words.index(sentence[-1]) * 7 + 3) % len(words)])
            else:
                sentence.append(generator.choices(words, shares)[0])
        sentences.append(sentence)
    return sentences
