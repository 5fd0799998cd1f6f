from __future__ import annotations

import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from speechlite.core.errors import CheckpointError
from speechlite.engine.importing import model_of
from speechlite.interop.huggingface import read_huggingface
from speechlite.interop.names import HUGGINGFACE, rename
from speechlite.interop.sources import read_source

LEGACY = {"frontend.legacy_padding": True, "frontend.normalise": False}


def ours_of(folder, registry, chosen=LEGACY):
    return model_of(read_huggingface(folder, chosen), registry)


@pytest.fixture(scope="module")
def base_folder(small, tmp_path_factory):
    """Give a folder of a small HuBERT; tests must not change it."""
    folder = tmp_path_factory.mktemp("hubert")
    small("HubertModel").save_pretrained(folder)
    return folder


@pytest.fixture
def folder(base_folder, tmp_path):
    return shutil.copytree(base_folder, tmp_path / "hubert")


@pytest.mark.parametrize("family", ["HubertModel", "Wav2Vec2Model", "WavLMModel"])
@pytest.mark.parametrize("pre_norm", [False, True])
@pytest.mark.parametrize(("norm", "bias"), [("group", False), ("layer", True)])
def test_huggingface_when_imported_computes_the_same_in_padded_batches(
    family, pre_norm, norm, bias, small, registry, speech, states_of_huggingface, gap, tmp_path
):
    theirs = small(family, do_stable_layer_norm=pre_norm, feat_extract_norm=norm, conv_bias=bias)
    theirs.save_pretrained(tmp_path)
    with torch.no_grad():
        ours = ours_of(tmp_path, registry)(speech.values, speech.lengths)
    assert gap(ours, states_of_huggingface(theirs, speech)) < 1e-5


@pytest.mark.slow
def test_huggingface_when_hubert_base_is_imported_computes_the_same(
    transformers, registry, speech, states_of_huggingface, gap, tmp_path
):
    torch.manual_seed(0)
    theirs = transformers.HubertModel(transformers.HubertConfig()).eval()
    theirs.save_pretrained(tmp_path)
    model = ours_of(tmp_path, registry)
    assert sum(parameter.numel() for parameter in model.parameters()) == 94_370_944
    with torch.no_grad():
        ours = model(speech.values, speech.lengths)
    assert gap(ours, states_of_huggingface(theirs, speech)) < 1e-5


@pytest.mark.parametrize("name", ["relu", "swish", "silu"])
def test_huggingface_when_the_activation_is_another_computes_the_same(
    name, small, registry, speech, states_of_huggingface, gap, tmp_path
):
    theirs = small("HubertModel", hidden_act=name)
    theirs.save_pretrained(tmp_path)
    with torch.no_grad():
        ours = ours_of(tmp_path, registry)(speech.values, speech.lengths)
    assert gap(ours, states_of_huggingface(theirs, speech)) < 1e-5


def test_huggingface_when_features_have_no_norm_computes_the_same(
    small, registry, speech, states_of_huggingface, gap, tmp_path
):
    theirs = small("HubertModel", feat_proj_layer_norm=False)
    theirs.save_pretrained(tmp_path)
    with torch.no_grad():
        ours = ours_of(tmp_path, registry)(speech.values, speech.lengths)
    assert gap(ours, states_of_huggingface(theirs, speech)) < 1e-5


def test_huggingface_when_waveforms_are_normalised_computes_the_same(
    small, transformers, registry, speech, states_of_huggingface, gap, tmp_path
):
    theirs = small("HubertModel", do_stable_layer_norm=True, feat_extract_norm="layer")
    theirs.save_pretrained(tmp_path)
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)
    extractor.save_pretrained(tmp_path)
    waves = [
        wave[:length].numpy() for wave, length in zip(speech.values, speech.lengths, strict=True)
    ]
    inputs = extractor(waves, sampling_rate=16000, padding=True, return_tensors="pt")
    normalised = type(speech)(inputs["input_values"], speech.lengths)
    with torch.no_grad():
        ours = ours_of(tmp_path, registry, {})(speech.values, speech.lengths)
    assert gap(ours, states_of_huggingface(theirs, normalised)) < 1e-5


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("HubertForCTC", {"mask_embedding": 32, "lm_head": 32 * 32 + 32}),
        (
            "Wav2Vec2ForPreTraining",
            {
                "mask_embedding": 32,
                "quantizer": 640 * 20 + 640 + 640 * 128,
                "project_hid": 32 * 256 + 256,
                "project_q": 256 * 256 + 256,
            },
        ),
        (
            "WavLMForSequenceClassification",
            {"mask_embedding": 32, "projector": 256 * 33, "classifier": 2 * 257},
        ),
    ],
)
def test_huggingface_when_a_model_has_heads_counts_what_is_left_out(
    name, expected, small, registry, tmp_path
):
    theirs = small(name)
    theirs.save_pretrained(tmp_path)
    imported = read_huggingface(tmp_path)
    assert imported.left_out == expected
    own = sum(parameter.numel() for parameter in model_of(imported, registry).parameters())
    assert own + sum(expected.values()) == theirs.num_parameters()


@pytest.mark.parametrize(
    ("name", "config", "own", "everything"),
    [
        ("HubertModel", "HubertConfig", 94_370_944, 94_371_712),
        ("Wav2Vec2ForCTC", "Wav2Vec2Config", 94_370_944, 94_396_320),
        ("Wav2Vec2ForPreTraining", "Wav2Vec2Config", 94_370_944, 95_044_608),
        ("WavLMModel", "WavLMConfig", 94_381_168, 94_381_936),
    ],
)
def test_huggingface_when_published_sizes_are_renamed_counts_as_published(
    name, config, own, everything, transformers
):
    with torch.device("meta"):
        model = getattr(transformers, name)(getattr(transformers, config)())
    named = rename(model.state_dict(), HUGGINGFACE, source="it")
    count = sum(tensor.numel() for tensor in named.tensors.values())
    assert (count, count + sum(named.left_out.values())) == (own, everything)


def same_weights(first, second):
    pairs = zip(first.state_dict().items(), second.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


def test_huggingface_when_weights_are_in_the_older_file_reads_the_same(folder, registry):
    expected = ours_of(folder, registry)
    tensors = load_file(folder / "model.safetensors")
    older = {
        name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): tensor
        for name, tensor in tensors.items()
    }
    (folder / "model.safetensors").unlink()
    torch.save(older, folder / "pytorch_model.bin")
    assert same_weights(ours_of(folder, registry), expected)


def test_huggingface_when_weights_are_in_shards_reads_the_same(small, registry, tmp_path):
    theirs = small("HubertModel")
    theirs.save_pretrained(tmp_path / "one")
    theirs.save_pretrained(tmp_path / "many", max_shard_size="20KB")
    assert len(list((tmp_path / "many").glob("*.safetensors"))) > 1
    assert same_weights(ours_of(tmp_path / "many", registry), ours_of(tmp_path / "one", registry))


def test_huggingface_when_only_a_file_is_given_infers_the_rest(small, registry, tmp_path):
    theirs = small("HubertModel", hidden_size=64, num_attention_heads=1)
    theirs.save_pretrained(tmp_path)
    imported = read_source(
        str(tmp_path / "model.safetensors"), chosen={"frontend.strides": [5, 4, 2], **LEGACY}
    )
    assert imported.assumed == {"encoder.norm": "post", "encoder.heads": 1}
    assert same_weights(model_of(imported, registry), ours_of(tmp_path, registry))


def test_huggingface_when_half_precision_is_imported_gives_single_precision(
    small, registry, tmp_path
):
    theirs = small("HubertModel").half()
    theirs.save_pretrained(tmp_path)
    model = ours_of(tmp_path, registry)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    weight = theirs.feature_projection.projection.weight
    assert torch.equal(model.frontend.projection.linear.weight, weight.float())


def change(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"model_type": "data2vec-audio"},
            "model_type is 'data2vec-audio', expected one of hubert",
        ),
        ({"layer_norm_eps": 1e-6}, "layer_norm_eps is 1e-06, only 1e-05"),
        ({"hidden_act": "gelu_new"}, "hidden_act is 'gelu_new', only gelu or relu or swish"),
        ({"feat_extract_activation": "relu"}, "feat_extract_activation is 'relu', only gelu"),
        ({"conv_pos_batch_norm": True}, "conv_pos_batch_norm is True, only False"),
        ({"add_adapter": True}, "add_adapter is True, only False"),
        ({"adapter_attn_dim": 16}, "adapter_attn_dim is 16, only None"),
    ],
)
def test_huggingface_when_an_option_cannot_be_expressed_names_it(folder, values, message):
    change(folder, **values)
    with pytest.raises(CheckpointError, match=rf"config\.json: {re.escape(message)}"):
        read_huggingface(folder)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_hidden_layers": 2}, r"missing \[\], surplus \['encoder.layers.2"),
        ({"num_hidden_layers": 4}, r"missing \['encoder.layers.3"),
        (
            {"intermediate_size": 40},
            r"expand.bias is torch.float32 \(48,\), expected floats \(40,\)",
        ),
        ({"conv_bias": True}, r"missing \['frontend.stack.layers.0.convolution.bias"),
    ],
)
def test_huggingface_when_configuration_and_weights_differ_says_where(
    folder, registry, values, message
):
    change(folder, **values)
    with pytest.raises(CheckpointError, match=message):
        ours_of(folder, registry)


def test_huggingface_when_a_tensor_is_unknown_names_it(folder):
    tensors = load_file(folder / "model.safetensors")
    save_file({**tensors, "encoder.extra.weight": torch.ones(1)}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"tensor encoder\.extra\.weight, which no supported"):
        read_huggingface(folder)


def test_huggingface_when_two_spellings_of_a_tensor_are_there_names_it(folder):
    tensors = load_file(folder / "model.safetensors")
    twice = {**tensors, "encoder.pos_conv_embed.conv.weight_g": torch.ones(1, 1, 8)}
    save_file(twice, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="two tensors for encoder.positions.gain"):
        read_huggingface(folder)


def test_huggingface_when_the_first_convolution_is_missing_says_so(folder):
    save_file({"encoder.layer_norm.weight": torch.ones(32)}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"holds 0 tensors feature_extractor\.conv_layers\.0"):
        read_huggingface(folder)


def test_huggingface_when_positions_are_missing_names_them(folder):
    tensors = load_file(folder / "model.safetensors")
    name = "encoder.pos_conv_embed.conv.parametrizations.weight.original1"
    save_file({k: v for k, v in tensors.items() if k != name}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="no tensor for encoder.positions.direction"):
        read_huggingface(folder)


def test_huggingface_when_a_tensor_has_too_few_axes_says_so(folder):
    tensors = load_file(folder / "model.safetensors")
    name = "feature_extractor.conv_layers.1.conv.weight"
    save_file({**tensors, name: torch.ones(3)}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="tensors of odd shapes"):
        read_huggingface(folder)


def test_huggingface_when_layers_are_numbered_absurdly_says_so(folder):
    tensors = load_file(folder / "model.safetensors")
    odd = {**tensors, "encoder.layers.99999999999.layer_norm.weight": torch.ones(32)}
    save_file(odd, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="tensors of odd shapes"):
        read_huggingface(folder)


def test_huggingface_when_heads_cannot_be_inferred_asks_for_them(folder):
    with pytest.raises(CheckpointError, match=r"does not tell encoder\.heads.*width 32.*add enc"):
        read_source(str(folder / "model.safetensors"))


def test_huggingface_when_strides_cannot_be_inferred_asks_for_them(folder):
    with pytest.raises(CheckpointError, match=r"does not tell frontend\.strides.*\[10, 3, 3\]"):
        read_source(str(folder / "model.safetensors"), chosen={"encoder.heads": 4})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", "{", "config.json: not JSON"),
        ("config.json", "[]", "config.json: expected a JSON object"),
        ("model.safetensors", "x", "model.safetensors: damaged"),
    ],
)
def test_huggingface_when_a_file_is_damaged_says_which(folder, name, content, message):
    (folder / name).write_text(content)
    with pytest.raises(CheckpointError, match=message):
        read_huggingface(folder)


def test_huggingface_when_the_configuration_is_missing_says_so(folder):
    (folder / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"config\.json: No such file"):
        read_huggingface(folder)


def test_huggingface_when_weights_are_missing_says_which_names_are_read(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"no model\.safetensors, no pytorch_model\.bin"):
        read_huggingface(folder)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ({}, "has no weight_map"),
        ({"weight_map": {"a": "../model.safetensors"}}, r"names a file '\.\./model\.safetensors'"),
        ({"weight_map": {"a": "gone.safetensors"}}, "names a file 'gone.safetensors'"),
        ({"weight_map": {"a": "part.safetensors"}}, "the files and their index differ"),
    ],
)
def test_huggingface_when_an_index_is_wrong_says_how(folder, index, message):
    (folder / "model.safetensors").rename(folder / "part.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=message):
        read_huggingface(folder)
