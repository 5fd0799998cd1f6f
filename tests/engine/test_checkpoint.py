from __future__ import annotations

import hashlib
import pickle
import random

import pytest
import torch
import yaml
from made_runs import choice, leftovers
from safetensors.torch import load_file, save_file

from speechlite.config.compose import config_hash
from speechlite.config.schema import CompressConfig
from speechlite.core.errors import CheckpointError, ConfigError, EnvironmentProblem, PluginError
from speechlite.engine import checkpoint
from speechlite.engine.build import build_compressor
from speechlite.engine.checkpoint import checkpoint_sha256, load_model, named_tensors, save_model
from speechlite.engine.compress import compress

REFUSED = (CheckpointError, ConfigError, PluginError)


def outputs(model):
    generator = torch.Generator().manual_seed(1)
    waves_BT = 0.1 * torch.randn(2, 8000, generator=generator)
    with torch.no_grad():
        return torch.stack(model(waves_BT, torch.tensor([8000, 6000])).layers)


def refusal(path, registry):
    """Return the one line that loading fails with."""
    with pytest.raises(REFUSED) as caught:
        load_model(path, registry)
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    return text


def rewrite(path, **changes):
    """Change the config of a checkpoint and make its hash fit, as an attacker would."""
    file = path / "config.yaml"
    content = yaml.safe_load(file.read_text())
    content.update(changes)
    content.pop("config_sha256")
    weights = (path / "model.safetensors").read_bytes()
    content.setdefault("weights_sha256", "")
    if "weights_sha256" not in changes:
        content["weights_sha256"] = hashlib.sha256(weights).hexdigest()
    content["config_sha256"] = config_hash(content)
    file.write_text(yaml.safe_dump(content, sort_keys=False))


def shallower(model, registry, layers=2):
    config = CompressConfig(choice(registry, "compressor", "depth", layers=layers))
    return compress(config.compressor, model, registry)


def test_model_when_saved_and_loaded_gives_bit_equal_outputs(make_model, registry, tmp_path):
    model = make_model(seed=3)
    save_model(model, tmp_path / "m")
    again = load_model(tmp_path / "m", registry)
    assert torch.equal(outputs(again), outputs(model))
    assert again.spec == model.spec
    assert not again.training


@pytest.mark.parametrize("share", [False, True])
def test_model_when_compressed_saved_and_loaded_gives_bit_equal_outputs(
    make_model, registry, tmp_path, share
):
    model = shallower(make_model(share_parameters=share), registry)
    save_model(model, tmp_path / "m")
    again = load_model(tmp_path / "m", registry)
    assert again.num_layers == 2
    assert torch.equal(outputs(again), outputs(model))
    assert [edit.plan for edit in again.edits] == [{"layers": 2}]


def test_model_when_compressed_twice_keeps_both_edits(make_model, registry, tmp_path):
    model = shallower(shallower(make_model(), registry), registry, layers=1)
    save_model(model, tmp_path / "m")
    again = load_model(tmp_path / "m", registry)
    assert [edit.plan["layers"] for edit in again.edits] == [2, 1]
    assert torch.equal(outputs(again), outputs(model))


def test_shared_layers_when_saved_are_stored_once(make_model, tmp_path):
    save_model(make_model(share_parameters=True), tmp_path / "shared")
    save_model(make_model(layers=1), tmp_path / "single")
    shared, single = (load_file(tmp_path / n / "model.safetensors") for n in ("shared", "single"))
    assert {k: v.shape for k, v in shared.items()} == {k: v.shape for k, v in single.items()}


def test_shared_layers_when_loaded_are_one_layer(make_model, registry, tmp_path):
    save_model(make_model(share_parameters=True), tmp_path / "m")
    layers = load_model(tmp_path / "m", registry).encoder.layers
    assert layers[0] is layers[1] is layers[2]


def test_named_tensors_of_a_model_are_its_distinct_parameters_and_buffers(make_model):
    model = make_model(share_parameters=True)
    tensors = named_tensors(model)
    distinct = {id(value) for value in model.state_dict(keep_vars=True).values()}
    assert {id(value) for value in tensors.values()} == distinct
    assert len(tensors) == len(distinct)


def test_checkpoint_when_written_holds_no_pickle(saved):
    assert sorted(path.name for path in saved.iterdir()) == [
        "README.md",
        "config.yaml",
        "model.safetensors",
    ]


def test_checkpoint_hash_when_weights_differ_differs(make_model, tmp_path):
    for seed in (0, 1):
        save_model(make_model(seed=seed), tmp_path / str(seed))
    assert checkpoint_sha256(tmp_path / "0") != checkpoint_sha256(tmp_path / "1")


@pytest.mark.parametrize("name", ["model.safetensors", "config.yaml"])
def test_checkpoint_when_truncated_anywhere_is_refused(saved, registry, name):
    file = saved / name
    content = file.read_bytes()
    offsets = sorted({round(i * (len(content) - 1) / 119) for i in range(120)})
    assert len(offsets) >= 100
    for offset in offsets:
        file.write_bytes(content[:offset])
        if content[offset:].strip():
            refusal(saved, registry)


@pytest.mark.parametrize("name", ["model.safetensors", "config.yaml"])
def test_checkpoint_when_any_bit_is_flipped_is_refused_or_means_the_same(saved, registry, name):
    file = saved / name
    content = file.read_bytes()
    expected = outputs(load_model(saved, registry))
    draw = random.Random(1)
    refused = 0
    for _ in range(150):
        flipped = bytearray(content)
        flipped[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        file.write_bytes(flipped)
        try:
            model = load_model(saved, registry)
        except REFUSED as error:
            assert len(str(error).splitlines()) == 1  # noqa: PT017 (not all damage is refused)
            refused += 1
        else:
            # a space more in YAML changes nothing
            assert name == "config.yaml"
            assert torch.equal(outputs(model), expected)
    assert refused > 120


def test_checkpoint_when_two_tensors_are_swapped_is_refused(saved, registry):
    file = saved / "model.safetensors"
    tensors = load_file(file)
    first, second = (f"encoder.layers.{i}.final_norm.weight" for i in (0, 1))
    tensors[first], tensors[second] = tensors[second].clone() + 1, tensors[first].clone()
    save_file(tensors, file)
    assert "SHA-256" in refusal(saved, registry)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda value: value[:-1], r"expected torch.float32 \(8,\)"),
        (lambda value: value.double(), "is torch.float64"),
        (lambda value: value.half(), "is torch.float16"),
        (lambda value: value[None], r"\(1, 8\), expected"),
    ],
)
def test_checkpoint_when_a_tensor_has_another_shape_or_type_is_refused(
    saved, registry, change, message
):
    file = saved / "model.safetensors"
    tensors = load_file(file)
    name = "encoder.layers.0.final_norm.weight"
    tensors[name] = change(tensors[name]).contiguous()
    save_file(tensors, file)
    rewrite(saved)
    with pytest.raises(CheckpointError, match=message):
        load_model(saved, registry)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.popitem(), "weights do not fit: missing"),
        (lambda tensors: tensors.update(spare=torch.ones(1)), r"surplus \['spare'\]"),
    ],
)
def test_checkpoint_when_tensors_are_missing_or_surplus_is_refused(
    saved, registry, change, message
):
    file = saved / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)
    rewrite(saved)
    with pytest.raises(CheckpointError, match=message):
        load_model(saved, registry)


class Canary:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("dump", [pickle.dump, torch.save])
def test_checkpoint_when_weights_are_a_pickle_is_refused_without_running_it(
    saved, registry, tmp_path, dump
):
    canary = tmp_path / "canary"
    with (saved / "model.safetensors").open("wb") as stream:
        dump(Canary(canary), stream)
    rewrite(saved)
    assert "damaged" in refusal(saved, registry)
    assert not canary.exists()


DEPTH = {"name": "depth", "layers": 2}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": "speechlite.model/2"}, "schema is 'speechlite.model/2'"),
        ({"schema": 1}, "not a model's config"),
        ({"spec": []}, "not a model's config"),
        ({"edits": {}}, "not a model's config"),
        ({"spec": {"encoder": {"name": "conformer"}}}, "expected the keys"),
        ({"spec": {"encoder": "conformer", "frontend": "fbank"}}, "a component is no mapping"),
        ({"spec": {"encoder": {}, "frontend": {"name": "fbank"}}}, "expected a component's name"),
        ({"spec": {"encoder": {"name": "alien"}, "frontend": {"name": "fbank"}}}, "alien"),
        (
            {"spec": {"encoder": {"name": "identity", "dim": 3}, "frontend": {"name": "fbank"}}},
            "dim",
        ),
        ({"edits": [{"compressor": DEPTH}]}, "expected the keys"),
        ({"edits": [DEPTH]}, "expected the keys"),
        ({"edits": ["depth"]}, "expected the keys"),
        ({"edits": [{"compressor": {"name": "alien"}, "plan": {}}]}, "alien"),
        ({"edits": [{"compressor": DEPTH, "plan": [1]}]}, "a component is no mapping"),
        ({"edits": [{"compressor": DEPTH, "plan": {}}]}, "the plan keeps None layers"),
        ({"edits": [{"compressor": DEPTH, "plan": {"layers": 9}}]}, "the plan keeps 9 layers"),
        ({"edits": [{"compressor": DEPTH, "plan": {"layers": "2"}}]}, "the plan keeps '2' layers"),
        ({"edits": [{"compressor": DEPTH, "plan": {"layers": 2}}]}, "weights do not fit"),
        ({"weights_sha256": "0" * 64}, "does not have the SHA-256"),
        ({"author": "me"}, "expected the keys"),
    ],
)
def test_checkpoint_when_its_config_does_not_fit_is_refused(saved, registry, changes, message):
    rewrite(saved, **changes)
    assert message in refusal(saved, registry)


@pytest.mark.parametrize("key", ["schema", "weights_sha256", "spec", "edits"])
def test_checkpoint_when_a_key_is_missing_is_refused(saved, registry, key):
    file = saved / "config.yaml"
    content = yaml.safe_load(file.read_text())
    del content[key]
    file.write_text(yaml.safe_dump(content))
    assert "expected the keys" in refusal(saved, registry)


def test_checkpoint_when_its_config_is_edited_by_hand_is_refused(saved, registry):
    file = saved / "config.yaml"
    file.write_text(file.read_text().replace("dropout: 0.1", "dropout: 0.3"))
    assert "does not have the SHA-256 that it names" in refusal(saved, registry)


@pytest.mark.parametrize("text", ["", "[", "!!python/object:os.system {}", "a: &x 1\nb: *x\n"])
def test_checkpoint_when_its_config_is_no_plain_yaml_is_refused(saved, registry, text):
    (saved / "config.yaml").write_text(text)
    refusal(saved, registry)


@pytest.mark.parametrize("name", ["config.yaml", "model.safetensors"])
def test_checkpoint_when_a_file_is_missing_is_refused(saved, registry, name):
    (saved / name).unlink()
    assert f"{name}: is missing" in refusal(saved, registry)


def test_checkpoint_when_the_disk_is_full_leaves_the_old_one(saved, make_model, monkeypatch):
    before = checkpoint_sha256(saved)

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(EnvironmentProblem, match="No space left"):
        save_model(make_model(seed=5), saved)
    assert checkpoint_sha256(saved) == before
    assert not leftovers(saved.parent)


def test_checkpoint_when_saved_over_an_older_one_replaces_it(saved, make_model, registry):
    model = make_model(seed=5)
    save_model(model, saved)
    assert torch.equal(outputs(load_model(saved, registry)), outputs(model))
    assert not leftovers(saved.parent)


def test_restructure_when_replayed_gives_the_same_model(make_model, registry):
    model = make_model()
    chosen = choice(registry, "compressor", "depth", layers=2)
    built = build_compressor(chosen, registry)
    twice = [built.restructure(model, {"layers": 2}) for _ in range(2)]
    assert torch.equal(outputs(twice[0]), outputs(twice[1]))
    assert model.num_layers == 3
