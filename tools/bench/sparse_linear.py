"""Compare a sparse linear layer with dense ones: python tools/bench/sparse_linear.py.

Ours computes in float32 over the non-zeros of unstructured sparsity. Peers: ``nn.Linear`` in fp32,
``nn.Linear`` in bf16 (weights and activations; its results have three digits), torch.ao's dynamic
int8 and torch's own sparse matrices (CSR, fp32). A ratio is the peer's time over ours.

With one call a timing, ours follows a peer whose weights have emptied the caches, as the other
layers of a model do; ``--calls 8`` shows the layer alone.
"""

from __future__ import annotations

import argparse
import copy
import json
import warnings
from collections.abc import Callable

import torch
from paired import paired_ratio
from torch import nn

from speechlite.nn.sparse_product import SparseMatrix, kernel_name, sparse_linear

__all__ = ["main"]

_SHAPES = ("768x3072", "3072x768", "768x768")
_SPARSITIES = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95)


def main() -> None:
    """Print one line of JSON for each shape, sparsity, number of frames and peer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", nargs="+", default=_SHAPES, help="INPUTSxOUTPUTS")
    parser.add_argument("--sparsities", type=float, nargs="+", default=_SPARSITIES)
    parser.add_argument("--frames", type=int, nargs="+", default=[50, 500])
    parser.add_argument("--peers", nargs="+", help="parts of the names of the peers to time")
    parser.add_argument("--repeats", type=int, default=31)
    parser.add_argument("--calls", type=int, default=1, help="calls of the layer in one timing")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with torch.inference_mode():
        for shape in arguments.shapes:
            for sparsity in arguments.sparsities:
                layer = _pruned(shape, sparsity)
                for frames in arguments.frames:
                    _report(layer, frames, arguments)


def _pruned(shape: str, sparsity: float) -> nn.Linear:
    inputs, outputs = (int(size) for size in shape.split("x"))
    generator = torch.Generator().manual_seed(0)
    layer = nn.Linear(inputs, outputs).eval()
    weight_OK = torch.randn(outputs, inputs, generator=generator)
    is_kept_OK = torch.rand(outputs, inputs, generator=generator) >= sparsity
    layer.weight.copy_(weight_OK * is_kept_OK)
    return layer


def _report(layer: nn.Linear, frames: int, arguments: argparse.Namespace) -> None:
    inputs_TK = torch.randn(frames, layer.in_features, generator=torch.Generator().manual_seed(0))
    matrix = SparseMatrix.of(layer.weight)
    record = {
        "bench": "sparse_linear",
        "kernel": kernel_name(),
        "threads": arguments.threads,
        "inputs": layer.in_features,
        "outputs": layer.out_features,
        "sparsity": round(1 - matrix.nonzeros / layer.weight.numel(), 4),
        "bytes_of_fp32": round(matrix.nbytes / layer.weight.nbytes, 4),
        "frames": frames,
        "calls": arguments.calls,
    }
    ours = _repeated(lambda: sparse_linear(inputs_TK, matrix, layer.bias), arguments.calls)
    for peer, run in _peers(layer, inputs_TK).items():
        if arguments.peers is None or any(part in peer for part in arguments.peers):
            theirs = _repeated(run, arguments.calls)
            measured = paired_ratio(ours, theirs, repeats=arguments.repeats)
            print(json.dumps(record | {"peer": peer} | measured), flush=True)


def _repeated(run: Callable[[], torch.Tensor], calls: int) -> Callable[[], None]:
    def run_all() -> None:
        for _ in range(calls):
            run()

    return run_all


def _peers(layer: nn.Linear, inputs_TK: torch.Tensor) -> dict[str, Callable[[], torch.Tensor]]:
    half, half_TK = copy.deepcopy(layer).bfloat16(), inputs_TK.bfloat16()
    with warnings.catch_warnings():
        # torch.ao says that it moves to torchao, and sparse CSR that it is in beta
        warnings.simplefilter("ignore")
        quantized = torch.ao.quantization.quantize_dynamic(
            nn.Sequential(layer), {nn.Linear}, torch.qint8
        )
        rows = layer.weight.detach().to_sparse_csr()
    return {
        "fp32 nn.Linear": lambda: layer(inputs_TK),
        "bf16 nn.Linear": lambda: half(half_TK),
        "torch.ao dynamic int8": lambda: quantized(inputs_TK),
        "fp32 torch.sparse CSR": lambda: (rows @ inputs_TK.t()).t() + layer.bias,
    }


if __name__ == "__main__":
    main()
