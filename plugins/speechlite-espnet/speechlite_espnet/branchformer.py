"""The ``branchformer`` encoder: ESPnet's (Peng et al. 2022, arXiv 2207.02971)."""

from __future__ import annotations

from typing import Any

from speechlite_espnet.blocks import PrunableAttention, PrunableGatingMlp
from speechlite_espnet.config import BranchformerConfig
from speechlite_espnet.quiet import espnet_imports
from speechlite_espnet.stack import EspnetEncoder, EspnetLayer

__all__ = ["BranchformerEncoder"]


class BranchformerEncoder(EspnetEncoder):
    """Stack Branchformer layers over frames.

    Args:
        config: the options.

    Raises:
        EnvironmentProblem: if ESPnet is not installed.
    """

    def __init__(self, config: BranchformerConfig) -> None:
        super().__init__(config, _espnet_encoder(config), _prunable)


def _espnet_encoder(config: BranchformerConfig) -> Any:
    with espnet_imports():
        from espnet2.asr.encoder import branchformer_encoder as espnet

        return espnet.BranchformerEncoder(
            config.dim,
            config.dim,
            attention_heads=config.heads,
            cgmlp_linear_units=config.gating,
            cgmlp_conv_kernel=config.gating_kernel,
            merge_method=config.merge,
            cgmlp_weight=float(config.gating_weight),
            num_blocks=1 if config.share_parameters else config.layers,
            dropout_rate=config.dropout,
            attention_dropout_rate=config.attention_dropout,
            input_layer=None,
        )


def _prunable(layer: Any) -> EspnetLayer:
    layer.attn = PrunableAttention(layer.attn)
    layer.cgmlp = PrunableGatingMlp(layer.cgmlp)
    return EspnetLayer(layer, convolutions=["cgmlp.mlp.csgu.conv"], blocks=["attn", "cgmlp"])
