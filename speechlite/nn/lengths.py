"""Valid lengths of padded sequences as masks.

Shapes: B batch, S frames; further axes as they come.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["padding_mask", "zero_beyond"]


def padding_mask(lengths_B: Tensor, num_frames: int) -> Tensor | None:
    """Return which frames are valid, or None where all of them are.

    Args:
        lengths_B: valid frames, int64.
        num_frames: S, the padded length.

    Returns:
        bool (B, S), True where valid; None without padding, so that callers skip the work.
    """
    # an exported graph holds for every batch, with padding or without
    if not torch.compiler.is_exporting() and bool((lengths_B >= num_frames).all()):
        return None
    positions_S = torch.arange(num_frames, device=lengths_B.device)
    return positions_S < lengths_B[:, None]


def zero_beyond(values_BSX: Tensor, valid_BS: Tensor | None) -> Tensor:
    """Return the values with zeros beyond the valid frames.

    Args:
        values_BSX: any tensor whose first axes are B and S.
        valid_BS: what ``padding_mask`` gave; None changes nothing.

    Returns:
        A tensor of the same shape; NaN beyond the lengths is gone too.
    """
    if valid_BS is None:
        return values_BSX
    shape = valid_BS.shape + (1,) * (values_BSX.dim() - 2)
    return values_BSX.masked_fill(~valid_BS.view(shape), 0.0)
