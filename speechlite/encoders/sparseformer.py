"""The Sparseformer encoder: Transformer layers that attend over a sparse pattern."""

from __future__ import annotations

from speechlite.encoders.config import SparseformerConfig
from speechlite.encoders.transformer import TransformerEncoder, TransformerLayer
from speechlite.nn.sparse_attention import SparseAttentionCore

__all__ = ["SparseformerEncoder"]


class SparseformerEncoder(TransformerEncoder):
    """Stack Transformer layers whose attention skips most pairs of frames.

    Child et al. 2019 (arXiv 1904.10509), in both directions of time, as "Attention or Convolution"
    (arXiv 2311.02772) trains it.

    Args:
        config: the options.
    """

    config: SparseformerConfig

    def make_layer(self) -> TransformerLayer:
        """Build one layer.

        Returns:
            A layer with fresh weights.
        """
        core = SparseAttentionCore(
            pattern=self.config.pattern,
            stride=self.config.stride,
            expressivity=self.config.expressivity,
            dropout=self.config.attention_dropout,
        )
        return TransformerLayer(self.config, core=core)
