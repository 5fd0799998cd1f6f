"""Compare one-shot pruning and its Gram matrices with peers: python tools/bench/obs.py.

One encoder layer of a base model: four 768 x 768 matrices (outputs x inputs), 3072 x 768 and
768 x 3072. Inputs are a random low-rank mixture with noise and a mean.

Row "obs": the peer does what the published SparseGPT core does, stated anew: Cholesky, inverse,
Cholesky of the inverse, then blocks of 128 columns, each column's error spread over its block by
an outer product. Damping .01, the same sparsity; ``error`` is |(W - W') X|^2 / |W X|^2 in float64.

Row "grams": the peer adds x.T @ x in float32 for every matrix; ours sums one for the three
matrices that read the same input.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Sequence

import torch
from paired import paired_ratio
from torch import Tensor

from speechlite.nn.grams import InputGram
from speechlite.nn.obs import prune_obs

__all__ = ["main"]

_LAYER = {(768, 768): 4, (3072, 768): 1, (768, 3072): 1}
"""Matrices of a layer, by outputs and inputs."""
_GRAMS = {768: (5, 3), 3072: (1, 1)}
"""Matrices that read inputs of a width, and how many different inputs these are."""
_PEER_BLOCK = 128
_CHUNK = 2000
"""Frames of one forward pass."""


def main() -> None:
    """Print one line of JSON for each shape and for the layer, of each row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", nargs="+", choices=["obs", "grams"], default=["obs", "grams"])
    parser.add_argument("--frames", type=int, default=4000)
    parser.add_argument("--sparsity", type=float, default=0.8)
    parser.add_argument(
        "--passes", type=int, default=4, help="how often frames enter a Gram matrix"
    )
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if "obs" in arguments.rows:
        _bench_obs(arguments.frames, sparsity=arguments.sparsity, repeats=arguments.repeats)
    if "grams" in arguments.rows:
        _bench_grams(arguments.frames, passes=arguments.passes, repeats=arguments.repeats)


def _inputs(frames: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(width)
    rank = width // 8
    sources_NR = torch.randn(frames, rank, generator=generator)
    mixture_RK = torch.randn(rank, width, generator=generator) / math.sqrt(rank)
    noise_NK = torch.randn(frames, width, generator=generator)
    return sources_NR @ mixture_RK + 0.3 * noise_NK + 0.2 * torch.randn(width, generator=generator)


def _bench_obs(frames: int, *, sparsity: float, repeats: int) -> None:
    ours_seconds = peer_seconds = 0.0
    for (outputs, inputs), count in _LAYER.items():
        inputs_NK = _inputs(frames, inputs)
        weight_OK = torch.randn(outputs, inputs, generator=torch.Generator().manual_seed(1))
        gram_KK = inputs_NK.T @ inputs_NK
        runs = _solvers(weight_OK, gram_KK, num_pruned=round(sparsity * weight_OK.numel()))
        measured = paired_ratio(*runs.values(), repeats=repeats)
        ours_seconds += count * float(measured["ours_seconds"])  # type: ignore[arg-type]
        peer_seconds += count * float(measured["peer_seconds"])  # type: ignore[arg-type]
        errors = {f"{name}_error": _error(weight_OK, run(), gram_KK) for name, run in runs.items()}
        zeros = {f"{name}_zeros": int((run() == 0).sum()) for name, run in runs.items()}
        shape = {"outputs": outputs, "inputs": inputs, "matrices": count}
        _print("obs", frames=frames, sparsity=sparsity, **shape, **measured, **errors, **zeros)
    ratio = round(peer_seconds / ours_seconds, 3)
    _print("obs", layer=True, sparsity=sparsity, ratio=ratio, ours_seconds=ours_seconds)


def _solvers(
    weight_OK: Tensor, gram_KK: Tensor, *, num_pruned: int
) -> dict[str, Callable[[], Tensor]]:
    def ours() -> Tensor:
        return prune_obs(weight_OK[None], gram_KK[None], num_pruned=num_pruned)[0]

    def peer() -> Tensor:
        return _sparsegpt(weight_OK, 2 * gram_KK, num_pruned / weight_OK.numel())

    return {"ours": ours, "peer": peer}


def _sparsegpt(weight_OK: Tensor, hessian_KK: Tensor, sparsity: float) -> Tensor:
    weight_OK, inputs = weight_OK.clone(), weight_OK.shape[1]
    diagonal_K = hessian_KK.diagonal()
    diagonal_K += 0.01 * diagonal_K.mean()
    inverse_KK = torch.cholesky_inverse(torch.linalg.cholesky(hessian_KK))
    upper_KK = torch.linalg.cholesky(inverse_KK, upper=True)
    for first in range(0, inputs, _PEER_BLOCK):
        last = min(first + _PEER_BLOCK, inputs)
        block_OW, upper_WW = weight_OK[:, first:last].clone(), upper_KK[first:last, first:last]
        saliency_OW = block_OW**2 / upper_WW.diagonal() ** 2
        threshold = saliency_OW.flatten().sort().values[int(saliency_OW.numel() * sparsity)]
        pruned_OW = saliency_OW <= threshold
        errors_OW = torch.zeros_like(block_OW)
        for column in range(last - first):
            kept_O = block_OW[:, column].masked_fill(pruned_OW[:, column], 0.0)
            error_O = (block_OW[:, column] - kept_O) / upper_WW[column, column]
            block_OW[:, column:] -= error_O.unsqueeze(1) @ upper_WW[column, column:].unsqueeze(0)
            errors_OW[:, column] = error_O
        weight_OK[:, first:last] = block_OW.masked_fill(pruned_OW, 0.0)
        weight_OK[:, last:] -= errors_OW @ upper_KK[first:last, last:]
    return weight_OK


def _error(weight_OK: Tensor, pruned_OK: Tensor, gram_KK: Tensor) -> float:
    change_OK, weight_OK = (pruned_OK - weight_OK).double(), weight_OK.double()
    lost = ((change_OK @ gram_KK.double()) * change_OK).sum()
    return float(lost / ((weight_OK @ gram_KK.double()) * weight_OK).sum())


def _bench_grams(frames: int, *, passes: int, repeats: int) -> None:
    for precision in ("float32", "bfloat16"):
        ours_seconds = peer_seconds = 0.0
        for width, (matrices, different) in _GRAMS.items():
            inputs_NK = _inputs(frames, width)
            ours, peer = _summers(inputs_NK.split(_CHUNK) * passes, precision)
            measured = paired_ratio(ours, peer, repeats=repeats)
            ours_seconds += different * float(measured["ours_seconds"])  # type: ignore[arg-type]
            peer_seconds += matrices * float(measured["peer_seconds"])  # type: ignore[arg-type]
            exact_KK = passes * inputs_NK.double().T @ inputs_NK.double()
            error = float((ours() - exact_KK).norm() / exact_KK.norm())
            form = {"precision": precision, "frames": passes * frames, "inputs": width}
            _print("grams", **form, error=error, **measured)
        ratio = round(peer_seconds / ours_seconds, 3)
        _print("grams", layer=True, precision=precision, ratio=ratio, ours_seconds=ours_seconds)


def _summers(
    chunks: Sequence[Tensor], precision: str
) -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    width = chunks[0].shape[1]

    def ours() -> Tensor:
        gram = InputGram(1, width, device="cpu", precision=precision)
        for chunk_NK in chunks:
            gram.add(chunk_NK[None])
        return gram.total()[0]

    def peer() -> Tensor:
        sum_KK = torch.zeros(width, width)
        for chunk_NK in chunks:
            sum_KK += chunk_NK.T @ chunk_NK
        return sum_KK

    return ours, peer


def _print(row: str, **fields: object) -> None:
    print(json.dumps({"bench": row, "threads": 1, **fields}), flush=True)


if __name__ == "__main__":
    main()
