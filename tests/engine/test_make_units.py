from __future__ import annotations

import json
import tracemalloc
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made_runs import choice, leftovers, snapshot, write_speech
from scipy.spatial.distance import cdist

from speechlite.config.units import KMeansOptions, UnitsConfig, UnitsDataOptions
from speechlite.core.errors import ConfigError, DataError, EnvironmentProblem, LockError
from speechlite.data.audio import read_wave
from speechlite.data.codebook import read_codebook
from speechlite.data.unit_checks import lint_units
from speechlite.data.units import read_units
from speechlite.engine import units as engine_units
from speechlite.engine.directories import own_directory
from speechlite.engine.kmeans import fit_codewords
from speechlite.engine.splits import read_split
from speechlite.engine.unit_features import open_source
from speechlite.engine.units import make_units
from speechlite.frontends.mfcc import Mfcc

KMEANS = KMeansOptions(clusters=6, batch_frames=200, starts=2, max_epochs=2)


@pytest.fixture
def mfcc(registry):
    return choice(registry, "frontend", "mfcc")


@pytest.fixture
def config(mfcc, speech):
    data = UnitsDataOptions(train=[str(speech / "train")], other=[str(speech / "dev")])
    return UnitsConfig(frontend=mfcc, data=data, kmeans=KMEANS, threads=1, accelerator="cpu")


@pytest.fixture
def hidden(config, saved):
    return replace(config, frontend=None, model=str(saved), layer=2)


def test_units_of_a_frontend_are_the_nearest_codewords_of_its_features(
    registry, config, mfcc, speech, tmp_path
):
    make_units(config, tmp_path, registry)
    codewords_CF = read_codebook(tmp_path).codewords
    _, units, rate_hz = read_units(tmp_path, ["train", "dev"])
    frontend = Mfcc(mfcc.options, dim=None)
    assert (rate_hz, codewords_CF.shape) == (100.0, (6, 39))
    for split in ("train", "dev"):
        for path in (speech / split).glob("*.flac"):
            wave_T = torch.from_numpy(read_wave(path, sample_rate=16000))
            features_BSF, _ = frontend.extract(wave_T[None], torch.tensor([len(wave_T)]))
            expected = cdist(features_BSF[0].numpy(), codewords_CF).argmin(1)
            assert (units[path.stem] == expected).mean() > 0.99


def test_units_of_a_model_are_the_nearest_codewords_of_the_hidden_state(
    registry, hidden, speech, tmp_path, make_model
):
    make_units(hidden, tmp_path, registry)
    codebook, model = read_codebook(tmp_path), make_model()
    _, units, _ = read_units(tmp_path, ["dev"])
    assert codebook.source["layer"] == 2
    for path in (speech / "dev").glob("*.flac"):
        wave_T = torch.from_numpy(read_wave(path, sample_rate=16000))
        with torch.no_grad():
            states = model(wave_T[None], torch.tensor([len(wave_T)])).layers[2][0]
        expected = cdist(states.numpy(), codebook.codewords).argmin(1)
        assert (units[path.stem] == expected).mean() > 0.99


@pytest.mark.parametrize("layer", range(4))
def test_source_of_a_pre_norm_model_gives_the_states_of_a_full_forward(
    registry, hidden, speech, layer, tmp_path
):
    from speechlite.engine.build import build_model, model_spec
    from speechlite.engine.checkpoint import save_model

    torch.manual_seed(0)
    encoder = choice(registry, "encoder", "transformer", dim=8, layers=3, heads=2, feedforward=16)
    spec = model_spec(choice(registry, "frontend", "fbank", num_mels=8), encoder)
    model = build_model(spec, registry).eval()
    with torch.no_grad():
        model.encoder.final_norm.weight.fill_(3.0)
    save_model(model, tmp_path / "pre")
    config = replace(hidden, model=str(tmp_path / "pre"), layer=layer)
    source = open_source(config, registry)
    split = read_split([str(speech / "dev")], source.grid)
    name = min(split.utterances)
    ((_, features_SF),) = source.stream(split, [name], batch_seconds=9.0, description="")
    wave_T = torch.from_numpy(read_wave(split.utterances[name].audio_path, sample_rate=16000))
    with torch.no_grad():
        expected_SD = model(wave_T[None], torch.tensor([len(wave_T)])).layers[layer][0]
    torch.testing.assert_close(features_SF, expected_SD)


def test_units_are_valid_and_their_quality_is_told(registry, config, tmp_path, capfd):
    make_units(config, tmp_path, registry)
    assert lint_units([tmp_path / "train", tmp_path / "dev"]) == []
    quality = json.loads((tmp_path / "quality.json").read_text())["splits"]
    assert set(quality) == {"train", "dev"}
    # each phone is a tone of its own
    assert quality["train"]["pnmi"] > 0.5
    assert f"dev: phone purity {quality['dev']['phone_purity']:.4f}" in capfd.readouterr().err
    assert not leftovers(tmp_path)
    assert not (tmp_path / ".sample.float32").exists()


def test_units_with_one_seed_are_the_same_bytes(registry, config, tmp_path):
    for out, seed in (("a", 1), ("b", 1), ("c", 2)):
        make_units(replace(config, seed=seed), tmp_path / out, registry)
    names = ("codebook.safetensors", "train/units", "dev/units")
    a, b, c = ([(tmp_path / out / name).read_bytes() for name in names] for out in "abc")
    assert a == b
    assert a[0] != c[0]


def test_units_again_writes_nothing(registry, config, tmp_path, capfd, monkeypatch):
    make_units(config, tmp_path, registry)
    before = snapshot(tmp_path)
    monkeypatch.setattr(engine_units, "open_source", None)
    make_units(config, tmp_path, registry)
    assert snapshot(tmp_path) == before
    assert "up to date" in capfd.readouterr().err


def test_units_of_one_more_directory_keep_the_codebook(registry, config, speech, tmp_path):
    make_units(config, tmp_path, registry)
    before = snapshot(tmp_path)
    other = [*config.data.other, str(speech / "test")]
    make_units(replace(config, data=replace(config.data, other=other)), tmp_path, registry)
    after = snapshot(tmp_path)
    assert {name: after[name] for name in before if name != "quality.json"} == {
        name: content for name, content in before.items() if name != "quality.json"
    }
    assert "test" in json.loads((tmp_path / "quality.json").read_text())["splits"]


def test_units_with_other_clusters_are_all_made_anew(registry, config, tmp_path, capfd):
    make_units(config, tmp_path, registry)
    make_units(replace(config, kmeans=replace(KMEANS, clusters=5)), tmp_path, registry)
    error = capfd.readouterr().err
    assert "changed: kmeans.clusters" in error
    assert "dev: changed: codebook" in error
    assert lint_units([tmp_path / "train", tmp_path / "dev"]) == []


def test_units_by_force_are_made_anew(registry, config, tmp_path, capfd):
    make_units(config, tmp_path, registry)
    make_units(config, tmp_path, registry, force=True)
    assert f"codebook {tmp_path}: asked for" in capfd.readouterr().err


def test_units_stopped_while_labelling_go_on_with_the_codebook(
    registry, config, tmp_path, monkeypatch, capfd
):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(engine_units, "write_units", stop)
    with pytest.raises(KeyboardInterrupt):
        make_units(config, tmp_path, registry)
    monkeypatch.undo()
    make_units(config, tmp_path, registry)
    assert f"codebook {tmp_path}: up to date" in capfd.readouterr().err
    assert lint_units([tmp_path / "train", tmp_path / "dev"]) == []


def fitted_frames(monkeypatch, config, registry, out):
    seen = []

    def fit(frames_NF, options, **further):
        seen.append(np.array(frames_NF))
        return fit_codewords(frames_NF, options, **further)

    monkeypatch.setattr(engine_units, "fit_codewords", fit)
    make_units(config, out, registry)
    return seen[0]


def test_sample_of_some_hours_has_that_many_frames(registry, config, tmp_path, monkeypatch):
    limited = replace(config, kmeans=replace(KMEANS, fit_hours=2 / 3600))
    assert fitted_frames(monkeypatch, limited, registry, tmp_path).shape == (200, 39)
    fit = json.loads((tmp_path / "codebook.json").read_text())["fit"]
    assert (fit["frames"], fit["utterances"] < 12) == (200, True)


def test_sample_of_a_share_takes_whole_utterances_by_seed(registry, config, speech):
    split = read_split([str(speech / "train")], open_source(config, registry).grid)
    options = replace(KMEANS, fit_share=0.5)
    drawn = [engine_units._drawn(split, options, seed=seed) for seed in (1, 1, 2)]
    half = sum(split.durations.values()) / 2
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]
    seconds = [split.durations[name] for name in drawn[0]]
    assert sum(seconds) >= half > sum(seconds[:-1])


def test_make_units_keeps_the_features_of_one_batch(registry, config, tmp_path, monkeypatch):
    made, most = [], []
    generator = np.random.default_rng(0)

    def extract(self, waves_BT, lengths_B):
        most.append(sum(reference() is not None for reference in made))
        frames_B = lengths_B // 160
        shape = (len(lengths_B), int(frames_B.max()), 39)
        # an array lives as long as any view of the tensor that shares its memory
        features_BSF = generator.normal(size=shape).astype(np.float32)
        made.append(weakref.ref(features_BSF))
        return torch.from_numpy(features_BSF), frames_B

    monkeypatch.setattr(Mfcc, "extract", extract)
    data = replace(config.data, batch_seconds=2.0)
    make_units(replace(config, data=data), tmp_path, registry)
    assert len(made) > 20
    assert max(most) == 1


def test_make_units_needs_no_more_memory_for_more_speech(registry, config, tmp_path):
    peaks = []
    for number, utterances in enumerate((8, 32)):
        path = write_speech(tmp_path / str(number), utterances=utterances, seed=0, text=False)
        data = UnitsDataOptions(train=[str(path)], batch_seconds=2.0)
        tracemalloc.start()
        make_units(replace(config, data=data), tmp_path / f"out{number}", registry)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # all features of the larger set would be 32 * 100 * 39 * 4 bytes more
    assert peaks[1] - peaks[0] < 200_000


def test_units_of_another_running_process_are_left_alone(registry, config, tmp_path):
    with own_directory(tmp_path), pytest.raises(LockError, match="in use by"):
        make_units(config, tmp_path, registry)


def test_units_without_training_data_are_refused(registry, config, tmp_path):
    nothing = replace(config, data=UnitsDataOptions())
    with pytest.raises(ConfigError, match="data.train names no directory"):
        make_units(nothing, tmp_path / "out", registry)
    assert not (tmp_path / "out").exists()


def test_units_of_two_directories_of_one_name_are_refused(registry, config, tmp_path):
    twice = replace(config, data=replace(config.data, other=config.data.train))
    with pytest.raises(ConfigError, match="two of the data directories have one name"):
        make_units(twice, tmp_path / "out", registry)


def test_units_of_a_layer_that_the_model_has_not_are_refused(registry, hidden, tmp_path):
    with pytest.raises(ConfigError, match="layer=4, the model has hidden states 0 to 3"):
        make_units(replace(hidden, layer=4), tmp_path, registry)


def test_units_of_no_checkpoint_are_refused(registry, hidden, tmp_path):
    with pytest.raises(DataError, match="config.yaml: is missing"):
        make_units(replace(hidden, model=str(tmp_path / "no")), tmp_path / "out", registry)


def test_units_of_features_that_are_trained_are_refused(registry, config, tmp_path):
    conv = choice(registry, "frontend", "conv_waveform")
    with pytest.raises(ConfigError, match="the features of conv_waveform are trained"):
        make_units(replace(config, frontend=conv), tmp_path, registry)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_units_on_a_gpu_that_is_not_there_are_refused(registry, config, tmp_path):
    with pytest.raises(ConfigError, match="accelerator=gpu, and there is no GPU"):
        make_units(replace(config, accelerator="gpu"), tmp_path, registry)


def test_units_of_features_that_are_not_finite_are_refused(registry, config, tmp_path, monkeypatch):
    def extract(self, waves_BT, lengths_B):
        return torch.full((len(waves_BT), 3, 39), float("nan")), torch.full_like(lengths_B, 3)

    monkeypatch.setattr(Mfcc, "extract", extract)
    with pytest.raises(DataError, match="has features that are not finite"):
        make_units(config, tmp_path, registry)
    assert not (tmp_path / ".sample.float32").exists()


def test_units_on_a_full_disk_are_refused(registry, config, tmp_path, monkeypatch):
    real = Path.open

    def full(self, *args, **kwargs):
        if self.name == ".sample.float32":
            raise OSError(28, "No space left on device")
        return real(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(EnvironmentProblem, match="frames to fit on cannot be written: No space"):
        make_units(config, tmp_path, registry)
