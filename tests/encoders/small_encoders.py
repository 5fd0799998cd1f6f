"""Small encoders of every kind, and padded frames for them."""

from __future__ import annotations

import torch
from torch import nn

from speechlite.encoders.config import (
    ConformerConfig,
    IdentityConfig,
    SparseformerConfig,
    SqueezeformerConfig,
    TransformerConfig,
)
from speechlite.encoders.conformer import ConformerEncoder
from speechlite.encoders.identity import IdentityEncoder
from speechlite.encoders.sparseformer import SparseformerEncoder
from speechlite.encoders.squeezeformer import SqueezeformerEncoder
from speechlite.encoders.transformer import TransformerEncoder

DIM = 8

_CONFORMER = {"dim": DIM, "layers": 3, "heads": 2, "feedforward": 12, "kernel_size": 5}
_TRANSFORMER = {"dim": DIM, "layers": 3, "heads": 2, "feedforward": 12}
_HUBERT = {
    **_TRANSFORMER,
    "positions": "convolution",
    "position_kernel": 4,
    "position_groups": 2,
}

_PLACED = {"positions": "convolution", "position_kernel": 4, "position_groups": 2}
_SQUEEZEFORMER = {
    **_CONFORMER,
    "reduce_after": 1,
    "recover_after": 2,
    "reduction_kernel": 3,
}
_OF_THE_COUNT = {"scaling": False, "gated_convolution": True, "convolution_norm": True}
_SPARSEFORMER = {**_HUBERT, "stride": 3, "expressivity": 1}

KINDS = {
    "conformer": (ConformerEncoder, ConformerConfig, _CONFORMER),
    "macaron": (ConformerEncoder, ConformerConfig, {**_CONFORMER, "macaron": True}),
    "no_bias": (ConformerEncoder, ConformerConfig, {**_CONFORMER, "convolution_bias": False}),
    "shared_conformer": (
        ConformerEncoder,
        ConformerConfig,
        {**_CONFORMER, "share_parameters": True},
    ),
    "transformer": (TransformerEncoder, TransformerConfig, _TRANSFORMER),
    "relu_transformer": (
        TransformerEncoder,
        TransformerConfig,
        {**_TRANSFORMER, "activation": "relu"},
    ),
    "shared_transformer": (
        TransformerEncoder,
        TransformerConfig,
        {**_TRANSFORMER, "share_parameters": True},
    ),
    "post_norm": (TransformerEncoder, TransformerConfig, {**_HUBERT, "norm": "post"}),
    "large": (TransformerEncoder, TransformerConfig, {**_HUBERT, "position_kernel": 3}),
    "wavlm": (
        TransformerEncoder,
        TransformerConfig,
        {**_HUBERT, "norm": "post", "relative_bias": True, "bias_buckets": 8, "bias_distance": 9},
    ),
    "reduced": (TransformerEncoder, TransformerConfig, {**_HUBERT, "time_reduction": 2}),
    "reduced_post_norm": (
        TransformerEncoder,
        TransformerConfig,
        {**_HUBERT, "norm": "post", "relative_bias": True, "time_reduction": 3},
    ),
    "shared_wavlm": (
        TransformerEncoder,
        TransformerConfig,
        {**_HUBERT, "relative_bias": True, "share_parameters": True},
    ),
    "placed_conformer": (ConformerEncoder, ConformerConfig, {**_CONFORMER, **_PLACED}),
    "squeezeformer": (SqueezeformerEncoder, SqueezeformerConfig, _SQUEEZEFORMER),
    "placed_squeezeformer": (
        SqueezeformerEncoder,
        SqueezeformerConfig,
        {**_SQUEEZEFORMER, **_PLACED, **_OF_THE_COUNT, "recover_after": 3},
    ),
    "shared_squeezeformer": (
        SqueezeformerEncoder,
        SqueezeformerConfig,
        {**_SQUEEZEFORMER, "share_parameters": True, "recover_after": 3},
    ),
    "window": (SparseformerEncoder, SparseformerConfig, {**_SPARSEFORMER, "pattern": "window"}),
    "strided": (SparseformerEncoder, SparseformerConfig, _SPARSEFORMER),
    "fixed": (SparseformerEncoder, SparseformerConfig, {**_SPARSEFORMER, "pattern": "fixed"}),
    "identity": (IdentityEncoder, IdentityConfig, {}),
}
STACKS = [kind for kind in KINDS if kind != "identity"]


def build(kind: str, **changes: object) -> nn.Module:
    """Return a small encoder with weights away from their starting values."""
    torch.manual_seed(1)
    make, configure, options = KINDS[kind]
    encoder = make(configure(**{**options, **changes}))
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return encoder


def frames(lengths: list[int], *, seed: int = 0, padding: float = 0.0) -> tuple:
    """Return frames (B, S, D), the same for a row whatever the other lengths, and lengths."""
    frames_BSD = torch.full((len(lengths), max(lengths), DIM), padding)
    for row, length in enumerate(lengths):
        generator = torch.Generator().manual_seed(100 * seed + row)
        frames_BSD[row, :length] = torch.randn(length, DIM, generator=generator)
    return frames_BSD, torch.tensor(lengths)
