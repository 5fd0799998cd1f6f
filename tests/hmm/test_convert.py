"""Alignments carried to another tree: phones stay, densities are what the tree says."""

from __future__ import annotations

import numpy as np
import pytest
from gmm_made import mono_model, phonology

from speechlite.hmm.acoustic_model import AcousticModel
from speechlite.hmm.alignment import equal_alignments, phone_segments
from speechlite.hmm.convert import Converter
from speechlite.hmm.features import Transforms
from speechlite.hmm.tree_bytes import Leaf, Split, tree_bytes


def _triphone_model():
    """Return a model whose leaves ask for left and right phones, in another order of densities."""
    sound = phonology()
    lang = sound.lang
    ids = iter(range(1000))

    def leaf():
        return Leaf(next(ids))

    roots = {}
    for phone in reversed(lang.speech_ids):
        left = frozenset({lang.phones["A"], 0})
        right = frozenset({lang.phones["SIL"], lang.phones["B"]})
        roots[phone] = [
            Split(0, left, leaf(), leaf()),
            Split(2, right, Split(0, left, leaf(), leaf()), leaf()),
            leaf(),
        ]
    for phone in lang.silence_ids:
        roots[phone] = [leaf() for _ in range(5)]
    return AcousticModel(tree_bytes(roots), sound.topology_text, None, None, Transforms("deltas"))


@pytest.fixture(scope="module")
def alignments():
    sound = phonology()
    model = mono_model(sound, dim=2)
    said = {
        "u": ["ab", "c"],
        "v": ["ba", "\u00e9t\u00e9", "c", "c"],
        "w": ["ab"],
        "x": ["ba", "ab"],
    }
    words = {name: [sound.lang.words[word] for word in one] for name, one in said.items()}
    return equal_alignments(sound.compiler(model), dict.fromkeys(words, 70), words)


def test_convert_when_the_tree_has_contexts_then_densities_are_computed_frame_by_frame(alignments):
    old, new = mono_model(phonology(), dim=2), _triphone_model()
    converter = Converter(old, new)
    for transitions_S in alignments.values():
        found = converter.convert(transitions_S)
        segments = phone_segments(transitions_S, old.tables)
        phones = [0, *(one.phone for one in segments), 0]
        for place, one in enumerate(segments):
            for frame in range(one.start, one.end):
                pdf_class = int(old.tables.pdf_class_T[transitions_S[frame]])
                expected = new.tree.compute(phones[place : place + 3], pdf_class)
                assert expected == (True, new.tables.pdf_T[found[frame]])


def test_convert_when_it_ends_then_phones_states_and_loops_are_the_same(alignments):
    old, new = mono_model(phonology(), dim=2), _triphone_model()
    converter = Converter(old, new)
    for transitions_S in alignments.values():
        found = converter.convert(transitions_S)
        assert found.dtype == transitions_S.dtype
        for field in ("phone_T", "pdf_class_T", "is_loop_T", "is_final_T"):
            before = getattr(old.tables, field)[transitions_S]
            assert np.array_equal(getattr(new.tables, field)[found], before)
        assert phone_segments(found, new.tables) == phone_segments(transitions_S, old.tables)


def test_convert_when_silence_states_have_many_exits_then_each_leads_to_the_same_state(alignments):
    old, new = mono_model(phonology(), dim=2), _triphone_model()
    converter = Converter(old, new)
    silence = phonology().lang.phones["SIL"]
    for number in np.flatnonzero(old.tables.phone_T == silence):
        (found,) = converter.convert(np.array([number], np.int32))
        old_log = old.transition_model.log_probs[number]
        assert new.transition_model.log_probs[found] == pytest.approx(old_log)
        exits_old = np.flatnonzero(old.tables.state_T == old.tables.state_T[number])
        exits_new = np.flatnonzero(new.tables.state_T == new.tables.state_T[found])
        assert number - exits_old[0] == found - exits_new[0]


def test_convert_when_there_and_back_then_nothing_changed(alignments):
    old, new = mono_model(phonology(), dim=2), _triphone_model()
    there, back = Converter(old, new), Converter(new, old)
    for transitions_S in alignments.values():
        assert np.array_equal(back.convert(there.convert(transitions_S)), transitions_S)


def test_convert_when_both_models_are_one_then_nothing_changes(alignments):
    old = mono_model(phonology(), dim=2)
    converter = Converter(old, old)
    for transitions_S in alignments.values():
        assert np.array_equal(converter.convert(transitions_S), transitions_S)


def test_convert_when_kaldi_compares_transitions_then_they_are_equivalent_but_for_the_tree(
    alignments,
):
    # the same tree in two models: Kaldi's numbering decides alone
    first, second = _triphone_model(), _triphone_model()
    forward = Converter(mono_model(phonology(), dim=2), first)
    same = Converter(first, second)
    for transitions_S in alignments.values():
        found = forward.convert(transitions_S)
        assert np.array_equal(same.convert(found), found)


def test_convert_when_there_is_no_frame_then_there_is_none():
    old = mono_model(phonology(), dim=2)
    assert Converter(old, old).convert(np.zeros(0, np.int32)).shape == (0,)
