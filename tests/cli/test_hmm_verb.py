from __future__ import annotations

import pytest


@pytest.fixture
def conf(tmp_path):
    (tmp_path / "experiments.yaml").write_text(
        "recipe: made\nchains: {}\n"
        "systems: {bare: {trained: false, overrides: [encoder=identity]}}\n"
        "experiments: {bare: {system: bare, rows: [{table: T, row: R}]}}\ndefault: [bare]\n"
    )
    (tmp_path / "hmm.yaml").write_text("defaults: [{head: tdnn}, _self_]\n")
    return tmp_path


def test_hmm_without_experiments_or_a_primary_file_says_what_to_add(refuse, conf):
    message = "hmm needs experiments and a primary file; add --experiments"
    assert message in refuse(["hmm", "all"], 2)
    assert message in refuse(["hmm", "all", "--config", "hmm", "--config_dir", conf], 2)
    sweep = ["--experiments", conf / "experiments.yaml", "--config_dir", conf]
    assert message in refuse(["hmm", "all", *sweep], 2)


@pytest.mark.parametrize("steps", ["train", "lang,,tdn", "ALL", "all,lang", " lang"])
def test_hmm_with_an_unknown_step_names_it_and_writes_nothing(refuse, conf, tmp_path, steps):
    words = ["--experiments", conf / "experiments.yaml", "--config_dir", conf, "--config", "hmm"]
    error = refuse(["hmm", steps, *words, "--exp_dir", tmp_path / "exp"], 2)
    assert "unknown steps ['" in error
    assert "choose among lang, lm, gmm, tdnn, graph, decode, rescore" in error
    assert not (tmp_path / "exp").exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("decoding.beams=[]", "beams"),
        ("decoding.lattice_beam=0", "lattice_beam=0"),
        ("decoding.lm_weights=[-1]", "lm_weights=[-1"),
        ("decoding.word_penalties=[]", "word_penalties=[]"),
        ("decoding.beam=3", "beam"),
        ("gmm.decode=[tri9]", "decode="),
        ("task.name=a/b", "name='a/b'"),
        ("training.epochs=0", "epochs=0"),
    ],
)
def test_hmm_with_a_wrong_option_names_it_and_writes_nothing(
    refuse, conf, tmp_path, override, message
):
    words = ["--experiments", conf / "experiments.yaml", "--config_dir", conf, "--config", "hmm"]
    error = refuse(["hmm", "lang", override, *words, "--exp_dir", tmp_path / "exp"], 2)
    assert message in error
    assert not (tmp_path / "exp").exists()
