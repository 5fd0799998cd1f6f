"""The ``espnet_conformer`` encoder: ESPnet's (Guo et al. 2021, arXiv 2010.13956)."""

from __future__ import annotations

from typing import Any

from speechlite_espnet.blocks import PrunableAttention, PrunableFeedForward
from speechlite_espnet.config import ConformerConfig
from speechlite_espnet.quiet import espnet_imports
from speechlite_espnet.stack import ChannelsFirstBatchNorm, EspnetEncoder, EspnetLayer

__all__ = ["ConformerEncoder"]

_BLOCKS = ("feed_forward_macaron", "self_attn", "feed_forward")


class ConformerEncoder(EspnetEncoder):
    """Stack ESPnet's Conformer layers over frames.

    Args:
        config: the options.

    Raises:
        EnvironmentProblem: if ESPnet is not installed.
    """

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__(config, _espnet_encoder(config), _prunable)


def _espnet_encoder(config: ConformerConfig) -> Any:
    with espnet_imports():
        from espnet2.asr.encoder import conformer_encoder as espnet

        return espnet.ConformerEncoder(
            config.dim,
            config.dim,
            attention_heads=config.heads,
            linear_units=config.feedforward,
            cnn_module_kernel=config.kernel_size,
            macaron_style=config.macaron,
            num_blocks=1 if config.share_parameters else config.layers,
            dropout_rate=config.dropout,
            attention_dropout_rate=config.attention_dropout,
            input_layer=None,
            rel_pos_type="latest",
        )


def _prunable(layer: Any) -> EspnetLayer:
    for name in ("feed_forward_macaron", "feed_forward"):
        if getattr(layer, name) is not None:
            setattr(layer, name, PrunableFeedForward(getattr(layer, name)))
    layer.self_attn = PrunableAttention(layer.self_attn)
    # in training, ESPnet's statistics count padding
    layer.conv_module.norm = ChannelsFirstBatchNorm(len(layer.conv_module.norm.weight))
    convolutions = ["conv_module.depthwise_conv"]
    return EspnetLayer(layer, convolutions=convolutions, norms=["conv_module.norm"], blocks=_BLOCKS)
