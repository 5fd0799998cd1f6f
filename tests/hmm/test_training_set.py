"""Utterances to train on: the shortest, some, by speaker; a lang's phones by id."""

from __future__ import annotations

import numpy as np
import pytest
from gmm_made import mono_model, phonology

from speechlite.hmm.features import Transforms, transformed
from speechlite.hmm.training_set import TrainingSet

LENGTHS = {"u0": 5, "u1": 3, "u2": 9, "u3": 3, "u4": 1}


@pytest.fixture
def data():
    generator = np.random.default_rng(0)
    return TrainingSet(
        {n: generator.standard_normal((k, 2)).astype(np.float32) for n, k in LENGTHS.items()},
        {"u0": "b", "u1": "a", "u2": "b", "u3": "a", "u4": "c"},
        {name: [number + 1] for number, name in enumerate(LENGTHS)},
    )


@pytest.mark.parametrize(
    ("count", "expected"),
    [(1, ["u4"]), (2, ["u1", "u4"]), (3, ["u1", "u3", "u4"]), (4, ["u0", "u1", "u3", "u4"])],
)
def test_shortest_when_some_are_wanted_then_ties_go_by_name_and_order_stays(data, count, expected):
    small = data.shortest(count)
    assert list(small.cepstra) == list(small.words) == expected
    assert all(small.cepstra[name] is data.cepstra[name] for name in expected)


@pytest.mark.parametrize("count", [0, 5, 99])
def test_shortest_when_all_are_wanted_then_all_stay(data, count):
    assert data.shortest(count) is data


def test_only_when_names_are_given_then_unknown_ones_add_nothing(data):
    small = data.only(["u3", "other", "u0"])
    assert list(small.cepstra) == list(small.words) == ["u0", "u3"]
    assert list(data.cepstra) == list(LENGTHS)


def test_of_speaker_when_asked_then_every_utterance_is_there_once(data):
    assert data.of_speaker() == {"b": ["u0", "u2"], "a": ["u1", "u3"], "c": ["u4"]}
    assert data.only(["u4", "u1"]).of_speaker() == {"a": ["u1"], "c": ["u4"]}


def test_features_when_speakers_have_transforms_then_each_gets_their_own(data):
    affine = np.eye(6, 7, dtype=np.float32) * 2
    transforms = Transforms("deltas", speakers={"a": affine})
    found = data.features(transforms)
    plain = data.features(Transforms("deltas"))
    for name, values in data.cepstra.items():
        factor = 2.0 if data.speakers[name] == "a" else 1.0
        np.testing.assert_allclose(found[name], factor * plain[name], rtol=1e-6)
        assert np.array_equal(
            found[name], transformed(values, transforms, speaker=data.speakers[name])
        )


def test_group_ids_when_asked_then_they_are_those_of_the_phones():
    sound = phonology()
    assert sound.group_ids([["SIL"], ["A", "C"]]) == [
        [sound.lang.phones["SIL"]],
        [sound.lang.phones["A"], sound.lang.phones["C"]],
    ]


def test_compiler_when_made_then_graphs_take_the_words_phones_alone():
    sound = phonology()
    model = mono_model(sound, dim=2)
    text = str(sound.compiler(model).compile([sound.lang.words["ab"]]))
    labels = {int(line.split()[2]) for line in text.splitlines() if len(line.split()) >= 4}
    phones = set(model.tables.phone_T[sorted(labels - {0})].tolist())
    assert phones == {sound.lang.phones[name] for name in ("SIL", "A", "B")}
