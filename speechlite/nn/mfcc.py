"""Mel-frequency cepstra and their time derivatives, as Kaldi defines them.

Shapes: B batch, T samples, S frames, F mel bins or features, C cepstra.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from speechlite.core.errors import ConfigError
from speechlite.nn.fbank import LogMelFilterbank

__all__ = ["Mfcc", "add_deltas", "cepstral_lifter", "cosine_transform"]


def cosine_transform(num_ceps: int, num_mels: int) -> Tensor:
    """Build the orthonormal DCT-II that turns log-mel energies into cepstra.

    Args:
        num_ceps: number of cepstra, at most ``num_mels``.
        num_mels: number of mel bins.

    Returns:
        (num_mels, num_ceps) float64 matrix with orthonormal columns.
    """
    orders_C = torch.arange(num_ceps, dtype=torch.float64)
    centres_F1 = torch.arange(num_mels, dtype=torch.float64).unsqueeze(1) + 0.5
    transform_FC = math.sqrt(2 / num_mels) * torch.cos(math.pi / num_mels * centres_F1 * orders_C)
    transform_FC[:, 0] = math.sqrt(1 / num_mels)
    return transform_FC


def cepstral_lifter(num_ceps: int, *, strength: float) -> Tensor:
    """Build the weights 1 + Q/2 sin(pi n / Q), which bring the cepstra to similar ranges.

    Args:
        num_ceps: number of cepstra.
        strength: Q; 0 leaves the cepstra as they are.

    Returns:
        (num_ceps,) float64 weights.
    """
    if strength == 0:
        return torch.ones(num_ceps, dtype=torch.float64)
    orders_C = torch.arange(num_ceps, dtype=torch.float64)
    return 1 + 0.5 * strength * torch.sin(math.pi * orders_C / strength)


class Mfcc(nn.Module):
    """Compute Kaldi's MFCCs on top of the log-mel filterbank, batched, without dither.

    Kaldi's own default replaces the first coefficient by the frame's log energy; most recipes turn
    that off, and so does this default.

    Args:
        sample_rate: samples a second.
        num_ceps: number of cepstra, the zeroth included.
        num_mels: number of mel filters.
        lifter: strength of the cepstral lifter; 0 turns it off.
        use_energy: put the log energy of the frame (mean removed, neither emphasised nor windowed)
            in place of the zeroth coefficient.
        low_hz: lower edge of the first filter in Hz.
        high_hz: upper edge of the last filter in Hz; None means half the sample rate.
        scale: factor on the samples; 32768 gives what Kaldi reads from 16-bit files.

    Raises:
        ConfigError: an option out of its range.
    """

    transform: Tensor

    def __init__(
        self,
        sample_rate: int = 16000,
        num_ceps: int = 13,
        *,
        num_mels: int = 23,
        lifter: float = 22.0,
        use_energy: bool = False,
        low_hz: float = 20.0,
        high_hz: float | None = None,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        if not 1 <= num_ceps <= num_mels:
            raise ConfigError(
                f"{num_ceps} cepstra cannot be taken from {num_mels} mel filters",
                remedy="give 1 <= num_ceps <= num_mels",
            )
        self.filterbank = LogMelFilterbank(
            sample_rate, num_mels, low_hz=low_hz, high_hz=high_hz, scale=scale
        )
        self.use_energy = use_energy
        lifted = cosine_transform(num_ceps, num_mels) * cepstral_lifter(num_ceps, strength=lifter)
        self.register_buffer("transform", lifted.float(), persistent=False)

    @torch.no_grad()
    def forward(self, waves_BT: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the cepstra of a padded batch.

        Args:
            waves_BT: (B, T) float samples; what lies beyond an utterance's length changes nothing.
            lengths_B: (B,) numbers of samples, at most T.

        Returns:
            (B, S, C) float32 cepstra, zero outside the lengths, and their (B,) numbers of frames.
        """
        mels_BSF, counts_B = self.filterbank(waves_BT, lengths_B)
        cepstra_BSC = mels_BSF.new_zeros(*mels_BSF.shape[:2], self.transform.shape[1])
        # One utterance at a time, from memory of its own: the last bits of a product depend on its
        # number of rows and on where they lie in memory, which padding would change.
        for row, count in enumerate(counts_B.tolist()):
            cepstra_BSC[row, :count] = mels_BSF[row, :count].clone() @ self.transform
            if self.use_energy and count:
                cepstra_BSC[row, :count, 0] = self._log_energy(waves_BT[row], count)
        return cepstra_BSC, counts_B

    def _log_energy(self, wave_T: Tensor, num_frames: int) -> Tensor:
        bank = self.filterbank
        frames = wave_T.to(self.transform.dtype).unfold(0, bank.frame_samples, bank.shift_samples)
        # The variance is the mean square without the frame's mean.
        variance_S = frames[:num_frames].var(dim=1, correction=0)
        energy_S = variance_S * (bank.frame_samples * bank.scale**2)
        return energy_S.clamp_min(torch.finfo(torch.float32).eps).log()


def add_deltas(
    features_BSF: Tensor, lengths_B: Tensor, *, order: int = 2, window: int = 2
) -> Tensor:
    """Append time derivatives, Kaldi's add-deltas.

    A delta is the slope of the straight line through ``2 * window + 1`` frames; the second order
    applies the kernel to itself. Beyond an utterance's ends its own first and last frames are
    repeated.

    Args:
        features_BSF: (B, S, F) float features.
        lengths_B: (B,) numbers of frames, at most S.
        order: how many derivatives, not negative.
        window: frames on each side of the present one, at least 1.

    Returns:
        (B, S, F * (order + 1)) features, then their first derivatives, and so on; zero outside the
        lengths.

    Raises:
        ConfigError: an order below 0 or a window below 1.
    """
    if order < 0 or window < 1:
        raise ConfigError(
            f"deltas of order {order} over a window of {window} frames are not defined",
            remedy="give order >= 0 and window >= 1",
        )
    if not features_BSF.shape[1]:
        return features_BSF.repeat(1, 1, order + 1)
    reach = order * window
    extended = _repeat_ends(features_BSF, lengths_B, reach)
    kernel = torch.ones(1, dtype=torch.float64)
    parts = [features_BSF]
    for _ in range(order):
        kernel = _convolve_slope(kernel, window)
        parts.append(_weigh_frames(extended, kernel, features_BSF.shape[1], reach))
    stacked = torch.cat(parts, dim=2)
    frames_S = torch.arange(features_BSF.shape[1], device=stacked.device)
    outside_BS = frames_S >= lengths_B.to(stacked.device).unsqueeze(1)
    return stacked.masked_fill(outside_BS.unsqueeze(2), 0)


def _repeat_ends(features_BSF: Tensor, lengths_B: Tensor, reach: int) -> Tensor:
    num_frames = features_BSF.shape[1]
    wanted = torch.arange(-reach, num_frames + reach, device=features_BSF.device).clamp_min(0)
    last_B1 = (lengths_B.to(features_BSF.device) - 1).clamp_min(0).unsqueeze(1)
    index = torch.minimum(wanted.expand(len(last_B1), -1), last_B1).unsqueeze(2)
    return features_BSF.gather(1, index.expand(-1, -1, features_BSF.shape[2]))


def _convolve_slope(kernel: Tensor, window: int) -> Tensor:
    offsets = torch.arange(-window, window + 1, dtype=torch.float64)
    slope = offsets / offsets.square().sum()
    padded = torch.nn.functional.pad(kernel, (2 * window, 2 * window))
    return torch.stack(
        [padded[i : i + len(slope)] @ slope.flip(0) for i in range(len(kernel) + 2 * window)]
    )


def _weigh_frames(extended: Tensor, kernel: Tensor, num_frames: int, reach: int) -> Tensor:
    start = reach - len(kernel) // 2
    total = torch.zeros_like(extended[:, :num_frames])
    for position, weight in enumerate(kernel.tolist()):
        total.add_(extended[:, start + position : start + position + num_frames], alpha=weight)
    return total
