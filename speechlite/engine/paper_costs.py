"""Costs by the conventions of "Attention or Convolution" (arXiv 2311.02772), Table 1.

The paper does not say how it counts. These rules give its figures, and none of them is an honest
count: attention of sparse models counts as dense, and in three products; models with convolutions
count one operation a multiply-accumulate and no attention; bits are those of a 16 bit product; the
time divides them by an accelerator's peak for other operands. Ten seconds of audio, 500 frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from speechlite.core.errors import ConfigError
from speechlite.core.model import SpeechModel

__all__ = ["PaperShape", "a100_seconds", "paper_costs", "paper_costs_of", "paper_shape"]

_FRAMES = 500
_SAMPLES = 160_000
_PROJECTION = 256  # width of the projection before the codewords, which the paper counts as well
_FLOAT_BITS_OF_A_MAC = 32
_BITS_OF_A_FLOP = 16
_G = 2**30
_FLOAT_PEAK = 1024 * 312  # G operations a second: an A100's catalogue, 16 bit and 1 bit
_BIT_PEAK = 1024 * 4992


@dataclass(frozen=True)
class PaperShape:
    """Hold what the paper's rules read of a model.

    Args:
        dim: model width.
        layers: depth.
        heads: attention heads.
        feedforward: inner width of a feed-forward block.
        kernel: frames of a layer's depthwise convolution; 0 for attention-only layers.
        half_rate: layers that run at half the rate.
        reduction_kernel: frames of the convolution that halves the rate; 0 where none does.
        frontend_macs: multiply-accumulates of the waveform's convolutions.
        frontend_width: channels of the last of them.
        position_macs: multiply-accumulates of the positional convolution.
        parameters: parameters that are no codes, those of quantisers left out, the projection
            included.
        code_bits: bits of all weights that stand as codes; 0 for a model in full precision.
    """

    dim: int
    layers: int
    heads: int
    feedforward: int
    kernel: int
    half_rate: int
    reduction_kernel: int
    frontend_macs: int
    frontend_width: int
    position_macs: int
    parameters: int
    code_bits: int

    @property
    def tokens(self) -> int:
        """Frames that pass a layer, over all layers."""
        return (self.layers - self.half_rate) * _FRAMES + self.half_rate * _FRAMES // 2

    @property
    def pairs(self) -> int:
        """Pairs of frames, over all layers."""
        return (self.layers - self.half_rate) * _FRAMES**2 + self.half_rate * (_FRAMES // 2) ** 2

    @property
    def reduction_macs(self) -> int:
        """Multiply-accumulates of halving the rate and of bringing it back."""
        if not self.reduction_kernel:
            return 0
        half = self.reduction_kernel * self.dim + self.dim**2
        return half * _FRAMES // 2 + self.dim**2 * _FRAMES

    @property
    def depthwise_macs(self) -> int:
        """Multiply-accumulates of the layers' depthwise convolutions."""
        return self.kernel * self.dim * self.tokens


def paper_costs(model: SpeechModel, *, parameter_bytes: int) -> dict[str, Any]:
    """Return what the paper would print of a model.

    Args:
        model: a waveform frontend with a Transformer, Sparseformer, Conformer or Squeezeformer.
        parameter_bytes: 4, or 2 for the paper's vanilla rows.

    Returns:
        ``storage_bytes``, ``flop``, ``bop_float``, ``bop_binary`` and ``seconds``.

    Raises:
        ConfigError: if the paper has no rule for such a model.
    """
    return paper_costs_of(paper_shape(model), parameter_bytes=parameter_bytes)


def paper_shape(model: SpeechModel) -> PaperShape:
    """Read a model's shape.

    Args:
        model: the model.

    Returns:
        What the rules read.

    Raises:
        ConfigError: if the paper has no rule for such a model.
    """
    frontend: Any = getattr(model.frontend, "config", None)
    encoder: Any = getattr(model.encoder, "config", None)
    needed = ("dim", "heads", "feedforward", "positions", "position_kernel", "position_groups")
    if not hasattr(frontend, "strides") or not all(hasattr(encoder, name) for name in needed):
        raise ConfigError(
            f"the paper has no rule for {type(model.encoder).__name__} on "
            f"{type(model.frontend).__name__}",
            remedy="profile a transformer, sparseformer, conformer or squeezeformer on "
            "conv_waveform, or take convention=honest",
        )
    dim = encoder.dim
    is_placed = encoder.positions == "convolution"
    position_weights = dim * (dim // encoder.position_groups) * encoder.position_kernel
    layers = len(model.encoder.layers)
    low, high = getattr(encoder, "reduce_after", 0), getattr(encoder, "recover_after", 0)
    codes, parameters = _weights(model)
    return PaperShape(
        dim=dim,
        layers=layers,
        heads=encoder.heads,
        feedforward=encoder.feedforward,
        kernel=getattr(encoder, "kernel_size", 0),
        half_rate=min(high, layers) - min(low, layers),
        reduction_kernel=encoder.reduction_kernel if high > low else 0,
        frontend_macs=_frontend_macs(frontend),
        frontend_width=frontend.channels[-1],
        position_macs=position_weights * _FRAMES if is_placed else 0,
        parameters=parameters + (dim + 1) * _PROJECTION,
        code_bits=codes,
    )


def _weights(model: SpeechModel) -> tuple[int, int]:
    # bits of codes, and parameters beside them and their quantisers
    codes = 0
    left_out: set[int] = set()
    for module in model.modules():
        stored = getattr(module, "stands_for", None)
        latent = getattr(module, "latent", None)
        if isinstance(stored, int):
            codes += stored * _bits(module, "bits", 8)
        elif isinstance(latent, Tensor):
            codes += latent.numel() * _bits(module, "weight_bits", 8)
            left_out.add(id(latent))
        if hasattr(module, "started"):
            left_out.update(id(parameter) for parameter in module.parameters())
    kept = (p.numel() for p in model.parameters() if id(p) not in left_out)
    return codes, sum(kept)


def _bits(module: nn.Module, name: str, default: int) -> int:
    bits = getattr(module, name, default)
    return bits if isinstance(bits, int) else default


def _frontend_macs(config: Any) -> int:
    frames, read, macs = _SAMPLES, 1, 0
    for channels, kernel, stride in zip(
        config.channels, config.kernels, config.strides, strict=True
    ):
        frames = (frames - kernel) // stride + 1
        macs += frames * channels * read * kernel
        read = channels
    return macs


def paper_costs_of(shape: PaperShape, *, parameter_bytes: int) -> dict[str, Any]:
    """Return what the paper would print of a shape.

    Args:
        shape: the shape.
        parameter_bytes: bytes of a parameter that is no code.

    Returns:
        ``storage_bytes``, ``flop``, ``bop_float``, ``bop_binary`` and ``seconds``.
    """
    is_float = shape.code_bits == 0
    flop = _float_flop(shape) if is_float else _binary_flop(shape)
    bop_float = _BITS_OF_A_FLOP * flop if is_float else _float_bops_beside_codes(shape)
    bop_binary = 0.0 if is_float else _binary_bops(shape)
    # attention-only models count a shift for each channel of queries, keys and values
    shifts = 0 if is_float or shape.kernel else 3 * shape.dim * shape.layers
    storage = (shape.parameters + shifts) * parameter_bytes + shape.code_bits / 8
    return {
        "convention": "Attention or Convolution, Table 1",
        "storage_bytes": storage,
        "flop": flop,
        "bop_float": bop_float,
        "bop_binary": bop_binary,
        "seconds": a100_seconds(bop_float / _G, bop_binary / _G),
    }


def a100_seconds(float_bops: float, binary_bops: float) -> float:
    """Return the time that the paper estimates from catalogue peaks of an A100.

    Args:
        float_bops: bit operations of what is not binary, in units of 2^30.
        binary_bops: those of the binary products, likewise.

    Returns:
        Seconds.
    """
    return float_bops / _FLOAT_PEAK + binary_bops / _BIT_PEAK


def _float_flop(shape: PaperShape) -> float:
    outer = 2 * (shape.frontend_macs + shape.position_macs)
    dim, tokens = shape.dim, shape.tokens
    if shape.kernel:
        weights = 4 * dim**2 + 4 * dim * shape.feedforward + 3 * dim**2
        return outer + weights * tokens + shape.depthwise_macs + 2 * shape.reduction_macs
    weights = 4 * dim**2 + 2 * dim * shape.feedforward
    attention = (6 * dim + 14 * shape.heads) * shape.pairs
    return outer + 2 * weights * tokens + attention - 7 * dim * tokens


def _binary_flop(shape: PaperShape) -> float:
    # what stays in floating point: the outer layers, softmax, activations, norms
    norms = 5 if shape.kernel else 2
    blocks = 2 if shape.kernel else 1
    outer = shape.frontend_macs + shape.position_macs + _projection_macs(shape)
    if shape.kernel:
        outer += shape.depthwise_macs + shape.reduction_macs
    elements = shape.heads * shape.pairs + blocks * shape.feedforward * shape.tokens
    return 2 * outer + elements + 5 * norms * shape.dim * shape.tokens


def _projection_macs(shape: PaperShape) -> int:
    return 0 if shape.frontend_width == shape.dim else shape.frontend_width * shape.dim * _FRAMES


def _float_bops_beside_codes(shape: PaperShape) -> float:
    outer = shape.frontend_macs + shape.position_macs
    if shape.kernel:
        outer += _projection_macs(shape) + shape.depthwise_macs + shape.reduction_macs
        return float(_FLOAT_BITS_OF_A_MAC * outer)
    return float(_BITS_OF_A_FLOP * (2 * outer + 8 * shape.heads * shape.pairs))


def _binary_bops(shape: PaperShape) -> float:
    dim, inner = shape.dim, shape.feedforward
    attention = 2 * dim * shape.pairs
    if not shape.kernel:
        return 1.5 * (4 * dim**2 + 2 * dim * inner) * shape.tokens + attention
    mixing = 7 * dim**2 * shape.tokens + shape.depthwise_macs + shape.reduction_macs
    return 1.5 * mixing + 4 * dim * inner * shape.tokens + attention
