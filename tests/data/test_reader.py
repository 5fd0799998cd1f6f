from __future__ import annotations

import numpy as np
import pytest
import soundfile
import torch

from speechlite.core.errors import DataError
from speechlite.data.datadir import Utterance
from speechlite.data.features import FeatureStore, write_features
from speechlite.data.reader import FrameGrid, UtteranceReader, frame_of, pad

GRID = FrameGrid(16000, 160, 400)
LENGTHS = {"a": 8000, "b": 12000, "c": 500}


@pytest.fixture
def utterances(tmp_path):
    made = {}
    for seed, (name, samples) in enumerate(LENGTHS.items()):
        path = tmp_path / f"{name}.wav"
        # a ramp shows which part was read; 16-bit samples are exact in float32
        wave = ((np.arange(samples) + 1000 * seed) % 32768).astype(np.int16)
        soundfile.write(path, wave, 16000)
        made[name] = Utterance(name, f"s{seed}", path, None, None, "T", samples / 16000, samples)
    return made


@pytest.mark.parametrize("samples", [0, 399, 400, 559, 560, 16000, 16159, 16160])
def test_frames_of_samples_are_those_that_fit(samples):
    starts = [start for start in range(0, samples, 160) if start + 400 <= samples]
    assert GRID.num_frames(samples) == len(starts)


def test_pad_fills_with_zeros():
    padded = pad([torch.ones(2, 3), torch.ones(4, 3)])
    assert padded.values.shape == (2, 4, 3)
    assert padded.lengths.tolist() == [2, 4]
    assert padded.values[0, 2:].abs().sum() == 0


def test_read_gives_whole_waves_with_ids_and_speakers(utterances):
    batch = UtteranceReader(utterances, GRID).read(["b", "a"], seed=7)
    assert batch.ids == ("b", "a")
    assert batch.speakers == ("s1", "s0")
    assert batch.seed == 7
    assert batch.waves.lengths.tolist() == [12000, 8000]
    expected = torch.arange(8000) / 32768
    assert torch.equal(batch.waves.values[1, :8000], expected)
    assert batch.waves.values[1, 8000:].abs().sum() == 0


def test_read_of_a_segment_gives_its_part(utterances):
    whole = utterances["a"]
    part = Utterance("p", "s", whole.audio_path, 0.1, 0.3, None, 0.2, None)
    wave = UtteranceReader({"p": part}, GRID).read(["p"]).waves
    assert torch.equal(wave.values[0], torch.arange(1600, 4800) / 32768)


def test_read_with_a_limit_cuts_whole_frames_at_a_place_given_by_the_seed(utterances):
    reader = UtteranceReader(utterances, GRID, max_seconds=0.2)
    starts = set()
    for seed in range(40):
        waves = reader.read(["a", "c"], crop_seed=seed).waves
        assert GRID.num_frames(int(waves.lengths[0])) == GRID.num_frames(3200)
        assert int(waves.lengths[1]) == 500
        start = round(float(waves.values[0, 0]) * 32768)
        assert start % 160 == 0
        starts.add(start)
        again = reader.read(["a"], crop_seed=seed).waves
        assert torch.equal(again.values[0], waves.values[0, : again.values.shape[1]])
    assert len(starts) > 10
    assert max(starts) <= 8000 - 3200


def test_read_of_features_cuts_as_that_of_sound(utterances, tmp_path):
    rows = {
        name: torch.arange(GRID.num_frames(samples))[:, None].float()
        for name, samples in LENGTHS.items()
    }
    write_features(tmp_path / "store", rows.items(), facts={})
    stores = [FeatureStore(tmp_path / "store")]
    cached = UtteranceReader(utterances, GRID, stores, max_seconds=0.2)
    sound = UtteranceReader(utterances, GRID, max_seconds=0.2)
    for seed in range(10):
        first_frame = int(cached.read(["a"], crop_seed=seed).features.values[0, 0, 0])
        first_sample = round(float(sound.read(["a"], crop_seed=seed).waves.values[0, 0]) * 32768)
        assert first_sample == 160 * first_frame
    assert cached.read(["a"]).waves is None


def test_read_of_an_utterance_without_features_is_an_error(utterances, tmp_path):
    write_features(tmp_path / "store", [("a", torch.ones(3, 1))], facts={})
    reader = UtteranceReader(utterances, GRID, [FeatureStore(tmp_path / "store")])
    with pytest.raises(DataError, match="utterance b has no features; run the features stage"):
        reader.read(["a", "b"])


def test_read_of_an_utterance_shorter_than_a_frame_is_an_error(tmp_path):
    soundfile.write(tmp_path / "x.wav", np.zeros(300), 16000)
    short = {"x": Utterance("x", "s", tmp_path / "x.wav", None, None, None, None, None)}
    with pytest.raises(DataError, match="utterance x has 300 samples, a frame needs 400"):
        UtteranceReader(short, GRID).read(["x"])


def test_labels_are_padded_with_their_lengths(utterances):
    labels = {"phones": {"a": np.array([1, 2], dtype=np.int16), "b": np.array([3])}}
    batch = UtteranceReader(utterances, GRID, labels=labels).read_labels(["a", "b"])
    assert batch.labels["phones"].values.tolist() == [[1, 2], [3, 0]]
    assert batch.labels["phones"].values.dtype == torch.int64
    assert batch.labels["phones"].lengths.tolist() == [2, 1]
    assert batch.waves is batch.features is None


def test_labels_of_an_utterance_without_any_are_an_error(utterances):
    reader = UtteranceReader(utterances, GRID, labels={"phones": {"a": np.array([1])}})
    with pytest.raises(DataError, match="utterance b has no phones labels"):
        reader.read_labels(["a", "b"])


def test_lengths_come_from_the_tables_or_the_file(utterances):
    whole = utterances["a"]
    made = {
        "counted": whole,
        "timed": Utterance("t", "s", whole.audio_path, None, None, None, 0.25, None),
        "segment": Utterance("g", "s", whole.audio_path, 0.1, 0.3, None, 0.2, 3),
        "opened": Utterance("o", "s", whole.audio_path, None, None, None, None, None),
    }
    reader = UtteranceReader(made, GRID)
    assert {name: reader.num_samples(name) for name in made} == {
        "counted": 8000,
        "timed": 4000,
        "segment": 3200,
        "opened": 8000,
    }


def test_labels_of_frames_are_cut_as_the_sound_is(utterances):
    numbers = {name: np.arange(GRID.num_frames(samples)) for name, samples in LENGTHS.items()}
    streams = {"units": numbers, "words": {name: np.array([5, 6, 7]) for name in LENGTHS}}
    reader = UtteranceReader(
        utterances, GRID, max_seconds=0.2, labels=streams, frame_streams=frozenset(["units"])
    )
    starts = set()
    for seed in range(20):
        batch = reader.read(["a", "c"], crop_seed=seed)
        start = round(float(batch.waves.values[0, 0]) * 32768) // 160
        starts.add(start)
        units = batch.labels["units"]
        assert units.lengths.tolist() == [GRID.num_frames(3200), 1]
        assert units.values[0].tolist() == list(range(start, start + GRID.num_frames(3200)))
        assert units.values[1].tolist() == [0] * GRID.num_frames(3200)
        # labels of the utterance stay whole
        assert batch.labels["words"].values.tolist() == [[5, 6, 7]] * 2
    assert len(starts) > 5


def test_labels_of_frames_are_cut_as_cached_features_are(utterances, tmp_path):
    numbers = {name: np.arange(GRID.num_frames(samples)) for name, samples in LENGTHS.items()}
    rows = [(name, torch.from_numpy(row)[:, None].float()) for name, row in numbers.items()]
    write_features(tmp_path / "store", rows, facts={})
    reader = UtteranceReader(
        utterances,
        GRID,
        [FeatureStore(tmp_path / "store")],
        max_seconds=0.2,
        labels={"units": numbers},
        frame_streams=frozenset(["units"]),
    )
    for seed in range(10):
        batch = reader.read(["b", "a"], crop_seed=seed)
        assert torch.equal(batch.features.values[..., 0].long(), batch.labels["units"].values)
        assert torch.equal(batch.features.lengths, batch.labels["units"].lengths)


def test_labels_of_frames_read_without_sound_are_whole(utterances):
    numbers = {"a": np.arange(48)}
    reader = UtteranceReader(
        utterances, GRID, max_seconds=0.2, labels={"units": numbers},
        frame_streams=frozenset(["units"]),
    )  # fmt: skip
    assert reader.read_labels(["a"]).labels["units"].values.tolist() == [list(range(48))]


HALF = FrameGrid(16000, 320, 400)


@pytest.mark.parametrize(
    ("target", "source"),
    [
        (HALF, GRID),
        (GRID, HALF),
        (GRID, GRID),
        (FrameGrid(8000, 80, 200), GRID),
        (FrameGrid(16000, 200, 3000), GRID),
    ],
)
def test_frame_of_another_grid_is_the_one_with_the_nearest_centre(target, source):
    seconds = 0.5
    counts = [grid.num_frames(int(seconds * grid.sample_rate)) for grid in (target, source)]
    centres = [
        [(s * grid.stride + grid.min_samples / 2) / grid.sample_rate for s in range(count)]
        for grid, count in zip((target, source), counts, strict=True)
    ]
    expected = [
        # the first of two that are equally near
        min(range(counts[1]), key=lambda place: round(abs(centres[1][place] - time), 9))
        for time in centres[0]
    ]
    found = frame_of(target, source, num_target=counts[0], num_source=counts[1])
    assert found.tolist() == expected


def test_frame_of_another_grid_beyond_its_end_is_the_last():
    assert frame_of(GRID, HALF, num_target=6, num_source=2).tolist() == [0, 0, 1, 1, 1, 1]
