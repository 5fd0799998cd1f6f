"""Linear projection of features to the encoder's width.

Shapes: B batch, S frames, F features, D model width.
"""

from __future__ import annotations

from torch import nn

__all__ = ["feature_projection"]


def feature_projection(num_features: int, dim: int | None) -> nn.Module:
    """Build a linear layer and a layer norm, or nothing where features stay as they are.

    Args:
        num_features: F.
        dim: D, or None to leave features as they are.

    Returns:
        A module from (B, S, F) to (B, S, D).
    """
    if dim is None:
        return nn.Identity()
    return nn.Sequential(nn.Linear(num_features, dim), nn.LayerNorm(dim))
