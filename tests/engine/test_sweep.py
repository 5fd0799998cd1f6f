from __future__ import annotations

import json
import shutil

import pytest
import yaml
from made_runs import TRAINING, arguments, evaluate_arguments, leftovers, snapshot

from speechlite.core.errors import ConfigError, DataError
from speechlite.core.result import Result
from speechlite.engine.checkpoint import load_model
from speechlite.engine.experiments import read_experiments
from speechlite.engine.sweep import Sweep, compression_cost

EXPERIMENTS = {
    "recipe": "made",
    "systems": {
        "bare": {"trained": False, "overrides": ["encoder=identity"]},
        "full": {"overrides": ["encoder.random_depth=[1,3]"]},
    },
    "chains": {"depth_2": [["compressor=depth", "compressor.layers=2"]]},
    "experiments": {
        "bare": {"system": "bare", "rows": [{"table": "T1", "row": "FBANK"}]},
        "full": {
            "system": "full",
            "rows": [{"table": "T1", "row": "Full"}, {"table": "T2", "row": "Full", "layer": 3}],
        },
        "small": {"system": "full", "chain": "depth_2", "rows": [{"table": "T1", "row": "Small"}]},
    },
    "default": ["bare", "full", "small"],
}


def nested(words):
    """Return overrides as the content of a YAML file."""
    content = {"defaults": []}
    for word in words:
        key, value = word.split("=", 1)
        value = yaml.safe_load(value)
        *parents, last = key.split(".")
        if not parents:
            content["defaults"].append({key: value})
            continue
        inner = content
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[last] = value
    return content


@pytest.fixture(scope="module")
def recipe(speech, tmp_path_factory):
    """Write the configuration of a recipe with all presets in primary files."""
    conf = tmp_path_factory.mktemp("conf")
    (conf / "encoder").mkdir()
    (conf / "encoder" / "made.yaml").write_text(
        "defaults: [conformer]\ndim: 8\nlayers: 3\nheads: 2\nfeedforward: 16\nkernel_size: 3\n"
    )
    (conf / "frontend").mkdir()
    (conf / "frontend" / "made.yaml").write_text("defaults: [fbank]\nnum_mels: 8\n")
    data = [word for word in arguments(speech) if word.startswith("data.")]
    training = [word for word in TRAINING if not word.startswith("data.")]
    pretraining = nested([*data, *training])
    pretraining["defaults"] = [
        {"frontend": "made"},
        {"encoder": "made"},
        {"objective": "reconstruction"},
        "_self_",
    ]
    (conf / "pretrain.yaml").write_text(yaml.safe_dump(pretraining, sort_keys=False))
    phone = nested(evaluate_arguments(speech))
    phone["defaults"].append("_self_")
    (conf / "phone.yaml").write_text(yaml.safe_dump(phone, sort_keys=False))
    (conf / "experiments.yaml").write_text(yaml.safe_dump(EXPERIMENTS, sort_keys=False))
    return conf


@pytest.fixture
def sweep_in(registry, recipe):
    def make(directory, *overrides, seeds=(1,)):
        return Sweep(
            recipe="made",
            exp_dir=directory,
            seeds=seeds,
            config_dir=recipe,
            overrides=overrides,
            registry=registry,
        )

    return make


@pytest.fixture
def experiments(recipe):
    return read_experiments(recipe / "experiments.yaml").select(None)


@pytest.fixture(scope="module")
def finished(registry, recipe, tmp_path_factory):
    """Run all stages once; tests must not change the result."""
    directory = tmp_path_factory.mktemp("exp")
    sweep = Sweep(
        recipe="made",
        exp_dir=directory,
        seeds=(1,),
        config_dir=recipe,
        overrides=(),
        registry=registry,
    )
    chosen = read_experiments(recipe / "experiments.yaml").select(None)
    sweep.pretrain(chosen, "pretrain")
    sweep.compress(chosen)
    sweep.evaluate(chosen, ["phone"], features=None)
    return directory


def test_sweep_pretrains_each_system_once(finished):
    systems = sorted(path.parent.parent.parent.name for path in finished.rglob("pretrain/model"))
    assert systems == ["bare", "full"]


def test_sweep_compresses_by_the_chain(finished, registry):
    assert load_model(finished / "full/seed1/depth_2/model", registry).num_layers == 2


def test_sweep_writes_one_record_a_row(finished):
    records = [Result.from_json(path.read_text()) for path in finished.rglob("record?.json")]
    rows = {(r.identity["table"], r.identity["row"], r.identity["layer"]) for r in records}
    assert len(records) == 4
    assert rows == {
        ("T1", "FBANK", None),
        ("T1", "Full", None),
        ("T2", "Full", "3"),
        ("T1", "Small", None),
    }
    assert {r.identity["chain"] for r in records} == {"none", "depth_2"}


def test_sweep_gives_all_rows_of_an_experiment_one_score(finished):
    values = {
        Result.from_json(path.read_text()).metrics[0].value
        for path in finished.rglob("full-phone/record?.json")
    }
    assert len(values) == 1


def test_sweep_records_what_pretraining_cost(finished):
    small = json.loads(next(finished.rglob("small-phone/record1.json")).read_text())
    bare = json.loads(next(finished.rglob("bare-phone/record1.json")).read_text())
    assert small["cost"]["train"]["steps"] == 6
    assert bare["cost"]["train"]["steps"] == 0
    assert small["cost"]["params"]["total"] > bare["cost"]["params"]["total"] == 0


def test_sweep_leaves_no_temporaries(finished):
    assert not leftovers(finished)


CHAINED = {
    **EXPERIMENTS,
    "chains": {
        "trained": [["config=train_on", "trainer.max_steps=4"]],
        "deep": {"after": "trained", "steps": [["compressor=depth", "compressor.layers=2"]]},
    },
    "experiments": {
        name: {"system": "full", "chain": name, "rows": [{"table": "T1", "row": name}]}
        for name in ("trained", "deep")
    },
    "default": ["trained", "deep"],
}


@pytest.fixture
def chained(finished, recipe, speech, registry, tmp_path):
    """Give a sweep over chains in training, pretrained already, and its experiments."""
    shutil.copytree(finished, tmp_path / "exp")
    conf = tmp_path / "conf"
    shutil.copytree(recipe, conf)
    (conf / "objective").mkdir()
    (conf / "objective" / "states.yaml").write_text("defaults: [distillation]\nlayers: [0, 1, 3]\n")
    training = nested([*(w for w in arguments(speech) if w.startswith("data.")), *TRAINING])
    training["defaults"] = [{"objective": "states"}, "_self_"]
    (conf / "train_on_mini.yaml").write_text(yaml.safe_dump(training, sort_keys=False))
    (conf / "experiments.yaml").write_text(yaml.safe_dump(CHAINED, sort_keys=False))
    sweep = Sweep(
        recipe="made",
        exp_dir=tmp_path / "exp",
        seeds=(1,),
        config_dir=conf,
        overrides=(),
        registry=registry,
    )
    return sweep, read_experiments(conf / "experiments.yaml").select(None)


def test_sweep_trains_a_step_by_the_primary_file_of_its_scale(chained, registry):
    sweep, experiments = chained
    sweep.compress(experiments, "mini")
    base = sweep.exp_dir / "full/seed1"
    facts = json.loads((base / "trained/training.json").read_text())
    assert facts["steps"] == 4
    assert load_model(base / "trained/model", registry).num_layers == 3
    deep = load_model(base / "deep/model", registry)
    assert (deep.num_layers, [edit.compressor["name"] for edit in deep.edits]) == (2, ["depth"])


def test_sweep_carries_out_a_step_of_two_chains_once(chained, capfd):
    sweep, experiments = chained
    sweep.compress(experiments, "mini")
    lines = capfd.readouterr().err.splitlines()
    assert sum("full/seed1/trained: it has not run yet" in line for line in lines) == 1
    assert sum("full/seed1/trained: up to date" in line for line in lines) == 1


def test_sweep_teaches_later_steps_by_the_first_model_of_the_chain(chained):
    sweep, experiments = chained
    sweep.compress(experiments, "mini")
    stamp = json.loads((sweep.exp_dir / "full/seed1/trained/stamp.json").read_text())
    assert any("pretrain/model" in path for path in stamp["inputs"])


def test_sweep_records_what_training_in_a_chain_cost(chained):
    sweep, experiments = chained
    sweep.compress(experiments, "mini")
    sweep.evaluate(experiments, ["phone"], features=None)
    for name in ("trained", "deep"):
        record = json.loads(next(sweep.exp_dir.rglob(f"{name}-phone/record1.json")).read_text())
        cost = record["cost"]["compress"]
        assert cost["steps"] == 4
        assert cost["seconds"] > 0
        assert record["cost"]["train"]["steps"] == 6


def test_sweep_of_a_scale_that_a_step_does_not_have_is_an_error(chained):
    sweep, experiments = chained
    with pytest.raises(ConfigError, match="no configuration 'train_on_full'; did you mean"):
        sweep.compress(experiments, "full")


def test_cost_of_steps_without_training_is_nothing(finished):
    found = compression_cost([finished / "full/seed1/depth_2"])
    assert found == {"seconds": 0, "steps": 0, "audio_hours_seen": 0, "last_seconds": 0}
    assert compression_cost([]) == {"why": "the model was not compressed"}


def test_cost_of_steps_is_that_of_all_together(tmp_path):
    for name, seconds, steps in (("a", 1.5, 4), ("b", 2.0, 6)):
        (tmp_path / name).mkdir()
        facts = {"seconds": seconds, "steps": steps, "audio_hours_seen": None}
        (tmp_path / name / "training.json").write_text(json.dumps(facts))
    found = compression_cost([tmp_path / name for name in ("none", "a", "b")])
    assert found == {"seconds": 3.5, "steps": 10, "audio_hours_seen": 0, "last_seconds": 2.0}


def test_sweep_when_run_again_writes_nothing(finished, sweep_in, experiments, capfd):
    before = snapshot(finished)
    sweep = sweep_in(finished)
    sweep.pretrain(experiments, "pretrain")
    sweep.compress(experiments)
    sweep.evaluate(experiments, ["phone"], features=None)
    assert snapshot(finished) == before
    assert capfd.readouterr().err.count("up to date") == 1 + 1 + 3


def test_sweep_whose_lexicon_has_changed_evaluates_again(
    finished, sweep_in, experiments, tmp_path, capfd
):
    shutil.copytree(finished, tmp_path / "exp")
    (tmp_path / "words").write_text("AB\nCA\n")
    characters = ("head=ctc", "head.recurrent_layers=0", "task.labels=characters")
    beam = ("head.search=beam", f"head.lexicon={tmp_path / 'words'}")
    sweep = sweep_in(tmp_path / "exp", *characters, *beam)
    sweep.evaluate(experiments[:1], ["phone"], features=None)
    sweep.evaluate(experiments[:1], ["phone"], features=None)
    assert capfd.readouterr().err.count("up to date") == 1
    (tmp_path / "words").write_text("AB\nBC\n")
    sweep.evaluate(experiments[:1], ["phone"], features=None)
    assert f"changed: {tmp_path / 'words'}" in capfd.readouterr().err


def test_sweep_with_two_seeds_gives_each_its_directory(sweep_in, experiments, tmp_path, registry):
    sweep_in(tmp_path, seeds=(1, 2)).pretrain(experiments[:2], "pretrain")
    weights = [
        (tmp_path / f"full/seed{seed}/pretrain/model/model.safetensors").read_bytes()
        for seed in (1, 2)
    ]
    assert weights[0] != weights[1]


def test_sweep_with_a_wrong_option_fails_before_it_trains(sweep_in, experiments, tmp_path):
    sweep = sweep_in(tmp_path, "trainer.max_steps=0")
    with pytest.raises(ConfigError, match="max_steps=0, expected at least 1"):
        sweep.pretrain(experiments, "pretrain")
    assert not list(tmp_path.iterdir())


def test_sweep_that_compresses_before_pretraining_is_an_error(sweep_in, experiments, tmp_path):
    with pytest.raises(DataError, match="is missing; run the stage that makes it"):
        sweep_in(tmp_path).compress(experiments)


def test_sweep_with_features_that_are_not_there_is_an_error(
    finished, sweep_in, experiments, tmp_path
):
    sweep = sweep_in(finished, "training.max_steps=1")
    records = {path: path.read_bytes() for path in finished.rglob("record*")}
    with pytest.raises(DataError, match="there are no features; run the features stage first"):
        sweep.evaluate(experiments[1:2], ["phone"], features=tmp_path / "no")
    assert all(path.read_bytes() == content for path, content in records.items())


def test_sweep_with_two_tasks_of_one_name_is_an_error(finished, sweep_in, experiments):
    with pytest.raises(ConfigError, match="have one task.name"):
        sweep_in(finished).evaluate(experiments, ["phone", "phone"], features=None)


def test_sweep_measures_again_what_it_cannot_read(finished, registry):
    from speechlite.config.schema import ProfileConfig
    from speechlite.engine.sweep import profile_once

    source = finished / "bare/seed1/pretrain/model"
    quick = ProfileConfig(audio_seconds=[0.5], rtf_seconds=0.5, repeats=1, warmup=0)
    path = source.parent / "profile.json"
    kept = path.read_text()
    model = load_model(source, registry)
    for text in ("", "[]", "{", '{"made_with": 1}'):
        path.write_text(text)
        assert profile_once(source, model, quick)["params"]["total"] == 0
    assert profile_once(source, model, quick) == json.loads(path.read_text())["cost"]
    path.write_text(kept)


def test_sweep_without_the_facts_of_training_is_an_error(finished):
    from speechlite.engine.sweep import training_cost

    with pytest.raises(DataError, match="is missing or unreadable; run the pretrain stage again"):
        training_cost(finished)
