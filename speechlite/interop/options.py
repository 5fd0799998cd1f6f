"""What a model's tensors tell of its options, and what has to be assumed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from speechlite.core.errors import CheckpointError
from speechlite.core.model import ModelSpec
from speechlite.interop.imported import Imported
from speechlite.interop.names import Named

__all__ = ["describe", "options_from_shapes"]

STRIDES = {(10, 3, 3, 3, 3, 2, 2): [5, 2, 2, 2, 2, 2, 2]}
"""Strides of the kernels of wav2vec 2.0, which all of the three families have."""
_HEAD_DIM = 64


def describe(
    named: Named, told: Mapping[str, Any], chosen: Mapping[str, Any], *, source: str
) -> Imported:
    """Bring together what the user, the configuration and the tensors say of a model.

    Args:
        named: the tensors.
        told: options by dotted name, from the checkpoint's configuration; they go before those
            that shapes tell.
        chosen: the same from the user; they go before all others.
        source: what is read, for messages.

    Returns:
        The model as plain values, its parameters by our names, the encoder's own norm included.

    Raises:
        CheckpointError: if tensors are missing that tell the shape, or an option cannot be known.
    """
    seen = {**options_from_shapes(named.tensors, source=source), **told, **chosen}
    assumed = {name: value for name, value in _assumptions(seen, source) if name not in seen}
    options = {**seen, **assumed}
    norm = "final_norm" if options["encoder.norm"] == "pre" else "input_norm"
    tensors = {
        name.replace("encoder.norm.", f"encoder.{norm}."): tensor
        for name, tensor in named.tensors.items()
    }
    return Imported(_spec(options), tensors, source, left_out=named.left_out, assumed=assumed)


def _spec(options: Mapping[str, Any]) -> ModelSpec:
    parts: dict[str, dict[str, Any]] = {
        "frontend": {"name": "conv_waveform"},
        "encoder": {"name": "transformer"},
    }
    for name, value in options.items():
        kind, _, option = name.partition(".")
        parts[kind][option] = value
    return ModelSpec(frontend=parts["frontend"], encoder=parts["encoder"])


def _assumptions(options: Mapping[str, Any], source: str) -> Iterator[tuple[str, Any]]:
    # every published model with norms over channels is pre-norm and reads normalised waveforms
    over_channels = options["frontend.norm"] == "layer"
    yield "encoder.norm", "pre" if over_channels else "post"
    yield "frontend.normalise", over_channels
    dim = options["encoder.dim"]
    if "encoder.heads" not in options:
        if dim % _HEAD_DIM:
            raise _unknown("encoder.heads", f"width {dim} is no multiple of {_HEAD_DIM}", source)
        yield "encoder.heads", dim // _HEAD_DIM
    if "frontend.strides" not in options:
        kernels = tuple(options["frontend.kernels"])
        if kernels not in STRIDES:
            raise _unknown("frontend.strides", f"kernels are {list(kernels)}", source)
        yield "frontend.strides", STRIDES[kernels]
    if options["encoder.relative_bias"]:
        yield "encoder.bias_distance", 800


def _unknown(option: str, why: str, source: str) -> CheckpointError:
    return CheckpointError(
        f"{source} does not tell {option}: there is no configuration, and {why}",
        remedy=f"add {option}=VALUE to the command line",
    )


def options_from_shapes(tensors: Mapping[str, Tensor], *, source: str) -> dict[str, Any]:
    """Return the options that shapes and names of tensors tell.

    Args:
        tensors: the parameters by our names.
        source: what is read, for messages.

    Returns:
        Values by dotted name, such as ``encoder.dim``.

    Raises:
        CheckpointError: if a tensor is missing that every model has, or has an odd shape.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    try:
        return {**_frontend_options(shapes), **_encoder_options(shapes)}
    except KeyError as error:
        raise CheckpointError(
            f"{source} has no tensor for {error.args[0]}",
            remedy="take a complete checkpoint of a HuBERT, wav2vec 2.0 or WavLM model",
        ) from None
    except (ValueError, IndexError, ZeroDivisionError):
        raise CheckpointError(
            f"{source} has tensors of odd shapes",
            remedy="take a checkpoint of a HuBERT, wav2vec 2.0 or WavLM model",
        ) from None


def _frontend_options(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    layers = _count(shapes, "frontend.stack.layers.")
    name = "frontend.stack.layers.{}.convolution.weight"
    convolutions = [shapes[name.format(index)] for index in range(layers)]
    norms = sum(f"frontend.stack.layers.{index}.norm.weight" in shapes for index in range(layers))
    return {
        "frontend.channels": [channels for channels, _, _ in convolutions],
        "frontend.kernels": [kernel for _, _, kernel in convolutions],
        "frontend.norm": "layer" if norms > 1 else "group",
        "frontend.bias": "frontend.stack.layers.0.convolution.bias" in shapes,
        "frontend.channel_scale": "frontend.channel_scale" in shapes,
        "frontend.projection_norm": "frontend.projection.norm.weight" in shapes,
        "frontend.project_equal": "frontend.projection.linear.weight" in shapes,
    }


def _encoder_options(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    layers = _count(shapes, "encoder.layers.")
    dim, group_width, kernel = shapes["encoder.positions.direction"]
    bias = shapes.get("encoder.relative_bias.embedding.weight")
    options: dict[str, Any] = {
        "encoder.dim": dim,
        "encoder.layers": layers,
        "encoder.positions": "convolution",
        "encoder.position_kernel": kernel,
        "encoder.position_groups": dim // group_width,
        "encoder.relative_bias": bias is not None,
    }
    inner = [
        shapes.get(f"encoder.layers.{i}.feedforward.expand.weight", (0,)) for i in range(layers)
    ]
    options["encoder.feedforward"] = max((shape[0] for shape in inner), default=0)
    if bias is not None:
        options["encoder.bias_buckets"], options["encoder.heads"] = bias
    return options


def _count(shapes: Mapping[str, tuple[int, ...]], prefix: str) -> int:
    indices = {int(name[len(prefix) :].split(".")[0]) for name in shapes if name.startswith(prefix)}
    count = max(indices, default=-1) + 1
    if count > len(shapes):
        raise ValueError("more layers than tensors")
    return count
