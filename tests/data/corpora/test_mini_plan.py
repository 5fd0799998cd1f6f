from __future__ import annotations

import pytest

from speechlite.core.errors import DataError
from speechlite.data.corpora.mini.job import job_from_json, to_json
from speechlite.data.corpora.mini.plan import SIZES, plan_corpus


@pytest.fixture(scope="module")
def mini():
    return plan_corpus("mini", seed=1)


def subset(plan, name):
    return next(subset for subset in plan.subsets if subset.name == name)


def test_mini_when_planned_has_half_an_hour_of_training_speech(mini):
    assert 0.45 < subset(mini, "train-clean-100").expected_seconds() / 3600 < 0.55


def test_mini_when_planned_keeps_other_subsets_below_six_minutes(mini):
    others = [subset for subset in mini.subsets if not subset.name.startswith("train")]
    assert all(200 < subset.expected_seconds() < 360 for subset in others)


def test_tiny_when_planned_has_about_five_minutes():
    plan = plan_corpus("tiny", seed=1)
    assert 270 < sum(subset.expected_seconds() for subset in plan.subsets) < 360


def test_small_when_planned_has_the_readers_of_its_specification():
    plan = plan_corpus("small", seed=1)
    assert [len(subset.readers) for subset in plan.subsets] == [160, 12, 16, 12, 16]


def test_readers_when_subsets_are_compared_are_disjoint(mini):
    readers = [reader.id for subset in mini.subsets for reader in subset.readers]
    voices = [reader.speaker for subset in mini.subsets for reader in subset.readers]
    assert len(readers) == len(set(readers)) == len(set(voices))


def test_transcripts_when_subsets_are_compared_are_disjoint(mini):
    transcripts = [job.transcript for job in mini.jobs()]
    assert len(transcripts) == len(set(transcripts))


def test_chapters_when_of_one_reader_have_channels_of_their_own(mini):
    for reader in (reader for subset in mini.subsets for reader in subset.readers):
        channels = {job.channel for chapter in reader.chapters for job in chapter.jobs}
        assert len(channels) == len(reader.chapters) == 2


def test_noise_when_clean_and_other_lies_in_its_own_band(mini):
    for part in mini.subsets:
        low, high = (8, 24) if part.name.endswith("other") else (18, 42)
        assert all(low <= job.channel.snr_db <= high for job in part.jobs())
        assert all(bool(job.babble) == part.name.endswith("other") for job in part.jobs())


def test_accents_when_clean_are_four_and_when_other_are_eight():
    plan = plan_corpus("small", seed=1)
    counts = {
        part.name: len({reader.speaker.accent for reader in part.readers}) for part in plan.subsets
    }
    assert counts["train-clean-100"] == counts["test-clean"] == 4
    assert counts["test-other"] == 8


def test_sexes_when_counted_are_balanced(mini):
    for part in mini.subsets:
        sexes = [reader.speaker.sex for reader in part.readers]
        assert abs(sexes.count("F") - sexes.count("M")) <= 1


def test_plan_when_seed_is_equal_is_equal_and_otherwise_differs():
    assert plan_corpus("tiny", seed=3) == plan_corpus("tiny", seed=3)
    assert plan_corpus("tiny", seed=3) != plan_corpus("tiny", seed=4)


def test_job_when_sent_as_json_comes_back_equal():
    for job in plan_corpus("tiny", seed=1).jobs():
        assert job_from_json(to_json(job)) == job


def test_plan_when_size_is_unknown_names_the_sizes():
    with pytest.raises(DataError, match=r"no synthetic corpus of size 'huge'; choose one of tiny"):
        plan_corpus("huge", seed=1)


def test_sizes_when_listed_are_the_three_documented():
    assert list(SIZES) == ["tiny", "mini", "small"]
