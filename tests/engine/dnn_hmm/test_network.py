from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from speechlite.config.compose import compose
from speechlite.core.errors import DataError
from speechlite.core.types import Hidden
from speechlite.data.reader import KALDI_FRAMES, UtteranceReader, frame_of
from speechlite.engine.checkpoint import load_model
from speechlite.engine.dnn_hmm.acoustic_network import (
    AcousticNetwork,
    build_network,
    labels_at,
    open_frames,
    read_network,
)
from speechlite.engine.dnn_hmm.decode import _refuse_empty
from speechlite.engine.dnn_hmm.gmm import read_alignments, read_stage
from speechlite.engine.dnn_hmm.scores import NetworkScores
from speechlite.engine.dnn_hmm.scoring import score_words
from speechlite.engine.dnn_hmm.workspace import Workspace, training_set
from speechlite.engine.splits import Split


@pytest.fixture
def space(finished, registry):
    root = finished[0]
    config = compose("hmm", registry=registry, config_dir=root / "conf", config_name="hmm")
    return Workspace(config, root / "exp/dnn_hmm", 1, registry)


@pytest.fixture
def model(finished, registry):
    return load_model(finished[0] / "exp/fbank/seed1/pretrain/model", registry)


@pytest.fixture
def directory(finished):
    return finished[0] / "exp/fbank/seed1/none/dnn_hmm-fbank/tdnn"


def test_network_priors_are_the_shares_of_densities_in_training(space, directory):
    hmm, _ = read_stage(space, "tri3b")
    found = read_alignments(space.seed_dir / "alignments" / "train")
    counts = np.full(hmm.num_pdfs, 0.5)
    # the model's frames are those of the alignment
    for transitions in found.values():
        for pdf in hmm.tables.pdf_T[transitions].tolist():
            counts[pdf] += 1
    priors = load_file(directory / "network.safetensors")["log_priors_P"]
    assert priors.numpy() == pytest.approx(np.log(counts / counts.sum()), abs=1e-5)


def test_network_scores_are_log_posteriors_less_log_priors(space, model, directory):
    hmm, _ = read_stage(space, "tri3b")
    network = read_network(build_network(space, model, hmm.num_pdfs), directory)
    hidden = Hidden((torch.randn(2, 9, model.dim),), torch.tensor([9, 4]))
    scores = network.scores(hidden)
    assert [one.shape for one in scores] == [(9, hmm.num_pdfs), (4, hmm.num_pdfs)]
    with torch.no_grad():
        posteriors = network.head.scores(hidden).exp()
    posteriors = (posteriors / posteriors.sum(-1, keepdim=True)).numpy()
    expected = np.log(posteriors[1, 2]) - network.log_priors_P.numpy()
    assert scores[1][2] == pytest.approx(expected, abs=1e-4)
    assert not network.head.training


def test_network_scores_give_every_utterance_all_frames_of_ten_milliseconds(
    space, model, directory
):
    hmm, _ = read_stage(space, "tri3b")
    network = read_network(build_network(space, model, hmm.num_pdfs), directory)
    splits = {"test": space.split(space.parts()["test"])}
    frames = open_frames(space, model, splits, features=None, needs_all_layers=True)
    source = NetworkScores(network, frames, 0.1, (13.0,))
    found = {k: v for chunk in source.chunks(splits["test"]) for k, v in chunk.items()}
    reader = UtteranceReader(splits["test"].utterances, KALDI_FRAMES)
    assert found.keys() == splits["test"].utterances.keys()
    for name, scores_SP in found.items():
        assert scores_SP.shape == (KALDI_FRAMES.num_frames(reader.num_samples(name)), hmm.num_pdfs)
        _, hidden = frames.frozen.read((name,))
        (alone,) = network.scores(hidden)
        places = frame_of(
            KALDI_FRAMES, frames.grid, num_target=len(scores_SP), num_source=len(alone)
        )
        assert np.abs(scores_SP - alone[places]).max() < 1e-3


def test_network_that_is_missing_damaged_or_of_another_tree_names_the_step(
    space, model, directory, tmp_path
):
    message = r"network.safetensors: cannot be read \(.*\); run the step tdnn again"
    head = build_network(space, model, 30)
    with pytest.raises(DataError, match=message):
        read_network(head, tmp_path)
    (tmp_path / "network.safetensors").write_bytes(b"damaged")
    with pytest.raises(DataError, match=message):
        read_network(head, tmp_path)
    with pytest.raises(DataError, match=message):
        read_network(build_network(space, model, 3), directory)
    tensors = load_file(directory / "network.safetensors")
    del tensors["log_priors_P"]
    save_file(tensors, tmp_path / "network.safetensors")
    with pytest.raises(DataError, match=message):
        read_network(head, tmp_path)


def test_labels_of_training_lie_at_the_models_frames(space, model):
    hmm, _ = read_stage(space, "tri3b")
    found = read_alignments(space.seed_dir / "alignments" / "dev")
    split = space.split(space.parts()["dev"])
    frames = open_frames(space, model, {"dev": split}, features=None, needs_all_layers=True)
    for name, transitions in found.items():
        pdfs_L = hmm.tables.pdf_T[transitions]
        _, hidden = frames.frozen.read((name,))
        labels = labels_at(frames.grid, pdfs_L, frames.frozen.reader.num_samples(name))
        assert len(labels) == int(hidden.lengths[0])


def test_acoustic_network_of_equal_posteriors_prefers_rare_densities(space, model):
    head = build_network(space, model, 3)
    for parameter in head.parameters():
        torch.nn.init.zeros_(parameter)
    network = AcousticNetwork(head.eval(), torch.tensor([0.5, 0.25, 0.25]).log())
    (scores,) = network.scores(Hidden((torch.zeros(1, 2, model.dim),), torch.tensor([2])))
    assert scores[0, 1] - scores[0, 0] == pytest.approx(np.log(2.0), abs=1e-6)


def test_training_set_leaves_out_and_names_empty_transcripts(space):
    split = space.split(space.parts()["dev"])
    names = sorted(split.utterances)
    first = replace(split.utterances[names[0]], text=None)
    replaced = {**split.utterances, names[0]: first}
    cut = Split(split.name, replaced, split.durations, split.directories)
    data, excluded = training_set(cut, space.lang(), num_cepstra=5, description="made")
    assert excluded == {names[0]: "empty transcript"}
    assert set(data.words) == set(names[1:])
    nothing = dict.fromkeys(names, replaced[names[0]])
    empty = Split(split.name, nothing, split.durations, split.directories)
    with pytest.raises(DataError, match=r"no utterance of dev has a transcript; fill in the text"):
        training_set(empty, space.lang(), num_cepstra=5, description="made")


def test_test_data_without_a_reference_word_are_refused(space):
    split = space.split(space.parts()["test"])
    mute = {name: replace(one, text="") for name, one in split.utterances.items()}
    score = score_words(Split("test", mute, split.durations, ()), {})
    with pytest.raises(DataError, match=r"test has no reference word to score against; fill in"):
        _refuse_empty([score])
    _refuse_empty([score_words(split, {})])
