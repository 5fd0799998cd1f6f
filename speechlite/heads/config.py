"""Options of the built-in heads; importing this module loads no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from speechlite.core.errors import ConfigError

__all__ = ["CtcConfig", "PhoneConfig", "TdnnConfig"]


def _check_layer(layer: str) -> None:
    if layer not in ("weighted", "last"):
        raise ConfigError(
            f"layer={layer!r}, expected weighted or last",
            remedy="change head.layer; choose another last layer by training.num_layers",
        )


def _check_numbers(name: str, values: Sequence[float], smallest: float) -> None:
    if not values or not all(
        smallest <= value < math.inf and value > -math.inf for value in values
    ):
        raise ConfigError(
            f"{name}={values}, expected finite numbers"
            + ("" if smallest == -math.inf else f" of at least {smallest:g}"),
            remedy=f"change head.{name}",
        )


@dataclass(frozen=True)
class PhoneConfig:
    """Options of ``phone``: a linear classifier of frames."""

    layer: str = "last"
    """Hidden states that it sees: last, or weighted (a learned sum over all)."""

    def __post_init__(self) -> None:
        _check_layer(self.layer)


@dataclass(frozen=True)
class TdnnConfig:
    """Options of ``tdnn``: a time-delay network over frames; defaults are Layer Reduction's."""

    layer: str = "last"
    """Hidden states that it sees: last, or weighted (a learned sum over all)."""
    dim: int = 1280
    """Width of every layer; at least 1."""
    strides: list[int] = field(default_factory=lambda: [1, 4, 7, 10, 1])
    """Distance in frames to the neighbours that each layer looks at; at least 1."""
    dropout: float = 0.0
    """Dropout after each layer; from 0 to below 1."""

    def __post_init__(self) -> None:
        _check_layer(self.layer)
        _check_numbers("strides", self.strides, 1)
        _check_numbers("dim", [self.dim], 1)
        if not 0 <= self.dropout < 1:
            raise ConfigError(
                f"dropout={self.dropout}, expected at least 0 and below 1",
                remedy="change head.dropout",
            )

    @classmethod
    def tiny(cls) -> TdnnConfig:
        """Return options that tests can afford.

        Returns:
            The options.
        """
        return cls(dim=8, strides=[1, 2])


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
    search: str = "greedy"
    """How the chosen head is scored: greedy (the best path) or beam; training is always judged by
    the best path."""
    language_model: str | None = None
    """ARPA file (also .gz) or KenLM binary over words, for search=beam; None is without."""
    lexicon: str | None = None
    """File of lines ``WORD`` or ``WORD SYMBOL SYMBOL ...``; None takes the words of the ARPA
    file."""
    beam_size: int = 50
    """Hypotheses that are kept at each frame; at least 1."""
    beam_threshold: float = 25.0
    """Hypotheses further below the best one than this are dropped; nats, above 0."""
    beam_symbols: int = 50
    """Best symbols of a frame by which hypotheses grow; 0 tries all."""
    sum_paths: bool = False
    """Whether a text is worth the sum of its paths, or the best one alone."""
    lm_weight: list[float] = field(default_factory=lambda: [2.0])
    """Factors of the language model's base-10 logarithms; the best on dev scores test."""
    word_score: list[float] = field(default_factory=lambda: [-1.0])
    """What each word adds, in nats; the best on dev, together with lm_weight, scores test."""

    def __post_init__(self) -> None:
        self._check_layers()
        if self.search not in ("greedy", "beam"):
            raise ConfigError(
                f"search={self.search!r}, expected greedy or beam", remedy="change head.search"
            )
        self._check_beam()
        self._refuse_ignored()

    def _check_layers(self) -> None:
        _check_layer(self.layer)
        smallest = min(self.stack_frames, self.recurrent_dim)
        if smallest < 1 or self.recurrent_layers < 0 or not 0 <= self.dropout < 1:
            raise ConfigError(
                f"stack_frames={self.stack_frames}, recurrent_layers={self.recurrent_layers}, "
                f"recurrent_dim={self.recurrent_dim}, dropout={self.dropout}: expected positive "
                "counts and 0 <= dropout < 1",
                remedy="change the option of head that is out of range",
            )

    def _check_beam(self) -> None:
        _check_numbers("beam_size", [self.beam_size], 1)
        _check_numbers("beam_symbols", [self.beam_symbols], 0)
        _check_numbers("beam_threshold", [self.beam_threshold], 0)
        _check_numbers("lm_weight", self.lm_weight, 0)
        _check_numbers("word_score", self.word_score, -math.inf)
        if self.beam_threshold == 0:
            raise ConfigError(
                "beam_threshold=0.0, expected more than 0", remedy="change head.beam_threshold"
            )

    def _refuse_ignored(self) -> None:
        if self.search == "greedy" and self.files:
            raise ConfigError(
                f"search=greedy does not read {', '.join(self.files)}",
                remedy="set head.search=beam, or leave head.language_model and head.lexicon out",
            )
        for name, values, used in (
            ("lm_weight", self.lm_weight, self.language_model is not None),
            ("word_score", self.word_score, bool(self.files)),
        ):
            if len(values) > 1 and not used:
                raise ConfigError(
                    f"{name}={values}, but there are no words to weigh",
                    remedy=f"set head.language_model, or leave head.{name} out",
                )

    @property
    def files(self) -> tuple[str, ...]:
        """Files that the options name; what a run was made from includes them."""
        return tuple(name for name in (self.language_model, self.lexicon) if name is not None)

    @classmethod
    def tiny(cls) -> CtcConfig:
        """Return the options that conformance tests build.

        Returns:
            Options of a small component.
        """
        return cls(recurrent_layers=1, recurrent_dim=16)
