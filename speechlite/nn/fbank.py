"""Log-mel filterbank features as Kaldi defines them, for whole batches.

Shapes: B batch, T samples, S frames, F mel bins, R utterances of one block, N samples of one block,
K frequency bins or samples of a padded frame.

Each utterance is cut to its own length before anything is computed, so neither padding nor the
other utterances of a batch can change a feature. The work runs over blocks of frames that stay in
cache: pre-emphasis over the samples, one pass that windows the overlapping frames, one real FFT,
and a mel product that skips the empty part of the filters.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from speechlite.core.errors import ConfigError

__all__ = ["LogMelFilterbank", "frame_counts", "mel_filters", "povey_window"]

_CPU_BLOCK_FRAMES = 512
_DEVICE_BLOCK_FRAMES = 65536
_MELS_PER_PRODUCT = 16


def frame_counts(lengths_B: Tensor, *, frame_samples: int, shift_samples: int) -> Tensor:
    """Count the whole frames of each utterance, Kaldi's ``snip_edges=True``.

    Args:
        lengths_B: (B,) numbers of samples.
        frame_samples: length of a frame in samples, at least 1.
        shift_samples: distance between frames in samples, at least 1.

    Returns:
        (B,) numbers of frames; 0 where an utterance is shorter than one frame.
    """
    whole_B = torch.div(lengths_B - frame_samples, shift_samples, rounding_mode="floor") + 1
    return whole_B.clamp_min(0)


def povey_window(num_samples: int) -> Tensor:
    """Build Kaldi's default window, a Hann window to the power 0.85.

    Args:
        num_samples: length of the window, at least 2.

    Returns:
        (num_samples,) float64 weights in [0, 1]; both ends are 0.
    """
    phase = torch.arange(num_samples, dtype=torch.float64) * (2 * math.pi / (num_samples - 1))
    return (0.5 - 0.5 * torch.cos(phase)).clamp_min(0).pow(0.85)


def mel_filters(
    num_mels: int, fft_size: int, *, sample_rate: int, low_hz: float, high_hz: float
) -> Tensor:
    """Build triangular filters that are equally wide on the mel scale 1127 ln(1 + f / 700).

    Args:
        num_mels: number of filters, at least 1.
        fft_size: number of points of the FFT, even.
        sample_rate: samples a second.
        low_hz: lower edge of the first filter in Hz.
        high_hz: upper edge of the last filter in Hz, at most half the sample rate.

    Returns:
        (fft_size / 2 + 1, num_mels) float64 weights in [0, 1]; the row of the Nyquist frequency is
        0, as in Kaldi.
    """
    edges_F = torch.linspace(_mel(low_hz), _mel(high_hz), num_mels + 2, dtype=torch.float64)
    hertz_K = torch.arange(fft_size // 2 + 1, dtype=torch.float64) * (sample_rate / fft_size)
    mels_K1 = (1127.0 * torch.log1p(hertz_K / 700.0)).unsqueeze(1)
    rising_KF = (mels_K1 - edges_F[:-2]) / (edges_F[1:-1] - edges_F[:-2])
    falling_KF = (edges_F[2:] - mels_K1) / (edges_F[2:] - edges_F[1:-1])
    filters_KF = torch.minimum(rising_KF, falling_KF).clamp_min(0)
    filters_KF[-1] = 0
    return filters_KF


def _mel(hertz: float) -> float:
    return 1127.0 * math.log1p(hertz / 700.0)


class LogMelFilterbank(nn.Module):
    """Compute Kaldi's log-mel filterbank features, batched, without dither.

    The definition is Kaldi's: frames of whole samples only (``snip_edges=True``), mean removed from
    each frame, pre-emphasis within the frame, Povey window, power spectrum of the next power of
    two, triangular mel filters, natural logarithm floored at the float32 epsilon. No gradient flows
    to the waveform.

    Args:
        sample_rate: samples a second.
        num_mels: number of mel filters.
        frame_length_ms: length of a frame in milliseconds.
        frame_shift_ms: distance between frames in milliseconds.
        low_hz: lower edge of the first filter in Hz.
        high_hz: upper edge of the last filter in Hz; None means half the sample rate.
        preemphasis: coefficient of the pre-emphasis, in [0, 1].
        scale: factor on the samples; 32768 gives what Kaldi reads from 16-bit files.

    Raises:
        ConfigError: an option out of its range.
    """

    window: Tensor
    filters: Tensor

    def __init__(
        self,
        sample_rate: int = 16000,
        num_mels: int = 80,
        *,
        frame_length_ms: float = 25.0,
        frame_shift_ms: float = 10.0,
        low_hz: float = 20.0,
        high_hz: float | None = None,
        preemphasis: float = 0.97,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        high_hz = sample_rate / 2 if high_hz is None else high_hz
        self.frame_samples = int(sample_rate * frame_length_ms * 0.001)
        self.shift_samples = int(sample_rate * frame_shift_ms * 0.001)
        _refuse_bad_frames(self.frame_samples, self.shift_samples)
        _refuse_bad_band(num_mels, low_hz, high_hz, sample_rate)
        if not 0 <= preemphasis <= 1:
            raise ConfigError(
                f"preemphasis {preemphasis} is outside [0, 1]", remedy="give 0.97, Kaldi's value"
            )
        self.num_mels = num_mels
        self.preemphasis = preemphasis
        self.scale = scale
        self.fft_size = 1 << (self.frame_samples - 1).bit_length()
        filters_KF = mel_filters(
            num_mels, self.fft_size, sample_rate=sample_rate, low_hz=low_hz, high_hz=high_hz
        )
        # A squared spectrum keeps its real and imaginary parts side by side, hence each row twice.
        doubled = filters_KF.float().repeat_interleave(2, dim=0)
        window = povey_window(self.frame_samples).float()
        self.register_buffer("window", window * scale, persistent=False)
        self.register_buffer("filters", doubled, persistent=False)
        self._products = _mel_products(doubled)

    @torch.no_grad()
    def forward(self, waves_BT: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the features of a padded batch.

        Args:
            waves_BT: (B, T) float samples; what lies beyond an utterance's length changes nothing.
            lengths_B: (B,) numbers of samples, at most T.

        Returns:
            (B, S, F) float32 log-mel energies, zero outside the lengths, and their (B,) numbers of
            frames. An utterance that is shorter than a frame has 0 frames.
        """
        counts_B = frame_counts(
            lengths_B, frame_samples=self.frame_samples, shift_samples=self.shift_samples
        )
        counts = counts_B.tolist()
        features_BSF = self.window.new_zeros(len(counts), max(counts, default=0), self.num_mels)
        blocks = list(_blocks(counts, together=waves_BT.is_cuda))
        products = [
            (first, width, bins, self.filters[bins, first : first + width])
            for first, width, bins in self._products
        ]
        # Zeroed once: every block overwrites the windowed part and leaves the padding of the FFT.
        rows = len(counts) if waves_BT.is_cuda else 1
        longest = max((stop - start for _, start, stop in blocks), default=0)
        padded_RSK = self.window.new_zeros(rows, longest, self.fft_size)
        for row, start, stop in blocks:
            first = start * self.shift_samples
            last = (stop - 1) * self.shift_samples + self.frame_samples
            samples = waves_BT[row, first:last].to(self.window.dtype)
            squares = self._squared_spectrum(samples, padded_RSK.narrow(1, 0, stop - start))
            _fill_log_mels_(features_BSF[row, start:stop], squares, products)
        if waves_BT.is_cuda:
            _zero_outside_(features_BSF, counts_B)
        return features_BSF, counts_B

    def _squared_spectrum(self, waves_RN: Tensor, padded_RSK: Tensor) -> Tensor:
        """Square the real and imaginary parts of the frames' spectra, side by side."""
        frames = waves_RN.unfold(1, self.frame_samples, self.shift_samples)
        emphasised_RN = self._emphasise(waves_RN)
        emphasised = emphasised_RN.unfold(1, self.frame_samples, self.shift_samples)
        windowed = padded_RSK.narrow(2, 0, self.frame_samples)
        torch.mul(emphasised, self.window, out=windowed)
        # Pre-emphasis turns a frame's mean m into (1 - preemphasis) m: it is taken off here.
        leak = self.window * (self.preemphasis - 1)
        windowed.addcmul_(frames.mean(-1, keepdim=True), leak)
        spectrum = torch.view_as_real(torch.fft.rfft(padded_RSK))
        return spectrum.flatten(2).square_()

    def _emphasise(self, waves_RN: Tensor) -> Tensor:
        # The window is 0 at a frame's first sample, so that sample may borrow its neighbour from
        # outside the frame.
        emphasised_RN = torch.empty_like(waves_RN)
        emphasised_RN[:, 0] = 0
        torch.sub(
            waves_RN[:, 1:], waves_RN[:, :-1], alpha=self.preemphasis, out=emphasised_RN[:, 1:]
        )
        return emphasised_RN


def _blocks(counts: list[int], *, together: bool) -> Iterator[tuple[slice, int, int]]:
    """Yield (rows, first frame, end frame): one utterance at a time, or all of them on a device."""
    if together:
        longest = max(counts, default=0)
        step = max(1, _DEVICE_BLOCK_FRAMES // max(1, len(counts)))
        for start in range(0, longest, step):
            yield slice(None), start, min(start + step, longest)
        return
    for row, count in enumerate(counts):
        for start in range(0, count, _CPU_BLOCK_FRAMES):
            yield slice(row, row + 1), start, min(start + _CPU_BLOCK_FRAMES, count)


def _fill_log_mels_(
    out_RSF: Tensor, squares: Tensor, products: list[tuple[int, int, slice, Tensor]]
) -> None:
    rows = squares.flatten(0, 1)
    # Memory of its own: the last bits of a product depend on where it lies in memory.
    mels = rows.new_empty(len(rows), out_RSF.shape[2])
    for first, width, bins, filters in products:
        used = rows.narrow(1, bins.start, bins.stop - bins.start)
        torch.mm(used, filters, out=mels.narrow(1, first, width))
    mels.clamp_min_(torch.finfo(torch.float32).eps).log_()
    out_RSF.copy_(mels.view_as(out_RSF))


def _zero_outside_(features_BSF: Tensor, counts_B: Tensor) -> None:
    frames_S = torch.arange(features_BSF.shape[1], device=features_BSF.device)
    outside_BS = frames_S >= counts_B.to(features_BSF.device).unsqueeze(1)
    features_BSF.masked_fill_(outside_BS.unsqueeze(-1), 0)


def _mel_products(filters_KF: Tensor) -> list[tuple[int, int, slice]]:
    """List runs of neighbouring filters (first, how many) and the rows where not all are zero."""
    products = []
    num_mels = filters_KF.shape[1]
    for first in range(0, num_mels, _MELS_PER_PRODUCT):
        width = min(_MELS_PER_PRODUCT, num_mels - first)
        used = filters_KF[:, first : first + width].any(dim=1).nonzero().flatten().tolist()
        products.append((first, width, slice(used[0], used[-1] + 1) if used else slice(0, 1)))
    return products


def _refuse_bad_frames(frame_samples: int, shift_samples: int) -> None:
    if frame_samples < 2 or shift_samples < 1:
        raise ConfigError(
            f"frames of {frame_samples} samples every {shift_samples} samples cannot be cut",
            remedy="raise frame_length_ms or frame_shift_ms, 25 and 10 are usual",
        )


def _refuse_bad_band(num_mels: int, low_hz: float, high_hz: float, sample_rate: int) -> None:
    if num_mels < 1 or not 0 <= low_hz < high_hz <= sample_rate / 2:
        raise ConfigError(
            f"{num_mels} mel filters from {low_hz} to {high_hz} Hz do not fit "
            f"a rate of {sample_rate} Hz",
            remedy="give at least one filter and 0 <= low_hz < high_hz <= sample_rate / 2",
        )
