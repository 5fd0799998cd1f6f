"""Options of the built-in heads; importing this module loads no torch."""

from __future__ import annotations

from dataclasses import dataclass

from speechlite.core.errors import ConfigError

__all__ = ["CtcConfig", "PhoneConfig"]


def _check_layer(layer: str) -> None:
    if layer not in ("weighted", "last"):
        raise ConfigError(
            f"layer={layer!r}, expected weighted or last",
            remedy="change head.layer; choose another last layer by training.num_layers",
        )


@dataclass(frozen=True)
class PhoneConfig:
    """Options of ``phone``: a linear classifier of frames."""

    layer: str = "last"
    """Hidden states that it sees: last, or weighted (a learned sum over all)."""

    def __post_init__(self) -> None:
        _check_layer(self.layer)


@dataclass(frozen=True)
class CtcConfig:
    """Options of ``ctc``: recurrent layers and a linear layer; defaults are SUPERB's."""

    layer: str = "weighted"
    """Hidden states that it sees: last, or weighted (a learned sum over all)."""
    stack_frames: int = 1
    """Consecutive frames joined into one before the recurrent layers."""
    recurrent_layers: int = 2
    """Bidirectional LSTM layers; 0 leaves a linear layer alone."""
    recurrent_dim: int = 1024
    """Width of each direction."""
    dropout: float = 0.2
    """Dropout of the recurrent layers' inputs."""

    def __post_init__(self) -> None:
        _check_layer(self.layer)
        smallest = min(self.stack_frames, self.recurrent_dim)
        if smallest < 1 or self.recurrent_layers < 0 or not 0 <= self.dropout < 1:
            raise ConfigError(
                f"stack_frames={self.stack_frames}, recurrent_layers={self.recurrent_layers}, "
                f"recurrent_dim={self.recurrent_dim}, dropout={self.dropout}: expected positive "
                "counts and 0 <= dropout < 1",
                remedy="change the option of head that is out of range",
            )

    @classmethod
    def tiny(cls) -> CtcConfig:
        """Return the options that conformance tests build.

        Returns:
            Options of a small component.
        """
        return cls(recurrent_layers=1, recurrent_dim=16)
