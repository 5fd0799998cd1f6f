"""How well discrete units tell phones apart (HuBERT, arXiv 2106.07447, section IV-C).

Shapes: N frames, P phones, U units.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["count_pairs", "phone_purity", "pnmi", "unit_purity"]


def count_pairs(phones_N: Tensor, units_N: Tensor, *, num_phones: int, num_units: int) -> Tensor:
    """Count how often each phone meets each unit.

    Args:
        phones_N: phone of each frame, int64 in [0, num_phones).
        units_N: unit of each frame, int64 in [0, num_units).
        num_phones: phones of the inventory.
        num_units: units of the codebook.

    Returns:
        (P, U) int64 counts.
    """
    flat_N = phones_N * num_units + units_N
    counts = torch.bincount(flat_N, minlength=num_phones * num_units)
    return counts.view(num_phones, num_units)


def phone_purity(counts_PU: Tensor) -> float:
    """Return the frame accuracy of taking each unit for its most frequent phone.

    Args:
        counts_PU: frames of each pair; at least one.

    Returns:
        A share of the frames; more units make it higher, up to 1.
    """
    return float(counts_PU.amax(0).sum() / counts_PU.sum())


def unit_purity(counts_PU: Tensor) -> float:
    """Return the frame accuracy of taking each phone for its most frequent unit.

    HuBERT calls it cluster purity.

    Args:
        counts_PU: frames of each pair; at least one.

    Returns:
        A share of the frames; more units make it lower.
    """
    return float(counts_PU.amax(1).sum() / counts_PU.sum())


def pnmi(counts_PU: Tensor) -> float:
    """Return the share of the uncertainty about a frame's phone that its unit removes.

    It is the mutual information of phones and units over the entropy of phones.

    Args:
        counts_PU: frames of each pair; at least one.

    Returns:
        0 to 1; 0 where there is only one phone, about which nothing is uncertain.
    """
    joint_PU = counts_PU.double() / counts_PU.sum()
    phones_P, units_U = joint_PU.sum(1), joint_PU.sum(0)
    entropy = -torch.special.xlogy(phones_P, phones_P).sum()
    if entropy == 0:
        return 0.0
    independent_PU = phones_P[:, None] * units_U
    ratio_PU = joint_PU / independent_PU.where(independent_PU > 0, 1)
    return float(torch.special.xlogy(joint_PU, ratio_PU).sum() / entropy)
