from __future__ import annotations

import pytest
import torch
from made_runs import choice, leftovers, snapshot, write_speech

from speechlite.core.errors import ConfigError, DataError
from speechlite.data.audio import read_wave
from speechlite.data.features import FeatureStore
from speechlite.engine.dump import dump_features
from speechlite.frontends.fbank import Fbank


@pytest.fixture
def chosen(registry):
    return choice(registry, "frontend", "fbank", num_mels=8)


def test_dump_writes_what_the_frontend_gives_for_each_utterance(registry, chosen, speech, tmp_path):
    (out,) = dump_features(chosen, [speech / "dev"], tmp_path, registry)
    store = FeatureStore(out)
    frontend = Fbank(chosen.options, dim=None)
    names = [line.split()[0] for line in (speech / "dev" / "utt2spk").read_text().splitlines()]
    for name in names:
        wave_T = torch.from_numpy(read_wave(speech / "dev" / f"{name}.flac", sample_rate=16000))
        alone_BSF, lengths_B = frontend.extract(wave_T[None], torch.tensor([len(wave_T)]))
        assert len(store.read(name)) == int(lengths_B)
        torch.testing.assert_close(store.read(name), alone_BSF[0], rtol=1e-4, atol=1e-4)


def test_dump_again_writes_nothing(registry, chosen, speech, tmp_path, capfd):
    dump_features(chosen, [speech / "dev"], tmp_path, registry)
    before = snapshot(tmp_path)
    dump_features(chosen, [speech / "dev"], tmp_path, registry)
    assert snapshot(tmp_path) == before
    assert "up to date" in capfd.readouterr().err


def test_dump_with_other_options_says_which(registry, chosen, speech, tmp_path, capfd):
    dump_features(chosen, [speech / "dev"], tmp_path, registry)
    other = choice(registry, "frontend", "fbank", num_mels=9)
    dump_features(other, [speech / "dev"], tmp_path, registry)
    assert "changed: frontend.num_mels" in capfd.readouterr().err
    assert not leftovers(tmp_path)


@pytest.mark.parametrize("change", ["truncate", "remove"])
def test_dump_when_a_shard_was_damaged_runs_again(
    registry, chosen, speech, tmp_path, capfd, change
):
    (out,) = dump_features(chosen, [speech / "dev"], tmp_path, registry)
    shard = next(out.glob("shard-*"))
    shard.unlink() if change == "remove" else shard.write_bytes(shard.read_bytes()[:-1])
    dump_features(chosen, [speech / "dev"], tmp_path, registry)
    assert f"its output {shard.name} is missing or was changed" in capfd.readouterr().err


def test_dump_of_two_directories_of_one_name_is_an_error(registry, chosen, tmp_path):
    paths = [
        write_speech(tmp_path / parent / "d", utterances=1, seed=seed)
        for seed, parent in enumerate("ab")
    ]
    with pytest.raises(ConfigError, match="two of the data directories have one name"):
        dump_features(chosen, paths, tmp_path / "dump", registry)
    assert not (tmp_path / "dump").exists()


def test_dump_of_a_missing_directory_is_an_error(registry, chosen, tmp_path):
    with pytest.raises(DataError, match="is missing"):
        dump_features(chosen, [tmp_path / "no"], tmp_path / "dump", registry)
    assert not (tmp_path / "dump").exists()


def test_dump_of_features_that_are_trained_is_an_error(
    registry, chosen, speech, tmp_path, monkeypatch
):
    monkeypatch.setattr(Fbank, "parameters", lambda self: iter([torch.ones(1)]))
    with pytest.raises(ConfigError, match="the features of fbank change in training"):
        dump_features(chosen, [speech / "dev"], tmp_path, registry)
