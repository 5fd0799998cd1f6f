from __future__ import annotations

import gc

import numpy as np
import pytest
from graphs_made import SELF_LOOP_SCALE, recogniser

from speechlite.core.errors import DataError
from speechlite.hmm.alignment import GraphCompiler, align_all
from speechlite.hmm.config import AlignOptions
from speechlite.hmm.decoder import Decoder
from speechlite.hmm.gmm_scores import GmmScorer
from speechlite.hmm.graph import pdf_graph
from speechlite.hmm.lexicon_fst import lexicon_fst
from speechlite.hmm.wheels import load_wheels

ROUNDING = 0.006


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return recogniser(tmp_path_factory.mktemp("arpa"), triphones=True, seed=7)


@pytest.fixture(scope="module")
def decoder(made):
    return made.decoder()


def test_best_path_costs_the_forced_alignment_of_its_words_plus_the_language_model(made, decoder):
    lexicon = lexicon_fst(made.lang, disambiguated=False)
    load_wheels().kaldifst.arcsort(lexicon, sort_type="olabel")
    symbols = [made.lang.phones[name] for name in made.lang.disambiguation]
    compiler = GraphCompiler(made.model, lexicon, symbols)
    generator = np.random.default_rng(0)
    features = {
        f"u{frames}": generator.normal(0, 2, (frames, 3)).astype(np.float32)
        for frames in (9, 14, 25, 40)
    }
    score, scale = GmmScorer(made.model.mixtures), 0.3
    paths = {
        name: decoder.best_path(score(values) * np.float32(scale))
        for name, values in features.items()
    }
    options = AlignOptions(
        beam=200, retry_beam=400, acoustic_scale=scale, boost_silence=1.0,
        self_loop_scale=SELF_LOOP_SCALE,
    )  # fmt: skip
    aligned = align_all(
        made.model,
        compiler,
        features.__getitem__,
        {name: list(path.words) for name, path in paths.items()},
        options=options,
        silence_ids=made.lang.silence_ids,
    )
    assert any(path.words for path in paths.values())
    for name, path in paths.items():
        forced = -aligned[name].log_likelihood * scale
        expected = forced + made.bigrams.cost(made.names(path.words))
        assert path.cost == pytest.approx(expected, abs=ROUNDING)
        assert path.pdfs_S.tolist() == made.model.tables.pdf_T[aligned[name].transitions_S].tolist()


def test_best_path_gives_each_frame_a_density_of_the_model(made, decoder):
    path = decoder.best_path(made.scores(0, 11))
    assert path.pdfs_S.shape == (11,)
    assert 0 <= path.pdfs_S.min() <= path.pdfs_S.max() < made.model.num_pdfs


def test_decoder_when_used_again_gives_the_same_for_the_same_scores(made, decoder):
    first = decoder.best_path(made.scores(1, 12))
    decoder.best_path(made.scores(2, 30))
    again = decoder.best_path(made.scores(1, 12))
    assert (again.words, again.cost) == (first.words, first.cost)


def test_decoder_when_its_graph_has_no_other_name_keeps_it_alive(made):
    graph, _ = pdf_graph(made.graph(), made.model.tables.pdf_T)
    decoder = Decoder(graph, made.model.num_pdfs, beam=100.0, lattice_beam=5.0)
    before = decoder.best_path(made.scores(3, 12)).cost
    del graph
    gc.collect()
    # memory that was given back would be written over
    filler = [np.ones(1000) for _ in range(1000)]
    assert decoder.best_path(made.scores(3, 12)).cost == before
    assert decoder.lattice(made.scores(3, 12)) is not None
    assert len(filler) == 1000


@pytest.mark.parametrize("change", [np.asfortranarray, lambda x: x.astype(np.float64)])
def test_decoder_takes_any_memory_layout_and_precision(made, decoder, change):
    scores_SP = made.scores(4, 12)
    assert decoder.best_path(change(scores_SP)).cost == decoder.best_path(scores_SP).cost
    double = np.repeat(scores_SP, 2, axis=1)[:, ::2]
    assert decoder.best_path(double).cost == decoder.best_path(scores_SP).cost


def test_decoder_does_not_change_the_scores(made, decoder):
    scores_SP = made.scores(5, 12)
    before = scores_SP.copy()
    decoder.lattice(scores_SP)
    assert np.array_equal(scores_SP, before)


def test_decoder_when_there_is_no_frame_finds_nothing(made, decoder):
    assert decoder.best_path(made.scores(0, 0)) is None
    assert decoder.lattice(made.scores(0, 0)) is None


@pytest.mark.parametrize("frames", [1, 2])
def test_decoder_when_no_word_fits_the_frames_keeps_the_path_and_says_it_is_cut_off(
    made, decoder, frames
):
    scores_SP = made.scores(0, frames)
    assert len(decoder.best_path(scores_SP).pdfs_S) == frames
    assert not decoder.lattice(scores_SP).is_complete
    assert decoder.lattice(made.scores(0, 20)).is_complete


def test_decoder_with_a_narrow_beam_costs_no_less_than_with_a_wide_one(made, decoder):
    narrow = made.decoder(beam=0.5, lattice_beam=0.4)
    for seed in range(5):
        found = narrow.best_path(made.scores(seed, 20))
        best = decoder.best_path(made.scores(seed, 20)).cost
        assert found is None or found.cost >= best - 1e-4


@pytest.mark.parametrize("columns", [-1, 1])
def test_decoder_with_scores_of_another_width_says_what_it_wants(made, decoder, columns):
    number = made.model.num_pdfs
    wrong = np.zeros((4, number + columns), np.float32)
    message = rf"scores of shape \(4, {number + columns}\), expected {number} columns; use a graph"
    for search in (decoder.lattice, decoder.best_path):
        with pytest.raises(DataError, match=message):
            search(wrong)


def test_decoder_with_a_vector_for_scores_says_what_it_wants(made, decoder):
    with pytest.raises(DataError, match=r"scores of shape \(\d+,\), expected"):
        decoder.lattice(np.zeros(made.model.num_pdfs, np.float32))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_decoder_with_scores_that_are_not_finite_refuses_them(made, decoder, value):
    scores_SP = made.scores(0, 8)
    scores_SP[7, 0] = value
    for search in (decoder.lattice, decoder.best_path):
        with pytest.raises(DataError, match="scores are not finite; train the acoustic model"):
            search(scores_SP)


def test_lattice_holds_the_best_path_and_leaves_out_what_is_beyond_its_beam(made):
    scores_SP = made.scores(6, 12)
    narrow, wide = (made.decoder(lattice_beam=beam) for beam in (0.001, 30.0))
    assert len(narrow.lattice(scores_SP).src_A) < len(wide.lattice(scores_SP).src_A)
    assert len(narrow.lattice(scores_SP).src_A) >= len(scores_SP)
