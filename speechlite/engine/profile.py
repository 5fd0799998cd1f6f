"""What a model costs: parameters, executed operations, bytes, memory, time.

Conventions: a multiply-accumulate counts once, whatever is shared is stored once and executed as
often as it runs; Fourier transforms and element-wise operations are not counted.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn

from speechlite.config.schema import ProfileConfig
from speechlite.core.errors import ConfigError
from speechlite.core.model import SpeechModel
from speechlite.core.operations import choose_kernels
from speechlite.core.types import Padded
from speechlite.engine.operation_counts import count_bops, count_macs, noise
from speechlite.engine.paper_costs import paper_costs

__all__ = ["count_parameters", "measure_rtf", "profile"]

_LINUX_STATUS = Path("/proc/self/status")
_LINUX_RESET = Path("/proc/self/clear_refs")


def profile(model: SpeechModel, config: ProfileConfig, directory: Path | None) -> dict[str, Any]:
    """Return the cost section of a record.

    Args:
        model: the model, in eval mode.
        config: lengths, repeats and threads.
        directory: its checkpoint, for the bytes on disk; None leaves them out.

    Returns:
        ``params``, ``storage``, ``macs``, ``bops``, ``rtf`` and ``peak_memory``; ``paper`` where
        the configuration asks for a paper's conventions.
    """
    model.eval()
    at_seconds = {str(seconds): count_macs(model, seconds) for seconds in config.audio_seconds}
    longest = max(config.audio_seconds)
    of_paper: dict[str, Any] = {}
    if config.convention == "paper":
        of_paper["paper"] = _of_paper(model, config)
    return {
        **of_paper,
        "params": count_parameters(model),
        "storage": _storage(directory),
        "macs": {
            "per_second_audio": at_seconds[str(longest)] / longest,
            "at_seconds": at_seconds,
            "convention": "1 MAC = 2 FLOP; matrix products and convolutions executed in a forward",
        },
        "bops": {
            "per_second_audio": count_bops(model, longest) / longest,
            "convention": "MAC x bits of a weight x bits of an activation",
        },
        "rtf": measure_rtf(model, config),
        "peak_memory": _peak_memory(model, config),
    }


def _of_paper(model: SpeechModel, config: ProfileConfig) -> dict[str, Any]:
    try:
        return paper_costs(model, parameter_bytes=config.parameter_bytes)
    except ConfigError as error:
        # the other costs are there all the same
        return {"convention": None, "why": str(error)}


def count_parameters(model: SpeechModel) -> dict[str, Any]:
    """Count parameters, shared ones once, and the weights that stand as codes in buffers.

    Args:
        model: the model.

    Returns:
        ``total``, ``trainable``, ``nonzero`` and ``groups`` by frontend and encoder.
    """

    def count(module: nn.Module) -> int:
        return sum(parameter.numel() for parameter in module.parameters()) + _codes(module)

    parameters = list(model.parameters())
    return {
        "total": count(model) + _pruned(model),
        "trainable": sum(item.numel() for item in parameters if item.requires_grad),
        "nonzero": sum(int(item.count_nonzero()) for item in parameters) + _codes(model),
        "groups": {
            name: count(part) + _pruned(part)
            for name, part in (("frontend", model.frontend), ("encoder", model.encoder))
        },
    }


def _codes(module: nn.Module) -> int:
    # what layers of few bits say of themselves
    return sum(int(getattr(part, "stands_for", 0)) for part in module.modules())


def _pruned(module: nn.Module) -> int:
    # places of sparse weights without a value
    return sum(int(getattr(part, "zeros", 0)) for part in module.modules())


def measure_rtf(model: SpeechModel, config: ProfileConfig) -> dict[str, Any]:
    """Measure the real-time factor of one utterance.

    Args:
        model: the model.
        config: length, repeats, warm-up and threads.

    Returns:
        Median and 95th percentile of seconds of computing a second of audio, with the frontend
        (``p50``, ``p95``) and for the encoder alone (``encoder_p50``), and the protocol.
    """
    waves_BT, lengths_B = noise(model, config.rtf_seconds)
    threads = torch.get_num_threads()
    torch.set_num_threads(config.threads)
    try:
        with torch.inference_mode():
            features = Padded(*model.frontend.extract(waves_BT, lengths_B))
            choose_kernels(model, int(features.lengths.sum()))
            whole, encoder = [], []
            for _ in range(config.warmup + config.repeats):
                whole.append(_seconds(lambda: model(waves_BT, lengths_B)))
                encoder.append(_seconds(lambda: model.encode(features)))
    finally:
        torch.set_num_threads(threads)
    whole, encoder = whole[config.warmup :], encoder[config.warmup :]
    p95 = sorted(whole)[min(len(whole) - 1, round(0.95 * len(whole)))]
    return {
        "p50": median(whole) / config.rtf_seconds,
        "p95": p95 / config.rtf_seconds,
        "encoder_p50": median(encoder) / config.rtf_seconds,
        "n": 1,
        "repeats": config.repeats,
        "warmup": config.warmup,
        "batch": 1,
        "threads": config.threads,
        "precision": "float32",
        # what layers of few bits, or of few weights, say of themselves
        "kernels": sorted(_kernels(model)),
        "audio_seconds": config.rtf_seconds,
        "includes_frontend": True,
        "device": "cpu",
    }


def _kernels(model: SpeechModel) -> set[str]:
    names = (getattr(module, "kernel", None) for module in model.modules())
    return {name for name in names if isinstance(name, str)}


def _seconds(call: Any) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _storage(directory: Path | None) -> dict[str, Any]:
    if directory is None:
        return {"bytes_on_disk": None, "format": None, "why": "the model has no checkpoint"}
    files = [directory / name for name in ("config.yaml", "model.safetensors")]
    return {
        "bytes_on_disk": sum(file.stat().st_size for file in files),
        "format": "safetensors",
    }


def _peak_memory(model: SpeechModel, config: ProfileConfig) -> Mapping[str, Any]:
    how = f"growth of VmHWM over one forward of {config.rtf_seconds} s, batch 1"
    _return_free_memory()
    try:
        # 5 resets the peak of the resident set (Linux, proc(5))
        _LINUX_RESET.write_text("5")
        before = _status_bytes("VmRSS")
        with torch.inference_mode():
            model(*noise(model, config.rtf_seconds))
        return {"bytes": max(_status_bytes("VmHWM") - before, 0), "how": how}
    except OSError:
        return {"bytes": None, "how": how, "why": "only Linux tells the peak of a single forward"}


def _return_free_memory() -> None:
    # what the allocator keeps from earlier passes would be used again without a trace; where the
    # C library is not glibc there is no such call
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _status_bytes(field: str) -> int:
    for line in _LINUX_STATUS.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"no {field} in {_LINUX_STATUS}")
