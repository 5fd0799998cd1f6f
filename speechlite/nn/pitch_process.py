"""From pitch and NCCF to the three pitch features that recognisers use.

Shapes: B batch, S frames.

The formulas are those of Ghahremani et al. 2014, "A pitch extraction algorithm tuned for
automatic speech recognition", with the constants of Kaldi's process-kaldi-pitch-feats.
"""

from __future__ import annotations

import torch
from torch import Tensor

from speechlite.nn.mfcc import add_deltas

__all__ = ["normalise_log_pitch", "pitch_features", "voicing_feature", "voicing_probability"]


def voicing_feature(nccf_BS: Tensor) -> Tensor:
    """Warp the NCCF so that it is roughly Gaussian: (1.0001 - n)^0.15 - 1.

    Args:
        nccf_BS: NCCF without ballast; values outside [-1, 1] are taken as the nearer end.

    Returns:
        the warped NCCF, of the same shape: about -0.75 where voiced, about 0.1 at the least voiced.
    """
    return (1.0001 - nccf_BS.clamp(-1, 1)).pow(0.15) - 1


def voicing_probability(nccf_BS: Tensor) -> Tensor:
    """Estimate the probability of voicing from the NCCF.

    Args:
        nccf_BS: NCCF without ballast; the sign is ignored and the size capped at 1.

    Returns:
        probabilities in (0, 1), of the same shape.
    """
    size_BS = nccf_BS.abs().clamp_max(1)
    falling = 5.4 * torch.exp(7.5 * (size_BS - 1)) + 4.2 * torch.exp(20 * (size_BS - 1))
    odds_BS = -5.2 + 4.8 * size_BS - 2 * torch.exp(-10 * size_BS) + falling
    return torch.sigmoid(odds_BS)


def normalise_log_pitch(
    log_pitch_BS: Tensor, weights_BS: Tensor, lengths_B: Tensor, *, left: int = 75, right: int = 75
) -> Tensor:
    """Subtract the weighted mean of the log pitch around each frame.

    Args:
        log_pitch_BS: (B, S) natural logarithm of the pitch in Hz.
        weights_BS: (B, S) positive weights, usually probabilities of voicing.
        lengths_B: (B,) numbers of frames; the window never reaches beyond them.
        left: frames before the present one in the window.
        right: frames after the present one in the window.

    Returns:
        (B, S) log pitch less the mean, zero outside the lengths.
    """
    frames_S = torch.arange(log_pitch_BS.shape[1], device=log_pitch_BS.device)
    lengths_B1 = lengths_B.to(log_pitch_BS.device).unsqueeze(1)
    inside_BS = frames_S < lengths_B1
    first_BS = (frames_S - left).clamp_min(0).expand_as(inside_BS)
    end_BS = torch.minimum(frames_S + right + 1, lengths_B1).clamp_min(0)
    # Float64, since a windowed sum is taken as a difference of two running sums.
    weights_BS = torch.where(inside_BS, weights_BS, 0.0).double()
    log_pitch = torch.where(inside_BS, log_pitch_BS, 0.0).double()
    sums_BS = _window_sums(weights_BS * log_pitch, first_BS, end_BS)
    mean_BS = sums_BS / _window_sums(weights_BS, first_BS, end_BS)
    return torch.where(inside_BS, log_pitch - mean_BS, 0.0).to(log_pitch_BS.dtype)


def pitch_features(nccf_BS: Tensor, pitch_BS: Tensor, lengths_B: Tensor) -> Tensor:
    """Compute Kaldi's three pitch features.

    Kaldi adds Gaussian noise of standard deviation 0.005 to the delta before scaling it; it is left
    out here, so that features are the same each time.

    Args:
        nccf_BS: (B, S) NCCF without ballast at the chosen lags, in [-1, 1].
        pitch_BS: (B, S) pitch in Hz, positive inside the lengths.
        lengths_B: (B,) numbers of frames.

    Returns:
        (B, S, 3) warped NCCF times 2, normalised log pitch times 2, delta log pitch times 10; zero
        outside the lengths.
    """
    frames_S = torch.arange(nccf_BS.shape[1], device=nccf_BS.device)
    inside_BS = frames_S < lengths_B.to(nccf_BS.device).unsqueeze(1)
    log_pitch_BS = torch.where(inside_BS, pitch_BS, 1.0).log()
    voicing_BS = torch.where(inside_BS, 2 * voicing_feature(nccf_BS), 0.0)
    normal_BS = normalise_log_pitch(log_pitch_BS, voicing_probability(nccf_BS), lengths_B)
    delta_BS = add_deltas(log_pitch_BS.unsqueeze(2), lengths_B, order=1, window=2)[..., 1]
    return torch.stack([voicing_BS, 2 * normal_BS, 10 * delta_BS], dim=2)


def _window_sums(values_BS: Tensor, first_BS: Tensor, end_BS: Tensor) -> Tensor:
    running_BS = torch.nn.functional.pad(values_BS.cumsum(1), (1, 0))
    end_BS = torch.maximum(end_BS, first_BS)
    return running_BS.gather(1, end_BS) - running_BS.gather(1, first_BS)
