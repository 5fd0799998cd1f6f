"""Measure what few bits and sparse attention save, on one thread.

Prints one line of JSON a row:
  models     Sparseformer-DN-S over ten seconds, binary against float32 and int8, with bytes: the
             whole model, and its encoder without the frontend, which stays in float32
  attention  one attention over 500 to 8,000 frames against torch's fused dense kernel, float32
  growth     exponents of time and of the peak memory's growth from 1,000 to 8,000 frames
  encoders   conformer and squeezeformer against torchaudio's Conformer of equal shape

    .venv/bin/python tools/bench/attention_or_convolution.py
    .venv/bin/python tools/bench/attention_or_convolution.py --rows attention growth --repeats 31
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from paired import paired_ratio
from torch import Tensor

from speechlite.config.compose import from_mapping
from speechlite.core.model import ModelSpec, SpeechModel
from speechlite.engine.build import build_model
from speechlite.engine.checkpoint import save_model
from speechlite.engine.compress import compress
from speechlite.nn.attention_core import AttentionCore
from speechlite.nn.attention_pattern import PATTERNS
from speechlite.nn.bit_products import kernel_name
from speechlite.nn.sparse_attention import SparseAttentionCore
from speechlite.testing.fixtures import installed_registry

__all__ = ["main"]

FRONTEND = {
    "name": "conv_waveform",
    "channels": [64, 128, 128, 128, 128, 256, 256, 256, 256, 512, 512, 512, 512],
    "kernels": [10, 3, 1, 3, 1, 3, 1, 3, 1, 2, 1, 2, 1],
    "strides": [5, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1],
    "project_equal": False,
}
SECONDS = 10
HEADS, HEAD_DIM = 4, 64
LENGTHS = (250, 500, 1000, 2000, 4000, 8000)
SHAPE = {"dim": 256, "layers": 8, "heads": 4, "feedforward": 1024}


def _models(repeats: int) -> Iterator[dict[str, Any]]:
    registry = installed_registry()
    torch.manual_seed(0)
    spec = ModelSpec(frontend=FRONTEND, encoder={"name": "sparseformer", "pattern": "fixed"})
    model = build_model(spec, registry).eval()
    others = {
        name: compress(from_mapping("compressor", {"name": name}, registry), model, registry)
        for name in ("binary", "int8")
    }
    models = {"float32": model, **others}
    for part, make in (("model", _forward), ("encoder", _forward_encoder)):
        runs = {name: make(each) for name, each in models.items()}
        for ours, peer in (("binary", "float32"), ("binary", "int8"), ("int8", "float32")):
            yield {
                "row": "models",
                "model": "sparseformer dn-s",
                "part": part,
                "seconds": SECONDS,
                "ours": ours,
                "peer": peer,
                "kernel": kernel_name(),
                "bytes": _bytes(models[ours]),
                "peer_bytes": _bytes(models[peer]),
                **paired_ratio(runs[ours], runs[peer], repeats=repeats),
            }


def _speech() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    waves_BT = 0.1 * torch.randn(1, SECONDS * 16000, generator=generator)
    return waves_BT, torch.tensor([SECONDS * 16000])


def _forward(model: SpeechModel) -> Callable[[], Tensor]:
    waves_BT, lengths_B = _speech()

    def run() -> Tensor:
        with torch.inference_mode():
            return model(waves_BT, lengths_B).layers[-1]

    return run


def _forward_encoder(model: SpeechModel) -> Callable[[], Tensor]:
    # what compressors change: the frontend is in float32 in all of them
    with torch.inference_mode():
        frames_BSD, lengths_B = model.frontend(*_speech())

    def run() -> Tensor:
        with torch.inference_mode():
            output: Tensor = model.encoder(frames_BSD, lengths_B).layers[-1]
            return output

    return run


def _bytes(model: SpeechModel) -> int:
    with tempfile.TemporaryDirectory() as folder:
        save_model(model, Path(folder) / "model")
        return (Path(folder) / "model" / "model.safetensors").stat().st_size


def _cores() -> dict[str, AttentionCore]:
    sparse = {
        pattern: SparseAttentionCore(pattern=pattern, stride=32, expressivity=8, dropout=0.0).eval()
        for pattern in PATTERNS
    }
    return {"dense": AttentionCore(dropout=0.0).eval(), **sparse}


def _attend(core: AttentionCore, frames: int) -> Callable[[], Tensor]:
    generator = torch.Generator().manual_seed(frames)
    operands = [torch.randn(1, HEADS, frames, HEAD_DIM, generator=generator) for _ in range(3)]

    def run() -> Tensor:
        with torch.inference_mode():
            return core(*operands, None)

    return run


def _attention(repeats: int) -> Iterator[dict[str, Any]]:
    cores = _cores()
    for frames in LENGTHS:
        for pattern in PATTERNS:
            ours, peer = _attend(cores[pattern], frames), _attend(cores["dense"], frames)
            ratio = paired_ratio(ours, peer, repeats=repeats)
            yield {"row": "attention", "pattern": pattern, "frames": frames, **ratio}


def _growth(repeats: int) -> Iterator[dict[str, Any]]:
    for name, core in _cores().items():
        seconds = {frames: _median_seconds(_attend(core, frames), repeats) for frames in LENGTHS}
        pairs = core.pairs(8000) / core.pairs(1000)
        yield {
            "row": "growth",
            "pattern": name,
            "exponent_of_time": round(math.log(seconds[8000] / seconds[1000], 8), 3),
            "exponent_of_pairs": round(math.log(pairs, 8), 3),
            "seconds": seconds,
        }


def _median_seconds(run: Callable[[], Tensor], repeats: int) -> float:
    run()
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def _encoders(repeats: int) -> Iterator[dict[str, Any]]:
    from torchaudio.models import Conformer

    registry = installed_registry()
    torch.manual_seed(0)
    peer = Conformer(SHAPE["dim"], SHAPE["heads"], SHAPE["feedforward"], SHAPE["layers"], 31).eval()
    frames_BSD, lengths_B = torch.randn(1, 500, SHAPE["dim"]), torch.tensor([500])

    def theirs() -> Tensor:
        with torch.inference_mode():
            output: Tensor = peer(frames_BSD, lengths_B)[0]
            return output

    options = {**SHAPE, "kernel_size": 31, "positions": "convolution"}
    for name in ("conformer", "squeezeformer"):
        further = (
            {"macaron": True} if name == "conformer" else {"reduce_after": 3, "recover_after": 7}
        )
        spec = ModelSpec(frontend=FRONTEND, encoder={"name": name, **options, **further})
        encoder = build_model(spec, registry).eval().encoder

        def ours(encoder: torch.nn.Module = encoder) -> Tensor:
            with torch.inference_mode():
                output: Tensor = encoder(frames_BSD, lengths_B).layers[-1]
                return output

        ratio = paired_ratio(ours, theirs, repeats=repeats)
        yield {"row": "encoders", "encoder": name, "peer": "torchaudio conformer", **ratio}


ROWS = {"models": _models, "attention": _attention, "growth": _growth, "encoders": _encoders}


def main() -> None:
    """Print a line of JSON a measurement."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--repeats", type=int, default=11)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    machine = {
        "cpu": torch.cpu.get_capabilities()["cpu_name"],
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    for row in arguments.rows:
        for measured in ROWS[row](arguments.repeats):
            print(json.dumps({**measured, "threads": 1, **machine}), flush=True)


if __name__ == "__main__":
    main()
