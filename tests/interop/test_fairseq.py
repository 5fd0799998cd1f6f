from __future__ import annotations

import argparse
import re

import pytest
import torch

from speechlite.core.errors import CheckpointError
from speechlite.engine.importing import model_of
from speechlite.interop.fairseq import convolutions_of, read_fairseq
from speechlite.interop.sources import read_source

CHANGES = (
    ("feature_projection.layer_norm.", "layer_norm."),
    ("feature_projection.projection.", "post_extract_proj."),
    ("pos_conv_embed.conv.parametrizations.weight.original0", "pos_conv.0.weight_g"),
    ("pos_conv_embed.conv.parametrizations.weight.original1", "pos_conv.0.weight_v"),
    ("pos_conv_embed.conv.", "pos_conv.0."),
    (".attention.rel_attn_embed.", ".self_attn.relative_attention_bias."),
    (".attention.gru_rel_pos_linear.", ".self_attn.grep_linear."),
    (".attention.gru_rel_pos_const", ".self_attn.grep_a"),
    (".attention.", ".self_attn."),
    (".feed_forward.intermediate_dense.", ".fc1."),
    (".feed_forward.output_dense.", ".fc2."),
    ("masked_spec_embed", "mask_emb"),
)
MODEL = {
    "encoder_layers": 3,
    "encoder_embed_dim": 32,
    "encoder_ffn_embed_dim": 48,
    "encoder_attention_heads": 4,
    "activation_fn": "gelu",
    "layer_norm_first": False,
    "extractor_mode": "default",
    "conv_feature_layers": "[(12, 10, 5)] + [(16,3,4)] + [(20,3,2)] * 1",
    "conv_bias": False,
    "conv_pos": 8,
    "conv_pos_groups": 4,
    "dropout": 0.1,
    "attention_dropout": 0.05,
    "dropout_input": 0.2,
    "encoder_layerdrop": 0.0,
    "feature_grad_mult": 0.1,
}
LEGACY = {"frontend.legacy_padding": True}


def names_of_fairseq(state, *, norm="default"):
    """Rename what transformers calls its tensors, as fairseq does."""
    tensors = {}
    for name, tensor in state.items():
        layer = re.match(r"feature_extractor\.conv_layers\.(\d+)\.(conv|layer_norm)\.(.*)", name)
        if layer:
            kinds = {"conv": "0", "layer_norm": "2" if norm == "default" else "2.1"}
            name = f"feature_extractor.conv_layers.{layer[1]}.{kinds[layer[2]]}.{layer[3]}"
        elif re.match(r"encoder\.layers\.\d+\.layer_norm", name):
            name = name.replace(".layer_norm.", ".self_attn_layer_norm.")
        else:
            for theirs, fairseq in CHANGES:
                name = name.replace(theirs, fairseq)
        tensors[name] = tensor
    return tensors


@pytest.fixture(scope="module")
def hubert(small):
    return small("HubertModel")


@pytest.fixture(scope="module")
def hubert_tensors(hubert):
    """Give the "model" of a HuBERT checkpoint, with its heads."""
    return {
        **names_of_fairseq(hubert.state_dict()),
        "final_proj.weight": torch.ones(8, 32),
        "final_proj.bias": torch.ones(8),
        "label_embs_concat": torch.ones(50, 8),
    }


def check(imported, theirs, registry, speech, states, gap):
    with torch.no_grad():
        ours = model_of(imported, registry)(speech.values, speech.lengths)
    assert gap(ours, states(theirs, speech)) < 1e-5


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize("where", ["args", "cfg"])
def test_fairseq_when_hubert_is_imported_computes_the_same(
    is_zip, where, hubert, hubert_tensors, registry, speech, states_of_huggingface, gap, tmp_path
):
    if where == "args":
        content = {"args": argparse.Namespace(**MODEL, normalize=False), "cfg": None}
    else:
        model, task = argparse.Namespace(**MODEL), {"normalize": False}
        content = {"args": None, "cfg": {"model": model, "task": task}}
    path = tmp_path / "hubert.pt"
    extra = {"optimizer_history": [{}], "task_state": {"dictionaries": [argparse.Namespace()]}}
    torch.save(
        {"model": hubert_tensors, **content, **extra}, path, _use_new_zipfile_serialization=is_zip
    )
    imported = read_source(str(path), chosen=LEGACY)
    assert imported.assumed == {}
    assert imported.left_out == {
        "mask_embedding": 32,
        "final_projection": 8 * 33,
        "label_embeddings": 50 * 8,
    }
    told = {name: imported.spec.frontend[name] for name in ("dropout", "gradient_scale")}
    assert told == {"dropout": 0.2, "gradient_scale": 0.1}
    check(imported, hubert, registry, speech, states_of_huggingface, gap)


def test_fairseq_when_a_large_model_is_imported_computes_the_same(
    small, registry, speech, states_of_huggingface, gap
):
    theirs = small(
        "Wav2Vec2Model", do_stable_layer_norm=True, feat_extract_norm="layer", conv_bias=True
    )
    model = {**MODEL, "layer_norm_first": True, "extractor_mode": "layer_norm", "conv_bias": True}
    imported = read_fairseq(
        names_of_fairseq(theirs.state_dict(), norm="layer_norm"),
        {"model": model, "task": {"normalize": True}},
        {"frontend.normalise": False},
    )
    check(imported, theirs, registry, speech, states_of_huggingface, gap)


def test_fairseq_when_wavlm_is_imported_computes_the_same(
    small, registry, speech, states_of_huggingface, gap
):
    theirs = small("WavLMModel", num_buckets=32, max_bucket_distance=100)
    flat = {**MODEL, "num_buckets": 32, "max_distance": 100, "normalize": False}
    imported = read_fairseq(names_of_fairseq(theirs.state_dict()), flat, LEGACY)
    assert imported.assumed == {}
    check(imported, theirs, registry, speech, states_of_huggingface, gap)


def test_fairseq_when_a_model_was_fine_tuned_reads_the_one_below(
    hubert, registry, speech, states_of_huggingface, gap
):
    tensors = {
        f"w2v_encoder.w2v_model.{name}": tensor
        for name, tensor in names_of_fairseq(hubert.state_dict()).items()
    }
    tensors["w2v_encoder.proj.weight"] = torch.ones(29, 32)
    below = {"model": MODEL, "task": {"normalize": False}}
    outer = {"model": {"w2v_args": below, "dropout": 0.9, "encoder_layerdrop": 0.9}}
    imported = read_fairseq(tensors, outer, LEGACY)
    assert imported.left_out == {"mask_embedding": 32, "lm_head": 29 * 32}
    assert imported.spec.encoder["dropout"] == 0.1
    check(imported, hubert, registry, speech, states_of_huggingface, gap)


def test_fairseq_when_there_is_no_configuration_says_what_is_assumed(hubert_tensors):
    chosen = {"encoder.heads": 4, "frontend.strides": [5, 4, 2]}
    imported = read_fairseq(hubert_tensors, None, chosen)
    assert imported.assumed == {"encoder.norm": "post", "frontend.normalise": False}


def test_fairseq_when_hubert_base_is_read_counts_as_published(transformers):
    with torch.device("meta"):
        state = transformers.HubertModel(transformers.HubertConfig()).state_dict()
        heads = {
            "final_proj.weight": torch.empty(256, 768),
            "final_proj.bias": torch.empty(256),
            "label_embs_concat": torch.empty(504, 256),
        }
    imported = read_fairseq({**names_of_fairseq(state), **heads})
    assert imported.left_out == {
        "mask_embedding": 768,
        "final_projection": 196_864,
        "label_embeddings": 504 * 256,
    }
    own = sum(tensor.numel() for tensor in imported.tensors.values())
    assert own + sum(imported.left_out.values()) == 94_697_600


def test_convolutions_when_published_are_read():
    text = "[(512,10,5)] + [(512,3,2)] * 4 + [(512,2,2)] * 2"
    rows = [(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512, 2, 2)] * 2
    assert convolutions_of(text, source="it") == rows


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "[(8, 10, 5)] * 10**9",
        "[(8, 10, 5)] * 99 * 99 * 99",
        "[(8, 10)]",
        "[(8, 10, -5)]",
        "[(8, 10, 5.0)]",
        "[]",
        "",
        "7",
        "(" * 10000,
    ],
)
def test_convolutions_when_they_are_anything_else_are_refused(text):
    with pytest.raises(CheckpointError, match="it has conv_feature_layers .*, expected a sum"):
        convolutions_of(text, source="it")


def test_fairseq_when_the_activation_is_unknown_says_so(hubert_tensors, registry):
    from speechlite.core.errors import ConfigError

    imported = read_fairseq(hubert_tensors, {**MODEL, "activation_fn": "gelu_accurate"})
    with pytest.raises(ConfigError, match="activation='gelu_accurate'"):
        model_of(imported, registry)
