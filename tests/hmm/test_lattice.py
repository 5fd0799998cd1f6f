from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from graphs_made import LN10, Bigrams, random_bigrams, recogniser

from speechlite.hmm.arpa import read_grammar
from speechlite.hmm.fst_arrays import FstArrays, LatticeArrays
from speechlite.hmm.language_model import GrammarScorer, KenlmScorer
from speechlite.hmm.lattice import ScoredLattice, word_lattice

NAMES = ("<eps>", "a", "b", "c", "#0", "<s>", "</s>")
IDS = {name: number for number, name in enumerate(NAMES)}
WORDS = ("a", "b", "c")


class Lengths:
    """Score a word by how many stand before it: a model whose states are easy to follow."""

    def start(self):
        return 0

    def step(self, state, word):
        return state + 1, 0.5 * word + 0.25 * state

    def final(self, state):
        return 0.125 * state


def random_words(seed, *, states=7):
    """Make a deterministic acyclic acceptor, its states out of order."""
    generator = np.random.default_rng(seed)
    place = generator.permutation(states)
    # one arc a state leads to the next one, so that the end is reached
    chosen = [
        (src, word, src + 1 if word == 1 + src % 3 else generator.integers(src + 1, states))
        for src in range(states - 1)
        for word in (1, 2, 3)
        if word == 1 + src % 3 or generator.uniform() < 0.5
    ]
    rows = [(place[src], word, generator.uniform(0, 5), place[dst]) for src, word, dst in chosen]
    rows = sorted(rows, key=lambda row: row[0])
    finals = np.where(generator.uniform(size=states) < 0.4, generator.uniform(0, 3, states), np.inf)
    finals[place[-1]] = 1.0
    src, word, cost, dst = (np.array(column) for column in zip(*rows, strict=True))
    ints, costs = (src.astype(np.int32), word.astype(np.int32)), cost.astype(np.float32)
    return FstArrays(
        int(place[0]), finals.astype(np.float32), *ints, ints[1], costs, dst.astype(np.int32)
    )


def all_paths(words):
    """Return the cost of each sequence of words by walking every path."""
    found = {}

    def walk(state, said, cost):
        if math.isfinite(words.finals_N[state]):
            total = cost + float(words.finals_N[state])
            found[said] = min(total, found.get(said, math.inf))
        for arc in np.flatnonzero(words.src_A == state):
            label = int(words.ilabel_A[arc])
            after = (*said, label) if label else said
            walk(int(words.dst_A[arc]), after, cost + float(words.weight_A[arc]))

    walk(words.start, (), 0.0)
    return found


def model_cost(model, said):
    state, cost = model.start(), 0.0
    for word in said:
        state, price = model.step(state, word)
        cost += price
    return cost + model.final(state)


def paths_of(lattice):
    """Return acoustic and model cost of every path of a scored lattice."""
    found = []

    def walk(state, said, acoustic, model):
        if state == lattice.num_states - 1:
            found.append((said, acoustic, model))
        for arc in np.flatnonzero(lattice.src_A == state):
            word = int(lattice.word_A[arc])
            walk(
                int(lattice.dst_A[arc]),
                (*said, word) if word >= 0 else said,
                acoustic + lattice.acoustic_A[arc],
                model + lattice.model_A[arc],
            )

    walk(0, (), 0.0, 0.0)
    return found


@pytest.fixture
def kenlm(tmp_path):
    """Give a model that differs from the one in the lattices, and the same as tables."""
    bigrams = random_bigrams(11, WORDS)
    return KenlmScorer(bigrams.write(tmp_path / "large.arpa"), NAMES), bigrams


def names(said):
    return [NAMES[word] for word in said]


def test_kenlm_scorer_and_the_tables_of_these_tests_agree(kenlm):
    model, bigrams = kenlm
    for length in range(4):
        for said in itertools.product((1, 2, 3), repeat=length):
            expected = bigrams.cost(names(said), exact=True)
            assert model_cost(model, said) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("seed", range(6))
def test_scored_lattice_keeps_every_path_once_with_its_cost_in_two_parts(seed):
    words = random_words(seed)
    expected = all_paths(words)
    found = paths_of(ScoredLattice.of(words, Lengths()))
    assert sorted(said for said, _, _ in found) == sorted(expected)
    for said, acoustic, model in found:
        assert model == pytest.approx(model_cost(Lengths(), said))
        assert acoustic + model == pytest.approx(expected[said], abs=1e-5)


@pytest.mark.parametrize("seed", range(6))
def test_scored_lattice_has_its_arcs_in_topological_order(seed):
    lattice = ScoredLattice.of(random_words(seed), Lengths())
    left = set()
    for src, dst in zip(lattice.src_A.tolist(), lattice.dst_A.tolist(), strict=True):
        left.add(src)
        assert dst not in left
    assert lattice.num_states - 1 not in left
    assert (lattice.word_A[lattice.dst_A == lattice.num_states - 1] == -1).all()


@pytest.mark.parametrize("seed", range(6))
def test_rescored_lattice_equals_rescoring_every_path_with_kenlm(kenlm, seed):
    model, bigrams = kenlm
    words = random_words(seed)
    lattice = ScoredLattice.of(words, Lengths())
    found = {said: (acoustic, cost) for said, acoustic, cost in paths_of(lattice.rescored(model))}
    assert found.keys() == all_paths(words).keys()
    for said, acoustic, _ in paths_of(lattice):
        assert found[said][0] == pytest.approx(acoustic)
        assert found[said][1] == pytest.approx(bigrams.cost(names(said), exact=True), abs=1e-4)


@pytest.mark.parametrize("seed", range(6))
def test_best_with_many_settings_equals_trying_all_paths_under_each(kenlm, seed):
    lattice = ScoredLattice.of(random_words(seed), Lengths()).rescored(kenlm[0])
    grid = list(itertools.product((0.1, 0.7, 1.0, 3.0), (-2.0, 0.0, 1.5)))
    together = lattice.best([w for w, _ in grid], [p for _, p in grid])
    assert len(together) == len(grid)
    for (weight, penalty), found in zip(grid, together, strict=True):
        (alone,) = lattice.best([weight], [penalty])
        assert alone == found
        cost, said = min(
            (acoustic + weight * model + penalty * len(said), said)
            for said, acoustic, model in paths_of(lattice)
        )
        assert found.words == said
        assert found.cost == pytest.approx(cost)


@pytest.mark.parametrize("seed", range(6))
def test_n_best_equals_sorting_all_paths(kenlm, seed):
    lattice = ScoredLattice.of(random_words(seed), Lengths()).rescored(kenlm[0])
    expected = sorted(
        (acoustic + 0.8 * model + 0.3 * len(said), said)
        for said, acoustic, model in paths_of(lattice)
    )
    for count in (0, 1, 4, len(expected), len(expected) + 9):
        found = lattice.n_best(count, weight=0.8, penalty=0.3)
        assert [one.words for one in found] == [said for _, said in expected[:count]]
        assert [one.cost for one in found] == pytest.approx([cost for cost, _ in expected[:count]])


def test_n_best_begins_with_the_best():
    lattice = ScoredLattice.of(random_words(1), Lengths())
    (best,) = lattice.best([1.3], [-0.4])
    assert lattice.n_best(1, weight=1.3, penalty=-0.4)[0].words == best.words


def test_rescored_twice_equals_rescored_with_the_last_model(kenlm):
    lattice = ScoredLattice.of(random_words(2), Lengths())
    once, twice = lattice.rescored(kenlm[0]), lattice.rescored(Lengths()).rescored(kenlm[0])
    assert twice.best([1.0], [0.0])[0].words == once.best([1.0], [0.0])[0].words
    assert twice.best([1.0], [0.0])[0].cost == pytest.approx(once.best([1.0], [0.0])[0].cost)


def lattice_arrays(start, finals, arcs):
    """Make a lattice of (src, word, graph, acoustic, dst) arcs."""
    rows = np.array(sorted(arcs, key=lambda arc: arc[0]), np.float64).reshape(-1, 5)
    src, word, dst = (rows[:, column].astype(np.int32) for column in (0, 1, 4))
    graph, acoustic = (rows[:, column].astype(np.float32) for column in (2, 3))
    finals_N2 = np.array(finals, np.float32).reshape(-1, 2)
    return LatticeArrays(start, finals_N2, src, np.ones_like(src), word, graph, acoustic, dst)


def random_raw(seed):
    """Make a lattice in which one sequence of words has many paths, with epsilon arcs."""
    generator = np.random.default_rng(seed)
    arcs = [
        (src, word, *generator.uniform(-2, 3, 2), dst)
        for src in range(6)
        for dst in range(src + 1, min(src + 3, 7))
        for word in (0, 0, 1, 2)
        if generator.uniform() < 0.7
    ]
    finals = np.full((7, 2), np.inf)
    finals[[4, 6]] = generator.uniform(0, 2, (2, 2))
    return lattice_arrays(0, finals, arcs)


@pytest.mark.parametrize("seed", range(6))
def test_word_lattice_has_each_sequence_once_with_the_cost_of_its_best_path(seed):
    raw = random_raw(seed)
    weights = raw.graph_A + raw.acoustic_A
    expected = all_paths(
        FstArrays(
            0, raw.finals_N2.sum(1), raw.src_A, raw.olabel_A, raw.olabel_A, weights, raw.dst_A
        )
    )
    words = word_lattice(raw, beam=100.0)
    for state in range(len(words.finals_N)):
        labels = words.ilabel_A[words.src_A == state].tolist()
        assert len(labels) == len(set(labels))
    assert 0 not in words.ilabel_A
    found = all_paths(words)
    assert found.keys() == expected.keys()
    for said, cost in found.items():
        assert cost == pytest.approx(expected[said], abs=0.01)


@pytest.mark.parametrize("seed", range(6))
def test_word_lattice_with_a_beam_keeps_all_within_it(seed):
    everything = all_paths(word_lattice(random_raw(seed), beam=100.0))
    kept = all_paths(word_lattice(random_raw(seed), beam=2.0))
    limit = min(everything.values()) + 2.0
    assert {said for said, cost in everything.items() if cost < limit - 0.01} <= set(kept)
    assert len(kept) < len(everything)


NOTHING = (
    lattice_arrays(0, [[np.inf, np.inf]], []),
    lattice_arrays(-1, [], []),
    lattice_arrays(0, [[np.inf, np.inf]] * 2, [(0, 3, 1.0, 1.0, 1)]),
)


@pytest.mark.parametrize("raw", NOTHING)
def test_lattice_without_a_path_has_no_words(raw):
    lattice = ScoredLattice.of(word_lattice(raw, beam=5.0), Lengths())
    for one in (lattice, lattice.rescored(Lengths())):
        (best,) = one.best([1.0], [0.0])
        assert best.words == ()
        assert best.cost == math.inf
        assert one.n_best(5) == []


@pytest.mark.parametrize(
    "raw",
    [
        lattice_arrays(0, [[1.0, 2.0]], []),
        lattice_arrays(0, [[np.inf, np.inf], [1.0, 0.0]], [(0, 0, 1.0, 1.0, 1)]),
    ],
)
def test_lattice_of_silence_alone_is_the_empty_sequence(raw):
    lattice = ScoredLattice.of(word_lattice(raw, beam=5.0), Lengths())
    (best,) = lattice.rescored(Lengths()).best([1.0], [7.0])
    assert best.words == ()
    assert best.cost == pytest.approx(3.0)
    assert [one.words for one in lattice.n_best(5)] == [()]


@pytest.mark.parametrize("triphones", [False, True])
def test_best_of_the_graphs_own_model_is_the_decoders_best_path(tmp_path, triphones):
    made = recogniser(tmp_path, triphones=triphones, seed=2)
    decoder = made.decoder()
    grammar = read_grammar(made.arpa, made.lang.words)
    scorer = GrammarScorer(grammar.fst, backoff=made.lang.words["#0"])
    for frames in (4, 9, 20, 31):
        scores_SP = made.scores(frames, frames)
        words = word_lattice(decoder.lattice(scores_SP), beam=10.0)
        lattice = ScoredLattice.of(words, scorer)
        (best,) = lattice.best([1.0], [0.0])
        path = decoder.best_path(scores_SP)
        assert best.words == path.words
        assert best.cost == pytest.approx(path.cost, abs=0.01)
        assert lattice.n_best(1)[0].words == path.words


def test_scored_lattice_takes_off_what_the_graph_paid_for_the_words(tmp_path):
    made = recogniser(tmp_path, triphones=False, seed=3)
    scorer = GrammarScorer(
        read_grammar(made.arpa, made.lang.words).fst, backoff=made.lang.words["#0"]
    )
    lattice = ScoredLattice.of(
        word_lattice(made.decoder().lattice(made.scores(1, 14)), beam=8.0), scorer
    )
    paths = paths_of(lattice)
    assert len(paths) > 3
    for said, _, model in paths:
        assert model == pytest.approx(made.bigrams.cost(made.names(said)), abs=1e-4)


def test_rescored_words_that_the_model_lacks_cost_much_and_stay(tmp_path):
    bigrams = Bigrams(
        {"a": -0.3, "b": -0.6, "</s>": -0.5, "<s>": -99.0}, {"<s>": -0.1}, {("a", "b"): -0.2}
    )
    model = KenlmScorer(bigrams.write(tmp_path / "lacks.arpa"), NAMES)
    lattice = ScoredLattice.of(random_words(0), Lengths()).rescored(model)
    costs = {said: cost for said, _, cost in paths_of(lattice)}
    assert any(3 in said for said in costs)
    for said, cost in costs.items():
        assert math.isfinite(cost)
        assert cost >= 10 * LN10 * said.count(3)


@pytest.mark.parametrize(("spread", "most"), [(0.0, 100), (0.05, 200), (0.5, 5000)])
def test_word_lattice_of_flat_scores_ends_and_keeps_the_best_path(tmp_path, spread, most):
    made = recogniser(tmp_path, triphones=False, seed=1)
    decoder = made.decoder(beam=13.0, lattice_beam=6.0)
    scores_SP = spread * made.scores(1, 50)
    words = word_lattice(decoder.lattice(scores_SP), beam=6.0)
    assert 1 < len(words.finals_N) <= most
    path = decoder.best_path(scores_SP)
    said, cost = min(all_paths(words).items(), key=lambda pair: pair[1])
    assert cost == pytest.approx(path.cost, abs=0.02)
    assert said == path.words
