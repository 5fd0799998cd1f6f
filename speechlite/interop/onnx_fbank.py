"""The log-mel filterbank as matrix products, which every graph runtime has.

Shapes: B batch, T samples, S frames, N samples of a frame, K frequency bins, F mel bins.
"""

from __future__ import annotations

import math
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechlite.nn.fbank import LogMelFilterbank, frame_counts
from speechlite.nn.lengths import padding_mask, zero_beyond

__all__ = ["PlainFilterbank", "with_plain_filterbanks"]

_Module = TypeVar("_Module", bound=nn.Module)


class PlainFilterbank(nn.Module):
    """Compute what a ``LogMelFilterbank`` computes, by one strided convolution and a product.

    All steps up to the spectrum are linear: mean removal, pre-emphasis, window and transform become
    one kernel.

    Args:
        filterbank: whose features to compute.
    """

    kernel: Tensor
    filters: Tensor

    def __init__(self, filterbank: LogMelFilterbank) -> None:
        super().__init__()
        self.frame_samples = filterbank.frame_samples
        self.shift_samples = filterbank.shift_samples
        # rows come in pairs there, for real and imaginary parts side by side
        self.register_buffer("filters", filterbank.filters[::2].clone())
        self.register_buffer("kernel", _linear_part(filterbank).float()[:, None])

    def forward(self, waves_BT: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the features of a padded batch.

        Args:
            waves_BT: samples, zero beyond the lengths.
            lengths_B: valid samples, int64, the longest of them T.

        Returns:
            (B, S, F) log-mel energies, zero beyond the lengths, and the frames (B,).
        """
        counts_B = frame_counts(
            lengths_B, frame_samples=self.frame_samples, shift_samples=self.shift_samples
        )
        parts_BKS = functional.conv1d(waves_BT[:, None], self.kernel, stride=self.shift_samples)
        cosine_BKS, sine_BKS = parts_BKS.chunk(2, dim=1)
        power_BSK = (cosine_BKS.square() + sine_BKS.square()).mT
        floor = torch.finfo(torch.float32).eps
        mels_BSF = (power_BSK @ self.filters).clamp(min=floor).log()
        return zero_beyond(mels_BSF, padding_mask(counts_B, mels_BSF.shape[1])), counts_B


def _linear_part(filterbank: LogMelFilterbank) -> Tensor:
    # (2 K, N): cosines, then sines, of a frame without its mean, emphasised and windowed
    size = filterbank.frame_samples
    identity_NN = torch.eye(size, dtype=torch.float64)
    centred_NN = identity_NN - 1.0 / size
    emphasis_NN = identity_NN - filterbank.preemphasis * identity_NN[_previous(size)]
    windowed_NN = filterbank.window.double()[:, None] * (emphasis_NN @ centred_NN)
    bins_K1 = torch.arange(filterbank.fft_size // 2 + 1, dtype=torch.float64)[:, None]
    angles_KN = bins_K1 * torch.arange(size) * (2 * math.pi / filterbank.fft_size)
    return torch.cat([angles_KN.cos(), -angles_KN.sin()]) @ windowed_NN


def _previous(size: int) -> Tensor:
    # Kaldi takes the first sample for its own predecessor
    return (torch.arange(size) - 1).clamp(min=0)


def with_plain_filterbanks(model: _Module) -> _Module:
    """Replace all filterbanks, which loop over utterances, by ones that a graph can hold.

    Args:
        model: changed in place.

    Returns:
        The same model.
    """
    for name, module in list(model.named_modules()):
        if isinstance(module, LogMelFilterbank):
            model.set_submodule(name, PlainFilterbank(module))
    return model
