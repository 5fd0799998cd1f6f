"""How many weights of each matrix are pruned, so that all together reach a sparsity."""

from __future__ import annotations

from collections.abc import Mapping

from speechlite.core.errors import PlanError

__all__ = ["allocate"]

_HALVINGS = 100


def allocate(
    sizes: Mapping[str, int],
    zeros: Mapping[str, int],
    *,
    sparsity: float,
    sensitivities: Mapping[str, float] | None = None,
    alpha: float = 0.0,
    by_size: bool = False,
) -> dict[str, int]:
    """Return how many weights of each matrix are pruned.

    With sensitivities, the most sensitive of N matrices gets ``sparsity - alpha`` and the least
    sensitive ``sparsity + alpha``, the others what lies at their rank between the two (SparseWAV,
    Eqs. 6 and 7). The mean of these parts is the sparsity; the part of all weights is not where
    matrices differ in size. With ``by_size`` all parts are shifted by the same amount, so that it
    is, to the last weight.

    Args:
        sizes: weights of each matrix.
        zeros: how many of them are pruned already, and stay so.
        sparsity: part of all weights to prune, those included.
        sensitivities: of each matrix; None for the same part of every one.
        alpha: largest difference of a part from the sparsity.
        by_size: whether the part of all weights is exact.

    Returns:
        Numbers of weights, at least ``zeros``.

    Raises:
        PlanError: if more weights are pruned already.
    """
    if sum(zeros.values()) > sparsity * sum(sizes.values()) + len(sizes):
        part = sum(zeros.values()) / sum(sizes.values())
        raise PlanError(
            f"{part:.1%} of the weights are pruned already, sparsity={sparsity} asks for less",
            remedy="raise compressor.sparsity, or start from another model",
        )
    offsets = dict.fromkeys(sizes, 0.0)
    if sensitivities is not None:
        order = sorted(sizes, key=lambda name: -sensitivities[name])
        steps = max(1, len(order) - 1)
        offsets = {name: alpha * (2 * rank / steps - 1) for rank, name in enumerate(order)}
        if len(order) == 1:
            offsets = dict.fromkeys(order, 0.0)
    lowest = {name: zeros[name] / sizes[name] for name in sizes}

    def parts(level: float) -> dict[str, float]:
        return {name: min(1.0, max(lowest[name], level + offsets[name])) for name in sizes}

    if not by_size:
        return {name: round(part * sizes[name]) for name, part in parts(sparsity).items()}
    wanted = round(sparsity * sum(sizes.values()))
    below, above = -1.0, 2.0
    for _ in range(_HALVINGS):
        middle = (below + above) / 2
        total = sum(part * sizes[name] for name, part in parts(middle).items())
        below, above = (middle, above) if total < wanted else (below, middle)
    return _rounded(parts(above), sizes, zeros, wanted)


def _rounded(
    parts: Mapping[str, float], sizes: Mapping[str, int], zeros: Mapping[str, int], wanted: int
) -> dict[str, int]:
    counts = {name: max(zeros[name], int(part * sizes[name])) for name, part in parts.items()}
    missing = wanted - sum(counts.values())
    # what rounding down left goes to the largest remainders
    order = sorted(sizes, key=lambda name: counts[name] - parts[name] * sizes[name])
    for name in order[: max(0, missing)]:
        counts[name] += counts[name] < sizes[name]
    return counts
