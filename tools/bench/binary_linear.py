"""Compare a W1A1 linear layer with dense ones: python tools/bench/binary_linear.py.

Ours packs the activations, counts bits, scales and shifts; the weights stand packed. ``--kernel``
takes the name of a program, where "c++" compiles it if need be. Peers: fp32, bf16 (weights and
activations), dynamic int8.

With one call a timing, half of ours follow a peer whose weights have emptied the caches, and the
ratio of few frames lies between two modes; ``--calls 8`` shows the layer in a steady state.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import warnings
from collections.abc import Callable

import torch
from paired import paired_ratio
from torch import nn

from speechlite.nn import bit_products

__all__ = ["main"]


def main() -> None:
    """Print one line of JSON for each number of frames and each peer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=768)
    parser.add_argument("--outputs", type=int, default=3072)
    parser.add_argument("--frames", type=int, nargs="+", default=[50, 500])
    parser.add_argument("--kernel", choices=["c++", "numba", "torch"], help="program to time")
    parser.add_argument("--repeats", type=int, default=51)
    parser.add_argument("--calls", type=int, default=1, help="calls of the layer in one timing")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.kernel:
        os.environ["SPEECHLITE_BIT_KERNEL"] = arguments.kernel
    layer = nn.Linear(arguments.inputs, arguments.outputs).eval()
    with torch.inference_mode():
        for frames in arguments.frames:
            inputs_TD = torch.randn(
                frames, arguments.inputs, generator=torch.Generator().manual_seed(0)
            )
            _report(layer, inputs_TD, repeats=arguments.repeats, calls=arguments.calls)


def _report(layer: nn.Linear, inputs_TD: torch.Tensor, *, repeats: int, calls: int) -> None:
    ours = _repeated(_one_bit(layer, inputs_TD), calls)
    for peer, run in _peers(layer, inputs_TD).items():
        record = {
            "bench": "binary_linear",
            "kernel": bit_products.kernel_name(),
            "peer": peer,
            "threads": 1,
            "frames": len(inputs_TD),
            "inputs": layer.in_features,
            "outputs": layer.out_features,
        }
        measured = paired_ratio(ours, _repeated(run, calls), repeats=repeats)
        print(json.dumps(record | {"calls": calls} | measured), flush=True)


def _repeated(run: Callable[[], torch.Tensor], calls: int) -> Callable[[], None]:
    def run_all() -> None:
        for _ in range(calls):
            run()

    return run_all


def _one_bit(layer: nn.Linear, inputs_TD: torch.Tensor) -> Callable[[], torch.Tensor]:
    width = layer.in_features
    threshold_D = torch.zeros(width)
    weight_1MW = bit_products.pack(layer.weight, threshold_D).unsqueeze(0)
    scale_M, bias_M = layer.weight.abs().mean(1), layer.bias

    def run() -> torch.Tensor:
        words_1TW = bit_products.pack(inputs_TD, threshold_D).unsqueeze(0)
        return bit_products.signed_product(words_1TW, weight_1MW, width, scale_M, bias_M)

    return run


def _peers(layer: nn.Linear, inputs_TD: torch.Tensor) -> dict[str, Callable[[], torch.Tensor]]:
    half, half_TD = copy.deepcopy(layer).bfloat16(), inputs_TD.bfloat16()
    with warnings.catch_warnings():
        # torch.ao says that it moves to torchao
        warnings.simplefilter("ignore")
        quantized = torch.ao.quantization.quantize_dynamic(
            nn.Sequential(layer), {nn.Linear}, torch.qint8
        )
    return {
        "fp32 nn.Linear": lambda: layer(inputs_TD),
        "bf16 nn.Linear": lambda: half(half_TD),
        "torch.ao dynamic int8": lambda: quantized(inputs_TD),
    }


if __name__ == "__main__":
    main()
