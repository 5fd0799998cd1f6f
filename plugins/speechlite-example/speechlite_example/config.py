"""Options of the components; importing this module loads no torch."""

from __future__ import annotations

from dataclasses import dataclass

from speechlite.core.errors import ConfigError

__all__ = ["GruConfig", "LowRankConfig", "MeanLinearConfig"]


@dataclass(frozen=True)
class GruConfig:
    """Options of ``gru``."""

    dim: int = 256
    """Model width; even, above 0."""
    layers: int = 4
    """Depth; at least 1."""
    dropout: float = 0.1
    """Dropout of each layer's output; at least 0, below 1."""

    def __post_init__(self) -> None:
        if self.dim < 2 or self.dim % 2 or self.layers < 1 or not 0 <= self.dropout < 1:
            raise ConfigError(
                f"dim={self.dim}, layers={self.layers}, dropout={self.dropout}: expected an even "
                "width, at least one layer, and 0 <= dropout < 1",
                remedy="change the option of encoder that is out of range",
            )

    @classmethod
    def tiny(cls) -> GruConfig:
        """Return the options that conformance tests build.

        Returns:
            Options of a small component.
        """
        return cls(dim=32, layers=3)


@dataclass(frozen=True)
class LowRankConfig:
    """Options of ``low_rank``."""

    energy: float = 0.9
    """Share of a weight's squared singular values to keep; above 0, at most 1."""

    def __post_init__(self) -> None:
        if not 0 < self.energy <= 1:
            raise ConfigError(
                f"energy={self.energy}, expected 0 < energy <= 1",
                remedy="change compressor.energy",
            )


@dataclass(frozen=True)
class MeanLinearConfig:
    """Options of ``mean_linear``."""

    layer: str = "weighted"
    """Hidden states that it sees: last, or weighted (a learned sum over all)."""

    def __post_init__(self) -> None:
        if self.layer not in ("weighted", "last"):
            raise ConfigError(
                f"layer={self.layer!r}, expected weighted or last", remedy="change head.layer"
            )
