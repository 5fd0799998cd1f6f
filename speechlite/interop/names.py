"""Names of parameters: those of other toolkits, and ours.

Shapes: D model width, H heads, K head width.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from torch import Tensor

from speechlite.core.errors import CheckpointError

__all__ = ["FAIRSEQ", "HUGGINGFACE", "Named", "name_in_huggingface", "rename"]

Table = Mapping[str, str]
"""Our names by those of a toolkit; an asterisk stands for the index of a layer."""


def _table(modules: Table, tensors: Table) -> Table:
    leaves = ("weight", "bias")
    pairs = {f"{a}.{leaf}": f"{b}.{leaf}" for a, b in modules.items() for leaf in leaves}
    return MappingProxyType({**pairs, **tensors})


HUGGINGFACE = _table(
    {
        "feature_extractor.conv_layers.*.conv": "frontend.stack.layers.*.convolution",
        "feature_extractor.conv_layers.*.layer_norm": "frontend.stack.layers.*.norm",
        "feature_projection.layer_norm": "frontend.projection.norm",
        "feature_projection.projection": "frontend.projection.linear",
        "encoder.layer_norm": "encoder.norm",
        "encoder.layers.*.attention.q_proj": "encoder.layers.*.attention.query",
        "encoder.layers.*.attention.k_proj": "encoder.layers.*.attention.key",
        "encoder.layers.*.attention.v_proj": "encoder.layers.*.attention.value",
        "encoder.layers.*.attention.out_proj": "encoder.layers.*.attention.output",
        "encoder.layers.*.attention.gru_rel_pos_linear": (
            "encoder.layers.*.attention.bias_gate.linear"
        ),
        "encoder.layers.*.layer_norm": "encoder.layers.*.attention_norm",
        "encoder.layers.*.feed_forward.intermediate_dense": "encoder.layers.*.feedforward.expand",
        "encoder.layers.*.feed_forward.output_dense": "encoder.layers.*.feedforward.contract",
        "encoder.layers.*.final_layer_norm": "encoder.layers.*.feedforward_norm",
    },
    {
        "feature_extractor.dummy_weight": "frontend.channel_scale",
        "encoder.pos_conv_embed.conv.bias": "encoder.positions.bias",
        # the older spelling of weight normalisation first, so that the newer one is written
        "encoder.pos_conv_embed.conv.weight_g": "encoder.positions.gain",
        "encoder.pos_conv_embed.conv.weight_v": "encoder.positions.direction",
        "encoder.pos_conv_embed.conv.parametrizations.weight.original0": "encoder.positions.gain",
        "encoder.pos_conv_embed.conv.parametrizations.weight.original1": (
            "encoder.positions.direction"
        ),
        # only layer 0 has it
        "encoder.layers.*.attention.rel_attn_embed.weight": (
            "encoder.relative_bias.embedding.weight"
        ),
        "encoder.layers.*.attention.gru_rel_pos_const": (
            "encoder.layers.*.attention.bias_gate.scale"
        ),
    },
)
"""Names of transformers, and of torchaudio without two prefixes."""

FAIRSEQ = _table(
    {
        "feature_extractor.conv_layers.*.0": "frontend.stack.layers.*.convolution",
        "feature_extractor.conv_layers.*.2": "frontend.stack.layers.*.norm",
        # a norm over channels stands between two transpositions
        "feature_extractor.conv_layers.*.2.1": "frontend.stack.layers.*.norm",
        "layer_norm": "frontend.projection.norm",
        "post_extract_proj": "frontend.projection.linear",
        "encoder.layer_norm": "encoder.norm",
        "encoder.layers.*.self_attn.q_proj": "encoder.layers.*.attention.query",
        "encoder.layers.*.self_attn.k_proj": "encoder.layers.*.attention.key",
        "encoder.layers.*.self_attn.v_proj": "encoder.layers.*.attention.value",
        "encoder.layers.*.self_attn.out_proj": "encoder.layers.*.attention.output",
        "encoder.layers.*.self_attn.grep_linear": "encoder.layers.*.attention.bias_gate.linear",
        "encoder.layers.*.self_attn_layer_norm": "encoder.layers.*.attention_norm",
        "encoder.layers.*.fc1": "encoder.layers.*.feedforward.expand",
        "encoder.layers.*.fc2": "encoder.layers.*.feedforward.contract",
        "encoder.layers.*.final_layer_norm": "encoder.layers.*.feedforward_norm",
    },
    {
        "encoder.pos_conv.0.bias": "encoder.positions.bias",
        "encoder.pos_conv.0.weight_g": "encoder.positions.gain",
        "encoder.pos_conv.0.weight_v": "encoder.positions.direction",
        "encoder.pos_conv.0.parametrizations.weight.original0": "encoder.positions.gain",
        "encoder.pos_conv.0.parametrizations.weight.original1": "encoder.positions.direction",
        "encoder.layers.*.self_attn.relative_attention_bias.weight": (
            "encoder.relative_bias.embedding.weight"
        ),
        "encoder.layers.*.self_attn.grep_a": "encoder.layers.*.attention.bias_gate.scale",
    },
)
"""Names of fairseq, and of the first WavLM checkpoints."""

_LEFT_OUT = (
    (r"masked_spec_embed|mask_emb|mask_generator\..*", "mask_embedding"),
    (r"label_embs_concat|logit_generator\.label_embeddings", "label_embeddings"),
    (r"(logit_generator\.)?final_proj\..*", "final_projection"),
    (r"quantizer\..*", "quantizer"),
    (r"project_q\..*", "project_q"),
    (r"project_hid\..*", "project_hid"),
    (r"lm_head\..*|aux\..*|(w2v_encoder\.)?proj\..*", "lm_head"),
)
_INDEX = re.compile(r"(?<=layers\.)\d+(?=\.)")
_REMEDY = "import a HuBERT, wav2vec 2.0 or WavLM checkpoint of plain layers"


@dataclass(frozen=True)
class Named:
    """Hold tensors by our names.

    The encoder's own norm is called ``encoder.norm``: where it stands is told by other things.

    Args:
        tensors: the parameters of the model.
        left_out: the numbers in all other tensors, counted by what they are.
    """

    tensors: Mapping[str, Tensor]
    left_out: Mapping[str, int]


def rename(tensors: Mapping[str, Tensor], table: Table, *, source: str) -> Named:
    """Give the tensors of a checkpoint our names.

    Args:
        tensors: tensors by the names of a toolkit.
        table: our names by those.
        source: what is read, for messages.

    Returns:
        The model's tensors, and counts of the others.

    Raises:
        CheckpointError: if a tensor of the model has a name that is not in the table, or if two
            have one name of ours.
    """
    prefix = _prefix(tensors, source)
    named: dict[str, Tensor] = {}
    left_out: dict[str, int] = {}
    for name, tensor in tensors.items():
        inside = name.startswith(prefix)
        own = _renamed(name.removeprefix(prefix), table) if inside else None
        if own is None:
            kind = _kind_of_other(name.removeprefix(prefix), beside=not inside)
            if kind is None:
                raise CheckpointError(
                    f"{source} has a tensor {name}, which no supported model has", remedy=_REMEDY
                )
            left_out[kind] = left_out.get(kind, 0) + tensor.numel()
        elif own in named:
            raise CheckpointError(f"{source} has two tensors for {own}", remedy=_REMEDY)
        else:
            # (1, H, 1, 1) -> (H,)
            named[own] = tensor.reshape(-1) if own.endswith("bias_gate.scale") else tensor
    return Named(named, left_out)


def _prefix(tensors: Mapping[str, Tensor], source: str) -> str:
    # heads and wrappers put something before all names of the model
    first = re.compile(r"((?:.*\.)?)feature_extractor\.conv_layers\.0\.(?:conv|0)\.weight")
    prefixes = [match[1] for match in map(first.fullmatch, tensors) if match]
    if len(prefixes) != 1:
        raise CheckpointError(
            f"{source} holds {len(prefixes)} tensors feature_extractor.conv_layers.0.*.weight, "
            "expected 1",
            remedy=_REMEDY,
        )
    return prefixes[0]


def _renamed(name: str, table: Table) -> str | None:
    index = _INDEX.search(name)
    own = table.get(_INDEX.sub("*", name))
    return own.replace("*", index[0]) if own is not None and index is not None else own


def _kind_of_other(name: str, *, beside: bool) -> str | None:
    for pattern, kind in _LEFT_OUT:
        if re.fullmatch(pattern, name):
            return kind
    # beside the model stands whatever was trained on it
    return name.partition(".")[0] if beside else None


def name_in_huggingface(name: str) -> str | None:
    """Return the name that transformers uses for one of our parameters.

    Args:
        name: a name of ours.

    Returns:
        Their name; None if they have no such parameter.
    """
    theirs = {ours: each for each, ours in HUGGINGFACE.items()}
    name = re.sub(r"^encoder\.(input|final)_norm\.", "encoder.norm.", name)
    index = _INDEX.search(name)
    found = theirs.get(_INDEX.sub("*", name))
    return None if found is None else found.replace("*", index[0] if index else "0")
