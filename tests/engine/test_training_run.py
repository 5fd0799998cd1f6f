"""What pretraining and compression share: parameter groups, and units from file to batch."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from made_runs import arguments, compress_config, pretrain_config, speechlite, training_speech
from safetensors.torch import load_file
from torch import nn

from speechlite.config.compose import compose
from speechlite.core.errors import ConfigError, DataError
from speechlite.core.types import stateless_seed
from speechlite.data.codebook import read_codebook, write_codebook
from speechlite.data.datadir import read_datadir
from speechlite.data.order import Position
from speechlite.data.reader import FrameGrid, UtteranceReader
from speechlite.data.units import UnitFacts, write_units
from speechlite.engine.build import build_compressor, build_model, build_objective, model_spec
from speechlite.engine.checkpoint import load_model
from speechlite.engine.fitting import fit
from speechlite.engine.objective_data import _label_spaces
from speechlite.engine.pretrain import pretrain
from speechlite.engine.training import TrainingModule, _parameter_groups
from speechlite.engine.training_run import Interrupted

KALDI = FrameGrid(sample_rate=16000, stride=160, min_samples=400)
CLUSTERS = 200
HUBERT = ("objective=masked_prediction", "objective.prediction_dim=4", "objective.mask_frames=3")
# seven convolutions of stride 320: 50 frames a second, half as many as there are units
HALF_RATE = (
    "frontend=conv_waveform",
    "frontend.channels=[4,4,4,4,4,4,4]",
    "encoder=transformer",
    "encoder.dim=8",
    "encoder.layers=2",
    "encoder.heads=2",
    "encoder.feedforward=8",
)


def make_units(speech: Path, folder: Path, grid: FrameGrid = KALDI) -> Path:
    """Write units that are the number of their frame."""
    folder.mkdir()
    codewords_CF = np.arange(CLUSTERS, dtype=np.float32)[:, None]
    write_codebook(folder, codewords_CF, grid=grid, source={"frontend": {}}, fit={})
    sha256 = read_codebook(folder).sha256
    for name in ("train", "dev"):
        utterances = {item.id: item for item in read_datadir(speech / name).utterances}
        reader = UtteranceReader(utterances, grid)
        rows = {
            utterance: np.arange(grid.num_frames(reader.num_samples(utterance)), dtype=np.int16)
            for utterance in utterances
        }
        (folder / name).mkdir()
        write_units(
            folder / name, rows, facts=UnitFacts(sha256, grid, data=(speech / name).resolve())
        )
    return folder


@pytest.fixture
def units(speech, tmp_path):
    return make_units(speech, tmp_path / "units")


@pytest.fixture
def hubert(registry, speech, units):
    """Compose a tiny masked prediction on the units."""

    def make(*further):
        words = arguments(speech, *HUBERT, f"data.units={units}", *further)
        other = "frontend=fbank" not in words
        absent = ("frontend.num_mels", "encoder.kernel_size") if other else ()
        words = [word for word in words if not word.startswith(absent)]
        return compose("pretrain", registry=registry, overrides=words)

    return make


def weights(directory):
    return (directory / "model" / "model.safetensors").read_bytes()


def test_parameters_of_a_part_with_its_own_rate_form_a_group():
    module = nn.ModuleDict(
        {"first": nn.Linear(2, 2), "gates": nn.Linear(3, 1), "dual": nn.Linear(1, 1)}
    )
    module["gates"].learning_rate = 0.5
    module["dual"].learning_rate, module["dual"].maximise = 0.25, True
    gates, dual, others = _parameter_groups(module)
    assert gates == {"params": list(module["gates"].parameters()), "lr": 0.5, "maximize": False,
                     "weight_decay": 0.0}  # fmt: skip
    assert (dual["lr"], dual["maximize"]) == (0.25, True)
    assert others == {"params": list(module["first"].parameters())}


def test_parameters_within_a_part_with_its_own_rate_stand_in_one_group():
    outer = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    outer.learning_rate = outer[1].learning_rate = 0.5
    groups = _parameter_groups(outer)
    assert [len(group["params"]) for group in groups] == [4, 0]


def _pruning_module(registry, speech, saved):
    config = compress_config(
        registry,
        speech,
        "objective=distillation",
        "objective.layers=[0,3]",
        "compressor=l0_structured",
        "compressor.target=0.3",
        "compressor.warmup_steps=3",
        "optimizer.schedule=linear",
        "optimizer.weight_decay=0.01",
        "optimizer.decoupled_decay=true",
    )
    teacher = load_model(saved, registry)
    compressor = build_compressor(config.compressor, registry)
    model = compressor.prepare(load_model(saved, registry))
    objective = build_objective(config.objective, model, registry, models={"teacher": teacher})
    speech_of_run = training_speech(config, model, registry)
    return TrainingModule(
        model,
        objective,
        optimizer=config.optimizer,
        trainer=config.trainer,
        speech=speech_of_run,
        compressor=compressor,
    )


def _slow_loop(module):
    """Train under the penalty without Lightning: duals climb, all else descends."""
    options, trainer = module.optimizer_options, module.trainer_options
    model, objective = copy.deepcopy((module.model, module.objective))
    duals = list(model.constraint.parameters())
    gates = list(model.gates.parameters())
    named = {id(p) for p in (*duals, *gates)}
    others = [p for m in (model, objective) for p in m.parameters() if id(p) not in named]
    common = {"betas": (options.beta1, options.beta2), "eps": options.epsilon}
    adams = [
        torch.optim.AdamW(duals, maximize=True, weight_decay=0.0, **common),
        torch.optim.AdamW(gates, weight_decay=0.0, **common),
        torch.optim.AdamW(others, weight_decay=0.01, **common),
    ]
    peaks = (0.02, 0.02, options.learning_rate)
    batches = module.speech.order.stream(Position(0, 0))
    model.train(), objective.train()
    warmup, steps = options.warmup_steps, trainer.max_steps
    for step in range(1, steps + 1):
        factor = step / warmup if step <= warmup else (steps + 1 - step) / (steps + 1 - warmup)
        position, names = next(batches)
        seed = stateless_seed(trainer.seed, position.epoch, position.batch)
        crop = stateless_seed(trainer.seed, "crop", position.epoch)
        batch = module.speech.reader.read(names, seed=seed, crop_seed=crop)
        torch.manual_seed(stateless_seed(seed, "torch", 0))
        loss = objective(model, batch)
        value = loss.sum / loss.weight + module.compressor.penalty(model, step - 1)
        value.backward()
        torch.nn.utils.clip_grad_norm_([*duals, *gates, *others], options.clip_norm)
        for adam, peak in zip(adams, peaks, strict=True):
            adam.param_groups[0]["lr"] = peak * factor
            adam.step()
            adam.zero_grad()
    return torch.cat([p.detach().flatten() for m in (model, objective) for p in m.parameters()])


def test_fit_under_a_compressor_gives_the_weights_of_a_plain_loop(
    registry, speech, saved, tmp_path
):
    module = _pruning_module(registry, speech, saved)
    expected = _slow_loop(module)
    assert fit(module, tmp_path / "run", validate=lambda step: None, description="x") == 0
    got = [p.detach().flatten() for m in (module.model, module.objective) for p in m.parameters()]
    torch.testing.assert_close(torch.cat(got), expected, rtol=1e-4, atol=1e-5)
    assert module.model.constraint.linear.item() != 0


def test_learning_rate_in_the_log_is_that_of_the_model(registry, speech, saved, tmp_path):
    module = _pruning_module(registry, speech, saved)
    fit(module, tmp_path / "run", validate=lambda step: None, description="x")
    header, *rows = (tmp_path / "run/logs/from-start/metrics.csv").read_text().splitlines()
    column = header.split(",").index("learning_rate")
    # up to 0.01 in 4 steps, then down in 2; logged before steps 1, 3 and 5
    found = [float(row.split(",")[column]) for row in rows if row.split(",")[column]]
    assert found == pytest.approx([0.0025, 0.0075, 0.01 * 2 / 3])


def test_pretrain_on_units_learns_and_writes_a_model_without_the_objective(
    hubert, registry, tmp_path
):
    target = pretrain(hubert(), tmp_path / "out", registry)
    assert load_model(target, registry).num_layers == 3
    assert not any(
        "codeword" in name for name, _ in load_model(target, registry).named_parameters()
    )


def test_pretrain_on_units_when_stopped_and_resumed_ends_with_the_same_bytes(
    hubert, registry, tmp_path, stop_at
):
    pretrain(hubert(), tmp_path / "whole", registry)
    stop_at(2, 3)
    for _ in range(2):
        with pytest.raises(Interrupted):
            pretrain(hubert(), tmp_path / "stopped", registry)
    pretrain(hubert(), tmp_path / "stopped", registry)
    assert weights(tmp_path / "stopped") == weights(tmp_path / "whole")


@pytest.mark.slow
def test_pretrain_on_units_on_two_processes_ends_with_the_weights_of_one(
    registry, speech, units, tmp_path
):
    options = (
        *HUBERT,
        f"data.units={units}",
        "encoder.dropout=0.0",
        "encoder.attention_dropout=0.0",
        # a large epsilon keeps Adam from blowing up the rounding of gradients that are zero
        "optimizer.epsilon=0.001",
    )
    pretrain(pretrain_config(registry, speech, *options), tmp_path / "1", registry)
    words = arguments(speech, *options, "trainer.devices=2")
    done = speechlite("pretrain", *words, "--out_dir", tmp_path / "2")
    assert done.returncode == 0, done.stderr
    one, two = (load_file(tmp_path / n / "model" / "model.safetensors") for n in "12")
    for name, value in one.items():
        # sums over a batch are rounded in another order where it is parted; before a batch norm
        # nothing else moves a bias
        torch.testing.assert_close(two[name], value, rtol=0, atol=3e-5)


def test_pretrain_on_other_units_runs_again(hubert, registry, units, tmp_path, capfd):
    pretrain(hubert(), tmp_path / "out", registry)
    line, *others = (units / "train" / "units").read_text().splitlines()
    (units / "train" / "units").write_text("\n".join([f"{line[:-1]}7", *others]) + "\n")
    pretrain(hubert(), tmp_path / "out", registry)
    assert f"changed: {units}" in capfd.readouterr().err


@pytest.mark.parametrize(("options", "rate"), [((), 1), (HALF_RATE, 2)])
def test_batches_carry_the_unit_of_each_frame(hubert, registry, options, rate):
    config = hubert(*options)
    model = _built(config, registry)
    speech_of_run = training_speech(config, model, registry)
    starts = set()
    for _, names in zip(range(8), speech_of_run.order.epoch(0), strict=False):
        batch = speech_of_run.reader.read(names, seed=1, crop_seed=5)
        features = model.extract(batch)
        found = batch.labels["units"]
        assert found.values.shape == features.values.shape[:2]
        assert torch.equal(found.lengths, features.lengths)
        for row, length in zip(found.values, found.lengths.tolist(), strict=True):
            starts.add(int(row[0]))
            assert row[:length].tolist() == [int(row[0]) + rate * s for s in range(length)]
    assert max(starts) > 0
    assert all(start % rate == 0 for start in starts)


def _built(config, registry):
    return build_model(model_spec(config.frontend, config.encoder), registry)


def test_units_are_the_classes_of_the_objective(hubert, registry):
    (space,) = _label_spaces(hubert(), registry).values()
    assert (space.stream, len(space.symbols)) == ("units", CLUSTERS)


def test_objective_without_units_has_no_classes(tiny_config, registry):
    assert _label_spaces(tiny_config(), registry) == {}


def test_units_of_data_named_by_a_link_are_found(hubert, registry, speech, tmp_path):
    (tmp_path / "linked").symlink_to(speech / "train")
    config = hubert(f"data.train=[{tmp_path / 'linked'}]", "trainer.max_steps=1")
    pretrain(config, tmp_path / "out", registry)


def test_units_of_data_that_is_also_validated_on_are_read_once(hubert, registry, speech, tmp_path):
    config = hubert(f"data.valid=[{speech / 'train'}]", "trainer.max_steps=1")
    pretrain(config, tmp_path / "out", registry)


def test_masked_prediction_without_units_is_an_error(registry, speech, tmp_path):
    config = pretrain_config(registry, speech, *HUBERT)
    message = r"masked_prediction needs label streams \['units'\], and data.units is None; run"
    with pytest.raises(ConfigError, match=message):
        pretrain(config, tmp_path / "out", registry)


def test_units_that_are_missing_are_an_error(registry, speech, tmp_path):
    config = pretrain_config(registry, speech, *HUBERT, f"data.units={tmp_path / 'no'}")
    with pytest.raises(DataError, match="no: is missing"):
        pretrain(config, tmp_path / "out", registry)
    assert not (tmp_path / "out").exists()


def _refused(config, registry, directory):
    with pytest.raises(DataError) as caught:
        pretrain(config, directory, registry)
    assert not (directory / "model").exists()
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_units_of_a_split_that_are_missing_are_an_error(hubert, registry, units, tmp_path):
    shutil.rmtree(units / "dev")
    assert "units/dev" in _refused(hubert(), registry, tmp_path / "out")


def test_units_of_another_codebook_are_an_error(hubert, registry, units, speech, tmp_path):
    write_codebook(units, np.ones((3, 1), np.float32), grid=KALDI, source={"frontend": {}}, fit={})
    assert "units of codebook" in _refused(hubert(), registry, tmp_path / "out")


def test_units_of_another_length_are_an_error(hubert, registry, units, tmp_path):
    path = units / "train" / "units"
    lines = [line.split() for line in path.read_text().splitlines()]
    lines[2] = [lines[2][0], *lines[2][1::2]]
    path.write_text("".join(" ".join(line) + "\n" for line in lines))
    text = _refused(hubert(), registry, tmp_path / "out")
    assert f"train/units:3: utterance '{lines[2][0]}' has {len(lines[2]) - 1} units for" in text


def test_units_of_other_utterances_are_an_error(hubert, registry, units, speech, tmp_path):
    # of the same name, but other data
    shutil.copytree(speech / "dev", tmp_path / "other" / "train")
    config = hubert(f"data.train=[{tmp_path / 'other' / 'train'}]")
    text = _refused(config, registry, tmp_path / "out")
    assert "utterance devs0-u00 has no units; run speechlite units for this data" in text


def test_options_that_name_no_checkpoint_are_an_error(registry, speech, tmp_path):
    words = arguments(speech, "objective=distillation", "objective.layers=[1]")
    config = compose("pretrain", registry=registry, overrides=words)
    message = "objective.teacher names no checkpoint; set objective.teacher=DIRECTORY"
    with pytest.raises(ConfigError, match=message):
        pretrain(config, tmp_path / "out", registry)


def test_pretrain_under_a_named_teacher_takes_its_weights(registry, speech, saved, tmp_path):
    words = ("objective=distillation", "objective.layers=[1,3]", f"objective.teacher={saved}")
    before = (saved / "model.safetensors").read_bytes()
    pretrain(pretrain_config(registry, speech, *words), tmp_path / "out", registry)
    assert (saved / "model.safetensors").read_bytes() == before
