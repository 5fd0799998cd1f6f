"""GMM stages on speech drawn from a known HMM: likelihoods rise and the truth is found."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from gmm_made import lang_of, phonology, phonology_of, speak

from speechlite.core.errors import ConfigError, DataError
from speechlite.hmm.acoustic_model import gaussians_of
from speechlite.hmm.alignment import equal_alignments, phone_segments
from speechlite.hmm.config import GmmStageOptions
from speechlite.hmm.features import transformed
from speechlite.hmm.gmm_training import (
    StageReport,
    Trained,
    TrainingConditions,
    train_mono,
    train_triphones,
)
from speechlite.hmm.training_set import TrainingSet

MONO = GmmStageOptions(0, 10, 30, 6, [1, 2, 3, 4, 5, 6, 8])
TRI = GmmStageOptions(0, 6, 60, 4, [3, 5], 30)
LDA = replace(TRI, kind="lda", context=1, dim=5, transform_iterations=[2, 4])
SAT = replace(TRI, kind="sat", transform_iterations=[2, 4])


@cache
def _spoken():
    return speak(count=40, dim=4, shift=0.8, colour=2.0)


@cache
def _stage(name, num_workers=1, run=0):
    """Train a stage and those before it, once for all tests."""
    how = TrainingConditions(seed=3, num_workers=num_workers)
    data, sound = _spoken().data, phonology()
    if name == "mono":
        return train_mono(data, sound, MONO, how)
    before, stage = {"tri": ("mono", TRI), "lda": ("tri", LDA), "sat": ("lda", SAT)}[name]
    return train_triphones(_stage(before, num_workers, run), data, sound, stage, how)


STAGES = ("mono", "tri", "lda", "sat")


def _right_frames(trained, spoken):
    """Return the share of frames whose phone is the drawn one."""
    phone_T = trained.model.tables.phone_T
    pairs = [(phone_T[path], spoken.phones[name]) for name, path in trained.alignments.items()]
    return np.concatenate([mine == truth for mine, truth in pairs]).mean()


@pytest.mark.parametrize("name", STAGES)
def test_stage_when_trained_then_alignments_find_the_drawn_phones(name):
    trained = _stage(name)
    assert sorted(trained.alignments) == sorted(_spoken().data.words)
    assert _right_frames(trained, _spoken()) > 0.95


@pytest.mark.parametrize("name", STAGES)
def test_stage_when_trained_then_the_likelihood_rises(name):
    values = _stage(name).report.log_likelihoods
    # numbers before and after a new transform are of different features
    settled = values[3:] if name in ("lda", "sat") else values
    assert settled[-1] > settled[0]
    assert max(settled) - settled[-1] < 0.05


@pytest.mark.parametrize("name", ["tri", "lda", "sat"])
def test_stage_when_reported_then_numbers_are_those_of_the_model(name):
    trained = _stage(name)
    found = gaussians_of(trained.model.mixtures)
    assert trained.report.num_gaussians == len(found.pdf_G)
    assert trained.report.num_pdfs == trained.model.num_pdfs == found.pdf_G[-1] + 1
    assert 19 < trained.report.num_pdfs <= 30
    assert trained.report.not_aligned == []
    assert len(trained.report.log_likelihoods) == 6


def test_mono_when_reported_then_the_flat_start_is_counted():
    report = _stage("mono").report
    assert report.num_pdfs == 19
    assert len(report.log_likelihoods) == 11
    assert 19 < report.num_gaussians <= 30


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("num_workers", [1, 2])
def test_stage_when_trained_again_then_every_bit_is_the_same(name, num_workers):
    first = _stage(name)
    second = _stage(name, num_workers, run=1)
    for field, value in vars(gaussians_of(first.model.mixtures)).items():
        assert np.array_equal(vars(gaussians_of(second.model.mixtures))[field], value)
    assert first.model.tree_bytes == second.model.tree_bytes
    assert np.array_equal(first.model.transitions_T, second.model.transitions_T)
    assert first.report == second.report
    for utterance, path in first.alignments.items():
        assert np.array_equal(path, second.alignments[utterance])


def test_stage_when_the_seed_differs_then_so_do_the_gaussians():
    other = train_mono(_spoken().data, phonology(), MONO, TrainingConditions(seed=4))
    found = gaussians_of(other.model.mixtures)
    assert not np.array_equal(found.means_GD, gaussians_of(_stage("mono").model.mixtures).means_GD)


@pytest.mark.parametrize("name", STAGES)
def test_stage_when_trained_then_transitions_count_its_own_last_alignment_but_one(name):
    model = _stage(name).model
    tables = model.tables
    total = sum(len(values) for values in _spoken().data.cepstra.values())
    assert model.transitions_T.sum() == total
    ends = model.transitions_T[tables.is_final_T].sum()
    assert ends >= sum(len(words) for words in _spoken().data.words.values())


def test_tri_when_phones_depend_on_the_left_then_the_tree_asks_for_it():
    tree, lang = _stage("tri").model.tree, phonology().lang
    sides = [lang.phones["SIL"], *lang.speech_ids]

    def num_pdfs(pdf_class):
        """Count what phones on the left lead to, with the phone and its right given."""
        pairs = [(phone, right) for phone in lang.speech_ids for right in sides]
        return sum(
            len({tree.compute([left, phone, right], pdf_class)[1] for left in sides})
            for phone, right in pairs
        )

    assert sum(map(num_pdfs, range(3))) > 3 * len(sides) * len(lang.speech_ids)


def test_lda_when_trained_then_features_have_its_width():
    trained = _stage("lda")
    transforms = trained.model.transforms
    assert (transforms.kind, transforms.context) == ("lda", 1)
    assert transforms.lda_DC.shape == (5, 12)
    assert transforms.lda_DC.dtype == np.float32
    assert trained.model.mixtures.dim == 5
    assert trained.speaker_independent is None


def test_sat_when_trained_then_speakers_come_closer():
    trained = _stage("sat")
    data, transforms = _spoken().data, trained.model.transforms
    assert sorted(transforms.speakers) == ["s0", "s1"]

    def distance(chosen):
        """Compare the mean of the same phone in the two speakers' features."""
        sums = {}
        for name, values in data.cepstra.items():
            moved = transformed(values, chosen, speaker=data.speakers[name])
            for phone, frame in zip(_spoken().phones[name], moved, strict=True):
                sums.setdefault((data.speakers[name], phone), []).append(frame)
        means = {key: np.mean(frames, axis=0) for key, frames in sums.items()}
        return np.mean(
            [np.linalg.norm(means["s0", p] - means["s1", p]) for s, p in means if s == "s0"]
        )

    assert distance(transforms) < distance(replace(transforms, speakers={}))


def test_sat_when_trained_then_its_twin_has_the_same_gaussians_of_unadapted_features():
    trained = _stage("sat")
    twin = trained.speaker_independent
    assert twin.transforms.speakers == {}
    assert twin.tree_bytes == trained.model.tree_bytes
    mine, theirs = gaussians_of(trained.model.mixtures), gaussians_of(twin.mixtures)
    assert mine.pdf_G.tolist() == theirs.pdf_G.tolist()
    assert not np.allclose(mine.means_GD, theirs.means_GD, atol=1e-3)


def test_sat_when_gaussians_are_rare_then_the_twin_keeps_them_all():
    # twelve iterations on one alignment leave Gaussians that the last alignment hardly fills
    stage = replace(
        SAT,
        gaussians=150,
        grow_until=2,
        iterations=12,
        power=0.8,
        leaves=20,
        realign=[],
        transform_iterations=[],
    )
    how = TrainingConditions(seed=2)
    trained = train_triphones(_stage("lda"), _spoken().data, phonology(), stage, how)
    mine = gaussians_of(trained.model.mixtures)
    theirs = gaussians_of(trained.speaker_independent.mixtures)
    assert mine.pdf_G.tolist() == theirs.pdf_G.tolist()


def test_triphones_when_the_earlier_stage_saw_fewer_utterances_then_it_aligns_the_others():
    spoken, sound = _spoken(), phonology()
    small = spoken.data.only(sorted(spoken.data.cepstra)[:20])
    how = TrainingConditions(seed=3)
    before = train_mono(small, sound, MONO, how)
    trained = train_triphones(before, spoken.data, sound, TRI, how)
    assert sorted(trained.alignments) == sorted(spoken.data.words)
    assert _right_frames(trained, spoken) > 0.95


def _with_short(data, *, num_frames):
    """Shorten one utterance until nothing fits."""
    cepstra = {**data.cepstra, "u003": data.cepstra["u003"][:num_frames]}
    return replace(data, cepstra=cepstra)


@pytest.mark.parametrize("num_frames", [1, 4])
def test_stages_when_an_utterance_is_too_short_then_it_is_reported_and_the_rest_is_aligned(
    num_frames,
):
    data, sound = _with_short(_spoken().data, num_frames=num_frames), phonology()
    how = TrainingConditions(seed=3)
    stage = replace(MONO, iterations=4, realign=[1, 2, 3, 4])
    mono = train_mono(data, sound, stage, how)
    assert mono.report.not_aligned == ["u003"]
    assert sorted(mono.alignments) == sorted(set(data.words) - {"u003"})
    tri = train_triphones(mono, data, sound, TRI, how)
    assert tri.report.not_aligned == ["u003"]
    lda = train_triphones(tri, data, sound, LDA, how)
    sat = train_triphones(lda, data, sound, SAT, how)
    assert sat.report.not_aligned == ["u003"]
    assert sorted(sat.alignments) == sorted(mono.alignments)


def test_train_mono_when_all_utterances_are_too_short_then_data_error():
    data = _spoken().data
    short = replace(data, cepstra={name: values[:3] for name, values in data.cepstra.items()})
    with pytest.raises(DataError, match="none of 40 utterances has as many frames as its tr"):
        train_mono(short, phonology(), MONO, TrainingConditions())


def test_train_triphones_when_nothing_can_be_aligned_then_data_error():
    data = _spoken().data
    short = replace(data, cepstra={name: values[:3] for name, values in data.cepstra.items()})
    before = Trained(_stage("mono").model, {}, StageReport())
    with pytest.raises(DataError, match="none of 40 utterances could be aligned; check"):
        train_triphones(before, short, phonology(), TRI, TrainingConditions())


def test_train_triphones_when_leaves_are_too_few_then_config_error():
    stage = replace(TRI, leaves=7)
    with pytest.raises(ConfigError, match="leaves=7, but 19 states of phones"):
        train_triphones(_stage("mono"), _spoken().data, phonology(), stage, TrainingConditions())


def test_train_triphones_when_a_speaker_says_little_then_their_features_stay():
    data = _spoken().data
    speakers = {**data.speakers, "u002": "rare"}
    trained = train_triphones(
        _stage("lda"), replace(data, speakers=speakers), phonology(), SAT, TrainingConditions()
    )
    assert sorted(trained.model.transforms.speakers) == ["s0", "s1"]
    assert "u002" in trained.alignments


def test_train_mono_when_lines_are_wanted_then_every_iteration_says_one():
    lines = []
    stage = replace(MONO, iterations=3, realign=[1, 2])
    train_mono(_spoken().data, phonology(), stage, TrainingConditions(say=lines.append))
    assert [line.split(":")[0] for line in lines] == [f"iteration {n}/3" for n in (1, 2, 3)]
    assert all("log-likelihood a frame" in line and "Gaussians" in line for line in lines)


def test_train_when_phones_know_their_place_then_the_tree_can_tell_them_apart():
    sound = phonology_of(lang_of([("ab", ("A", "B")), ("ba", ("B", "A"))], position_dependent=True))
    spoken = speak(count=24, words=("ab", "ba"))
    lang, ids = sound.lang, phonology().lang.word_names
    words = {n: [lang.words[ids[w]] for w in said] for n, said in spoken.data.words.items()}
    data = TrainingSet(spoken.data.cepstra, spoken.data.speakers, words)
    how = TrainingConditions(seed=3)
    stage = replace(TRI, leaves=40)
    trained = train_triphones(train_mono(data, sound, MONO, how), data, sound, stage, how)
    names = {number: name for name, number in lang.phones.items()}
    for name, path in trained.alignments.items():
        segments = phone_segments(path, trained.model.tables)
        said = [names[one.phone] for one in segments if names[one.phone] != "SIL"]
        assert said == [
            p
            for w in spoken.data.words[name]
            for p in (("A_B", "B_E") if ids[w] == "ab" else ("B_B", "A_E"))
        ]


def test_train_mono_when_one_pass_follows_a_flat_start_then_means_are_those_of_even_states():
    stage = replace(MONO, iterations=1, gaussians=19, grow_until=0, realign=[])
    trained = train_mono(_spoken().data, phonology(), stage, TrainingConditions(seed=3))
    data = _spoken().data
    features = data.features(trained.model.transforms)
    frames = {name: len(values) for name, values in features.items()}
    start = equal_alignments(phonology().compiler(trained.model), frames, data.words)
    by_pdf = {}
    for name, path in start.items():
        for pdf, frame in zip(trained.model.tables.pdf_T[path], features[name], strict=True):
            by_pdf.setdefault(int(pdf), []).append(frame)
    found = gaussians_of(trained.model.mixtures)
    for pdf, rows in by_pdf.items():
        if len(rows) > 10:
            np.testing.assert_allclose(found.means_GD[pdf], np.mean(rows, axis=0), atol=1e-3)
