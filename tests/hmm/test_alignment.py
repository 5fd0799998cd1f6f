"""Forced alignment against our own Viterbi search, Kaldi called directly, and torchaudio."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from gmm_made import WORDS, features_along, lang_of, mono_model, phonology, phonology_of
from torchaudio.functional import forced_align

from speechlite.core.errors import DataError
from speechlite.hmm.alignment import (
    Aligned,
    Segment,
    align_all,
    equal_alignments,
    phone_segments,
)
from speechlite.hmm.config import AlignOptions
from speechlite.hmm.wheels import load_wheels

WIDE = AlignOptions(beam=1000.0, retry_beam=2000.0)


def _ids(sound, *words):
    return [sound.lang.words[word] for word in words]


def _align(sound, model, features, words, *, options=WIDE, **more):
    return align_all(
        model,
        sound.compiler(model),
        features.__getitem__,
        words,
        options=options,
        silence_ids=sound.lang.silence_ids,
        **more,
    )


def _arcs(graph):
    kaldifst = load_wheels().kaldifst
    return [
        (state, arc.ilabel, arc.weight.value, arc.nextstate)
        for state in kaldifst.StateIterator(graph)
        for arc in kaldifst.ArcIterator(graph, state)
    ]


def _viterbi(graph, scores_SP, pdf_T):
    """Find the cheapest path by trying every arc at every frame; empty labels take no frame."""
    arcs = _arcs(graph)
    best = {graph.start: (0.0, ())}

    def spread(best):
        changed = True
        while changed:
            changed = False
            for source, label, cost, target in arcs:
                if label == 0 and source in best:
                    total = best[source][0] + cost
                    if total < best.get(target, (math.inf,))[0] - 1e-12:
                        best[target] = (total, best[source][1])
                        changed = True
        return best

    best = spread(best)
    for scores_P in scores_SP:
        following = {}
        for source, label, cost, target in arcs:
            if label and source in best:
                total = best[source][0] + cost - scores_P[pdf_T[label]]
                if total < following.get(target, (math.inf,))[0]:
                    following[target] = (total, (*best[source][1], label))
        best = spread(following)
    ends = [
        (cost + graph.final(state).value, path)
        for state, (cost, path) in best.items()
        if math.isfinite(graph.final(state).value)
    ]
    return min(ends)


def _scores(model, frames_SD):
    return np.array(
        [
            [model.mixtures.log_likelihood(pdf_index=pdf, data=f) for pdf in range(model.num_pdfs)]
            for f in frames_SD
        ]
    )


def _graph(sound, model, words, options):
    graph = sound.compiler(model).compile(words)
    load_wheels().khg.add_transition_probs(
        trans_model=model.transition_model,
        transition_scale=options.transition_scale,
        self_loop_scale=options.self_loop_scale,
        fst=graph,
    )
    return graph


TWO_WAYS = [("x", ("A", "C")), ("x", ("B",)), ("y", ("C", "A"))]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "options",
    [
        WIDE,
        AlignOptions(
            beam=1000.0,
            retry_beam=2000.0,
            acoustic_scale=1.0,
            transition_scale=0.5,
            self_loop_scale=0.7,
            boost_silence=1.0,
        ),
    ],
    ids=["default", "other scales"],
)
def test_align_all_when_every_path_is_tried_then_kaldi_finds_the_best(seed, options):
    sound = phonology_of(lang_of(TWO_WAYS))
    model = mono_model(sound, dim=2, size=2, seed=seed, scale=2.0)
    words = _ids(sound, "x", "y", "x")
    frames = np.random.default_rng(seed).standard_normal((34, 2)).astype(np.float32) * 2
    found = _align(sound, model, {"u": frames}, {"u": words}, options=options)["u"]
    plain = _scores(model, frames)
    scores = plain * options.acoustic_scale
    tables = model.tables
    silent = np.unique(tables.pdf_T[np.isin(tables.phone_T, sound.lang.silence_ids)])
    scores[:, silent] += math.log(options.boost_silence) * options.acoustic_scale
    graph = _graph(sound, model, words, options)
    cost, path = _viterbi(graph, scores, tables.pdf_T)
    # several paths may cost the same, so the price decides
    mine = tables.pdf_T[found.transitions_S]
    assert len(found.transitions_S) == 34
    assert _price(graph, found.transitions_S, scores, tables.pdf_T) == pytest.approx(cost, abs=1e-3)
    assert np.mean(mine == tables.pdf_T[list(path)]) > 0.95


def _price(graph, transitions_S, scores, pdf_T):
    """Price one given path through a graph."""
    only = np.full((len(transitions_S), 1 + max(a[1] for a in _arcs(graph))), -np.inf)
    for frame, label in enumerate(transitions_S):
        only[frame, label] = scores[frame, pdf_T[label]]
    identity = np.arange(only.shape[1])
    return _viterbi(graph, only, identity)[0]


def test_align_all_when_it_ends_then_the_likelihood_is_that_of_the_path():
    sound = phonology()
    model = mono_model(sound, dim=2, scale=3.0)
    options = AlignOptions(beam=1000.0, retry_beam=2000.0, boost_silence=1.0)
    words = _ids(sound, "ab", "c")
    frames = np.random.default_rng(0).standard_normal((30, 2)).astype(np.float32)
    found = _align(sound, model, {"u": frames}, {"u": words}, options=options)["u"]
    graph = _graph(sound, model, words, options)
    scores = _scores(model, frames) * options.acoustic_scale
    cost = _price(graph, found.transitions_S, scores, model.tables.pdf_T)
    assert found.log_likelihood == pytest.approx(-cost / options.acoustic_scale, rel=1e-4)


def _drawn(sound, model, *, count=8):
    """Return words and features of utterances drawn along even alignments."""
    generator = np.random.default_rng(0)
    words = {f"u{n}": _ids(sound, *generator.choice(sorted(WORDS), 3)) for n in range(count)}
    paths = equal_alignments(sound.compiler(model), dict.fromkeys(words, 80), words)
    features = {
        name: features_along(model, path, seed=n) for n, (name, path) in enumerate(paths.items())
    }
    return {name: words[name] for name in paths}, features, paths


def test_align_all_when_frames_were_drawn_from_the_model_then_it_finds_their_phones():
    sound = phonology()
    model = mono_model(sound, dim=4, scale=4.0)
    words, features, paths = _drawn(sound, model)
    found = _align(sound, model, features, words)
    pairs = [(found[name].transitions_S, paths[name]) for name in words]
    phone_T = model.tables.phone_T
    same = np.concatenate([phone_T[mine] == phone_T[truth] for mine, truth in pairs])
    assert len(words) >= 6
    assert same.mean() > 0.99


def test_align_all_when_the_wheel_is_called_directly_then_frames_agree():
    khg = load_wheels().khg
    sound = phonology()
    model = mono_model(sound, dim=4, size=2, scale=3.0)
    words, features, _ = _drawn(sound, model)
    options = AlignOptions(boost_silence=1.0)
    found = _align(sound, model, features, words, options=options)
    same = []
    for name in words:
        graph = _graph(sound, model, words[name], options)
        decodable = khg.DecodableAmDiagGmmScaled(
            am=model.mixtures, tm=model.transition_model, feats=features[name], scale=0.1
        )
        outcome = khg.align_utterance_wrapper(
            config=khg.AlignConfig(beam=10, retry_beam=40),
            utt=name,
            acoustic_scale=0.1,
            fst=graph,
            decodable=decodable,
            num_done=0,
            num_error=0,
            num_retried=0,
            tot_like=0.0,
            frame_count=0,
        )
        same.append(np.array(outcome[5]) == found[name].transitions_S)
        assert found[name].log_likelihood == pytest.approx(outcome[3])
    assert np.concatenate(same).mean() >= 0.99


def test_align_all_when_torchaudio_aligns_the_same_states_then_most_frames_agree():
    sound = phonology()
    model = mono_model(sound, dim=4, scale=3.0)
    words, features, _ = _drawn(sound, model)
    found = _align(sound, model, features, words)
    same = []
    for name in words:
        pdfs = model.tables.pdf_T[found[name].transitions_S]
        starts = np.flatnonzero(np.diff(pdfs, prepend=-1))
        # a forbidden blank stands in front
        scores = torch.full((1, len(pdfs), model.num_pdfs + 1), -1e4)
        scores[0, :, 1:] = torch.tensor(_scores(model, features[name]))
        targets = torch.tensor(pdfs[starts] + 1, dtype=torch.int32)[None]
        labels, _ = forced_align(scores, targets, blank=0)
        same.append(labels[0].numpy() - 1 == pdfs)
    assert np.concatenate(same).mean() >= 0.98


def test_align_all_when_silence_is_boosted_then_it_takes_more_frames():
    sound = phonology()
    model = mono_model(sound, dim=1, scale=0.3)
    frames = np.random.default_rng(0).standard_normal((60, 1)).astype(np.float32)
    silence = sound.lang.phones["SIL"]
    counts = []
    for factor in (0.01, 1.0, 100.0):
        options = AlignOptions(
            beam=1000.0, retry_beam=2000.0, boost_silence=factor, acoustic_scale=1.0
        )
        before = np.asarray(model.mixtures.get_pdf(0).weights).copy()
        words = {"u": _ids(sound, "ab", "c")}
        found = _align(sound, model, {"u": frames}, words, options=options)
        counts.append((model.tables.phone_T[found["u"].transitions_S] == silence).sum())
        assert np.array_equal(model.mixtures.get_pdf(0).weights, before)
    assert counts[0] < counts[1] < counts[2]


def test_align_all_when_an_utterance_is_too_short_then_it_has_no_path():
    sound = phonology()
    model = mono_model(sound, dim=2)
    words = _ids(sound, "ab", "c")
    # three phones of three states
    features = {f"u{n}": np.zeros((n, 2), np.float32) for n in (0, 1, 8, 9)}
    found = _align(sound, model, features, dict.fromkeys(features, words))
    assert found["u0"] == found["u1"] == found["u8"] == Aligned(None, 0.0)
    assert len(found["u9"].transitions_S) == 9


def test_align_all_when_there_is_no_word_then_all_frames_are_silence():
    sound = phonology()
    model = mono_model(sound, dim=2)
    found = _align(sound, model, {"u": np.zeros((20, 2), np.float32)}, {"u": []})["u"]
    assert set(model.tables.phone_T[found.transitions_S]) == {sound.lang.phones["SIL"]}


def test_align_all_when_there_is_no_utterance_then_the_result_is_empty():
    sound = phonology()
    assert _align(sound, mono_model(sound, dim=2), {}, {}) == {}


def test_align_all_when_two_processes_share_the_work_then_the_result_is_the_same():
    sound = phonology()
    model = mono_model(sound, dim=4, size=2, scale=2.0)
    words, features, _ = _drawn(sound, model)
    seen = []
    alone = _align(sound, model, features, words)
    together = _align(sound, model, features, words, num_workers=2, on_result=seen.append)
    assert list(alone) == list(together) == list(words)
    assert seen == list(range(1, len(words) + 1))
    for name in words:
        assert np.array_equal(alone[name].transitions_S, together[name].transitions_S)
        assert alone[name].log_likelihood == together[name].log_likelihood


def test_compile_when_the_local_names_are_gone_then_kaldi_still_finds_its_objects():
    import gc

    sound = phonology_of(lang_of(WORDS.items()))
    words = _ids(sound, "ab")
    compiler = sound.compiler(mono_model(sound, dim=2))
    del sound
    gc.collect()
    assert compiler.compile(words).num_states > 6


@pytest.mark.parametrize("word", ["<s>", "</s>", "#0"])
def test_compile_when_a_word_has_no_pronunciation_then_data_error(word):
    sound = phonology()
    compiler = sound.compiler(mono_model(sound, dim=2))
    (number,) = _ids(sound, word)
    with pytest.raises(
        DataError, match=rf"the words \[{number}\] of words.txt have no path.*; take"
    ):
        compiler.compile([number])
    with pytest.raises(DataError, match="have no path through the lexicon"):
        equal_alignments(compiler, {"u": 30}, {"u": [number]})


def test_equal_alignments_when_spread_then_phones_are_those_of_the_words():
    sound = phonology()
    model = mono_model(sound, dim=2)
    words = {f"u{n}": _ids(sound, "ab", "\u00e9t\u00e9", "c") for n in range(5)}
    found = equal_alignments(sound.compiler(model), dict.fromkeys(words, 90), words)
    assert sorted(found) == sorted(words)
    names = {number: name for name, number in sound.lang.phones.items()}
    for path in found.values():
        assert len(path) == 90
        segments = phone_segments(path, model.tables)
        phones = [names[one.phone] for one in segments if names[one.phone] != "SIL"]
        assert phones == ["A", "B", "C", "B", "C"]
        # within speech no state is much longer than another
        speech = path[~np.isin(model.tables.phone_T[path], sound.lang.silence_ids)]
        _, lengths = np.unique(
            np.cumsum(np.diff(model.tables.state_T[speech], prepend=-1) != 0), return_counts=True
        )
        assert lengths.max() - lengths.min() <= 1


def test_equal_alignments_when_repeated_then_they_are_the_same():
    sound = phonology()
    model = mono_model(sound, dim=2)
    words = {f"u{n}": _ids(sound, "ab", "c") for n in range(4)}
    frames = {name: 30 + n for n, name in enumerate(words)}
    first, second = (equal_alignments(sound.compiler(model), frames, words) for _ in range(2))
    assert all(np.array_equal(first[name], second[name]) for name in words)


def test_equal_alignments_when_frames_are_too_few_then_the_utterance_is_left_out():
    sound = phonology()
    model = mono_model(sound, dim=2)
    words = {name: _ids(sound, "ab", "c") for name in ("none", "short", "long")}
    frames = {"none": 0, "short": 8, "long": 60}
    assert list(equal_alignments(sound.compiler(model), frames, words)) == ["long"]


def _random_path(model, phones, generator):
    """Walk through phones as Kaldi's graphs do: a state is left first, its loops follow."""
    tables, kaldi = model.tables, model.transition_model
    path, expected, state_of = [], [], [row.__getstate__() for row in kaldi.tuples]
    for phone in phones:
        start = len(path)
        state = 0
        while state is not None:
            number = next(
                n for n, row in enumerate(state_of, 1) if row[0] == phone and row[1] == state
            )
            ids = np.flatnonzero(tables.state_T == number)
            exits = [i for i in ids if not tables.is_loop_T[i]]
            taken = int(generator.choice(exits))
            path.append(taken)
            path += [int(i) for i in ids if tables.is_loop_T[i]] * int(generator.integers(0, 3))
            if tables.is_final_T[taken]:
                state = None
            else:
                targets = model.topology.topology_for_phone(phone)[state].transitions
                state = targets[taken - ids[0]][0]
        expected.append(Segment(phone, start, len(path)))
    return np.array(path, np.int32), expected


@pytest.mark.parametrize("states", [1, 3])
def test_phone_segments_when_a_walk_is_known_then_they_are_its_phones(states):
    sound = phonology_of(lang_of(WORDS.items()), speech_states=states)
    model = mono_model(sound, dim=2)
    generator = np.random.default_rng(0)
    for _ in range(20):
        # equal neighbours too
        phones = [int(p) for p in generator.choice(sound.lang.speech_ids, 6)]
        path, expected = _random_path(model, phones, generator)
        assert phone_segments(path, model.tables) == expected


def test_phone_segments_when_silence_jumps_between_its_states_then_it_is_one_phone():
    sound = phonology()
    model = mono_model(sound, dim=2)
    silence, speech = sound.lang.phones["SIL"], sound.lang.speech_ids[0]
    for seed in range(10):
        generator = np.random.default_rng(seed)
        path, expected = _random_path(model, [silence, speech, silence, silence], generator)
        assert phone_segments(path, model.tables) == expected


def test_phone_segments_when_the_path_was_cut_off_then_the_rest_is_a_phone():
    sound = phonology()
    model = mono_model(sound, dim=2)
    phones = sound.lang.speech_ids[:2]
    path, (first, second) = _random_path(model, phones, np.random.default_rng(1))
    found = phone_segments(path[: second.start + 2], model.tables)
    assert found == [first, Segment(second.phone, second.start, second.start + 2)]


def test_phone_segments_when_there_is_no_frame_then_there_is_no_phone():
    assert phone_segments(np.zeros(0, np.int32), mono_model(phonology(), dim=2).tables) == []
