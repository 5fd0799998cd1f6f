"""Options of the built-in frontends; importing this module loads no torch."""

from __future__ import annotations

from dataclasses import dataclass, field

from speechlite.core.errors import ConfigError

__all__ = ["ConvWaveformConfig", "FbankConfig", "FbankPitchConfig", "MfccConfig"]


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


@dataclass(frozen=True)
class ConvWaveformConfig:
    """Options of ``conv_waveform``; defaults are the stack of wav2vec 2.0 and HuBERT base."""

    channels: list[int] = field(default_factory=lambda: [512] * 7)
    """Channels of each layer."""
    kernels: list[int] = field(default_factory=lambda: [10, 3, 3, 3, 3, 2, 2])
    """Kernel size of each layer."""
    strides: list[int] = field(default_factory=lambda: [5, 2, 2, 2, 2, 2, 2])
    """Stride of each layer; their product is the samples a frame."""
    sample_rate: int = 16000
    """Samples a second of the audio, in Hz."""
    norm: str = "group"
    """group: the first layer normalises each channel over time; layer: every layer, each frame."""
    bias: bool = False
    """Whether the convolutions have biases."""
    normalise: bool = False
    """Whether each waveform is brought to mean 0 and variance 1 first."""
    legacy_padding: bool = False
    """Whether padding counts in the group norm, as in published code; then a batch matters."""
    channel_scale: bool = False
    """Whether each channel of the last layer has a factor, as in DPHuBERT's checkpoints."""
    projection_norm: bool = True
    """Whether features are normalised before they are projected."""
    project_equal: bool = True
    """Whether features are projected even where they have the encoder's width."""
    dropout: float = 0.0
    """Dropout of projected features."""
    gradient_scale: float = 1.0
    """Factor of the gradient that reaches the stack; HuBERT's pretraining has 0.1, 0 freezes it."""

    def __post_init__(self) -> None:
        rows = {len(self.channels), len(self.kernels), len(self.strides)}
        counts = [*self.channels, *self.kernels, *self.strides, self.sample_rate]
        if len(rows) != 1 or not self.channels or min(counts) < 1:
            raise ConfigError(
                f"channels={list(self.channels)}, kernels={list(self.kernels)}, "
                f"strides={list(self.strides)}, sample_rate={self.sample_rate}: expected three "
                "lists of one length and positive numbers",
                remedy="change frontend.channels, frontend.kernels or frontend.strides",
            )
        if self.norm not in ("group", "layer"):
            raise ConfigError(
                f"norm={self.norm!r}, expected group or layer", remedy="change frontend.norm"
            )
        if not 0 <= self.dropout < 1 or not 0 <= self.gradient_scale <= 1:
            raise ConfigError(
                f"dropout={self.dropout}, gradient_scale={self.gradient_scale}: expected "
                "0 <= dropout < 1 and 0 <= gradient_scale <= 1",
                remedy="change frontend.dropout or frontend.gradient_scale",
            )

    @classmethod
    def tiny(cls) -> ConvWaveformConfig:
        """Return the options that conformance tests build.

        Returns:
            Options of a small component.
        """
        return cls(channels=[12, 16], kernels=[10, 3], strides=[5, 4])
