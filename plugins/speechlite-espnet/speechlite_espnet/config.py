"""Options of the encoders; importing this module loads neither torch nor ESPnet.

Defaults are those of ESPnet's LibriSpeech recipes.
"""

from __future__ import annotations

from dataclasses import dataclass

from speechlite.core.errors import ConfigError

__all__ = ["BranchformerConfig", "ConformerConfig", "EBranchformerConfig", "StackConfig"]

MERGES = ("concat", "learned_ave", "fixed_ave")
"""ESPnet's names for the ways to merge the branches of a Branchformer layer."""


@dataclass(frozen=True)
class StackConfig:
    """Options that all the encoders have."""

    dim: int = 512
    """Model width; even, a multiple of ``heads``."""
    layers: int = 12
    """Depth."""
    heads: int = 8
    """Attention heads."""
    dropout: float = 0.1
    """Dropout of block outputs and inner activations."""
    attention_dropout: float = 0.1
    """Dropout of attention weights."""
    positional_dropout: float = 0.1
    """Dropout of the scaled frames and of the positions, before the first layer."""
    layer_drop: float = 0.0
    """Probability that a training step skips a layer."""
    share_parameters: bool = False
    """Whether all depths are one layer (PSS)."""
    random_depth: list[int] | None = None
    """Lowest and highest depth of a training step, drawn uniformly; null trains all layers."""

    def __post_init__(self) -> None:
        if min(self.dim, self.layers, self.heads) < 1 or self.dim % self.heads or self.dim % 2:
            raise ConfigError(
                f"dim={self.dim}, layers={self.layers}, heads={self.heads}: expected positive "
                "numbers with dim even and a multiple of heads",
                remedy="change encoder.dim or encoder.heads",
            )
        for name in ("dropout", "attention_dropout", "positional_dropout", "layer_drop"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(
                    f"{name}={getattr(self, name)}, expected a probability 0 <= p < 1",
                    remedy=f"change encoder.{name}",
                )
        if self.random_depth is not None and not _is_depth_range(self.random_depth, self.layers):
            raise ConfigError(
                f"random_depth={list(self.random_depth)}, expected [low, high] with "
                f"1 <= low <= high <= layers={self.layers}",
                remedy="change encoder.random_depth, or set it to null for a fixed depth",
            )


@dataclass(frozen=True)
class EBranchformerConfig(StackConfig):
    """Options of ``e_branchformer``."""

    layers: int = 17
    """Depth."""
    layer_drop: float = 0.1
    """Probability that a training step skips a layer."""
    gating: int = 3072
    """Inner width of the convolutional gating MLP; even, one half gates the other."""
    gating_kernel: int = 31
    """Frames of the gating MLP's depthwise kernel; odd."""
    merge_kernel: int = 31
    """Frames of the depthwise kernel that merges the branches; odd."""
    feedforward: int = 1024
    """Inner width of the feed-forward blocks; 0 leaves them out."""
    macaron: bool = True
    """Whether a half-weighted feed-forward block stands on both sides of the branches."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_gating(self.gating, self.gating_kernel)
        _check_kernel("merge_kernel", self.merge_kernel)
        if self.feedforward < 0:
            raise ConfigError(
                f"feedforward={self.feedforward}, expected a width, or 0 for no feed-forward",
                remedy="change encoder.feedforward",
            )

    @classmethod
    def tiny(cls) -> EBranchformerConfig:
        """Return the options that conformance tests build.

        Returns:
            Options of a small component.
        """
        return cls(
            dim=32, layers=3, heads=2, gating=48, gating_kernel=5, merge_kernel=3, feedforward=64
        )


@dataclass(frozen=True)
class BranchformerConfig(StackConfig):
    """Options of ``branchformer``."""

    layers: int = 18
    """Depth."""
    gating: int = 3072
    """Inner width of the convolutional gating MLP; even, one half gates the other."""
    gating_kernel: int = 31
    """Frames of the gating MLP's depthwise kernel; odd."""
    merge: str = "concat"
    """How the branches are merged: concat, learned_ave or fixed_ave."""
    gating_weight: float = 0.5
    """Share of the gating branch where ``merge`` is fixed_ave; above 0, below 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_gating(self.gating, self.gating_kernel)
        if self.merge not in MERGES or not 0 < self.gating_weight < 1:
            raise ConfigError(
                f"merge={self.merge!r}, gating_weight={self.gating_weight}: expected "
                f"{', '.join(MERGES)}, and a share 0 < w < 1",
                remedy="change encoder.merge or encoder.gating_weight",
            )

    @classmethod
    def tiny(cls) -> BranchformerConfig:
        """Return the options that conformance tests build.

        Returns:
            Options of a small component.
        """
        return cls(dim=32, layers=3, heads=2, gating=48, gating_kernel=5)


@dataclass(frozen=True)
class ConformerConfig(StackConfig):
    """Options of ``espnet_conformer``."""

    feedforward: int = 2048
    """Inner width of the feed-forward blocks."""
    kernel_size: int = 31
    """Frames of the depthwise kernel; odd."""
    macaron: bool = True
    """Whether a half-weighted feed-forward block stands on both sides of the layer."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_kernel("kernel_size", self.kernel_size)
        if self.feedforward < 1:
            raise ConfigError(
                f"feedforward={self.feedforward}, expected a positive width",
                remedy="change encoder.feedforward",
            )

    @classmethod
    def tiny(cls) -> ConformerConfig:
        """Return the options that conformance tests build.

        Returns:
            Options of a small component.
        """
        return cls(dim=32, layers=3, heads=2, feedforward=64, kernel_size=5)


def _is_depth_range(random_depth: list[int], layers: int) -> bool:
    return len(random_depth) == 2 and 1 <= random_depth[0] <= random_depth[1] <= layers


def _check_kernel(name: str, size: int) -> None:
    # an even one would change the number of frames
    if size < 1 or size % 2 == 0:
        raise ConfigError(
            f"{name}={size}, expected an odd kernel size", remedy=f"change encoder.{name}"
        )


def _check_gating(gating: int, kernel: int) -> None:
    _check_kernel("gating_kernel", kernel)
    if gating < 2 or gating % 2:
        raise ConfigError(
            f"gating={gating}, expected an even width above 0", remedy="change encoder.gating"
        )
