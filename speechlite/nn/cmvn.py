"""Mean and variance normalisation of features within an utterance.

Shapes: B batch, S frames, F features.
"""

from __future__ import annotations

import math

from torch import Tensor

from speechlite.nn.lengths import padding_mask, zero_beyond

__all__ = ["normalise_utterance"]

# relative to the mean where that is large: the mean of equal float32 values is a little off
_SMALLEST_DEVIATION = 1e-5


def normalise_utterance(features_BSF: Tensor, lengths_B: Tensor) -> Tensor:
    """Give every feature of every utterance zero mean and unit variance over its valid frames.

    Args:
        features_BSF: features, zero beyond the lengths.
        lengths_B: valid frames, int64.

    Returns:
        (B, S, F), zero beyond the lengths; a constant feature becomes zero.
    """
    valid_BS = padding_mask(lengths_B, features_BSF.shape[1])
    count_B11 = lengths_B.clamp(min=1)[:, None, None].to(features_BSF.dtype)
    mean_B1F = features_BSF.sum(1, keepdim=True) / count_B11
    centred_BSF = zero_beyond(features_BSF - mean_B1F, valid_BS)
    deviation_B1F = (centred_BSF.square().sum(1, keepdim=True) / count_B11).sqrt()
    smallest_B1F = _SMALLEST_DEVIATION * mean_B1F.abs().clamp(min=1.0)
    deviation_B1F = deviation_B1F.masked_fill(deviation_B1F < smallest_B1F, math.inf)
    return centred_BSF / deviation_B1F
