"""Options of the built-in encoders; importing this module loads no torch."""

from __future__ import annotations

from dataclasses import dataclass

from speechlite.core.errors import ConfigError

__all__ = [
    "ConformerConfig",
    "IdentityConfig",
    "SparseformerConfig",
    "SqueezeformerConfig",
    "TransformerConfig",
]


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


def _check_kernels(feedforward: int, *kernels: int) -> None:
    if min(feedforward, *kernels) < 1 or any(kernel % 2 == 0 for kernel in kernels):
        raise ConfigError(
            f"kernel sizes {list(kernels)}, feedforward={feedforward}: expected odd kernels and "
            "a positive inner width",
            remedy="change encoder.kernel_size, encoder.reduction_kernel or encoder.feedforward",
        )


def _check_positions(
    config: ConformerConfig | TransformerConfig | SqueezeformerConfig, kinds: tuple[str, str]
) -> None:
    if config.positions not in kinds:
        raise ConfigError(
            f"positions={config.positions!r}, expected {kinds[0]} or {kinds[1]}",
            remedy="change encoder.positions",
        )
    if config.positions == "convolution" and (
        min(config.position_kernel, config.position_groups) < 1
        or config.dim % config.position_groups
    ):
        raise ConfigError(
            f"position_kernel={config.position_kernel}, position_groups={config.position_groups}: "
            f"expected positive numbers, and groups that divide dim={config.dim}",
            remedy="change encoder.position_kernel or encoder.position_groups",
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
    positions: str = "relative"
    """relative (Transformer-XL) or convolution (wav2vec 2.0)."""
    position_kernel: int = 128
    """Frames of the positional convolution."""
    position_groups: int = 16
    """Groups of the positional convolution; a divisor of ``dim``."""
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
        _check_kernels(self.feedforward, self.kernel_size)
        _check_positions(self, ("relative", "convolution"))

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
        if self.norm not in ("pre", "post"):
            raise ConfigError(
                f"norm={self.norm!r}, expected pre or post", remedy="change encoder.norm"
            )
        _check_positions(self, ("sinusoids", "convolution"))
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
class SparseformerConfig(TransformerConfig):
    """Options of ``sparseformer``; defaults are DN-S of "Attention or Convolution" (Table 1)."""

    dim: int = 256
    """Model width; even, a multiple of ``heads``."""
    layers: int = 16
    """Depth."""
    heads: int = 4
    """Attention heads."""
    feedforward: int = 1024
    """Inner width of the feed-forward block."""
    norm: str = "post"
    """pre: norms before the blocks and one at the end (large); post: after each block (base)."""
    positions: str = "convolution"
    """sinusoids or convolution (wav2vec 2.0)."""
    pattern: str = "strided"
    """window: frames near; strided: and every ``stride``-th; fixed: of the block, and summaries."""
    stride: int = 32
    """Length of the pattern in frames."""
    expressivity: int = 8
    """Last frames of each block of ``fixed`` that all frames attend to; at most ``stride``."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pattern not in ("window", "strided", "fixed"):
            raise ConfigError(
                f"pattern={self.pattern!r}, expected window, strided or fixed",
                remedy="change encoder.pattern",
            )
        if self.relative_bias:
            raise ConfigError(
                "relative_bias=True, expected False: a bias for every pair would undo the pattern",
                remedy="leave encoder.relative_bias out",
            )
        if not 1 <= self.expressivity <= self.stride:
            raise ConfigError(
                f"stride={self.stride}, expressivity={self.expressivity}: expected "
                "1 <= expressivity <= stride",
                remedy="change encoder.stride or encoder.expressivity",
            )

    @classmethod
    def tiny(cls) -> SparseformerConfig:
        """Return the options that conformance tests build.

        Returns:
            Options of a small component.
        """
        return cls(
            dim=32, layers=3, heads=2, feedforward=64, position_groups=4, stride=4, expressivity=2
        )


@dataclass(frozen=True)
class SqueezeformerConfig:
    """Options of ``squeezeformer``; defaults are Squeezeformer-XS (Kim et al. 2022)."""

    dim: int = 144
    """Model width; even, a multiple of ``heads``."""
    layers: int = 16
    """Depth."""
    heads: int = 4
    """Attention heads."""
    feedforward: int = 576
    """Inner width of the feed-forward blocks."""
    kernel_size: int = 31
    """Frames of the depthwise kernel; odd."""
    reduce_after: int = 7
    """Layers before the frame rate is halved."""
    recover_after: int = 15
    """Layers before it is brought back; the last layers run at the full rate again."""
    reduction_kernel: int = 5
    """Frames of the kernel that halves the rate; odd."""
    scaling: bool = True
    """Whether each block's input is scaled and shifted by learned vectors, as published."""
    gated_convolution: bool = False
    """Whether convolutions keep the Conformer's gate; published is swish over twice the width."""
    convolution_norm: bool = False
    """Whether the convolution has a norm before it as well, as in the Conformer."""
    convolution_bias: bool = True
    """Whether the three convolutions of a layer have biases."""
    positions: str = "relative"
    """relative (Transformer-XL, as published) or convolution (wav2vec 2.0)."""
    position_kernel: int = 128
    """Frames of the positional convolution."""
    position_groups: int = 16
    """Groups of the positional convolution; a divisor of ``dim``."""
    share_parameters: bool = False
    """Whether all depths are one layer (PSS)."""
    layer_drop: float = 0.0
    """Probability that a training step skips a layer."""
    dropout: float = 0.1
    """Dropout of block outputs and inner activations."""
    attention_dropout: float = 0.1
    """Dropout of attention weights."""

    def __post_init__(self) -> None:
        dropouts = {"dropout": self.dropout, "attention_dropout": self.attention_dropout}
        dropouts["layer_drop"] = self.layer_drop
        _check_stack(self.dim, self.layers, self.heads, None, dropouts)
        _check_kernels(self.feedforward, self.kernel_size, self.reduction_kernel)
        _check_positions(self, ("relative", "convolution"))
        if not 0 <= self.reduce_after <= self.recover_after <= self.layers:
            raise ConfigError(
                f"reduce_after={self.reduce_after}, recover_after={self.recover_after}: expected "
                f"0 <= reduce_after <= recover_after <= layers={self.layers}",
                remedy="change encoder.reduce_after or encoder.recover_after",
            )

    @classmethod
    def tiny(cls) -> SqueezeformerConfig:
        """Return the options that conformance tests build.

        Returns:
            Options of a small component.
        """
        return cls(
            dim=32,
            layers=4,
            heads=2,
            feedforward=64,
            kernel_size=5,
            reduce_after=1,
            recover_after=3,
            reduction_kernel=3,
        )


@dataclass(frozen=True)
class IdentityConfig:
    """Options of ``identity``: none; hidden states are the features themselves."""
