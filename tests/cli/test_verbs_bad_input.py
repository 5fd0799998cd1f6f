from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from made_runs import arguments, environment, evaluate_arguments

from speechlite.engine.directories import own_directory
from speechlite.engine.dump import dump_features

OUT = "{out}"
CONF = Path(__file__).parents[2] / "egs/librispeech/layer_reduction/conf"
SWEEP = ["--config_dir", CONF, "--experiments", CONF / "experiments.yaml", "--exp_dir", OUT]


def filled(words, root, out):
    return [str(word).format(root=root, out=out) for word in words]


def visible(path):
    return [p for p in path.rglob("*") if p.is_file() and not p.name.startswith(".")]


USAGE = [
    (["data"], 2, "ACTION"),
    (["data", "chek"], 2, "invalid choice: 'chek'"),  # codespell:ignore chek
    (["data", "check"], 2, "directories"),
    (["data", "check", "{root}/data/dev", "--text", "maybe"], 2, "invalid choice: 'maybe'"),
    (["data", "prepare"], 2, "--out_dir"),
    (["data", "prepare", "--out_dir", OUT, "--corpus", "timit"], 2, "invalid choice: 'timit'"),
    (["data", "prepare", "--out_dir", OUT, "--size", "huge"], 2, "invalid choice: 'huge'"),
    (["data", "prepare", "--out_dir", OUT, "--seed", "x"], 2, "invalid int value: 'x'"),
    (["data", "prepare", "--out_dir", OUT, "--corpus", "librispeech"], 2, "librispeech_root"),
    (["data", "prepare", "--out_dir", OUT, "--corpus", "kaldi"], 2, "--data_root"),
    (["data", "dump", "{root}/data/dev"], 2, "--out_dir"),
    (["data", "split", "{root}/data/dev", "--out_dir", OUT], 2, "--test_speakers"),
    (["pretrain", "--epochs", "3"], 2, "--epochs"),
    (["pretrain"], 2, "no place for the result; add --out_dir"),
    (["pretrain", "--experiments", "x.yaml"], 2, "--experiments without --config"),
    (["pretrain", "--experiments", "x", "--config", "y"], 2, "--experiments without --config_dir"),
    (["pretrain", "--out_dir", OUT], 2, "frontend: nothing is chosen"),
    (["pretrain", "--out_dir", OUT, "encoder"], 2, "malformed"),
    (["pretrain", "--out_dir", OUT, "--config_dir", "{root}/no"], 2, "is no folder"),
    (["pretrain", "--out_dir", OUT, "--config_dir", CONF, "--config", "no"], 2, "no"),
    (["pretrain", "--config", "pretrain_mini", *SWEEP, "--select", "99"], 2, "unknown experiments"),
    (
        ["pretrain", "--config", "pretrain_mini", *SWEEP, "--select", ""],
        2,
        "no experiment is named",
    ),
    (["pretrain", "--config", "pretrain_mini", *SWEEP, "--seeds", "one"], 2, "seeds 'one'"),
    (["pretrain", "--config", "pretrain_mini", *SWEEP, "--seeds", "1,1"], 2, "seeds '1,1'"),
    (["pretrain", "--config", "no", *SWEEP], 2, "no"),
    (["compress"], 2, "compress needs a model and a place"),
    (["compress", "--model", "{root}/model"], 2, "compress needs a model and a place"),
    (
        ["compress", "--model", "{root}/model", "--out_dir", OUT],
        2,
        "neither a compressor nor an objective is chosen",
    ),
    (["compress", "--experiments", CONF / "experiments.yaml"], 2, "without --config_dir"),
    (["compress", *SWEEP, "--select", "nothing"], 2, "unknown experiments"),
    (["evaluate"], 2, "evaluate needs a model and a place"),
    (["evaluate", "--experiments", CONF / "experiments.yaml"], 2, "--experiments without --config"),
    (["evaluate", "--config", "evaluate_x", *SWEEP], 2, "evaluate_x"),
    (["evaluate", "--model", "{root}/model", "--out_dir", OUT], 2, "head: nothing is chosen"),
    (["profile"], 2, "--model"),
    (["profile", "--model", "{root}/model", "rpeats=3"], 2, "did you mean repeats"),
    (["profile", "--model", "{root}/model", "repeats=0"], 2, "repeats=0, expected at least 1"),
    (["profile", "--model", "{root}/model", "threads=0"], 2, "threads=0, expected at least 1"),
    (["profile", "--model", "{root}/model", "audio_seconds=[]"], 2, "audio_seconds=[]"),
    (["profile", "--model", "{root}/model", "audio_seconds=[0]"], 2, "at least 0.1"),
    (["compare"], 2, "paths"),
    (["config", "train"], 2, "invalid choice: 'train'"),
    (["plugins", "--kind", "metric"], 2, "invalid choice: 'metric'"),
]

FILES = [
    (["data", "check", "{root}/no"], 3, None),
    (["data", "labels", "{root}/no"], 3, "is no directory"),
    (["data", "labels", "{root}/file"], 3, "is no directory"),
    (["data", "dump", "{root}/no", "--out_dir", OUT, "--override", "frontend=fbank"], 2, "encoder"),
    (["data", "split", "{root}/no", "--out_dir", OUT, "--test_speakers", "a"], 3, "{root}/no"),
    (["data", "split", "{root}/data/dev", "--out_dir", OUT, "--test_speakers", "x"], 3, "x"),
    (
        [
            "data",
            "prepare",
            "--out_dir",
            OUT,
            "--corpus",
            "librispeech",
            "--librispeech_root",
            "{root}/no",
        ],
        3,
        "{root}/no",
    ),
    (
        ["data", "prepare", "--out_dir", OUT, "--corpus", "kaldi", "--data_root", "{root}/no"],
        3,
        "{root}/no",
    ),
    (
        ["data", "prepare", "--out_dir", OUT, "--corpus", "kaldi", "--data_root", "{root}/empty"],
        3,
        "{root}/empty",
    ),
    (["compress", "--model", "{root}/no", "--out_dir", OUT, "compressor=depth"], 3, "is missing"),
    (
        ["compress", "--model", "{root}/empty", "--out_dir", OUT, "compressor=depth"],
        3,
        "config.yaml",
    ),
    (
        ["compress", "--model", "{root}/model", "--out_dir", OUT, "compressor=depth"],
        2,
        "keep 5 layers",
    ),
    (
        ["compress", "--model", "{root}/model", "--out_dir", "{root}/file", "compressor=depth"],
        5,
        "cannot be written",
    ),
    (["profile", "--model", "{root}/no"], 3, "config.yaml: is missing"),
    (["profile", "--model", "{root}/file"], 3, "config.yaml: is missing"),
    (["compare", "{root}/no"], 3, "{root}/no"),
    (["compare", "{root}/empty"], 3, None),
    (["compare", "{root}/data", "--reported", "{root}/no.csv"], 3, None),
    (["compare", "{root}/data", "--claims", "{root}/no.yaml"], 2, "{root}/no.yaml"),
    (["pretrain", "--config", "pretrain_mini", *SWEEP, "--select", "1"], 3, "is missing"),
    (["compress", *SWEEP, "--select", "2"], 3, "is missing"),
    (["evaluate", "--config", "evaluate_phone_mini", *SWEEP, "--select", "1"], 3, "is missing"),
]


@pytest.mark.parametrize(("words", "code", "message"), USAGE + FILES)
def test_command_line_that_cannot_work_is_one_line_and_its_code(
    refuse, places, tmp_path, capsys, words, code, message
):
    out = tmp_path / "out"
    words = filled(words, places, out)
    if message is None:
        from speechlite.cli.main import main

        assert main(words) == code
        assert "Traceback" not in capsys.readouterr().err
    else:
        assert message.format(root=places) in refuse(words, code)
    assert not out.exists() or not visible(out)


PRETRAIN = [
    (["data.train=[]"], 2, "data.train names no directory"),
    (["data.valid=[]"], 2, "data.valid names no directory"),
    (["data.train=[{root}/no]"], 3, "is missing"),
    (["data.train=[{root}/empty]"], 3, "{root}/empty"),
    (["data.train=[{root}/data/train,{root}/data/train]"], 3, "is in two directories"),
    (["data.min_seconds=60"], 3, "is of a usable length"),
    (["data.batch_seconds=0.3"], 3, "does not fit into batches"),
    (["data.batch_seconds=0"], 2, "batch_seconds=0.0, expected more than 0"),
    (["data.max_seconds=-1"], 2, "max_seconds=-1.0, expected more than 0"),
    (["data.num_buckets=0"], 2, "num_buckets=0, expected at least 1"),
    (["data.features={root}/empty"], 3, "features.json"),
    (["trainer.max_steps=0"], 2, "max_steps=0, expected at least 1"),
    (["trainer.accumulate=0"], 2, "accumulate=0, expected at least 1"),
    (["trainer.validate_every_steps=0"], 2, "validate_every_steps=0"),
    (["trainer.checkpoint_every_steps=-1"], 2, "checkpoint_every_steps=-1"),
    (["trainer.log_every_steps=0"], 2, "log_every_steps=0"),
    (["trainer.workers=-1"], 2, "workers=-1, expected at least 0"),
    (["trainer.devices=0"], 2, "devices=0, expected at least 1"),
    (["trainer.precision=8-bit"], 2, "Lightning refuses the trainer options"),
    (["trainer.accelerator=abacus"], 2, "Lightning refuses the trainer options"),
    (["optimizer.learning_rate=0"], 2, "learning_rate=0.0, expected more than 0"),
    (["optimizer.learning_rate=.inf"], 2, "learning_rate"),
    (["optimizer.warmup_steps=0"], 2, "warmup_steps=0, expected at least 1"),
    (["optimizer.beta1=1"], 2, "beta1=1.0"),
    (["optimizer.clip_norm=-1"], 2, "clip_norm=-1.0, expected at least 0"),
    (["encoder.heads=3"], 2, "encoder"),
    (["encoder.layers=two"], 2, "encoder.layers: expected int"),
    (["encoder.random_depth=[2,9]"], 2, "random_depth=[2, 9]"),
    (["encoder=comformer"], 2, "conformer"),
    (["frontend.num_mel=3"], 2, "did you mean num_mels?"),
]


@pytest.mark.parametrize(("changes", "code", "message"), PRETRAIN)
def test_pretrain_that_cannot_work_is_one_line_and_leaves_nothing(
    refuse, places, tmp_path, changes, code, message
):
    words = arguments(places / "data", *filled(changes, places, tmp_path))
    line = refuse(["pretrain", *words, "--out_dir", tmp_path / "out"], code)
    assert message.format(root=places) in line
    left = {path.name for path in visible(tmp_path)}
    assert left <= {"run.json", "hparams.yaml"}


EVALUATE = [
    (["task.test=[]"], 2, "task.test names no data directory"),
    (["task.train=[{root}/no]"], 3, "{root}/no"),
    (["task.labels=words"], 2, "task.labels='words'"),
    (["task.name=a/b"], 2, "expected letters, digits"),
    (["task.label_files=[{root}/no]"], 3, "there are no phone labels"),
    (["task.label_files=[{root}/file]"], 3, "{root}/file"),
    (["task.dev=[{root}/mute]"], 3, "there are no phone labels"),
    (["task.labels=characters", "head=ctc", "task.dev=[{root}/mute]"], 3, "text"),
    (["head.layer=first"], 2, "layer='first'"),
    (["training.max_steps=0"], 2, "max_steps=0, expected at least 1"),
    (["training.validate_every_steps=0"], 2, "validate_every_steps=0"),
    (["training.num_layers=9"], 2, "num_layers is 9, expected 0 to 3"),
    (["training.num_layers=-1"], 2, "num_layers=-1, expected at least 0"),
    (["training.batch_seconds=-1"], 2, "batch_seconds=-1.0"),
    (["--features", "{root}/no"], 3, "there are no features"),
    (["--features", "{root}/empty"], 3, "there are no features"),
    (["--model", "{root}/empty"], 3, "config.yaml: is missing"),
    (["--config_dir", CONF, "--config", "evaluate_none"], 2, "evaluate_none"),
]


@pytest.mark.parametrize(("changes", "code", "message"), EVALUATE)
def test_evaluate_that_cannot_work_is_one_line_and_leaves_nothing(
    refuse, places, tmp_path, changes, code, message
):
    changes = filled(changes, places, tmp_path)
    options = changes if changes[0].startswith("--") else []
    words = evaluate_arguments(places / "data", *(c for c in changes if c not in options))
    model = [] if "--model" in options else ["--model", places / "model"]
    line = refuse(["evaluate", *words, *model, *options, "--out_dir", tmp_path / "out"], code)
    assert message.format(root=places) in line
    assert not visible(tmp_path)


@pytest.mark.parametrize("verb", ["pretrain", "compress", "evaluate"])
def test_verb_in_a_directory_in_use_exits_4_naming_the_process(refuse, places, tmp_path, verb):
    words = {
        "pretrain": arguments(places / "data"),
        "compress": ["compressor=depth", "compressor.layers=1", "--model", places / "model"],
        "evaluate": [*evaluate_arguments(places / "data"), "--model", places / "model"],
    }[verb]
    with own_directory(tmp_path / "out"):
        line = refuse([verb, *words, "--out_dir", tmp_path / "out"], 4)
    assert f"in use by process {os.getpid()} on" in line


def test_pretrain_on_features_of_another_frontend_exits_3(refuse, places, tmp_path):
    from made_runs import choice

    from speechlite.plugins.discovery import discover
    from speechlite.plugins.registry import Registry

    registry = Registry(discover())
    other = choice(registry, "frontend", "fbank", num_mels=9)
    dumped = tmp_path / "dump"
    dump_features(other, [places / "data" / n for n in ("train", "dev")], dumped, registry)
    words = arguments(places / "data", f"data.features={dumped}")
    line = refuse(["pretrain", *words, "--out_dir", tmp_path / "out"], 3)
    assert "the features were made by" in line


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None, reason="needs root and setpriv"
)
@pytest.mark.parametrize("verb", ["compress", "dump"])
def test_verb_in_a_directory_that_may_not_be_written_exits_5(places, tmp_path, verb):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    words = {
        "compress": [
            "compress", "compressor=depth", "compressor.layers=1", "--model", "model",
            "--out_dir", str(locked / "out"),
        ],
        "dump": [
            "data", "dump", "data/dev", "--out_dir", str(locked / "out"),
            "--override", "frontend=fbank", "--override", "encoder=identity",
            "--override", "objective=reconstruction",
        ],
    }[verb]  # fmt: skip
    # a process of root's that may not override permissions
    command = ["setpriv", "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"]
    done = subprocess.run(
        [*command, sys.executable, "-m", "speechlite", *words],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=places,
        env=environment(PYTHONPATH=str(Path(__file__).parents[2])),
    )
    errors = [line for line in done.stderr.splitlines() if line.startswith("speechlite: error:")]
    assert (done.returncode, len(errors)) == (5, 1), done.stderr
    assert "ermission denied" in errors[0]
    assert not list(locked.iterdir())
