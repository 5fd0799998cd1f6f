"""Options of the built-in compressors; importing this module loads no torch."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from speechlite.core.errors import ConfigError

__all__ = [
    "BinaryConfig",
    "DepthConfig",
    "Int8Config",
    "L0StructuredConfig",
    "MagnitudeStructuredConfig",
    "StudentConfig",
    "check_leaves",
]


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


def _check_target_of(target_of: str) -> None:
    if target_of not in ("parameters", "macs"):
        raise ConfigError(
            f"target_of={target_of!r}, expected parameters or macs",
            remedy="change compressor.target_of",
        )


def check_leaves(parts: list[str], keep: list[str]) -> None:
    """Refuse options that name no part, or what is kept by something that is no expression.

    Args:
        parts: names of modules.
        keep: regular expressions.

    Raises:
        ConfigError: if one does not fit.
    """
    if not parts:
        raise ConfigError(
            "parts=[], expected names of modules such as encoder.layers",
            remedy="change compressor.parts",
        )
    for pattern in keep:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ConfigError(
                f"keep={list(keep)}: {pattern!r} is no regular expression ({error})",
                remedy="change compressor.keep",
            ) from None


_PRUNABLE = ("convolutions", "heads", "units", "blocks")


@dataclass(frozen=True)
class L0StructuredConfig:
    """Options of ``l0_structured``; defaults are DPHuBERT's."""

    target: float = 0.75
    """Part of the size to cut, in (0, 1)."""
    target_of: str = "parameters"
    """What size means: parameters, or macs."""
    seconds: float = 10.0
    """Length of the utterance whose multiply-accumulates count, for ``target_of=macs``."""
    prune: list[str] = field(default_factory=lambda: list(_PRUNABLE))
    """What may be pruned: convolutions (channels), heads, units (feed-forward), blocks."""
    warmup_steps: int = 5000
    """Optimiser steps in which the target rises from 0."""
    learning_rate: float = 2.0e-2
    """Peak learning rate of gates and multipliers; it follows the schedule of the others."""
    drop_rate: float = 0.01
    """Probability that the gate of a channel, head or block starts below one half, in (0, 1)."""
    unit_drop_rate: float = 0.5
    """Probability that the gate of a feed-forward unit starts below one half, in (0, 1)."""

    def __post_init__(self) -> None:
        rates = (self.target, self.drop_rate, self.unit_drop_rate)
        if not all(0 < rate < 1 for rate in rates):
            raise ConfigError(
                f"target={self.target}, drop_rate={self.drop_rate}, "
                f"unit_drop_rate={self.unit_drop_rate}: expected numbers between 0 and 1",
                remedy="change compressor.target, drop_rate or unit_drop_rate",
            )
        _check_target_of(self.target_of)
        if not self.prune or not set(self.prune) <= set(_PRUNABLE):
            raise ConfigError(
                f"prune={list(self.prune)}, expected some of {list(_PRUNABLE)}",
                remedy="change compressor.prune",
            )
        if self.warmup_steps < 1 or self.learning_rate <= 0 or self.seconds <= 0:
            raise ConfigError(
                f"warmup_steps={self.warmup_steps}, learning_rate={self.learning_rate}, "
                f"seconds={self.seconds}: expected positive numbers",
                remedy="change compressor.warmup_steps, learning_rate or seconds",
            )

    @classmethod
    def tiny(cls) -> L0StructuredConfig:
        """Return the options that conformance tests build.

        Returns:
            Options of a small component.
        """
        return cls(target=0.4)


@dataclass(frozen=True)
class MagnitudeStructuredConfig:
    """Options of ``magnitude_structured``."""

    target: float = 0.75
    """Part of the size to cut, in (0, 1)."""
    target_of: str = "parameters"
    """What size means: parameters, or macs."""
    seconds: float = 10.0
    """Length of the utterance whose multiply-accumulates count, for ``target_of=macs``."""
    prune: list[str] = field(default_factory=lambda: ["convolutions", "heads", "units"])
    """What may be pruned; blocks go with the last of their units."""

    def __post_init__(self) -> None:
        if not 0 < self.target < 1 or self.seconds <= 0:
            raise ConfigError(
                f"target={self.target}, seconds={self.seconds}: expected a target between 0 and 1, "
                "and a positive length",
                remedy="change compressor.target or compressor.seconds",
            )
        _check_target_of(self.target_of)
        if not self.prune or not set(self.prune) <= {"convolutions", "heads", "units"}:
            raise ConfigError(
                f"prune={list(self.prune)}, expected some of convolutions, heads, units",
                remedy="change compressor.prune",
            )

    @classmethod
    def tiny(cls) -> MagnitudeStructuredConfig:
        """Return the options that conformance tests build.

        Returns:
            Options of a small component.
        """
        return cls(target=0.3)


@dataclass(frozen=True)
class BinaryConfig:
    """Options of ``binary``; defaults are the one-bit encoders of "Attention or Convolution"."""

    weight_bits: int = 1
    """Bits of a weight, 1 to 8."""
    activation_bits: int = 1
    """Bits of an activation, 1 to 8."""
    parts: list[str] = field(default_factory=lambda: ["encoder.layers"])
    """Modules whose linear layers and convolutions are quantised, from the model on."""
    keep: list[str] = field(default_factory=list)
    """Regular expressions: what they are found in stays in full precision."""
    attention: bool = True
    """Whether queries, keys, values and attention weights are quantised, too."""
    pack: bool = True
    """Whether codes are stored; false keeps the weights behind them, for a further step."""

    def __post_init__(self) -> None:
        if not 1 <= self.weight_bits <= 8 or not 1 <= self.activation_bits <= 8:
            raise ConfigError(
                f"weight_bits={self.weight_bits}, activation_bits={self.activation_bits}: expected "
                "1 to 8",
                remedy="change compressor.weight_bits or compressor.activation_bits",
            )
        check_leaves(self.parts, self.keep)

    @classmethod
    def tiny(cls) -> BinaryConfig:
        """Return the options that conformance tests build.

        Returns:
            Options of a small component.
        """
        return cls()


@dataclass(frozen=True)
class Int8Config:
    """Options of ``int8``."""

    parts: list[str] = field(default_factory=lambda: ["frontend", "encoder"])
    """Modules whose linear layers are quantised, from the model on."""
    keep: list[str] = field(default_factory=list)
    """Regular expressions: what they are found in stays in full precision."""

    def __post_init__(self) -> None:
        check_leaves(self.parts, self.keep)

    @classmethod
    def tiny(cls) -> Int8Config:
        """Return the options that conformance tests build.

        Returns:
            Options of a small component.
        """
        return cls()


@dataclass(frozen=True)
class StudentConfig:
    """Options of ``student``; at least one of encoder and frontend must differ."""

    encoder: dict[str, Any] = field(default_factory=dict)
    """Options of the teacher's encoder that the student has otherwise."""
    frontend: dict[str, Any] = field(default_factory=dict)
    """Options of the teacher's frontend that the student has otherwise."""
    start: str = "teacher"
    """teacher: tensors of equal shape are the teacher's; random: all start anew."""
    start_layers: list[int] | None = None
    """Layers of the teacher, from 0, that the student's start from; null takes the first ones."""

    def __post_init__(self) -> None:
        if self.start not in ("teacher", "random"):
            raise ConfigError(
                f"start={self.start!r}, expected teacher or random",
                remedy="change compressor.start",
            )
        if self.start_layers is not None and min(self.start_layers, default=0) < 0:
            raise ConfigError(
                f"start_layers={list(self.start_layers)}, expected layers from 0",
                remedy="change compressor.start_layers",
            )

    @classmethod
    def tiny(cls) -> StudentConfig:
        """Return the options that conformance tests build.

        Returns:
            Options of a small component.
        """
        return cls(encoder={"layers": 1})
