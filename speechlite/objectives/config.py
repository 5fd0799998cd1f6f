"""Options of the built-in objectives; importing this module loads no torch."""

from __future__ import annotations

from dataclasses import dataclass

from speechlite.core.errors import ConfigError

__all__ = ["ReconstructionConfig"]


@dataclass(frozen=True)
class ReconstructionConfig:
    """Options of ``reconstruction``; defaults are Layer Reduction's, section 2.1."""

    mask_ratio: float = 0.15
    """Part of the frames that is altered, in (0, 1]."""
    block_frames: int = 7
    """Consecutive frames of an altered block."""
    zero_probability: float = 0.8
    """Probability that an utterance's blocks are set to zero."""
    replace_probability: float = 0.1
    """Probability that they are replaced by frames from elsewhere; else they are kept."""
    altered_only: bool = True
    """Whether the loss counts the altered frames only, or all valid ones."""

    def __post_init__(self) -> None:
        if not 0 < self.mask_ratio <= 1 or self.block_frames < 1:
            raise ConfigError(
                f"mask_ratio={self.mask_ratio}, block_frames={self.block_frames}: expected "
                "0 < mask_ratio <= 1 and at least one frame",
                remedy="change objective.mask_ratio or objective.block_frames",
            )
        chances = (self.zero_probability, self.replace_probability)
        if min(chances) < 0 or sum(chances) > 1:
            raise ConfigError(
                f"zero_probability={chances[0]}, replace_probability={chances[1]}: expected "
                "probabilities that sum to at most 1",
                remedy="change objective.zero_probability or objective.replace_probability",
            )
