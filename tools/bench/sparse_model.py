"""Compare a sparse HuBERT base with dense ones, on the CPU: speed, and bytes in a file.

Prints one line of JSON a measurement, or without seconds one of sizes; a ratio is the peer's time
over ours. Ours skips zeros where measuring says so, with sums of float32; the peer is the same
model with its zeros, in the same precision: float32, then bfloat16.

    .venv/bin/python tools/bench/sparse_model.py
    .venv/bin/python tools/bench/sparse_model.py --sparsities 0.9 --seconds 5 --parts encoder.layers
    .venv/bin/python tools/bench/sparse_model.py --parts frontend encoder --values float16 --seconds
"""

from __future__ import annotations

import argparse
import copy
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from hubert_forward import hubert_base
from paired import paired_ratio

from speechlite.config.compose import from_mapping
from speechlite.core.model import SpeechModel
from speechlite.core.operations import choose_kernels
from speechlite.engine.checkpoint import save_model
from speechlite.engine.compress import compress
from speechlite.nn.dense_layers import with_dense_layers
from speechlite.nn.sparse import SparseConv1d, SparseLinear
from speechlite.testing.fixtures import installed_registry

__all__ = ["main"]


def main() -> None:
    """Print one line of JSON for each sparsity, length and precision."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--sparsities", type=float, nargs="+", default=[0.75, 0.85, 0.9])
    parser.add_argument("--seconds", type=float, nargs="*", default=[5.0, 15.0])
    parser.add_argument("--parts", nargs="+", default=["encoder.layers"])
    parser.add_argument("--values", choices=("float32", "float16"), default="float32")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    registry, model = installed_registry(), hubert_base()
    dense_bytes = _bytes(model)
    for sparsity in arguments.sparsities:
        options = {"name": "magnitude", "sparsity": sparsity, "parts": arguments.parts}
        options["values"] = arguments.values
        sparse = compress(from_mapping("compressor", options, registry), model, registry)
        record = {
            "bench": "sparse_model",
            "model": "HuBERT base",
            "threads": arguments.threads,
            "sparsity_of_matrices": sparsity,
            "parts": arguments.parts,
            "values": arguments.values,
            "bytes_of_fp32": round(_bytes(sparse) / dense_bytes, 4),
            "bytes_of_matrices": round(_share_of_matrices(sparse), 4),
        }
        if not arguments.seconds:
            print(json.dumps(record), flush=True)
        for seconds in arguments.seconds:
            _report(sparse, seconds, record, arguments.repeats)


def _bytes(model: SpeechModel) -> int:
    with tempfile.TemporaryDirectory() as folder:
        save_model(model, Path(folder) / "model")
        return (Path(folder) / "model" / "model.safetensors").stat().st_size


def _share_of_matrices(model: SpeechModel) -> float:
    weights = [
        part.weight for part in model.modules() if isinstance(part, (SparseLinear, SparseConv1d))
    ]
    own = sum(weight.mask.nbytes + weight.values.nbytes for weight in weights)
    return own / sum(4 * weight.shape.numel() for weight in weights)


def _report(sparse: SpeechModel, seconds: float, record: dict[str, object], repeats: int) -> None:
    waves_1T = 0.1 * torch.randn(
        1, int(16000 * seconds), generator=torch.Generator().manual_seed(1)
    )
    for dtype in (torch.float32, torch.bfloat16):
        ours = copy.deepcopy(sparse).to(dtype)
        dense = with_dense_layers(sparse).to(dtype)
        choose_kernels(ours, int(50 * seconds))
        linear = [part for part in ours.modules() if isinstance(part, SparseLinear)]
        further = {
            "seconds": seconds,
            "precision_of_both": str(dtype).removeprefix("torch."),
            "layers": len(linear),
            "skip_zeros": sum(part.kernel.startswith("sparse") for part in linear),
        }
        heard = waves_1T.to(dtype)
        measured = paired_ratio(_forward(ours, heard), _forward(dense, heard), repeats=repeats)
        print(json.dumps(record | further | measured), flush=True)


def _forward(model: SpeechModel, waves_1T: torch.Tensor) -> Callable[[], None]:
    lengths_1 = torch.tensor([waves_1T.shape[1]])

    def run() -> None:
        with torch.inference_mode():
            model(waves_1T, lengths_1)

    return run


if __name__ == "__main__":
    main()
