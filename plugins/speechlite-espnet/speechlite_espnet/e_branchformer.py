"""The ``e_branchformer`` encoder: ESPnet's (Kim et al. 2022, arXiv 2210.00077)."""

from __future__ import annotations

from typing import Any

from speechlite_espnet.blocks import PrunableAttention, PrunableFeedForward, PrunableGatingMlp
from speechlite_espnet.config import EBranchformerConfig
from speechlite_espnet.quiet import espnet_imports
from speechlite_espnet.stack import EspnetEncoder, EspnetLayer

__all__ = ["EBranchformerEncoder"]

_CONVOLUTIONS = ("cgmlp.mlp.csgu.conv", "depthwise_conv_fusion")
_BLOCKS = ("feed_forward_macaron", "attn", "cgmlp", "feed_forward")


class EBranchformerEncoder(EspnetEncoder):
    """Stack E-Branchformer layers over frames.

    Args:
        config: the options.

    Raises:
        EnvironmentProblem: if ESPnet is not installed.
    """

    def __init__(self, config: EBranchformerConfig) -> None:
        super().__init__(config, _espnet_encoder(config), _prunable)


def _espnet_encoder(config: EBranchformerConfig) -> Any:
    with espnet_imports():
        from espnet2.asr.encoder import e_branchformer_encoder as espnet

        return espnet.EBranchformerEncoder(
            config.dim,
            config.dim,
            attention_heads=config.heads,
            cgmlp_linear_units=config.gating,
            cgmlp_conv_kernel=config.gating_kernel,
            merge_conv_kernel=config.merge_kernel,
            use_ffn=config.feedforward > 0,
            macaron_ffn=config.macaron,
            linear_units=config.feedforward,
            num_blocks=1 if config.share_parameters else config.layers,
            dropout_rate=config.dropout,
            attention_dropout_rate=config.attention_dropout,
            input_layer=None,
        )


def _prunable(layer: Any) -> EspnetLayer:
    layer.attn = PrunableAttention(layer.attn)
    layer.cgmlp = PrunableGatingMlp(layer.cgmlp)
    for name in ("feed_forward_macaron", "feed_forward"):
        if getattr(layer, name) is not None:
            setattr(layer, name, PrunableFeedForward(getattr(layer, name)))
    return EspnetLayer(layer, convolutions=_CONVOLUTIONS, blocks=_BLOCKS)
