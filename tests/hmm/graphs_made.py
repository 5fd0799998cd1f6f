"""Small recognisers, and the slow way to the best words: try all of them.

Costs are negative natural logarithms.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from speechlite.hmm.acoustic_model import AcousticModel, Gaussians, mixtures_of
from speechlite.hmm.arpa import read_grammar
from speechlite.hmm.decoder import Decoder
from speechlite.hmm.features import Transforms
from speechlite.hmm.graph import compose_graph, pdf_graph
from speechlite.hmm.lang import Lang, make_lang
from speechlite.hmm.lexicon import Lexicon, Pronunciation
from speechlite.hmm.lexicon_fst import lexicon_fst
from speechlite.hmm.topology import read_topology, topology_text
from speechlite.hmm.tree_bytes import Leaf, Split, monophone_tree, tree_bytes
from speechlite.hmm.wheels import load_wheels

SELF_LOOP_SCALE = 0.1
LN10 = math.log(10.0)
# homophones, a pronunciation that begins another one, a word with two, letters beyond ASCII
PRONUNCIATIONS = (
    Pronunciation("a", ("X",)),
    Pronunciation("b", ("X", "Y"), 0.25),
    Pronunciation("b", ("Y",)),
    Pronunciation("\u00e9\u8a9e", ("X",)),
    Pronunciation("d", ("Y", "X")),
)
WORDS = ("a", "b", "\u00e9\u8a9e", "d")
# successors of each state, as prepare_lang's topologies have them; the last number is the end
SPEECH = ((0, 1), (1, 2), (2, 3))
SILENCE = ((0, 1, 2, 3), (1, 2, 3, 4), (1, 2, 3, 4), (1, 2, 3, 4), (4, 5))


@dataclass
class Bigrams:
    """Hold a bigram model as two tables of log10 probabilities."""

    unigrams: dict[str, float]
    backoffs: dict[str, float]
    bigrams: dict[tuple[str, str], float] = field(default_factory=dict)

    def write(self, path: Path) -> Path:
        lines = ["\\data\\", f"ngram 1={len(self.unigrams)}", f"ngram 2={len(self.bigrams)}", ""]
        lines.append("\\1-grams:")
        for word, logp in self.unigrams.items():
            tail = f"\t{self.backoffs[word]}" if word in self.backoffs else ""
            lines.append(f"{logp}\t{word}{tail}")
        lines += ["", "\\2-grams:"]
        lines += [f"{logp}\t{' '.join(pair)}" for pair, logp in self.bigrams.items()]
        path.write_text("\n".join([*lines, "", "\\end\\", ""]), encoding="utf-8")
        return path

    def cost(self, words: Sequence[str], *, exact: bool = False) -> float:
        """Return a sentence's cost; unless exact, backing off is allowed wherever it is cheaper."""
        pairs = itertools.pairwise(["<s>", *words, "</s>"])
        return -LN10 * sum(self._logp(*pair, exact=exact) for pair in pairs)

    def _logp(self, before: str, word: str, *, exact: bool) -> float:
        indirect = self.backoffs.get(before, 0.0) + self.unigrams[word]
        direct = self.bigrams.get((before, word))
        if direct is None:
            return indirect
        return direct if exact else max(direct, indirect)


def random_bigrams(seed: int, words: Sequence[str] = WORDS) -> Bigrams:
    generator = np.random.default_rng(seed)

    def logp() -> float:
        return -round(float(generator.uniform(0.05, 1.5)), 4)

    unigrams = {word: logp() for word in (*words, "</s>")} | {"<s>": -99.0}
    backoffs = {word: logp() / 4 for word in ("<s>", *words)}
    pairs = itertools.product(["<s>", *words], [*words, "</s>"])
    chosen = {pair: logp() for pair in pairs if generator.uniform() < 0.5}
    return Bigrams(unigrams, backoffs, chosen)


def made_model(lang: Lang, *, triphones: bool, seed: int, dim: int = 3) -> AcousticModel:
    """Make a model with random transition probabilities and Gaussians."""
    generator = np.random.default_rng(seed)
    text = topology_text(lang.silence_ids, lang.speech_ids)
    if triphones:
        content = tree_bytes(_random_roots(lang, generator))
    else:
        topology = read_topology(text, phones=[])
        content = monophone_tree([[phone] for phone in lang.base_phones], topology)
    model = AcousticModel(content, text, None, None, Transforms("deltas"))
    num_pdfs = model.num_pdfs
    model.mixtures = mixtures_of(
        Gaussians(
            pdf_G=np.arange(num_pdfs, dtype=np.int32),
            weights_G=np.ones(num_pdfs, np.float32),
            means_GD=generator.normal(size=(num_pdfs, dim)).astype(np.float32),
            variances_GD=generator.uniform(0.5, 2, (num_pdfs, dim)).astype(np.float32),
        )
    )
    counts = generator.uniform(10, 100, model.transition_model.num_transition_ids + 1)
    return model.with_transitions(counts)


def _random_roots(lang: Lang, generator: np.random.Generator) -> dict[int, list[Any]]:
    pdfs = itertools.count()
    speech = lang.speech_ids
    roots: dict[int, list[Any]] = {
        phone: [Leaf(next(pdfs)) for _ in SILENCE] for phone in lang.silence_ids
    }
    for phone in speech:
        states = []
        for _ in SPEECH:
            # the edge of an utterance, silence and phones all occur as neighbours
            left, right = (
                frozenset(generator.permutation([0, *lang.silence_ids, *speech])[:2].tolist())
                for _ in range(2)
            )
            inner = Split(2, right, Leaf(next(pdfs)), Leaf(next(pdfs)))
            states.append(Split(0, left, inner, Leaf(next(pdfs))))
        roots[phone] = states
    return roots


@dataclass
class Recogniser:
    """Join what decoding needs, and the same as plain tables for the slow way."""

    lang: Lang
    model: AcousticModel
    bigrams: Bigrams
    arpa: Path

    def graph(self) -> Any:
        lexicon = lexicon_fst(self.lang, disambiguated=True)
        load_wheels().kaldifst.arcsort(lexicon, sort_type="olabel")
        return compose_graph(
            self.model,
            lexicon,
            read_grammar(self.arpa, self.lang.words).fst,
            disambiguation=[self.lang.phones[name] for name in self.lang.disambiguation],
            self_loop_scale=SELF_LOOP_SCALE,
        )

    def decoder(self, *, beam: float = 500.0, lattice_beam: float = 20.0) -> Decoder:
        graph, _ = pdf_graph(self.graph(), self.model.tables.pdf_T)
        return Decoder(graph, self.model.num_pdfs, beam=beam, lattice_beam=lattice_beam)

    def names(self, words: Sequence[int]) -> tuple[str, ...]:
        return tuple(self.lang.word_names[word] for word in words)

    def scores(self, seed: int, frames: int) -> np.ndarray:
        generator = np.random.default_rng(seed)
        return generator.normal(0, 3, (frames, self.model.num_pdfs)).astype(np.float32)


def recogniser(
    folder: Path, *, triphones: bool, seed: int, words: Sequence[str] = WORDS
) -> Recogniser:
    """Make a recogniser whose language model has some words of the lexicon."""
    lang = make_lang(Lexicon.of(PRONUNCIATIONS), silence_probability=0.3)
    bigrams = random_bigrams(seed, words)
    model = made_model(lang, triphones=triphones, seed=seed)
    return Recogniser(lang, model, bigrams, bigrams.write(folder / f"{seed}.arpa"))


def all_costs(made: Recogniser, scores_SP: np.ndarray) -> dict[tuple[str, ...], float]:
    """Return the cost of the best path of every sequence of words that fits the frames."""
    costs: dict[tuple[str, ...], float] = {}
    for words, phones, cost in _phone_sequences(made, len(scores_SP) // 3):
        total = cost + made.bigrams.cost(words) + _best_states(made, phones, scores_SP)
        costs[words] = min(total, costs.get(words, math.inf))
    return {words: cost for words, cost in costs.items() if cost < math.inf}


def _phone_sequences(
    made: Recogniser, most: int
) -> Iterator[tuple[tuple[str, ...], tuple[str, ...], float]]:
    """Give words, phones and the cost of pronunciations and silences; no phone takes < 3 frames."""
    silence = made.lang.silence_probability
    pauses = (((), -math.log(1 - silence)), (("SIL",), -math.log(silence)))
    entries = [e for e in made.lang.lexicon.entries if e.word in made.bigrams.unigrams]
    pending: list[Any] = [((), phones, cost) for phones, cost in pauses]
    while pending:
        words, phones, cost = pending.pop()
        if len(phones) > most:
            continue
        if phones:
            yield words, phones, cost
        for entry in entries:
            for pause, price in pauses:
                said = (*phones, *entry.phones, *pause)
                pending.append(
                    ((*words, entry.word), said, cost + price - math.log(entry.probability))
                )


def _best_states(made: Recogniser, phones: Sequence[str], scores_SP: np.ndarray) -> float:
    """Return the cost of the best state path through a sequence of phones."""
    ids = [made.lang.phones[phone] for phone in phones]
    contexts = zip([0, *ids[:-1]], ids, [*ids[1:], 0], strict=True)
    table = transition_costs(made.model)
    states: list[tuple[int, Mapping[int, float]]] = []
    starts = [0]
    for context in contexts:
        silent = context[1] in made.lang.silence_ids
        for number, successors in enumerate(SILENCE if silent else SPEECH):
            seen = context if made.model.tree.context_width == 3 else context[1:2]
            found, pdf = made.model.tree.compute(list(seen), number)
            assert found
            costs = table[context[1], number, pdf]
            first = starts[-1]
            states.append((pdf, {first + to: costs[to] for to in successors}))
        starts.append(starts[-1] + len(SILENCE if silent else SPEECH))
    reached = {0: 0.0}
    for row_P in scores_SP:
        following: dict[int, float] = {}
        for state, cost in reached.items():
            if state == len(states):
                continue
            pdf, successors = states[state]
            for to, price in successors.items():
                total = cost + price - float(row_P[pdf])
                following[to] = min(total, following.get(to, math.inf))
        reached = following
    return reached.get(len(states), math.inf)


def transition_costs(model: AcousticModel) -> dict[tuple[int, int, int], dict[int, float]]:
    """Return the costs of leaving (phone, state, density) for each successor state."""
    inner = model.transition_model
    table = {}
    for number, row in enumerate(inner.tuples, start=1):
        phone, state, pdf, _ = row.__getstate__()
        first = int(inner.state2id[number])
        successors = (SILENCE if len(_states(model, phone)) > 4 else SPEECH)[state]
        chances = {
            to: math.exp(inner.log_probs[first + place]) for place, to in enumerate(successors)
        }
        loop = chances.pop(state)
        # who leaves pays for not staying at the scale of self-loops, and for the way in full
        costs = {
            to: -math.log(chance / (1 - loop)) - SELF_LOOP_SCALE * math.log(1 - loop)
            for to, chance in chances.items()
        }
        table[phone, state, pdf] = {state: -SELF_LOOP_SCALE * math.log(loop), **costs}
    return table


def _states(model: AcousticModel, phone: int) -> Any:
    return model.topology.topology_for_phone(phone)
