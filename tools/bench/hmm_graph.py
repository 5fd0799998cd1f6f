"""Compose a large decoding graph: python tools/bench/hmm_graph.py --words 200000 --tokens 1500000.

Words, pronunciations and text are drawn at random (Zipf), the triphone tree from random statistics.
Prints one line of JSON a step: seconds of CPU and the peak memory so far; there is no Kaldi to
compare with.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from speechlite.hmm.acoustic_model import AcousticModel
from speechlite.hmm.arpa import read_grammar
from speechlite.hmm.features import Transforms
from speechlite.hmm.graph import compose_graph, pdf_graph
from speechlite.hmm.lang import Lang, make_lang
from speechlite.hmm.lexicon import Lexicon, Pronunciation
from speechlite.hmm.lexicon_fst import lexicon_fst
from speechlite.hmm.ngram import estimate_ngram
from speechlite.hmm.phonetic_tree import grow_tree
from speechlite.hmm.topology import topology_text
from speechlite.hmm.triphone_stats import TriphoneStats
from speechlite.hmm.wheels import load_wheels

__all__ = ["main"]

_PHONES = [f"P{number}" for number in range(39)]
_DIM = 13


def _lexicon(num_words: int, random: np.random.Generator) -> Lexicon:
    lengths = random.integers(2, 11, num_words)
    return Lexicon.of(
        Pronunciation(f"W{n}", tuple(_PHONES[i] for i in random.integers(0, len(_PHONES), length)))
        for n, length in enumerate(lengths.tolist())
    )


def _sentences(num_words: int, tokens: int, random: np.random.Generator) -> Iterator[list[str]]:
    weights = 1.0 / (np.arange(num_words) + 10.0)
    cumulative = np.cumsum(weights / weights.sum())
    drawn = np.searchsorted(cumulative, random.random(tokens)).clip(0, num_words - 1)
    for first in range(0, tokens, 20):
        yield [f"W{word}" for word in drawn[first : first + 20].tolist()]


def _model(lang: Lang, num_leaves: int, random: np.random.Generator) -> AcousticModel:
    speech, silence = sorted(lang.speech_ids), sorted(lang.silence_ids)
    triples = random.choice(speech, (20000, 3))
    rows = [[*row, state] for row in triples.tolist() for state in range(3)]
    rows += [[0, phone, 0, state] for phone in silence for state in range(5)]
    contexts = np.unique(np.array(rows, np.int32), axis=0)
    counts = random.integers(50, 500, len(contexts)).astype(np.float64)
    means = random.standard_normal((len(contexts), _DIM))
    stats = TriphoneStats(
        contexts, counts, means * counts[:, None], (np.square(means) + 1) * counts[:, None]
    )
    grown = grow_tree(
        stats,
        silence_groups=[[phone] for phone in silence],
        speech_groups=[[phone] for phone in speech],
        position_sets=[],
        silence_classes=5,
        speech_classes=3,
        num_leaves=num_leaves,
    )
    text = topology_text(lang.silence_ids, lang.speech_ids)
    return AcousticModel(grown.content, text, None, None, Transforms("deltas"))


class _Clock:
    def __init__(self) -> None:
        self.last = time.process_time()

    def say(self, step: str, **facts: object) -> None:
        now = time.process_time()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        record = {"bench": "hmm_graph", "step": step, "cpu_seconds": round(now - self.last, 1)}
        print(json.dumps(record | {"peak_gigabytes": round(peak / 1e9, 2)} | facts), flush=True)
        self.last = now


def main() -> None:
    """Print one line a step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--words", type=int, default=200_000)
    parser.add_argument("--tokens", type=int, default=1_500_000)
    parser.add_argument("--order", type=int, default=3)
    parser.add_argument("--leaves", type=int, default=3000)
    arguments = parser.parse_args()
    random = np.random.default_rng(0)
    load_wheels()
    clock = _Clock()
    with tempfile.TemporaryDirectory() as folder:
        lexicon = _lexicon(arguments.words, random)
        lang = make_lang(lexicon)
        arpa = Path(folder) / "lm.arpa"
        sizes = estimate_ngram(
            _sentences(arguments.words, arguments.tokens, random),
            [f"W{n}" for n in range(arguments.words)],
            arpa,
            order=arguments.order,
        )
        clock.say("lm", **sizes)
        grammar = read_grammar(arpa, lang.words)
        clock.say("grammar", arcs=len(grammar.fst.src_A), ngrams=sum(grammar.counts))
        fst = lexicon_fst(lang, disambiguated=True)
        load_wheels().kaldifst.arcsort(fst, sort_type="olabel")
        clock.say("lexicon", states=fst.num_states)
        model = _model(lang, arguments.leaves, random)
        clock.say("tree", pdfs=model.num_pdfs)
        disambiguation = [lang.phones[name] for name in lang.disambiguation]
        graph = compose_graph(model, fst, grammar.fst, disambiguation=disambiguation)
        result, size = pdf_graph(graph, model.tables.pdf_T)
        del graph
        path = Path(folder) / "HCLG.fst"
        result.write(str(path))
        clock.say("graph", **vars(size), bytes=os.path.getsize(path))


if __name__ == "__main__":
    main()
