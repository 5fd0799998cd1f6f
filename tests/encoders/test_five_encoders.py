"""The five encoders of "Attention or Convolution": parameters as its Table 1 implies them."""

from __future__ import annotations

import pytest
import torch

from speechlite.encoders.config import (
    ConformerConfig,
    SparseformerConfig,
    SqueezeformerConfig,
    TransformerConfig,
)
from speechlite.encoders.conformer import ConformerEncoder
from speechlite.encoders.sparseformer import SparseformerEncoder
from speechlite.encoders.squeezeformer import SqueezeformerEncoder
from speechlite.encoders.transformer import TransformerEncoder
from speechlite.frontends.config import ConvWaveformConfig
from speechlite.frontends.conv_waveform import ConvWaveform

COMPACT = ConvWaveformConfig(
    channels=[64, 128, 128, 128, 128, 256, 256, 256, 256, 512, 512, 512, 512],
    kernels=[10, 3, 1, 3, 1, 3, 1, 3, 1, 2, 1, 2, 1],
    strides=[5, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1],
    project_equal=False,
)
SMALL = {"dim": 144, "layers": 16, "heads": 4, "feedforward": 3072, "kernel_size": 31}
PLACED = {"positions": "convolution", "convolution_bias": False}
OF_THE_COUNT = {"scaling": False, "gated_convolution": True, "convolution_norm": True}
WORDS = 256  # width of the projection that the table counts as well


@pytest.mark.parametrize(
    ("encoder", "config", "parameters"),
    [
        (TransformerEncoder, TransformerConfig(norm="post", positions="convolution"), 92_211_328),
        (ConformerEncoder, ConformerConfig(**SMALL, **PLACED, macaron=True), 32_967_616),
        (SqueezeformerEncoder, SqueezeformerConfig(**SMALL, **PLACED, **OF_THE_COUNT), 33_010_240),
        (SparseformerEncoder, SparseformerConfig(), 15_203_456),
        (
            SparseformerEncoder,
            SparseformerConfig(dim=512, layers=8, feedforward=2048),
            29_294_208,
        ),
    ],
    ids=["vanilla", "conformer_s", "squeezeformer_xs", "sparseformer_dn_s", "sparseformer_sw_s"],
)
def test_encoder_when_configured_as_in_the_paper_then_parameters_are_exact(
    encoder, config, parameters
):
    with torch.device("meta"):
        parts = [encoder(config), ConvWaveform(COMPACT, dim=config.dim)]
    count = sum(p.numel() for part in parts for p in part.parameters())
    assert count + (config.dim + 1) * WORDS == parameters
