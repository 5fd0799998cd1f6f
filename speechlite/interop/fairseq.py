"""Checkpoints of fairseq: HuBERT, wav2vec 2.0, and the first WavLM ones."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from speechlite.core.errors import CheckpointError
from speechlite.interop.imported import Imported
from speechlite.interop.names import FAIRSEQ, Named, rename
from speechlite.interop.options import describe
from speechlite.interop.unpickling import plain

__all__ = ["convolutions_of", "is_fairseq", "read_fairseq"]

_OPTIONS = {
    "encoder.dim": "encoder_embed_dim",
    "encoder.layers": "encoder_layers",
    "encoder.heads": "encoder_attention_heads",
    "encoder.feedforward": "encoder_ffn_embed_dim",
    "encoder.activation": "activation_fn",
    "encoder.position_kernel": "conv_pos",
    "encoder.position_groups": "conv_pos_groups",
    "encoder.dropout": "dropout",
    "encoder.attention_dropout": "attention_dropout",
    "encoder.layer_drop": "encoder_layerdrop",
    "frontend.bias": "conv_bias",
    "frontend.dropout": "dropout_input",
    "frontend.gradient_scale": "feature_grad_mult",
}
_BIAS_OPTIONS = {"encoder.bias_buckets": "num_buckets", "encoder.bias_distance": "max_distance"}
_MODES = {"default": "group", "layer_norm": "layer"}
_MOST_CONVOLUTIONS = 100


def is_fairseq(tensors: Mapping[str, Tensor]) -> bool:
    """Tell whether tensors have the names that fairseq uses.

    Args:
        tensors: tensors by name.

    Returns:
        True if so.
    """
    return any("feature_extractor.conv_layers.0.0.weight" in name for name in tensors)


def read_fairseq(
    tensors: Mapping[str, Tensor],
    configuration: object = None,
    chosen: Mapping[str, Any] | None = None,
    *,
    source: str = "the fairseq checkpoint",
) -> Imported:
    """Read a HuBERT, wav2vec 2.0 or WavLM model of fairseq, fine-tuned or not.

    Args:
        tensors: the checkpoint's "model".
        configuration: its "cfg" or "args", as the inert reader gave it; None for none.
        chosen: options by dotted name that go before all others.
        source: what is read, for messages.

    Returns:
        The model as plain values.
    """
    named = rename(tensors, FAIRSEQ, source=source)
    told = _told(plain(configuration), named, source)
    return describe(named, told, chosen or {}, source=source)


def _told(configuration: Any, named: Named, source: str) -> dict[str, Any]:
    found = list(_mappings(configuration))
    own = next((each for each in found if "encoder_embed_dim" in each), {})
    options = dict(_OPTIONS)
    if "encoder.relative_bias.embedding.weight" in named.tensors:
        options |= _BIAS_OPTIONS
    told = {option: own[key] for option, key in options.items() if own.get(key) is not None}
    if own.get("layer_norm_first") is not None:
        told["encoder.norm"] = "pre" if own["layer_norm_first"] else "post"
    if own.get("extractor_mode") in _MODES:
        told["frontend.norm"] = _MODES[own["extractor_mode"]]
    if own.get("conv_feature_layers") is not None:
        rows = convolutions_of(own["conv_feature_layers"], source=source)
        names = ("frontend.channels", "frontend.kernels", "frontend.strides")
        told |= dict(zip(names, (list(column) for column in zip(*rows, strict=True)), strict=True))
    normalise = [each["normalize"] for each in found if isinstance(each.get("normalize"), bool)]
    if normalise:
        told["frontend.normalise"] = normalise[0]
    return told


def _mappings(configuration: Any) -> Iterator[Mapping[str, Any]]:
    # a fine-tuned model carries the configuration of the model below it, which comes first
    if not isinstance(configuration, Mapping):
        return
    for key in ("w2v_args", "model", "args", "task"):
        yield from _mappings(configuration.get(key))
    yield configuration


def convolutions_of(text: object, *, source: str) -> list[tuple[int, int, int]]:
    """Read fairseq's expression for its convolutions, without evaluating it.

    Args:
        text: such as "[(512,10,5)] + [(512,3,2)] * 4".
        source: what is read, for messages.

    Returns:
        Channels, kernel size and stride of each layer.

    Raises:
        CheckpointError: if it is anything but a sum of repeated lists of three integers.

    Example:
        >>> convolutions_of("[(8,10,5)] + [(8,3,2)] * 2", source="a file")
        [(8, 10, 5), (8, 3, 2), (8, 3, 2)]
    """
    try:
        rows = _rows(ast.parse(str(text), mode="eval").body)
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        rows = []
    if not 0 < len(rows) <= _MOST_CONVOLUTIONS:
        raise CheckpointError(
            f"{source} has conv_feature_layers {str(text)[:80]!r}, expected a sum of lists of "
            "(channels, kernel, stride)",
            remedy="take a checkpoint of a HuBERT, wav2vec 2.0 or WavLM model",
        )
    return rows


def _rows(node: ast.expr) -> list[tuple[int, int, int]]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _rows(node.left) + _rows(node.right)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        times = int(ast.literal_eval(node.right))
        if not 0 < times <= _MOST_CONVOLUTIONS:
            raise ValueError("too many")
        return (_rows(node.left) * times)[: _MOST_CONVOLUTIONS + 1]
    rows = []
    for channels, kernel, stride in ast.literal_eval(node):
        if not all(type(number) is int and number > 0 for number in (channels, kernel, stride)):
            raise ValueError("not three integers")
        rows.append((channels, kernel, stride))
    return rows
