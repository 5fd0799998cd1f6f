"""Options of the built-in encoders; importing this module loads no torch."""

from __future__ import annotations

from dataclasses import dataclass

from speechlite.core.errors import ConfigError

__all__ = ["ConformerConfig", "IdentityConfig", "TransformerConfig"]


def _check_stack(
    dim: int, layers: int, heads: int, random_depth: list[int] | None, dropouts: dict[str, float]
) -> None:
    if min(dim, layers, heads) < 1 or dim % heads or dim % 2:
        raise ConfigError(
            f"dim={dim}, layers={layers}, heads={heads}: expected positive numbers with dim even "
            "and a multiple of heads",
            remedy="change encoder.dim or encoder.heads",
        )
    if random_depth is not None and not _is_depth_range(random_depth, layers):
        raise ConfigError(
            f"random_depth={list(random_depth)}, expected [low, high] with "
            f"1 <= low <= high <= layers={layers}",
            remedy="change encoder.random_depth, or set it to null for a fixed depth",
        )
    for name, value in dropouts.items():
        if not 0 <= value < 1:
            raise ConfigError(
                f"{name}={value}, expected a probability 0 <= p < 1",
                remedy=f"change encoder.{name}",
            )


def _is_depth_range(random_depth: list[int], layers: int) -> bool:
    return len(random_depth) == 2 and 1 <= random_depth[0] <= random_depth[1] <= layers


@dataclass(frozen=True)
class ConformerConfig:
    """Options of ``conformer``; defaults are the 8-layer model of Layer Reduction, section 3.1."""

    dim: int = 512
    """Model width; even, a multiple of ``heads``."""
    layers: int = 8
    """Depth."""
    heads: int = 4
    """Attention heads."""
    feedforward: int = 2048
    """Inner width of the feed-forward block."""
    kernel_size: int = 15
    """Frames of the depthwise kernel; odd."""
    macaron: bool = False
    """Whether a half-weighted feed-forward block stands on both sides of the layer."""
    convolution_bias: bool = True
    """Whether the three convolutions have biases."""
    share_parameters: bool = False
    """Whether all depths are one layer (PSS)."""
    random_depth: list[int] | None = None
    """Lowest and highest depth of a training step, drawn uniformly; null trains all layers."""
    dropout: float = 0.1
    """Dropout of block outputs and inner activations."""
    attention_dropout: float = 0.1
    """Dropout of attention weights."""

    def __post_init__(self) -> None:
        dropouts = {"dropout": self.dropout, "attention_dropout": self.attention_dropout}
        _check_stack(self.dim, self.layers, self.heads, self.random_depth, dropouts)
        if self.kernel_size < 1 or self.kernel_size % 2 == 0 or self.feedforward < 1:
            raise ConfigError(
                f"kernel_size={self.kernel_size}, feedforward={self.feedforward}: expected an odd "
                "kernel size and a positive inner width",
                remedy="change encoder.kernel_size or encoder.feedforward",
            )

    @classmethod
    def tiny(cls) -> ConformerConfig:
        """Return the options that conformance tests build.

        Returns:
            Options of a small component.
        """
        return cls(dim=32, layers=3, heads=2, feedforward=64, kernel_size=5)


@dataclass(frozen=True)
class TransformerConfig:
    """Options of ``transformer``; ``norm=post positions=convolution`` gives HuBERT base."""

    dim: int = 768
    """Model width; even, a multiple of ``heads``."""
    layers: int = 12
    """Depth."""
    heads: int = 12
    """Attention heads."""
    feedforward: int = 3072
    """Inner width of the feed-forward block."""
    activation: str = "gelu"
    """relu, gelu or swish."""
    norm: str = "pre"
    """pre: norms before the blocks and one at the end (large); post: after each block (base)."""
    positions: str = "sinusoids"
    """sinusoids or convolution (wav2vec 2.0)."""
    position_kernel: int = 128
    """Frames of the positional convolution."""
    position_groups: int = 16
    """Groups of the positional convolution; a divisor of ``dim``."""
    relative_bias: bool = False
    """Whether attention has WavLM's gated relative position bias."""
    bias_buckets: int = 320
    """Distances that the relative bias tells apart."""
    bias_distance: int = 800
    """Frames from which on all distances are one to the relative bias."""
    time_reduction: int = 1
    """Frames that are joined to one by a convolution before the first layer (FitHuBERT has 2)."""
    share_parameters: bool = False
    """Whether all depths are one layer (PSS)."""
    random_depth: list[int] | None = None
    """Lowest and highest depth of a training step, drawn uniformly; null trains all layers."""
    layer_drop: float = 0.0
    """Probability that a training step skips a layer."""
    dropout: float = 0.1
    """Dropout of block outputs and inner activations."""
    attention_dropout: float = 0.1
    """Dropout of attention weights."""

    def __post_init__(self) -> None:
        dropouts = {"dropout": self.dropout, "attention_dropout": self.attention_dropout}
        dropouts["layer_drop"] = self.layer_drop
        _check_stack(self.dim, self.layers, self.heads, self.random_depth, dropouts)
        if self.activation not in ("relu", "gelu", "swish") or self.feedforward < 1:
            raise ConfigError(
                f"activation={self.activation!r}, feedforward={self.feedforward}: expected relu, "
                "gelu or swish, and a positive inner width",
                remedy="change encoder.activation or encoder.feedforward",
            )
        if self.norm not in ("pre", "post") or self.positions not in ("sinusoids", "convolution"):
            raise ConfigError(
                f"norm={self.norm!r}, positions={self.positions!r}: expected pre or post, and "
                "sinusoids or convolution",
                remedy="change encoder.norm or encoder.positions",
            )
        if self.positions == "convolution" and (
            min(self.position_kernel, self.position_groups) < 1 or self.dim % self.position_groups
        ):
            raise ConfigError(
                f"position_kernel={self.position_kernel}, position_groups={self.position_groups}: "
                f"expected positive numbers, and groups that divide dim={self.dim}",
                remedy="change encoder.position_kernel or encoder.position_groups",
            )
        if self.bias_buckets < 4 or self.bias_distance <= self.bias_buckets // 4:
            raise ConfigError(
                f"bias_buckets={self.bias_buckets}, bias_distance={self.bias_distance}: expected "
                "at least 4 buckets, and a distance above a quarter of them",
                remedy="change encoder.bias_buckets or encoder.bias_distance",
            )
        if self.time_reduction < 1:
            raise ConfigError(
                f"time_reduction={self.time_reduction}, expected at least 1",
                remedy="change encoder.time_reduction",
            )

    @classmethod
    def tiny(cls) -> TransformerConfig:
        """Return the options that conformance tests build.

        Returns:
            Options of a small component.
        """
        return cls(dim=32, layers=3, heads=2, feedforward=64)


@dataclass(frozen=True)
class IdentityConfig:
    """Options of ``identity``: none; hidden states are the features themselves."""
