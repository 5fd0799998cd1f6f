"""Compare a forward of HuBERT base with that of transformers, dense and pruned, on one thread.

The peer is always transformers' dense HubertModel (sdpa, float32). Ours are the same random
weights, in float32 and bfloat16, and DPHuBERT's size cut out of them. Prints one line of JSON a
row: audio of 1, 5, 15 or 60 seconds, or a batch of 8 x 10.

    .venv/bin/python tools/bench/hubert_forward.py
    .venv/bin/python tools/bench/hubert_forward.py --rows 15 --shapes pruned --repeats 15
    .venv/bin/python tools/bench/hubert_forward.py --memory
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from paired import paired_ratio
from torch import Tensor, nn

from speechlite.core.model import ModelSpec, SpeechModel
from speechlite.engine.build import build_model
from speechlite.interop.huggingface_export import write_huggingface
from speechlite.nn.pruning import cut
from speechlite.testing.fixtures import installed_registry

__all__ = ["dphubert", "hubert_base", "main", "peer_of"]

FRONTEND = {"name": "conv_waveform", "legacy_padding": True}
ENCODER = {"name": "transformer", "norm": "post", "positions": "convolution"}
# a shape of the 23,585,946 parameters that the released DPHuBERT has
CHANNELS = [220, 405, 411, 433, 391, 384, 230]
HEADS = [6, 6, 7, 6, 5, 5, 4, 3, 3, 0, 0, 0]
UNITS = [379, 379, 433, 758, 324, 324, 324, 541, 216, 216, 270, 709]
ROWS = {"1": (1, 1), "5": (1, 5), "15": (1, 15), "60": (1, 60), "8x10": (8, 10)}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
MEMORY_SECONDS = 60


def hubert_base(**options: object) -> SpeechModel:
    """Return HuBERT base with random weights.

    Args:
        options: options of the frontend to change.

    Returns:
        The model, for inference.
    """
    torch.manual_seed(0)
    spec = ModelSpec(frontend=FRONTEND | options, encoder=ENCODER)
    return build_model(spec, installed_registry()).eval().requires_grad_(False)


def dphubert() -> SpeechModel:
    """Return HuBERT base cut to DPHuBERT's size.

    Returns:
        A model of the first units of each group.
    """
    model = hubert_base(channel_scale=True)
    cut(model, model.prune_groups(), {name: range(count) for name, count in _counts().items()})
    return model


def _counts() -> dict[str, int]:
    names = [f"frontend.stack.layers.{layer}.channels" for layer in range(len(CHANNELS))]
    counts = dict(zip(names, CHANNELS, strict=True))
    for layer, (heads, units) in enumerate(zip(HEADS, UNITS, strict=True)):
        counts[f"encoder.layers.{layer}.attention.heads"] = heads
        counts[f"encoder.layers.{layer}.feedforward.units"] = units
        if not heads:
            counts[f"encoder.layers.{layer}.attention.block"] = 0
    return counts


def peer_of(model: SpeechModel) -> nn.Module:
    """Return transformers' model with the same weights.

    Args:
        model: HuBERT base.

    Returns:
        Its model, for inference.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"
    from transformers import HubertModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        write_huggingface(model, Path(folder))
        with contextlib.redirect_stdout(sys.stderr):
            peer = HubertModel.from_pretrained(folder, attn_implementation="sdpa")
    peer.eval().requires_grad_(False)
    assert isinstance(peer, nn.Module)
    return peer


SHAPES = {"dense": hubert_base, "pruned": dphubert}


def _program(
    model: nn.Module, waves_BT: Tensor, dtype: torch.dtype = torch.float32
) -> Callable[[], Tensor]:
    waves_BT = waves_BT.to(dtype)
    lengths_B = torch.full((len(waves_BT),), waves_BT.shape[1])

    def run() -> Tensor:
        with torch.inference_mode():
            if isinstance(model, SpeechModel):
                output_BSD = model(waves_BT, lengths_B).layers[-1]
            else:
                output_BSD = model(waves_BT, output_hidden_states=True).last_hidden_state
        assert isinstance(output_BSD, Tensor)
        return output_BSD

    return run


def _noise(utterances: int, seconds: float) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return 0.1 * torch.randn(utterances, int(seconds * 16000), generator=generator)


def _machine() -> dict[str, object]:
    import transformers

    facts = torch.cpu.get_capabilities()
    return {
        "cpu": facts["cpu_name"],
        "instructions": [name for name in ("avx512_bf16", "amx_bf16") if facts.get(name)],
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def _speed(arguments: argparse.Namespace) -> None:
    dense = hubert_base()
    peer = peer_of(dense)
    machine = _machine()
    for shape in arguments.shapes:
        for name in arguments.dtypes:
            ours = SHAPES[shape]()
            ours = ours.to(DTYPES[name])
            for row in arguments.rows:
                waves_BT = _noise(*ROWS[row])
                our_run = _program(ours, waves_BT, DTYPES[name])
                peer_run = _program(peer, waves_BT)
                record = {"bench": "hubert_forward", "shape": shape, "dtype": name, "row": row}
                record |= {"parameters": sum(tensor.numel() for tensor in ours.parameters())}
                record |= paired_ratio(our_run, peer_run, repeats=arguments.repeats)
                if shape == "dense":
                    gap = (our_run().float() - peer_run()).abs().max()
                    record["largest_difference"] = float(gap)
                print(json.dumps(record | {"threads": 1} | machine), flush=True)


def _peak_bytes() -> int:
    # the kernel's high-water mark of this process
    with open("/proc/self/status", encoding="utf-8") as lines:
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def _peak_of(side: str) -> None:
    shape = side.partition("-")[0]
    model = peer_of(hubert_base()) if side == "peer" else SHAPES[shape]()
    dtype = DTYPES["bf16" if side.endswith("bf16") else "fp32"]
    run = _program(model.to(dtype), _noise(1, MEMORY_SECONDS), dtype)
    with open("/proc/self/clear_refs", "w", encoding="utf-8") as handle:
        handle.write("5")
    before = _peak_bytes()
    run()
    print(json.dumps({"before": before, "peak": _peak_bytes()}))


def _memory() -> None:
    sides = ["peer", "dense-fp32", "dense-bf16", "pruned-fp32", "pruned-bf16"]
    record: dict[str, object] = {"bench": "hubert_forward", "memory_seconds": MEMORY_SECONDS}
    for side in sides:
        command = [sys.executable, __file__, "--peak-of", side]
        told = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
        seen = json.loads(told.stdout.splitlines()[-1])
        record[f"{side}_forward_megabytes"] = round((seen["peak"] - seen["before"]) / 1e6, 1)
        record[f"{side}_peak_megabytes"] = round(seen["peak"] / 1e6, 1)
    print(json.dumps(record | _machine()))


def main() -> None:
    """Print one line a row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES))
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--memory", action="store_true", help="measure peak memory instead")
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.peak_of:
        _peak_of(arguments.peak_of)
    elif arguments.memory:
        _memory()
    else:
        _speed(arguments)


if __name__ == "__main__":
    main()
