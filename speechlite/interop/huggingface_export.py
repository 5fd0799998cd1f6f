"""Write a model as a folder that transformers loads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor, nn

from speechlite.core.errors import CheckpointError
from speechlite.core.model import SpeechModel
from speechlite.interop.huggingface import BIAS_OPTIONS, OPTIONS
from speechlite.interop.names import name_in_huggingface
from speechlite.interop.options import options_from_shapes
from speechlite.nn.dense_layers import with_dense_layers
from speechlite.nn.normalization import MaskedInstanceNorm, SelectiveLayerNorm
from speechlite.nn.positional import ConvolutionalPositions
from speechlite.nn.relative_bias import BiasGate

__all__ = ["write_huggingface"]

_MODULES = (
    nn.Conv1d,
    nn.Embedding,
    nn.LayerNorm,
    nn.Linear,
    BiasGate,
    ConvolutionalPositions,
    MaskedInstanceNorm,
    SelectiveLayerNorm,
)
_CLASSES = {"hubert": "HubertModel", "wav2vec2": "Wav2Vec2Model", "wavlm": "WavLMModel"}


def write_huggingface(model: SpeechModel, folder: Path, *, family: str | None = None) -> None:
    """Write config.json, model.safetensors and preprocessor_config.json.

    Args:
        model: a model of ``conv_waveform`` and ``transformer`` whose layers are all alike.
        folder: an empty folder.
        family: hubert or wav2vec2, which compute the same, or wavlm; None takes wavlm for a model
            with a relative bias, and otherwise hubert.

    Raises:
        CheckpointError: if transformers has no such model.
    """
    model = with_dense_layers(model)
    options = _options(model)
    family = family or ("wavlm" if options["encoder.relative_bias"] else "hubert")
    _refuse_family(family, options)
    _refuse_modules(model)
    tensors = {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in model.state_dict().items()
        if not name.endswith("bias_gate.heads")
    }
    _refuse_shapes(tensors, options)
    if "frontend.projection.linear.weight" not in tensors:
        raise _refused("without a projection of features")
    theirs = {_name(name): _shaped(name, value) for name, value in tensors.items()}
    save_file(theirs, folder / "model.safetensors", metadata={"format": "pt"})
    _write_json(folder / "config.json", _config(options, family))
    # the safetensors library writes for the owner's eyes only
    (folder / "model.safetensors").chmod((folder / "config.json").stat().st_mode)
    preprocessing = {
        "do_normalize": options["frontend.normalise"],
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "feature_size": 1,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": options["frontend.norm"] == "layer",
        "sampling_rate": options["frontend.sample_rate"],
    }
    _write_json(folder / "preprocessor_config.json", preprocessing)


def _refused(why: str) -> CheckpointError:
    return CheckpointError(
        f"transformers has no model {why}", remedy="export it with --format onnx instead"
    )


def _options(model: SpeechModel) -> dict[str, Any]:
    names = model.spec.frontend["name"], model.spec.encoder["name"]
    if [name.rpartition("/")[2] for name in names] != ["conv_waveform", "transformer"]:
        raise _refused(f"of frontend {names[0]} and encoder {names[1]}")
    parts = {"frontend": model.frontend.config, "encoder": model.encoder.config}
    return {
        f"{part}.{option}": value
        for part, config in parts.items()
        for option, value in vars(config).items()
    }


def _refuse_family(family: str, options: Mapping[str, Any]) -> None:
    if family not in _CLASSES:
        raise _refused(f"family {family!r} that could be written")
    if options["encoder.relative_bias"] != (family == "wavlm"):
        has = "with" if options["encoder.relative_bias"] else "without"
        raise _refused(f"{family} {has} a relative position bias")
    without_norm = not options["frontend.projection_norm"]
    no_such = {
        "with sinusoidal positions": options["encoder.positions"] != "convolution",
        "with time reduction": options["encoder.time_reduction"] > 1,
        "with shared layers": options["encoder.share_parameters"],
        "with a factor for each channel": options["frontend.channel_scale"],
        f"{family} without a norm of features": without_norm and family != "hubert",
    }
    for why, is_so in no_such.items():
        if is_so:
            raise _refused(why)


def _refuse_modules(model: SpeechModel) -> None:
    # another class may compute something else from tensors of the same names
    for name, module in model.named_modules():
        has_tensors = any(True for _ in module.parameters(recurse=False))
        if has_tensors and type(module) not in _MODULES and name != "frontend":
            raise _refused(f"with a {type(module).__name__}, as {name} is")


def _refuse_shapes(tensors: Mapping[str, Tensor], options: dict[str, Any]) -> None:
    # what the tensors are goes before what the spec says: layers may be gone, channels be fewer
    seen = options_from_shapes(tensors, source="the model")
    for name in ("frontend.channels", "encoder.layers", "encoder.feedforward"):
        options[name] = seen[name]
    dim, inner = options["encoder.dim"], options["encoder.feedforward"]
    for layer in range(options["encoder.layers"]):
        prefix = f"encoder.layers.{layer}"
        if tensors[f"{prefix}.attention.query.weight"].shape[0] != dim:
            raise _refused(f"with fewer heads in a layer, as layer {layer} has")
        if tensors[f"{prefix}.feedforward.expand.weight"].shape[0] != inner:
            raise _refused(f"with layers of different feed-forward width, as layer {layer} has")


def _name(name: str) -> str:
    theirs = name_in_huggingface(name)
    if theirs is None:
        raise _refused(f"with a tensor {name}")
    return theirs


def _shaped(name: str, tensor: Tensor) -> Tensor:
    # (H,) -> (1, H, 1, 1)
    return tensor[None, :, None, None] if name.endswith("bias_gate.scale") else tensor


def _config(options: Mapping[str, Any], family: str) -> dict[str, Any]:
    keys = {**OPTIONS, **BIAS_OPTIONS} if family == "wavlm" else OPTIONS
    config = {key: options[option] for option, (key, _) in keys.items()}
    config |= {
        "architectures": [_CLASSES[family]],
        "model_type": family,
        "num_feat_extract_layers": len(options["frontend.channels"]),
        "do_stable_layer_norm": options["encoder.norm"] == "pre",
        "feat_extract_activation": "gelu",
        "activation_dropout": options["encoder.dropout"],
        "layer_norm_eps": 1e-5,
        # no embedding of masked frames: transformers makes one where it is to mask
        "mask_time_prob": 0.0,
        "mask_feature_prob": 0.0,
    }
    if family == "hubert":
        config["feat_proj_layer_norm"] = options["frontend.projection_norm"]
    return config


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
