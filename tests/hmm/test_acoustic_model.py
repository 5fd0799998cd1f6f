"""Acoustic models: what transition ids mean, mixtures there and back, files whole and damaged."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from gmm_made import mixtures_with, mono_model, phonology

from speechlite.core.errors import DataError
from speechlite.hmm.acoustic_model import gaussians_of, mixtures_of, read_model, write_model
from speechlite.hmm.features import Transforms
from speechlite.hmm.tree_bytes import Leaf, tree_bytes


@pytest.fixture
def model():
    return mono_model(phonology(), dim=2, size=2)


def test_tables_when_asked_then_kaldi_says_the_same_of_each_id(model):
    kaldi, tables = model.transition_model, model.tables
    pdfs = kaldi.transition_id_to_pdf_array()
    for number in range(1, kaldi.num_transition_ids + 1):
        state = kaldi.id2state[number]
        assert tables.pdf_T[number] == pdfs[number]
        assert tables.state_T[number] == state
        assert tables.phone_T[number] == kaldi.transition_id_to_phone(number)
        assert tables.is_loop_T[number] == kaldi.is_self_loop(number)
        assert tables.is_final_T[number] == kaldi.is_final(number)
        # a state has the pdf-class of its number in these topologies
        assert tables.pdf_class_T[number] == kaldi.tuples[state - 1].__getstate__()[1]
    assert len(tables.pdf_T) == kaldi.num_transition_ids + 1


def test_with_transitions_when_counted_then_probabilities_are_relative_counts(model):
    tables = model.tables
    counts_T = np.zeros(len(tables.pdf_T))
    state = int(tables.state_T[tables.phone_T == phonology().lang.phones["A"]][0])
    ids = np.flatnonzero(tables.state_T == state)
    counts_T[ids] = [300.0, 100.0]
    changed = model.with_transitions(counts_T)
    found = np.exp(np.array(changed.transition_model.log_probs)[ids])
    np.testing.assert_allclose(found, [0.75, 0.25], atol=1e-5)
    counts_T[ids] = [100.0, 300.0]
    found = np.exp(np.array(model.with_transitions(counts_T).transition_model.log_probs)[ids])
    np.testing.assert_allclose(found, [0.25, 0.75], atol=1e-5)
    assert changed.mixtures is model.mixtures


def test_mixtures_of_when_gaussians_go_there_and_back_then_nothing_changes():
    before = gaussians_of(mixtures_with([1, 3, 2], dim=4))
    after = gaussians_of(mixtures_of(before))
    assert after.pdf_G.tolist() == [0, 1, 1, 1, 2, 2]
    for name, value in vars(before).items():
        np.testing.assert_allclose(getattr(after, name), value, rtol=1e-6)


def _full(model):
    generator = np.random.default_rng(0)
    counts_T = generator.uniform(0, 90, len(model.tables.pdf_T))
    lda_DC = generator.standard_normal((2, 6)).astype(np.float32)
    return replace(model, transitions_T=counts_T, transforms=Transforms("lda", 1, lda_DC))


@pytest.mark.parametrize("full", [True, False])
def test_read_model_when_it_was_written_then_it_is_equal(model, tmp_path, full):
    model = _full(model) if full else model
    write_model(tmp_path, model)
    found = read_model(tmp_path)
    assert found.tree_bytes == model.tree_bytes
    assert found.topology_text == model.topology_text
    assert (found.transforms.kind, found.transforms.context) == (
        model.transforms.kind,
        model.transforms.context,
    )
    assert (found.transforms.lda_DC is None) == (not full)
    if full:
        assert np.array_equal(found.transforms.lda_DC, model.transforms.lda_DC)
    assert np.array_equal(found.transition_model.log_probs, model.transition_model.log_probs)
    for name, value in vars(gaussians_of(model.mixtures)).items():
        np.testing.assert_allclose(vars(gaussians_of(found.mixtures))[name], value, rtol=1e-6)


def test_read_model_when_written_a_second_time_then_it_is_stable(model, tmp_path):
    write_model(tmp_path, model)
    first = gaussians_of(read_model(tmp_path).mixtures)
    write_model(tmp_path, read_model(tmp_path))
    second = gaussians_of(read_model(tmp_path).mixtures)
    for name, value in vars(first).items():
        np.testing.assert_allclose(vars(second)[name], value, rtol=2e-7)


def test_write_model_when_it_ends_then_kaldi_can_read_the_tree(model, tmp_path):
    write_model(tmp_path, model)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "features.json",
        "model.npz",
        "topo",
        "tree",
    ]
    assert (tmp_path / "tree").read_bytes()[:2] == b"\0B"


NAMES = ["tree", "topo", "model.npz", "features.json"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("damage", ["missing", "empty", "half", "garbage", "flipped"])
def test_read_model_when_a_file_is_damaged_then_data_error_names_the_place(
    model, tmp_path, name, damage
):
    write_model(tmp_path, _full(model))
    path = tmp_path / name
    content = path.read_bytes()
    third = len(content) // 3
    flipped = content[:third] + bytes([content[third] ^ 255]) + content[third + 1 :]
    damaged = {
        "empty": b"",
        "half": content[: len(content) // 2],
        "garbage": b"\xff\xfe no model" * 20,
        "flipped": flipped,
    }
    path.unlink()
    if damage != "missing":
        path.write_bytes(damaged[damage])
    with pytest.raises(DataError, match="no usable model|is not a decision tree") as caught:
        read_model(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_read_model_when_the_directory_is_missing_then_data_error(tmp_path):
    with pytest.raises(DataError, match="no usable model .*; train the model again"):
        read_model(tmp_path / "none")


def test_read_model_when_the_tree_is_another_models_then_data_error(model, tmp_path):
    write_model(tmp_path, model)
    roots = {phone: [Leaf(0)] * 5 for phone in range(1, 6)}
    (tmp_path / "tree").write_bytes(b"\0B" + tree_bytes(roots))
    with pytest.raises(DataError, match="model.npz has 19 densities, tree and topo have 1;"):
        read_model(tmp_path)


def test_read_model_when_transitions_are_another_models_then_data_error(model, tmp_path):
    write_model(tmp_path, replace(model, transitions_T=np.ones(7)))
    with pytest.raises(DataError, match="model.npz has 6 transitions, tree and topo have"):
        read_model(tmp_path)


@pytest.mark.parametrize(
    ("facts", "cause"),
    [
        ([], "list indices"),
        ({}, "kind"),
        ({"kind": "sat", "context": 0}, "'sat'"),
        ({"kind": "lda", "context": "3"}, "'3'"),
        ({"kind": "lda", "context": -1}, "-1"),
    ],
)
def test_read_model_when_features_json_says_something_else_then_data_error(
    model, tmp_path, facts, cause
):
    write_model(tmp_path, model)
    (tmp_path / "features.json").write_text(json.dumps(facts), encoding="utf-8")
    with pytest.raises(DataError, match=f"no usable model .*{cause}"):
        read_model(tmp_path)


def test_read_model_when_numbers_are_not_finite_then_data_error(model, tmp_path):
    write_model(tmp_path, model)
    with np.load(tmp_path / "model.npz") as stored:
        arrays = dict(stored)
    arrays["means_GD"][0, 0] = np.nan
    np.savez(tmp_path / "model.npz", **arrays)
    with pytest.raises(DataError, match="no usable model .*not a number"):
        read_model(tmp_path)


def test_read_model_when_arrays_do_not_fit_each_other_then_data_error(model, tmp_path):
    write_model(tmp_path, model)
    with np.load(tmp_path / "model.npz") as stored:
        arrays = dict(stored)
    arrays["weights_G"] = arrays["weights_G"][:-3]
    np.savez(tmp_path / "model.npz", **arrays)
    with pytest.raises(DataError, match="no usable model"):
        read_model(tmp_path)
