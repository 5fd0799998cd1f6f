from __future__ import annotations

import copy
import json
import pickle

import pytest
import torch

from speechlite.core.errors import DataError, EnvironmentProblem
from speechlite.data import features as module
from speechlite.data.features import FeatureStore, write_features

ROWS = {
    f"u{i}": torch.randn(5 + i, 3, generator=torch.Generator().manual_seed(i)) for i in range(7)
}


@pytest.fixture
def store(tmp_path):
    write_features(tmp_path / "d", ROWS.items(), facts={"frontend": {"a": 1}}, shard_utterances=3)
    return FeatureStore(tmp_path / "d")


def test_features_when_written_come_back_equal(store):
    assert store.facts == {"frontend": {"a": 1}}
    assert all(torch.equal(store.read(name), values) for name, values in ROWS.items())
    assert all(name in store for name in ROWS)
    assert "u9" not in store


@pytest.mark.parametrize(("start", "frames"), [(0, 2), (3, 2), (2, None), (4, 0), (9, 100)])
def test_features_in_part_are_a_slice(store, start, frames):
    stop = None if frames is None else start + frames
    assert torch.equal(store.read("u6", start, frames), ROWS["u6"][start:stop])


def test_features_are_cut_into_shards(store):
    assert len(list(store.directory.glob("shard-*.safetensors"))) == 3


def test_features_of_half_precision_are_read_as_float32(tmp_path):
    write_features(tmp_path / "d", [("u", torch.ones(2, 2).half())], facts={})
    assert FeatureStore(tmp_path / "d").read("u").dtype == torch.float32


@pytest.mark.parametrize("copied", [copy.copy, lambda store: pickle.loads(pickle.dumps(store))])
def test_store_in_a_worker_process_opens_its_own_files(store, copied):
    store.read("u0")
    other = copied(store)
    assert other._open == {} or other is store
    assert torch.equal(other.read("u0"), ROWS["u0"])


def test_features_when_written_again_replace_the_old_ones(store):
    write_features(store.directory, [("v", torch.ones(1, 3))], facts={})
    assert "u0" not in FeatureStore(store.directory)
    assert [path.name for path in store.directory.parent.iterdir()] == ["d"]


def test_features_when_the_frontend_fails_leave_the_old_ones(store):
    def failing():
        yield "v", torch.ones(1, 3)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_features(store.directory, failing(), facts={})
    assert torch.equal(FeatureStore(store.directory).read("u1"), ROWS["u1"])
    assert [path.name for path in store.directory.parent.iterdir()] == ["d"]


def test_features_when_the_disk_is_full_are_an_error_and_leave_the_old_ones(store, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "save_file", full)
    with pytest.raises(EnvironmentProblem, match="No space left on device"):
        write_features(store.directory, ROWS.items(), facts={})
    assert torch.equal(FeatureStore(store.directory).read("u1"), ROWS["u1"])


def test_features_below_a_file_are_an_error(tmp_path):
    (tmp_path / "f").write_text("")
    with pytest.raises(EnvironmentProblem, match="cannot be written"):
        write_features(tmp_path / "f" / "d", ROWS.items(), facts={})


def test_features_of_an_unknown_utterance_are_an_error(store):
    with pytest.raises(DataError, match="no features for utterance nobody"):
        store.read("nobody")


@pytest.mark.parametrize("damage", [lambda c: c[:20], lambda c: b"", lambda c: b"\xff" * len(c)])
def test_features_of_a_damaged_shard_are_an_error(store, damage):
    shard = store.directory / "shard-00000.safetensors"
    shard.write_bytes(damage(shard.read_bytes()))
    with pytest.raises(DataError, match="shard-00000.safetensors: damaged"):
        FeatureStore(store.directory).read("u0")


def test_features_of_a_missing_shard_are_an_error(store):
    (store.directory / "shard-00001.safetensors").unlink()
    with pytest.raises(DataError, match="damaged"):
        store.read("u3")


def test_store_without_an_index_is_an_error(tmp_path):
    with pytest.raises(DataError, match="there are no features; run the features stage"):
        FeatureStore(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        ("[]", "not an index of schema"),
        ('{"schema": "speechlite.features/2"}', "not an index of schema"),
        ('{"schema": "speechlite.features/1"}', "not an index of schema"),
        ('{"schema": "speechlite.features/1", "facts": {}, "shards": []}', "not an index"),
        ('{"schema": "speechlite.features/1", "facts": 1, "shards": {}}', "not an index"),
    ],
)
def test_store_with_an_index_of_another_form_is_an_error(store, content, message):
    data = content if isinstance(content, bytes) else content.encode()
    (store.directory / "features.json").write_bytes(data)
    with pytest.raises(DataError, match=message):
        FeatureStore(store.directory)


def test_index_names_schema_facts_and_shards(store):
    index = json.loads((store.directory / "features.json").read_text())
    assert index["schema"] == "speechlite.features/1"
    assert [len(names) for names in index["shards"].values()] == [3, 3, 1]
