"""The normalised cross-correlation (NCCF) that Kaldi's pitch tracker reads.

Shapes: N samples of one utterance, R samples after resampling, S frames, W samples of a widened
frame, M measured lags, L lags of the tracker's grid, Q samples of a filter.

The definitions are those of Ghahremani et al. 2014, "A pitch extraction algorithm tuned for
automatic speech recognition", with the constants of Kaldi's compute-kaldi-pitch-feats.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

__all__ = ["PitchCorrelation", "pitch_lags", "windowed_sinc"]

_BLOCK_FRAMES = 512


def pitch_lags(min_f0: float, max_f0: float, *, step: float) -> Tensor:
    """List the lags of the tracker, equally spaced in log pitch.

    Args:
        min_f0: lowest pitch in Hz.
        max_f0: highest pitch in Hz, above ``min_f0``.
        step: relative distance of two neighbouring lags, above 0.

    Returns:
        (L,) float64 lags in seconds, from 1 / max_f0 up to at most 1 / min_f0.
    """
    count = math.floor(math.log(max_f0 / min_f0) / math.log1p(step) + 1e-9) + 1
    steps_L = torch.arange(count, dtype=torch.float64)
    return (1 + step) ** steps_L / max_f0


def windowed_sinc(times: Tensor, *, cutoff_hz: float, num_zeros: int) -> Tensor:
    """Evaluate the low-pass filter that Kaldi resamples with: a sinc under a Hann window.

    Args:
        times: seconds from the centre of the filter, of any shape.
        cutoff_hz: cutoff frequency in Hz.
        num_zeros: half-width of the filter in zero crossings of the sinc.

    Returns:
        the impulse response at ``times`` in 1/s; 0 beyond num_zeros / (2 cutoff_hz).
    """
    inside = times.abs() < num_zeros / (2 * cutoff_hz)
    hann = 0.5 + 0.5 * torch.cos(2 * math.pi * cutoff_hz / num_zeros * times)
    response = 2 * cutoff_hz * torch.sinc(2 * cutoff_hz * times) * hann
    return response.where(inside, 0.0)


class PitchCorrelation(nn.Module):
    """Compute the NCCF of one utterance at integer lags of a low-pass signal.

    The signal is divided by its own standard deviation first. That changes nothing: Kaldi's ballast
    is ``nccf_ballast * (n * variance)^2`` for windows of n samples, so the NCCF with ballast does
    not depend on the amplitude either, and with unit variance the ballast is the constant
    ``nccf_ballast * n^2``. It keeps products of energies inside the float32 range for any scale of
    the waveform.

    Args:
        sample_rate: samples a second of the waveform.
        resample_hz: samples a second of the low-pass signal.
        lowpass_hz: cutoff of the low-pass filter in Hz, below half of ``resample_hz``.
        lowpass_zeros: half-width of the low-pass filter in zero crossings.
        window_samples: samples of the low-pass signal in a frame.
        shift_samples: samples of the low-pass signal between frames.
        first_lag: smallest measured lag in samples of the low-pass signal, at least 0.
        last_lag: largest measured lag in samples of the low-pass signal, included.
        ballast: Kaldi's ``nccf_ballast``, without unit.
    """

    lowpass: Tensor
    spans: Tensor

    def __init__(
        self,
        sample_rate: int,
        resample_hz: int,
        *,
        lowpass_hz: float,
        lowpass_zeros: int,
        window_samples: int,
        shift_samples: int,
        first_lag: int,
        last_lag: int,
        ballast: float,
    ) -> None:
        super().__init__()
        common = math.gcd(sample_rate, resample_hz)
        self.samples_in, self.samples_out = sample_rate // common, resample_hz // common
        self.window_samples, self.shift_samples = window_samples, shift_samples
        self.first_lag, self.last_lag = first_lag, last_lag
        self.ballast = ballast * window_samples**2
        self.fft_size = _fast_fft_size(window_samples + last_lag)
        self._reach = math.ceil(lowpass_zeros / (2 * lowpass_hz) * sample_rate)
        self.register_buffer("lowpass", self._phases(sample_rate, lowpass_hz, lowpass_zeros), False)
        self.register_buffer("spans", self._lag_spans(), False)

    def resampled_length(self, num_samples: int) -> int:
        """Count the samples of the low-pass signal.

        Args:
            num_samples: samples of the waveform.

        Returns:
            the number of output instants before the end of the waveform.
        """
        return -(-num_samples * self.samples_out // self.samples_in)

    def num_frames(self, num_samples: int) -> int:
        """Count Kaldi's pitch frames (``snip_edges=True``).

        The window of a frame lies inside the utterance; its lagged copies may reach beyond the end.

        Args:
            num_samples: samples of the waveform.

        Returns:
            the number of frames; for some lengths one more than the filterbank has.
        """
        room = self.resampled_length(num_samples) - self.window_samples
        return max(0, room // self.shift_samples + 1)

    def forward(self, wave_N: Tensor) -> tuple[Tensor, Tensor]:
        """Correlate the frames of one utterance with their later selves.

        Args:
            wave_N: (N,) float samples on any scale, long enough for one frame.

        Returns:
            two (S, M) float32 tensors in [-1, 1]: the NCCF with the ballast, for tracking, and
            without, for voicing.
        """
        count = self.num_frames(len(wave_N))
        signal_R = self._resample(wave_N)
        signal_R = signal_R / _standard_deviation(signal_R)
        width = self.window_samples + self.last_lag
        needed = (count - 1) * self.shift_samples + width
        signal_R = nnf.pad(signal_R, (0, max(0, needed - len(signal_R))))
        frames_SW = signal_R.unfold(0, width, self.shift_samples)[:count]
        blocks = [self._correlate(block_SW) for block_SW in torch.split(frames_SW, _BLOCK_FRAMES)]
        return torch.cat([tracked for tracked, _ in blocks]), torch.cat(
            [free for _, free in blocks]
        )

    def _correlate(self, frames_SW: Tensor) -> tuple[Tensor, Tensor]:
        # Kaldi takes the mean of the frame itself off the whole widened frame.
        window_SW = frames_SW[:, : self.window_samples]
        frames_SW = frames_SW - window_SW.mean(1, keepdim=True)
        window_SW = frames_SW[:, : self.window_samples]
        energy_S1 = window_SW.square().sum(1, keepdim=True)
        energies_SM = energy_S1 * (frames_SW.square() @ self.spans)
        # Kaldi's float32 products are direct sums; those of an FFT need float64 where a quiet
        # window follows a loud one.
        frames_SW = frames_SW.double()
        window_SW = frames_SW[:, : self.window_samples]
        spectrum = torch.fft.rfft(frames_SW, self.fft_size)
        spectrum *= torch.fft.rfft(window_SW, self.fft_size).conj()
        products = torch.fft.irfft(spectrum, self.fft_size)
        products_SM = products[:, self.first_lag : self.last_lag + 1].to(energies_SM.dtype)
        tracked_SM = products_SM / (energies_SM + self.ballast).sqrt()
        free_SM = torch.where(energies_SM > 0, products_SM * energies_SM.rsqrt(), 0.0)
        return tracked_SM.clamp_(-1, 1), free_SM.clamp_(-1, 1)

    def _resample(self, wave_N: Tensor) -> Tensor:
        length = self.resampled_length(len(wave_N))
        strides = -(-length // self.samples_out)
        missing = (
            (strides - 1) * self.samples_in + self.lowpass.shape[-1] - self._reach - len(wave_N)
        )
        padded = nnf.pad(wave_N.to(self.lowpass.dtype), (self._reach, max(0, missing)))
        phases = nnf.conv1d(padded[None, None], self.lowpass, stride=self.samples_in)
        # (1, phases, strides) -> (strides * phases,): the phases of one stride follow each other in
        # time.
        return phases[0].t().reshape(-1)[:length]

    def _phases(self, sample_rate: int, cutoff_hz: float, num_zeros: int) -> Tensor:
        """Build one filter for each position of an output instant between input samples."""
        offsets_Q = torch.arange(-self._reach, self._reach + self.samples_in, dtype=torch.float64)
        phases = torch.arange(self.samples_out, dtype=torch.float64).unsqueeze(1)
        times = (phases * self.samples_in / self.samples_out - offsets_Q) / sample_rate
        response = windowed_sinc(times, cutoff_hz=cutoff_hz, num_zeros=num_zeros)
        return (response / sample_rate).float().unsqueeze(1)

    def _lag_spans(self) -> Tensor:
        """Mark which samples of a widened frame each lagged window covers."""
        samples_W1 = torch.arange(self.window_samples + self.last_lag).unsqueeze(1)
        lags_M = torch.arange(self.first_lag, self.last_lag + 1)
        covered_WM = (samples_W1 >= lags_M) & (samples_W1 < lags_M + self.window_samples)
        return covered_WM.float()


def _standard_deviation(signal_R: Tensor) -> Tensor:
    deviation = signal_R.double().var(correction=0).sqrt().to(signal_R.dtype)
    return torch.where(deviation > 0, deviation, 1.0)


def _fast_fft_size(minimum: int) -> int:
    """Return the smallest 2^k or 3 * 2^k that holds ``minimum`` samples: no lag wraps around."""
    power = 1 << (minimum - 1).bit_length()
    return power * 3 // 4 if power * 3 // 4 >= minimum else power
