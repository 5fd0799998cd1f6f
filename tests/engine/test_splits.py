from __future__ import annotations

import pytest
from made_runs import write_speech

from speechlite.core.errors import DataError
from speechlite.data.reader import FrameGrid
from speechlite.engine.splits import check_features, describe, open_features, read_split

GRID = FrameGrid(16000, 160, 400)


def test_split_of_two_directories_joins_them(speech):
    split = read_split([str(speech / "train"), str(speech / "dev")], GRID)
    assert split.name == "train+dev"
    assert len(split.utterances) == len(split.durations) == 16
    assert split.directories == (speech / "train", speech / "dev")


def test_split_leaves_out_what_is_too_short_and_says_so(speech, capfd):
    split = read_split([str(speech / "train")], GRID)
    limit = sorted(split.durations.values())[5]
    shorter = read_split([str(speech / "train")], GRID, min_seconds=limit)
    assert sorted(shorter.utterances) == sorted(
        name for name, seconds in split.durations.items() if seconds >= limit
    )
    assert "train: left out 5 utterances below" in capfd.readouterr().err


def test_split_where_nothing_is_long_enough_is_an_error(speech):
    with pytest.raises(DataError, match="no utterance of .* is of a usable length"):
        read_split([str(speech / "dev")], GRID, min_seconds=100)


def test_split_of_no_directory_is_an_error():
    with pytest.raises(DataError, match=r"no utterance of \[\] is of a usable length"):
        read_split([], GRID)


def test_split_that_names_a_directory_twice_is_an_error(speech):
    with pytest.raises(DataError, match="is in two directories of one split"):
        read_split([str(speech / "dev")] * 2, GRID)


def test_split_without_needed_text_is_an_error(tmp_path):
    write_speech(tmp_path / "d", utterances=2, seed=1, text=False)
    assert read_split([str(tmp_path / "d")], GRID).utterances
    with pytest.raises(DataError, match="text"):
        read_split([str(tmp_path / "d")], GRID, need_text=True)


def test_split_with_chapters_names_the_readers(tmp_path):
    path = write_speech(tmp_path / "d", utterances=4, seed=1)
    (path / "chap2reader").write_text("ds0 19\nds1 19\n")
    split = read_split([str(path)], GRID)
    assert {utterance.speaker for utterance in split.utterances.values()} == {"19"}
    assert describe(split)["num_speakers"] == 1


def test_description_counts_and_identifies(speech):
    split = read_split([str(speech / "train")], GRID)
    facts = describe(split)
    assert (facts["num_utterances"], facts["num_speakers"]) == (12, 2)
    assert facts["hours"] == pytest.approx(sum(split.durations.values()) / 3600)
    assert facts == describe(read_split([str(speech / "train")], GRID))


def test_description_when_a_transcript_changes_differs(tmp_path):
    path = write_speech(tmp_path / "d", utterances=2, seed=1)
    before = describe(read_split([str(path)], GRID))["fingerprint"]
    text = (path / "text").read_text()
    (path / "text").write_text(text.replace("AB", "BA").replace("CA", "AC"))
    assert describe(read_split([str(path)], GRID))["fingerprint"] != before


def test_features_without_a_root_are_none(speech):
    assert open_features(None, read_split([str(speech / "dev")], GRID)) is None


def test_features_that_are_not_there_are_an_error(speech, tmp_path):
    with pytest.raises(DataError, match="there are no features; run the features stage"):
        open_features(tmp_path, read_split([str(speech / "dev")], GRID))


def test_features_of_another_frontend_are_an_error(tmp_path):
    from speechlite.data.features import FeatureStore, write_features

    write_features(tmp_path / "d", [], facts={"frontend": {"name": "fbank", "num_mels": 8}})
    stores = [FeatureStore(tmp_path / "d")]
    check_features(stores, {"name": "fbank", "num_mels": 8})
    with pytest.raises(DataError, match="the features were made by .* the model has"):
        check_features(stores, {"name": "fbank", "num_mels": 80})


def test_utterances_that_must_not_be_cut_are_left_out_where_they_are_too_long(speech, capfd):
    grid = FrameGrid(16000, 320, 400)
    whole = read_split([str(speech / "train")], grid)
    longest = sorted(whole.durations.values())[5]
    split = read_split([str(speech / "train")], grid, max_seconds=longest)
    assert max(split.durations.values()) <= longest
    assert f"left out {len(whole.durations) - len(split.durations)} utt" in capfd.readouterr().err
