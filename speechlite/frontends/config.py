"""Options of the built-in frontends; importing this module loads no torch."""

from __future__ import annotations

from dataclasses import dataclass

from speechlite.core.errors import ConfigError

__all__ = ["FbankConfig", "FbankPitchConfig", "MfccConfig"]


def _check(normalise: str, **counts: int) -> None:
    if normalise not in ("utterance", "none"):
        raise ConfigError(
            f"normalise={normalise!r}, expected utterance or none",
            remedy="change frontend.normalise",
        )
    for name, count in counts.items():
        if count < 1:
            raise ConfigError(
                f"{name}={count}, expected a positive number", remedy=f"change frontend.{name}"
            )


@dataclass(frozen=True)
class FbankConfig:
    """Options of ``fbank``: log-mel filterbank energies of 25 ms every 10 ms."""

    sample_rate: int = 16000
    """Samples a second of the audio, in Hz."""
    num_mels: int = 80
    """Mel filters."""
    normalise: str = "utterance"
    """Mean and variance normalisation: utterance or none."""

    def __post_init__(self) -> None:
        _check(self.normalise, num_mels=self.num_mels, sample_rate=self.sample_rate)


@dataclass(frozen=True)
class FbankPitchConfig:
    """Options of ``fbank_pitch``: log-mel energies and Kaldi's three pitch features."""

    sample_rate: int = 16000
    """Samples a second of the audio, in Hz."""
    num_mels: int = 80
    """Mel filters."""
    normalise: str = "utterance"
    """Mean and variance normalisation: utterance or none."""

    def __post_init__(self) -> None:
        _check(self.normalise, num_mels=self.num_mels, sample_rate=self.sample_rate)


@dataclass(frozen=True)
class MfccConfig:
    """Options of ``mfcc``: cepstra of 25 ms every 10 ms with their derivatives."""

    sample_rate: int = 16000
    """Samples a second of the audio, in Hz."""
    num_mels: int = 23
    """Mel filters under the cepstra."""
    num_cepstra: int = 13
    """Cepstral coefficients; at most ``num_mels``."""
    delta_order: int = 2
    """Derivatives appended: 0, 1 or 2."""
    normalise: str = "utterance"
    """Mean and variance normalisation: utterance or none."""

    def __post_init__(self) -> None:
        _check(
            self.normalise,
            num_mels=self.num_mels,
            sample_rate=self.sample_rate,
            num_cepstra=self.num_cepstra,
        )
        if self.num_cepstra > self.num_mels or self.delta_order not in (0, 1, 2):
            raise ConfigError(
                f"num_cepstra={self.num_cepstra}, num_mels={self.num_mels}, "
                f"delta_order={self.delta_order}: expected at most as many cepstra as filters, "
                "and a delta order of 0, 1 or 2",
                remedy="change frontend.num_cepstra or frontend.delta_order",
            )
