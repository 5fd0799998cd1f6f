"""Kaldi's pitch features for whole batches.

Shapes: B batch, T samples, S frames, M measured lags, L lags of the tracker's grid, N samples of
one utterance.

The algorithm is that of Ghahremani et al. 2014, "A pitch extraction algorithm tuned for automatic
speech recognition", with the defaults of Kaldi's compute-kaldi-pitch-feats and
process-kaldi-pitch-feats, run over whole utterances.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from speechlite.core.errors import ConfigError
from speechlite.nn.fbank import frame_counts
from speechlite.nn.pitch_nccf import PitchCorrelation, pitch_lags, windowed_sinc
from speechlite.nn.pitch_process import pitch_features
from speechlite.nn.pitch_viterbi import best_paths

__all__ = ["KaldiPitch"]

_TRACKED_TOGETHER = 16


class KaldiPitch(nn.Module):
    """Compute Kaldi's pitch features, batched and without noise.

    Each utterance is cut to its own length before anything is computed, so padding and the other
    utterances of a batch change nothing. The scale of the waveform changes nothing either, see
    PitchCorrelation. Frames are those of the
    filterbank: Kaldi tracks one frame more for some lengths, which takes part in the tracking and
        is then dropped;
    where it tracks fewer, the last one is repeated. No gradient flows to the waveform.

    Args:
        sample_rate: samples a second.
        frame_length_ms: length of a frame in milliseconds.
        frame_shift_ms: distance between frames in milliseconds.
        min_f0: lowest pitch in Hz.
        max_f0: highest pitch in Hz.
        soft_min_f0: pitch in Hz below which correlations count for nothing, at most ``min_f0``.
        penalty_factor: cost of a squared change of log pitch between frames, not negative.
        lowpass_hz: cutoff in Hz of the filter before correlating.
        resample_hz: samples a second of the correlated signal, more than twice ``lowpass_hz``.
        delta_pitch: relative distance of neighbouring lags, above 0.
        nccf_ballast: how much correlations of quiet frames are reduced, without unit.
        lowpass_zeros: half-width of the low-pass filter in zero crossings.
        upsample_zeros: half-width in zero crossings of the filter that interpolates correlations.

    Raises:
        ConfigError: an option out of its range.
    """

    lags: Tensor
    upsampling: Tensor
    local_costs: Tensor

    def __init__(
        self,
        sample_rate: int = 16000,
        *,
        frame_length_ms: float = 25.0,
        frame_shift_ms: float = 10.0,
        min_f0: float = 50.0,
        max_f0: float = 400.0,
        soft_min_f0: float = 10.0,
        penalty_factor: float = 0.1,
        lowpass_hz: float = 1000.0,
        resample_hz: int = 4000,
        delta_pitch: float = 0.005,
        nccf_ballast: float = 7000.0,
        lowpass_zeros: int = 1,
        upsample_zeros: int = 5,
    ) -> None:
        super().__init__()
        _refuse_bad_range(min_f0, max_f0, soft_min_f0, delta_pitch)
        _refuse_bad_rates(sample_rate, resample_hz, lowpass_hz)
        self.frame_samples = int(sample_rate * frame_length_ms * 0.001)
        self.shift_samples = int(sample_rate * frame_shift_ms * 0.001)
        margin = upsample_zeros / (2 * resample_hz)
        first_lag = max(0, math.ceil(resample_hz * (1 / max_f0 - margin)))
        self.correlation = PitchCorrelation(
            sample_rate,
            resample_hz,
            lowpass_hz=lowpass_hz,
            lowpass_zeros=lowpass_zeros,
            window_samples=int(resample_hz * frame_length_ms * 0.001),
            shift_samples=int(resample_hz * frame_shift_ms * 0.001),
            first_lag=first_lag,
            last_lag=math.floor(resample_hz * (1 / min_f0 + margin)),
            ballast=nccf_ballast,
        )
        self.jump_cost = penalty_factor * math.log1p(delta_pitch) ** 2
        lags_L = pitch_lags(min_f0, max_f0, step=delta_pitch)
        samples_M = torch.arange(first_lag, self.correlation.last_lag + 1, dtype=torch.float64)
        upsampling_ML = windowed_sinc(
            lags_L - samples_M.unsqueeze(1) / resample_hz,
            cutoff_hz=resample_hz / 2,
            num_zeros=upsample_zeros,
        )
        upsampling_ML /= resample_hz
        # Eq. 5 of the paper is 1 - nccf (1 - soft_min_f0 lag); the 1 is the same for every state.
        costs_ML = upsampling_ML * (soft_min_f0 * lags_L - 1)
        self.register_buffer("lags", lags_L.float(), persistent=False)
        self.register_buffer("upsampling", upsampling_ML.t().float().contiguous(), persistent=False)
        self.register_buffer("local_costs", costs_ML.float().contiguous(), persistent=False)

    @torch.no_grad()
    def forward(self, waves_BT: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the pitch features of a padded batch.

        Args:
            waves_BT: (B, T) float samples on any scale; what lies beyond an utterance's length is
                never read.
            lengths_B: (B,) numbers of samples, at most T.

        Returns:
            (B, S, 3) float32 warped NCCF, normalised log pitch and delta log pitch, zero outside
            the lengths, and the (B,) numbers of frames, which are the filterbank's.
        """
        nccf_BS, pitch_BS, tracked_B = self._track(waves_BT, lengths_B)
        features_BS3 = nccf_BS.new_zeros(*nccf_BS.shape, 3)
        # One utterance at a time: the last bit of a vectorised exp depends on where in a tensor a
        # value stands, which padding would change.
        for row, count in enumerate(tracked_B.tolist()):
            features_BS3[row, :count] = pitch_features(
                nccf_BS[row : row + 1, :count],
                pitch_BS[row : row + 1, :count],
                tracked_B[row : row + 1],
            )[0]
        counts_B = self._frame_counts(lengths_B)
        return _fit_frames(features_BS3, tracked_B, counts_B), counts_B

    @torch.no_grad()
    def track(self, waves_BT: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Track the pitch of a padded batch.

        Args:
            waves_BT: (B, T) float samples on any scale; what lies beyond an utterance's length is
                never read.
            lengths_B: (B,) numbers of samples, at most T.

        Returns:
            (B, S) NCCF without ballast at the chosen lags, in [-1, 1]; (B, S) pitch in Hz, also
            where nothing is voiced; both zero outside the lengths; the (B,) numbers of frames,
            which are the filterbank's.
        """
        nccf_BS, pitch_BS, tracked_B = self._track(waves_BT, lengths_B)
        counts_B = self._frame_counts(lengths_B)
        raw_BS2 = _fit_frames(torch.stack([nccf_BS, pitch_BS], dim=2), tracked_B, counts_B)
        return raw_BS2[..., 0], raw_BS2[..., 1], counts_B

    def _frame_counts(self, lengths_B: Tensor) -> Tensor:
        return frame_counts(
            lengths_B, frame_samples=self.frame_samples, shift_samples=self.shift_samples
        )

    def _track(self, waves_BT: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        lengths = lengths_B.tolist()
        counts = [self.correlation.num_frames(length) for length in lengths]
        nccf_BS = waves_BT.new_zeros(len(lengths), max(counts, default=0), dtype=torch.float32)
        pitch_BS = torch.zeros_like(nccf_BS)
        # Neighbours in length are tracked together: few states of ended utterances, bounded memory.
        by_length = sorted(
            (row for row, count in enumerate(counts) if count), key=lengths.__getitem__
        )
        for start in range(0, len(by_length), _TRACKED_TOGETHER):
            rows = by_length[start : start + _TRACKED_TOGETHER]
            waves = [waves_BT[row, : lengths[row]] for row in rows]
            for row, (nccf_S, pitch_S) in zip(rows, self._track_some(waves), strict=True):
                nccf_BS[row, : counts[row]] = nccf_S
                pitch_BS[row, : counts[row]] = pitch_S
        return nccf_BS, pitch_BS, torch.tensor(counts, device=lengths_B.device)

    def _track_some(self, waves: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
        correlations = [self.correlation(wave_N) for wave_N in waves]
        costs = [tracked_SM @ self.local_costs for tracked_SM, _ in correlations]
        counts_B = torch.tensor([len(cost_SL) for cost_SL in costs])
        costs_BSL = nn.utils.rnn.pad_sequence(costs, batch_first=True)
        paths_BS = best_paths(costs_BSL, counts_B, jump_cost=self.jump_cost)
        found = []
        for (_, free_SM), path_S in zip(correlations, paths_BS, strict=True):
            states_S = path_S[: len(free_SM)]
            nccf_S = (free_SM * self.upsampling[states_S]).sum(1)
            found.append((nccf_S, 1 / self.lags[states_S]))
        return found


def _fit_frames(values_BSF: Tensor, tracked_B: Tensor, counts_B: Tensor) -> Tensor:
    """Drop frames beyond ``counts_B``, or repeat the last tracked one up to it."""
    frames_S = torch.arange(int(counts_B.max()) if len(counts_B) else 0, device=values_BSF.device)
    last_B1 = (tracked_B.to(values_BSF.device) - 1).clamp_min(0).unsqueeze(1)
    index_BS = torch.minimum(frames_S.expand(len(last_B1), -1), last_B1)
    index_BSF = index_BS.unsqueeze(2).expand(-1, -1, values_BSF.shape[2])
    inside_BS1 = (frames_S < counts_B.to(values_BSF.device).unsqueeze(1)).unsqueeze(2)
    if not values_BSF.shape[1]:
        return values_BSF.new_zeros(index_BSF.shape)
    return torch.where(inside_BS1, values_BSF.gather(1, index_BSF), 0.0)


def _refuse_bad_range(min_f0: float, max_f0: float, soft_min_f0: float, step: float) -> None:
    if not 0 <= soft_min_f0 <= min_f0 < max_f0 or min_f0 == 0 or step <= 0:
        raise ConfigError(
            f"pitch from {min_f0} to {max_f0} Hz (soft minimum {soft_min_f0} Hz) "
            f"in steps of {step} cannot be searched",
            remedy="keep 0 <= soft_min_f0 <= min_f0 < max_f0, min_f0 and delta_pitch above 0",
        )


def _refuse_bad_rates(sample_rate: int, resample_hz: int, lowpass_hz: float) -> None:
    if not 0 < 2 * lowpass_hz < resample_hz or sample_rate < 2 * lowpass_hz:
        raise ConfigError(
            f"a low-pass filter of {lowpass_hz} Hz does not fit "
            f"the rates {sample_rate} and {resample_hz} Hz",
            remedy="keep lowpass_hz above 0 and below half of resample_hz and of sample_rate",
        )
