"""Options of the compressors that prune single weights; importing this module loads no torch."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from speechlite.compressors.config import check_leaves
from speechlite.core.errors import ConfigError

__all__ = [
    "CalibratedConfig",
    "MagnitudeConfig",
    "ObsConfig",
    "ParpConfig",
    "PruningConfig",
    "WandaConfig",
]

_PATTERN = re.compile(r"unstructured|[1-9][0-9]*[:x][1-9][0-9]*")
_ALLOCATIONS = ("uniform", "ranked", "sized")


@dataclass(frozen=True)
class PruningConfig:
    """Options of every compressor that prunes single weights."""

    sparsity: float = 0.75
    """Part of the weights to prune, counting those that are pruned already; in (0, 1)."""
    pattern: str = "unstructured"
    """unstructured; N:M, such as 2:4, for N zeros among any M consecutive inputs, whatever the
    sparsity; or RxC, such as 4x1, for tiles of R outputs and C inputs that go together."""
    parts: list[str] = field(default_factory=lambda: ["encoder.layers"])
    """Modules whose linear layers and convolutions are pruned, from the model on."""
    keep: list[str] = field(default_factory=list)
    """Regular expressions: what they are found in is not pruned."""

    values: str = "float32"
    """How the values that are left are stored: float32; or float16, rounded to half the bytes, as
    the last step of a chain, since no training changes them."""

    def __post_init__(self) -> None:
        if self.values not in ("float32", "float16"):
            raise ConfigError(
                f"values={self.values!r}, expected float32 or float16",
                remedy="change compressor.values",
            )
        if not 0 < self.sparsity < 1:
            raise ConfigError(
                f"sparsity={self.sparsity}, expected a number between 0 and 1",
                remedy="change compressor.sparsity",
            )
        if not _PATTERN.fullmatch(self.pattern) or _is_empty(self.pattern):
            raise ConfigError(
                f"pattern={self.pattern!r}, expected unstructured, N:M with N below M, or RxC",
                remedy="change compressor.pattern",
            )
        check_leaves(self.parts, self.keep)


def _is_empty(pattern: str) -> bool:
    zeros, colon, of = pattern.partition(":")
    return bool(colon) and int(zeros) >= int(of)


@dataclass(frozen=True)
class MagnitudeConfig(PruningConfig):
    """Options of ``magnitude``."""

    @classmethod
    def tiny(cls) -> MagnitudeConfig:
        """Return the options that conformance tests build.

        Returns:
            Options of a small component.
        """
        return cls(sparsity=0.5)


@dataclass(frozen=True)
class ParpConfig(PruningConfig):
    """Options of ``parp``."""

    every_steps: int = 50
    """Optimiser steps between two prunings; at least 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.every_steps < 1:
            raise ConfigError(
                f"every_steps={self.every_steps}, expected at least 1",
                remedy="change compressor.every_steps",
            )

    @classmethod
    def tiny(cls) -> ParpConfig:
        """Return the options that conformance tests build.

        Returns:
            Options of a small component.
        """
        return cls(sparsity=0.5, every_steps=1)


@dataclass(frozen=True)
class CalibratedConfig(PruningConfig):
    """Options of the compressors that prune by what layers hear."""

    sequential: bool = True
    """Whether a layer is pruned by inputs that have passed the pruned layers before it; else all
    inputs are gathered in one pass."""


@dataclass(frozen=True)
class WandaConfig(CalibratedConfig):
    """Options of ``wanda``."""

    @classmethod
    def tiny(cls) -> WandaConfig:
        """Return the options that conformance tests build.

        Returns:
            Options of a small component.
        """
        return cls(sparsity=0.5)


@dataclass(frozen=True)
class ObsConfig(CalibratedConfig):
    """Options of ``obs``; the paper's are improved_saliency=true and allocation=ranked."""

    precision: str = "float32"
    """In which inputs are multiplied: float32, or bfloat16 with float32 sums."""
    damping: float = 0.01
    """Added to the Hessian's diagonal, as a part of its mean; above 0."""
    block: int = 32
    """Columns whose mask is chosen at once; at least 1."""
    improved_saliency: bool = False
    """Whether the first-order term of Eq. 3 is added to a weight's saliency."""
    allocation: str = "uniform"
    """Sparsity of each matrix: uniform; ranked by sensitivity as in Eqs. 6 and 7; or sized, the
    same with the sizes in mind, so that the sparsity of all together is what was asked for."""
    alpha: float = 0.1
    """How far ranked and sized go from the asked sparsity."""
    probes: int = 4
    """Random vectors a batch that estimate a Hessian's trace; at least 1."""
    sensitivity_batches: int = 16
    """Batches of the calibration data on which sensitivities are measured; at least 1."""
    seed: int = 1
    """Seed of the random vectors."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.precision not in ("float32", "bfloat16"):
            raise ConfigError(
                f"precision={self.precision!r}, expected float32 or bfloat16",
                remedy="change compressor.precision",
            )
        if self.allocation not in _ALLOCATIONS:
            raise ConfigError(
                f"allocation={self.allocation!r}, expected one of {list(_ALLOCATIONS)}",
                remedy="change compressor.allocation",
            )
        if self.allocation != "uniform" and not (
            0 <= self.alpha <= min(self.sparsity, 1 - self.sparsity) + 1e-9
        ):
            raise ConfigError(
                f"alpha={self.alpha} about sparsity={self.sparsity} leaves the range from 0 to 1",
                remedy="lower compressor.alpha",
            )
        if self.allocation != "uniform" and ":" in self.pattern:
            raise ConfigError(
                f"pattern={self.pattern!r} fixes the sparsity of every matrix, which "
                f"allocation={self.allocation} would choose",
                remedy="set compressor.allocation=uniform",
            )
        if not (self.damping > 0 and self.block >= 1):
            raise ConfigError(
                f"damping={self.damping}, block={self.block}: expected positive numbers",
                remedy="change compressor.damping or compressor.block",
            )
        if self.probes < 1 or self.sensitivity_batches < 1:
            raise ConfigError(
                f"probes={self.probes}, sensitivity_batches={self.sensitivity_batches}: expected "
                "at least 1",
                remedy="change compressor.probes or compressor.sensitivity_batches",
            )

    @classmethod
    def tiny(cls) -> ObsConfig:
        """Return the options that conformance tests build.

        Returns:
            Options of a small component.
        """
        return cls(sparsity=0.5)
