"""Compressors that hear data: what they hear, what is written, what is refused."""

import json
from dataclasses import replace

import pytest
import torch
from made_runs import compress_config, evaluate_arguments, leftovers
from safetensors.torch import load_file

from speechlite.config.compose import compose
from speechlite.core.errors import CheckpointError, ConfigError, DataError
from speechlite.engine.checkpoint import load_model
from speechlite.engine.compress import compress_checkpoint
from speechlite.engine.evaluate import evaluate
from speechlite.engine.head_files import OwnHead, load_head, save_head
from speechlite.engine.profile import count_parameters

OBS = ("compressor=obs", "compressor.sparsity=0.6")
TUNE = (
    "objective=finetune",
    "head=ctc",
    "head.recurrent_layers=0",
    "head.layer=last",
    "data.labels=characters",
    "data.max_seconds=3",
    "data.batch_seconds=4",
)


@pytest.fixture
def options(registry, speech):
    """Compose options of a compression, without an objective unless one is named."""

    def make(*further):
        return compress_config(registry, speech, *further)

    return make


@pytest.fixture
def tuned(saved, registry, options, tmp_path):
    """Write a model that was fine-tuned with a head."""
    return compress_checkpoint(options(*TUNE), saved, tmp_path / "tuned", registry)


def zeros(model):
    return {
        name: part.zeros
        for name, part in model.named_modules()
        if isinstance(getattr(part, "zeros", None), int)
    }


def test_obs_prunes_a_checkpoint_and_says_what_it_took(saved, registry, options, tmp_path):
    config = options(*OBS, "calibration.utterances=5")
    target = compress_checkpoint(config, saved, tmp_path / "out", registry)
    model = load_model(target, registry)
    before, after = count_parameters(load_model(saved, registry)), count_parameters(model)
    assert before["total"] == after["total"]
    assert before["nonzero"] - after["nonzero"] == sum(zeros(model).values()) > 1000
    facts = json.loads((tmp_path / "out" / "training.json").read_text())
    assert (facts["utterances"], facts["steps"]) == (5, 0)
    assert facts["peak_bytes"] > 0
    assert 0 < facts["audio_hours_seen"] * 3600 < 5 * 0.91
    assert leftovers(tmp_path / "out") == []


def test_pruning_twice_gives_the_same_bytes(saved, registry, options, tmp_path):
    paths = [compress_checkpoint(options(*OBS), saved, tmp_path / name, registry) for name in "ab"]
    contents = [(path / "model.safetensors").read_bytes() for path in paths]
    assert contents[0] == contents[1]


def test_second_run_is_skipped_and_other_data_is_heard(
    saved, registry, options, speech, tmp_path, capfd
):
    compress_checkpoint(options(*OBS), saved, tmp_path / "out", registry)
    compress_checkpoint(options(*OBS), saved, tmp_path / "out", registry)
    assert "up to date" in capfd.readouterr().err
    compress_checkpoint(
        options(*OBS, f"data.train=[{speech / 'dev'}]"), saved, tmp_path / "out", registry
    )
    assert "up to date" not in capfd.readouterr().err


def test_calibration_without_data_is_refused(saved, registry, options, tmp_path):
    with pytest.raises(ConfigError, match="data.train names no directory"):
        compress_checkpoint(options(*OBS, "data.train=[]"), saved, tmp_path / "out", registry)
    assert not (tmp_path / "out" / "model").exists()


def test_calibration_without_an_accelerator_is_refused(
    saved, registry, options, tmp_path, monkeypatch
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="trainer.accelerator=gpu, and there is none"):
        compress_checkpoint(
            options(*OBS, "trainer.accelerator=gpu"), saved, tmp_path / "out", registry
        )


@pytest.mark.parametrize(
    "loss",
    [
        (*TUNE, "calibration.fit_steps=2"),
        ("objective=reconstruction", "calibration.fit_steps=1"),
        ("objective=distillation", "objective.layers=[1,3]", "objective.l1_weight=0"),
    ],
)
def test_sensitivity_under_any_loss_mixes_sparsity(saved, registry, options, tmp_path, loss):
    config = options(
        *OBS, "compressor.allocation=sized", "compressor.probes=1", "trainer.max_steps=1", *loss
    )
    model = load_model(compress_checkpoint(config, saved, tmp_path / "out", registry), registry)
    sparse = {name: part for name, part in model.named_modules() if hasattr(part, "nonzeros")}
    parts = {round(part.zeros / part.shape.numel(), 2) for part in sparse.values()}
    assert len(parts) > 5
    total = sum(part.shape.numel() for part in sparse.values())
    assert sum(part.zeros for part in sparse.values()) == round(0.6 * total)


def test_finetuning_learns_and_keeps_its_head(saved, registry, options, tmp_path):
    config = options(*TUNE, "trainer.max_steps=12", "optimizer.learning_rate=0.02")
    target = compress_checkpoint(config, saved, tmp_path / "out", registry)
    own = load_head(target, registry)
    assert own.labels.stream == "characters"
    assert own.choice.name == "ctc"
    losses = [
        loss for _, loss in json.loads((tmp_path / "out/training.json").read_text())["validations"]
    ]
    assert losses[-1] < losses[0]
    before, after = (load_file(path / "model.safetensors") for path in (saved, target))
    # filterbanks are computed, but their projection belongs to the encoder's input
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_finetuning_revives_no_pruned_weight(tuned, registry, options, tmp_path):
    sparse = compress_checkpoint(options(*OBS), tuned, tmp_path / "sparse", registry)
    again = compress_checkpoint(
        options(
            *TUNE[:1],
            *TUNE[4:],
            "trainer.accumulate=2",
            "optimizer.weight_decay=0.1",
            "optimizer.learning_rate=0.05",
        ),
        sparse,
        tmp_path / "again",
        registry,
    )
    before, after = (load_file(path / "model.safetensors") for path in (sparse, again))
    masks = [name for name in before if name.endswith("weight.mask")]
    assert masks
    for name in masks:
        assert torch.equal(before[name], after[name])
        values = name.replace("mask", "values")
        assert before[values].shape == after[values].shape
        assert not torch.equal(before[values], after[values])


def test_pruning_keeps_the_head(tuned, registry, options, tmp_path):
    sparse = compress_checkpoint(options(*OBS), tuned, tmp_path / "sparse", registry)
    heads = [load_head(path, registry).head.state_dict() for path in (tuned, sparse)]
    for name, tensor in heads[0].items():
        assert torch.equal(tensor, heads[1][name])


def test_head_keeps_symbols_that_yaml_takes_for_booleans(tuned, registry, tmp_path):
    own = load_head(tuned, registry)
    labels = replace(own.labels, symbols=("<blank>", " ", "N", "Y"))
    odd = OwnHead.fresh(own.choice, registry, dim=own.dim, num_layers=own.num_layers, labels=labels)
    save_head(odd, tmp_path)
    assert load_head(tmp_path, registry).labels == labels


def test_finetuning_goes_on_with_the_models_own_head(tuned, registry, options, tmp_path):
    config = options(*TUNE[:1], *TUNE[4:], "trainer.max_steps=1", "optimizer.learning_rate=1.0e-9")
    again = compress_checkpoint(config, tuned, tmp_path / "again", registry)
    heads = [load_head(path, registry).head.state_dict() for path in (tuned, again)]
    for name, tensor in heads[0].items():
        torch.testing.assert_close(tensor, heads[1][name], rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (("data.labels=null",), "data.labels names no label stream"),
        (("head=phone",), "head phone wants one label a frame"),
    ],
)
def test_finetuning_without_what_it_needs_is_refused(
    saved, registry, options, tmp_path, changes, message
):
    kept = [o for o in TUNE if o.split("=")[0] not in {c.split("=")[0] for c in changes}]
    kept = [o for o in kept if not (changes[0].startswith("head=") and o.startswith("head."))]
    with pytest.raises(ConfigError, match=message):
        compress_checkpoint(options(*kept, *changes), saved, tmp_path / "out", registry)


def test_finetuning_without_a_head_is_refused(saved, registry, options, tmp_path):
    with pytest.raises(ConfigError, match="none is chosen and the model has none"):
        compress_checkpoint(options(TUNE[0], *TUNE[4:]), saved, tmp_path / "out", registry)


def test_labels_for_an_objective_without_a_head_are_refused(saved, registry, options, tmp_path):
    with pytest.raises(ConfigError, match="data.labels is set, and no objective uses it"):
        compress_checkpoint(
            options("objective=reconstruction", "data.labels=characters"),
            saved,
            tmp_path / "out",
            registry,
        )


def test_parp_trains_and_prunes(saved, registry, options, tmp_path):
    config = options(
        "compressor=parp", "compressor.sparsity=0.5", "compressor.every_steps=2", *TUNE
    )
    model = load_model(compress_checkpoint(config, saved, tmp_path / "out", registry), registry)
    for part in model.modules():
        if hasattr(part, "nonzeros"):
            assert part.nonzeros == part.shape.numel() - round(0.5 * part.shape.numel())
    assert load_head(tmp_path / "out" / "model", registry) is not None


@pytest.mark.parametrize(
    "first", ["compressor=l0_structured", "compressor=magnitude_structured", "compressor=depth"]
)
def test_chain_of_structured_pruning_obs_and_int8_reloads_bit_equal(
    saved, registry, options, tmp_path, first
):
    structured = [first, "compressor.layers=2" if "depth" in first else "compressor.target=0.3"]
    if "l0" in first:
        structured += [
            "compressor.warmup_steps=2", "compressor.learning_rate=0.1",
            "objective=distillation", "objective.layers=[0,1,3]",
        ]  # fmt: skip
    smaller = compress_checkpoint(options(*structured), saved, tmp_path / "a", registry)
    sparse = compress_checkpoint(options(*OBS), smaller, tmp_path / "b", registry)
    codes = compress_checkpoint(options("compressor=int8"), sparse, tmp_path / "c", registry)
    wave, lengths = torch.randn(2, 8000), torch.tensor([8000, 5000])
    for path, edits in ((sparse, 2), (codes, 3)):
        models = [load_model(path, registry) for _ in range(2)]
        assert len(models[0].edits) == edits
        with torch.no_grad():
            states = [model(wave, lengths).layers[-1] for model in models]
        assert torch.equal(*states)
        assert bool(torch.isfinite(states[0]).all())
    # pruned codes are not stored
    names = load_file(codes / "model.safetensors")
    assert any(name.endswith("weight.values") and names[name].dtype == torch.int8 for name in names)


def evaluation(registry, speech, *further):
    return compose(
        "evaluate",
        registry=registry,
        overrides=evaluate_arguments(
            speech, "head=ctc", "head.recurrent_layers=0", "task.labels=characters", *further
        ),
    )


def test_own_head_is_scored_as_it_is(tuned, registry, speech):
    config = evaluation(registry, speech, "head.layer=last", "training.own_head=true")
    model, own = load_model(tuned, registry), load_head(tuned, registry)
    before = {name: value.clone() for name, value in own.head.state_dict().items()}
    first = evaluate(config, model, registry, own=own)
    second = evaluate(config, model, registry, own=own)
    assert first.best_step == 0
    assert first.tests[0].scores == second.tests[0].scores
    assert all(torch.equal(value, own.head.state_dict()[name]) for name, value in before.items())


@pytest.mark.parametrize(
    ("changes", "has_head", "message"),
    [
        (("head.layer=last",), False, "the model was never fine-tuned with a head"),
        (("head.layer=weighted",), True, "the model's head is ctc with"),
    ],
)
def test_own_head_that_is_not_there_or_another_is_refused(
    tuned, registry, speech, changes, has_head, message
):
    config = evaluation(registry, speech, "training.own_head=true", *changes)
    own = load_head(tuned, registry) if has_head else None
    with pytest.raises(ConfigError, match=message):
        evaluate(config, load_model(tuned, registry), registry, own=own)


def test_own_head_of_other_characters_is_refused(tuned, registry, speech, tmp_path):
    other = tmp_path / "words"
    other.mkdir()
    for file in (speech / "train").iterdir():
        if file.is_file() and file.name != "text":
            (other / file.name).write_bytes(file.read_bytes())
    rows = (speech / "train" / "text").read_text().replace("A", "AQ", 1)
    (other / "text").write_text(rows)
    config = evaluation(
        registry, speech, "head.layer=last", "training.own_head=true", f"task.train=[{other}]"
    )
    with pytest.raises(DataError, match=r"has characters \['Q'\] that the model's head lacks"):
        evaluate(config, load_model(tuned, registry), registry, own=load_head(tuned, registry))


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("head.json", None, "is missing"),
        ("head.json", b"a: 1\n", "not a head's file"),
        ("head.json", b"[1]", "not a head's file"),
        ("head.safetensors", b"damaged", "weights of the SHA-256 that"),
    ],
)
def test_damaged_head_is_refused(tuned, registry, file, content, message):
    path = tuned / "head" / file
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        load_head(tuned, registry)


@pytest.mark.parametrize("options_of_head", ['"dim": -1', '"dim": 10000000000000'])
def test_head_of_impossible_size_is_refused(tuned, registry, options_of_head):
    path = tuned / "head" / "head.json"
    path.write_text(path.read_text().replace('"dim": 8', options_of_head))
    with pytest.raises(CheckpointError, match="gives no head"):
        load_head(tuned, registry)


def test_head_that_reads_other_layers_stays_behind(tuned, registry, options, tmp_path, capfd):
    target = compress_checkpoint(
        options("compressor=depth", "compressor.layers=2"), tuned, tmp_path / "out", registry
    )
    assert load_head(target, registry) is None
    assert "stays behind: the model now has 3 of 8" in capfd.readouterr().err


def test_training_under_another_objective_keeps_the_head(tuned, registry, options, tmp_path):
    target = compress_checkpoint(
        options("objective=reconstruction", "trainer.max_steps=1"), tuned, tmp_path / "o", registry
    )
    assert load_head(target, registry) is not None


def test_fitting_leaves_the_models_own_head_alone(tuned, registry, options, tmp_path):
    mixed = [*OBS, "compressor.allocation=ranked", "compressor.probes=1", "calibration.fit_steps=2"]
    target = compress_checkpoint(
        options(*mixed, TUNE[0], *TUNE[4:]), tuned, tmp_path / "out", registry
    )
    heads = [load_head(path, registry).head.state_dict() for path in (tuned, target)]
    assert all(torch.equal(value, heads[1][name]) for name, value in heads[0].items())


def test_another_teacher_of_sensitivities_is_noticed(saved, tuned, registry, options, tmp_path):
    for teacher in (saved, tuned):
        config = options(
            *OBS, "compressor.allocation=ranked", "compressor.probes=1",
            "objective=distillation", "objective.layers=[3]", f"objective.teacher={teacher}",
        )  # fmt: skip
        compress_checkpoint(config, saved, tmp_path / "out", registry)
    stamp = json.loads((tmp_path / "out" / "stamp.json").read_text())
    assert str(tuned) in json.dumps(stamp)


def test_accelerator_that_calibration_does_not_know_is_refused(saved, registry, options, tmp_path):
    with pytest.raises(ConfigError, match="trainer.accelerator=tpu, calibration knows"):
        compress_checkpoint(
            options(*OBS, "trainer.accelerator=tpu"), saved, tmp_path / "out", registry
        )


def test_head_that_nobody_uses_is_refused(saved, registry, options, tmp_path):
    with pytest.raises(ConfigError, match="head is set, and no objective uses it"):
        compress_checkpoint(options(*OBS, "head=ctc"), saved, tmp_path / "out", registry)
