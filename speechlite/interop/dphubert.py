"""Released DPHuBERT and DPWavLM checkpoints, pruned or not yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from speechlite.core.errors import CheckpointError
from speechlite.core.model import Edit
from speechlite.interop.imported import Imported
from speechlite.interop.options import describe
from speechlite.interop.torchaudio import torchaudio_names
from speechlite.nn.pruning import ranges_of

__all__ = ["is_dphubert", "read_dphubert"]

_OPTIONS = {
    "encoder.dim": "encoder_embed_dim",
    "encoder.layers": "encoder_num_layers",
    "encoder.position_kernel": "encoder_pos_conv_kernel",
    "encoder.position_groups": "encoder_pos_conv_groups",
    "encoder.dropout": "encoder_dropout",
    "encoder.attention_dropout": "encoder_attention_dropout",
    "encoder.layer_drop": "encoder_layer_drop",
    "frontend.bias": "extractor_conv_bias",
    "frontend.dropout": "encoder_projection_dropout",
    "frontend.normalise": "normalize_waveform",
}
_CHANNELS = 512
_INNER_PER_DIM = 4
_REMEDY = "take a checkpoint that DPHuBERT's own tools wrote"


def is_dphubert(content: object) -> bool:
    """Tell whether a file holds what DPHuBERT's tools write.

    Args:
        content: what the inert reader gave.

    Returns:
        True if it has a state dict and a configuration of DPHuBERT's keys.
    """
    if not isinstance(content, Mapping) or "state_dict" not in content:
        return False
    config = content.get("config")
    return isinstance(config, Mapping) and "extractor_conv_layer_config" in config


def read_dphubert(
    tensors: Mapping[str, Tensor],
    config: Mapping[str, Any],
    chosen: Mapping[str, Any] | None = None,
    *,
    source: str = "the DPHuBERT checkpoint",
) -> Imported:
    """Read a DPHuBERT or DPWavLM checkpoint as an unpruned spec and one pruning.

    The file does not tell which channels, units and (without a relative bias) heads were kept, nor
    how many there were; order does not matter to what the model computes, so the first ones stand
    for those kept. Unpruned are 512 channels, and feed-forward blocks of four times the width.

    Args:
        tensors: the checkpoint's "state_dict".
        config: its "config".
        chosen: options by dotted name that go before all others.
        source: what is read, for messages.

    Returns:
        The model as plain values; without an edit where nothing is pruned.

    Raises:
        CheckpointError: if the configuration does not fit itself or the tensors.
    """
    named = torchaudio_names(tensors, source=source)
    try:
        shape = _Shape(config)
        told = {option: config[key] for option, key in _OPTIONS.items()}
        told |= shape.options()
        told["encoder.norm"] = "pre" if config["encoder_layer_norm_first"] else "post"
    except (
        KeyError,
        TypeError,
        ValueError,
        IndexError,
        AttributeError,
        ZeroDivisionError,
    ) as error:
        raise CheckpointError(
            f"{source} has a configuration without a usable {error}", remedy=_REMEDY
        ) from None
    described = describe(named, told, chosen or {}, source=source)
    kept = shape.kept()
    edits = (Edit({"name": "l0_structured"}, {"kept": kept}),) if kept else ()
    return replace(described, tensors=shape.of_kept_heads(described.tensors), edits=edits)


class _Shape:
    # what the configuration says of the pruned model, layer by layer

    def __init__(self, config: Mapping[str, Any]) -> None:
        rows = [tuple(map(int, row)) for row in config["extractor_conv_layer_config"]]
        self.channels, self.kernels, self.strides = (
            list(column) for column in zip(*rows, strict=True)
        )
        layers = config["encoder_num_layers"]
        self.has_bias = "encoder_remaining_heads" in config
        self.config = config
        if self.has_bias:
            (self.num_heads,) = set(config["encoder_total_num_heads"])
            heads = [[int(head) for head in row] for row in config["encoder_remaining_heads"]]
        else:
            self.num_heads = config["encoder_embed_dim"] // config["encoder_head_dim"]
            heads = [list(range(count)) for count in config["encoder_num_heads"]]
        self.heads = _where(config["encoder_use_attention"], heads, [], layers)
        inner = config["encoder_ff_interm_features"]
        self.inner = _where(config["encoder_use_feed_forward"], inner, 0, layers)
        self.mode = {"group_norm": "group", "layer_norm": "layer"}[config["extractor_mode"]]

    def options(self) -> dict[str, Any]:
        options = {
            "frontend.channels": [_unpruned(self.channels, _CHANNELS)] * len(self.channels),
            "frontend.kernels": self.kernels,
            "frontend.strides": self.strides,
            "frontend.norm": self.mode,
            "encoder.heads": self.num_heads,
            "encoder.feedforward": self._full_inner(),
            "encoder.relative_bias": self.has_bias,
        }
        if self.has_bias:
            options["encoder.bias_buckets"] = self.config["encoder_num_buckets"]
            options["encoder.bias_distance"] = self.config["encoder_max_distance"]
        return options

    def _full_inner(self) -> int:
        return _unpruned(self.inner, _INNER_PER_DIM * int(self.config["encoder_embed_dim"]))

    def kept(self) -> dict[str, str]:
        full = _unpruned(self.channels, _CHANNELS)
        kept = {
            f"frontend.stack.layers.{index}.channels": ranges_of(range(count))
            for index, count in enumerate(self.channels)
            if count < full
        }
        for layer, (heads, inner) in enumerate(zip(self.heads, self.inner, strict=True)):
            prefix = f"encoder.layers.{layer}"
            if len(heads) < self.num_heads:
                kept[f"{prefix}.attention.heads"] = ranges_of(heads)
            if not heads:
                kept[f"{prefix}.attention.block"] = ""
            if inner < self._full_inner():
                kept[f"{prefix}.feedforward.units"] = ranges_of(range(inner))
            if not inner:
                kept[f"{prefix}.feedforward.block"] = ""
        return kept

    def of_kept_heads(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        # the released files keep the bias gate's factors of all heads
        result = dict(tensors)
        for layer, heads in enumerate(self.heads):
            name = f"encoder.layers.{layer}.attention.bias_gate.scale"
            if name in result:
                result[name] = result[name][heads]
        return result


def _where(uses: Sequence[bool], values: Sequence[Any], none: Any, layers: int) -> list[Any]:
    pairs = list(zip(uses, values, strict=True))
    if len(pairs) != layers:
        raise ValueError("number of layers")
    return [value if is_used else none for is_used, value in pairs]


def _unpruned(sizes: Sequence[int], usual: int) -> int:
    return sizes[0] if len(set(sizes)) == 1 and sizes[0] else max(usual, *sizes)
