from __future__ import annotations

import math

import numpy as np
import pytest
from graphs_made import WORDS, all_costs, recogniser

from speechlite.core.errors import EnvironmentProblem
from speechlite.hmm.fst_arrays import from_fst
from speechlite.hmm.graph import memory_needed_bytes, pdf_graph, refuse_too_large

# Kaldi's minimisation rounds costs to 1/1024 a state
ROUNDING = 0.006


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("arpa")


@pytest.mark.parametrize("triphones", [False, True])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_graph_when_decoded_equals_brute_force_over_words_silences_and_states(
    folder, triphones, seed
):
    made = recogniser(folder, triphones=triphones, seed=seed)
    decoder = made.decoder()
    for frames in (3, 6, 9, 12):
        scores_SP = made.scores(100 * seed + frames, frames)
        costs = all_costs(made, scores_SP)
        found = decoder.best_path(scores_SP)
        assert found.cost == pytest.approx(min(costs.values()), abs=ROUNDING)
        assert costs[made.names(found.words)] == pytest.approx(min(costs.values()), abs=ROUNDING)


def test_graph_when_silence_or_a_word_is_loud_finds_just_that(folder):
    made = recogniser(folder, triphones=False, seed=3)
    tables = made.model.tables
    for phone, words in (("SIL", {()}), ("Y", {("b",), ("b", "b")})):
        scores_SP = np.full((8, made.model.num_pdfs), -30.0, np.float32)
        scores_SP[:, np.unique(tables.pdf_T[tables.phone_T == made.lang.phones[phone]])] = 0.0
        assert made.names(made.decoder().best_path(scores_SP).words) in words


def test_graph_of_homophones_keeps_both_words(folder):
    made = recogniser(folder, triphones=False, seed=4)
    labels = from_fst(made.graph())
    words = set(made.names(np.unique(labels.olabel_A[labels.olabel_A > 0])))
    assert words == set(WORDS)


def test_graph_has_no_disambiguation_symbols_left(folder):
    made = recogniser(folder, triphones=True, seed=0)
    arrays = from_fst(made.graph())
    assert arrays.ilabel_A.min() >= 0
    assert arrays.ilabel_A.max() <= made.model.transition_model.num_transition_ids


def test_graph_without_a_word_of_the_lexicon_in_the_model_never_finds_it(folder):
    made = recogniser(folder, triphones=False, seed=5, words=("a", "d"))
    arrays = from_fst(made.graph())
    assert set(made.names(np.unique(arrays.olabel_A[arrays.olabel_A > 0]))) == {"a", "d"}


def test_pdf_graph_reports_its_size(folder):
    made = recogniser(folder, triphones=False, seed=0)
    graph = made.graph()
    report = pdf_graph(graph, made.model.tables.pdf_T)[1]
    assert report.num_states == graph.num_states
    assert report.num_arcs == sum(graph.num_arcs(state) for state in range(graph.num_states))


def test_pdf_graph_labels_are_densities_plus_one_and_nothing_else_changes(folder):
    made = recogniser(folder, triphones=True, seed=1)
    graph = made.graph()
    before = from_fst(graph)
    after = from_fst(pdf_graph(graph, made.model.tables.pdf_T)[0])
    expected = [
        made.model.transition_model.transition_id_to_pdf(label) + 1 if label else 0
        for label in before.ilabel_A.tolist()
    ]
    assert after.ilabel_A.tolist() == expected
    for name in ("olabel_A", "weight_A", "dst_A", "src_A", "finals_N"):
        assert np.array_equal(getattr(after, name), getattr(before, name))
    assert after.start == before.start


def test_refuse_too_large_names_both_sizes_in_gigabytes():
    needed = memory_needed_bytes(2_000_000)
    assert refuse_too_large(2_000_000, needed) is None
    message = r"2000000 n-grams needs about 9\.4 GB to build, 1\.0 GB are free; decode with a"
    with pytest.raises(EnvironmentProblem, match=message):
        refuse_too_large(2_000_000, 1_000_000_000)


def test_memory_needed_grows_with_the_language_model():
    assert memory_needed_bytes(0) == 0
    assert math.isclose(memory_needed_bytes(20) / memory_needed_bytes(10), 2.0)
