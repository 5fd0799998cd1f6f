"""Count what a forward executes: multiply-accumulates, and the bits that they take."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from speechlite.core.model import SpeechModel
from speechlite.core.operations import plain_operations
from speechlite.core.types import stateless_seed

__all__ = ["count_bops", "count_macs", "noise"]

_FLOAT_BITS = 32


def noise(model: SpeechModel, seconds: float) -> tuple[Tensor, Tensor]:
    """Return an utterance of noise, the same for every model of a sample rate.

    Args:
        model: the model that will read it.
        seconds: its length.

    Returns:
        waves (1, T) and lengths (1,).
    """
    samples = round(seconds * model.frontend.sample_rate)
    generator = torch.Generator().manual_seed(stateless_seed("profile", samples))
    wave_T = 0.1 * torch.randn(samples, generator=generator)
    return wave_T[None], torch.tensor([samples])


def count_macs(model: SpeechModel, seconds: float) -> int:
    """Count the multiply-accumulates of one forward.

    Args:
        model: the model.
        seconds: length of the audio.

    Returns:
        Executed multiply-accumulates, frontend included.
    """
    return sum(_macs_by_module(model, seconds).values())


def count_bops(model: SpeechModel, seconds: float) -> int:
    """Count the bit operations of one forward: each product of b by c bits takes b times c.

    Van Baalen et al. 2020 (arXiv 2005.07093), section 4.

    Args:
        model: the model.
        seconds: length of the audio.

    Returns:
        Executed bit operations, frontend included; 1,024 a multiply-accumulate in float32.
    """
    total = 0
    for name, macs in _macs_by_module(model, seconds).items():
        weight_bits, input_bits = _operand_bits(model, name)
        total += macs * weight_bits * input_bits
    return total


def _operand_bits(model: SpeechModel, name: str) -> tuple[int, int]:
    # what layers of few bits say of themselves
    module: nn.Module = model.get_submodule(name)
    weight_bits, input_bits = getattr(module, "operand_bits", (_FLOAT_BITS, _FLOAT_BITS))
    return int(weight_bits), int(input_bits)


def _macs_by_module(model: SpeechModel, seconds: float) -> dict[str, int]:
    # by the innermost module that executes them
    counter = FlopCounterMode(display=False)
    # the fused attention kernels of some platforms escape the counter, the plain one does not
    with torch.no_grad(), plain_operations(), sdpa_kernel(SDPBackend.MATH), counter:
        model(*noise(model, seconds))
    # by modules as torch names them: the class of the model, then the path
    counts = {
        path.partition(".")[2]: sum(flops.values()) // 2
        for path, flops in counter.get_flop_counts().items()
        if path != "Global"
    }
    inner = dict.fromkeys(counts, 0)
    for path, macs in counts.items():
        above = path
        while above:
            above = above.rpartition(".")[0]
            if above in inner:
                inner[above] += macs
                break
    return {path: macs - inner[path] for path, macs in counts.items()}
