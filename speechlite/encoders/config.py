"""Options of the built-in encoders; importing this module loads no torch."""

from __future__ import annotations

from dataclasses import dataclass

from speechlite.core.errors import ConfigError

__all__ = ["ConformerConfig", "IdentityConfig", "TransformerConfig"]


def _check_stack(
    dim: int, layers: int, heads: int, random_depth: list[int] | None, dropouts: list[float]
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
    if not all(0 <= dropout < 1 for dropout in dropouts):
        raise ConfigError(
            f"dropout probabilities are {dropouts}, expected 0 <= p < 1",
            remedy="change encoder.dropout or encoder.attention_dropout",
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
        dropouts = [self.dropout, self.attention_dropout]
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
    """Options of ``transformer``; defaults are the base width with 12 layers."""

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
    share_parameters: bool = False
    """Whether all depths are one layer (PSS)."""
    random_depth: list[int] | None = None
    """Lowest and highest depth of a training step, drawn uniformly; null trains all layers."""
    dropout: float = 0.1
    """Dropout of block outputs and inner activations."""
    attention_dropout: float = 0.1
    """Dropout of attention weights."""

    def __post_init__(self) -> None:
        dropouts = [self.dropout, self.attention_dropout]
        _check_stack(self.dim, self.layers, self.heads, self.random_depth, dropouts)
        if self.activation not in ("relu", "gelu", "swish") or self.feedforward < 1:
            raise ConfigError(
                f"activation={self.activation!r}, feedforward={self.feedforward}: expected relu, "
                "gelu or swish, and a positive inner width",
                remedy="change encoder.activation or encoder.feedforward",
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
