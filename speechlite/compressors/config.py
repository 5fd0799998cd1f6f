"""Options of the built-in compressors; importing this module loads no torch."""

from __future__ import annotations

from dataclasses import dataclass

from speechlite.core.errors import ConfigError

__all__ = ["DepthConfig"]


@dataclass(frozen=True)
class DepthConfig:
    """Options of ``depth``; the default is SLI(5) of Layer Reduction."""

    layers: int = 5
    """Layers to keep, from the first; at least 1, fewer than the model has."""

    def __post_init__(self) -> None:
        if self.layers < 1:
            raise ConfigError(
                f"layers={self.layers}, expected at least 1", remedy="change compressor.layers"
            )

    @classmethod
    def tiny(cls) -> DepthConfig:
        """Return the options that conformance tests build.

        Returns:
            Options of a small component.
        """
        return cls(layers=2)
