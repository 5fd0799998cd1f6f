"""Folders of transformers: HuBERT, wav2vec 2.0 and WavLM, read and written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from speechlite.core.errors import CheckpointError
from speechlite.interop.ctc_heads import read_ctc_head
from speechlite.interop.imported import Imported
from speechlite.interop.names import HUGGINGFACE, rename
from speechlite.interop.options import describe
from speechlite.interop.weights import read_folder, read_json

__all__ = ["FAMILIES", "OPTIONS", "read_huggingface"]

FAMILIES = ("hubert", "wav2vec2", "wavlm")
"""Values of ``model_type`` that can be read."""

OPTIONS = {
    "frontend.channels": ("conv_dim", [512] * 7),
    "frontend.kernels": ("conv_kernel", [10, 3, 3, 3, 3, 2, 2]),
    "frontend.strides": ("conv_stride", [5, 2, 2, 2, 2, 2, 2]),
    "frontend.norm": ("feat_extract_norm", "group"),
    "frontend.bias": ("conv_bias", False),
    "frontend.dropout": ("feat_proj_dropout", 0.0),
    "encoder.dim": ("hidden_size", 768),
    "encoder.layers": ("num_hidden_layers", 12),
    "encoder.heads": ("num_attention_heads", 12),
    "encoder.feedforward": ("intermediate_size", 3072),
    "encoder.activation": ("hidden_act", "gelu"),
    "encoder.position_kernel": ("num_conv_pos_embeddings", 128),
    "encoder.position_groups": ("num_conv_pos_embedding_groups", 16),
    "encoder.dropout": ("hidden_dropout", 0.1),
    "encoder.attention_dropout": ("attention_dropout", 0.1),
    "encoder.layer_drop": ("layerdrop", 0.1),
}
"""Our options by dotted name: the key in config.json, and what its absence means."""

BIAS_OPTIONS = {
    "encoder.bias_buckets": ("num_buckets", 320),
    "encoder.bias_distance": ("max_bucket_distance", 800),
}
"""The same for WavLM's relative bias."""

_ONLY = {
    "layer_norm_eps": (1e-5,),
    "feat_extract_activation": ("gelu",),
    "hidden_act": ("gelu", "relu", "swish", "silu"),
    "conv_pos_batch_norm": (False,),
    "add_adapter": (False,),
    "adapter_attn_dim": (None,),
}
_SPELLING = {"silu": "swish"}
_REMEDY = "import a model without it, or train one of ours"


def read_huggingface(folder: Path, chosen: Mapping[str, Any] | None = None) -> Imported:
    """Read a HuBERT, wav2vec 2.0 or WavLM model that transformers wrote.

    Of heads, that of CTC is read, where vocab.json stands beside it.

    Args:
        folder: holds config.json and weights; preprocessor_config.json tells whether waveforms
            are normalised.
        chosen: options by dotted name that go before those of the checkpoint.

    Returns:
        The model as plain values.

    Raises:
        CheckpointError: if a file is missing or damaged, or the model is one that we have not.
    """
    config = read_json(folder / "config.json")
    family = config.get("model_type")
    if family not in FAMILIES:
        raise CheckpointError(
            f"model_type is {family!r}, expected one of {', '.join(FAMILIES)}",
            remedy="import a model of one of these families",
            path=folder / "config.json",
        )
    _refuse_unknown(config, folder / "config.json")
    source = f"Hugging Face {family} {folder.name}"
    tensors = read_folder(folder)
    named = rename(tensors, HUGGINGFACE, source=source)
    told = {**_told(config, str(family)), **_preprocessing(folder)}
    imported = describe(named, told, chosen or {}, source=source)
    head, why = read_ctc_head(folder, tensors, config)
    left_out = dict(imported.left_out)
    if head is not None:
        del left_out["lm_head"]
    elif why:
        left_out[f"lm_head ({why})"] = left_out.pop("lm_head")
    return replace(imported, left_out=left_out, head=head)


def _refuse_unknown(config: Mapping[str, Any], path: Path) -> None:
    for key, values in _ONLY.items():
        if key in config and config[key] not in values:
            expected = " or ".join(str(value) for value in values)
            raise CheckpointError(
                f"{key} is {config[key]!r}, only {expected} can be imported",
                remedy=_REMEDY,
                path=path,
            )


def _told(config: Mapping[str, Any], family: str) -> dict[str, Any]:
    options = {**OPTIONS, **BIAS_OPTIONS} if family == "wavlm" else OPTIONS
    told = {option: config.get(key, default) for option, (key, default) in options.items()}
    activation = told["encoder.activation"]
    told["encoder.activation"] = _SPELLING.get(activation, activation)
    told["encoder.norm"] = "pre" if config.get("do_stable_layer_norm", False) else "post"
    told["encoder.relative_bias"] = family == "wavlm"
    if family == "hubert":
        told["frontend.projection_norm"] = config.get("feat_proj_layer_norm", True)
    return told


def _preprocessing(folder: Path) -> dict[str, Any]:
    path = folder / "preprocessor_config.json"
    if not path.is_file():
        return {}
    content = read_json(path)
    return {
        "frontend.normalise": content.get("do_normalize", True),
        "frontend.sample_rate": content.get("sampling_rate", 16000),
    }
