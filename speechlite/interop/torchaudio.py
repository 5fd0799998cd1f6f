"""Models of torchaudio: state dicts, and published bundles by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from speechlite.core.errors import EnvironmentProblem, UsageError
from speechlite.interop.imported import Imported
from speechlite.interop.names import HUGGINGFACE, Named, rename
from speechlite.interop.options import describe

__all__ = ["is_torchaudio", "read_bundle", "read_module", "read_torchaudio", "torchaudio_names"]

_PACKED = re.compile(r"(.*\.attention)\.attention\.(in_proj_|out_proj\.)(weight|bias)")


def is_torchaudio(tensors: Mapping[str, Tensor]) -> bool:
    """Tell whether tensors have the names that torchaudio uses.

    Args:
        tensors: tensors by name.

    Returns:
        True if so.
    """
    return any("encoder.transformer." in name for name in tensors)


def torchaudio_names(tensors: Mapping[str, Tensor], *, source: str) -> Named:
    """Give the tensors of a torchaudio model our names.

    Args:
        tensors: what its ``state_dict`` gave.
        source: what is read, for messages.

    Returns:
        The model's tensors, and counts of the others.
    """
    unpacked: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        packed = _PACKED.fullmatch(name)
        if packed is None:
            unpacked[name] = tensor
        elif packed[2] == "out_proj.":
            unpacked[f"{packed[1]}.out_proj.{packed[3]}"] = tensor
        else:
            # WavLM's projections of query, key and value are one tensor
            for part, value in zip("qkv", tensor.chunk(3), strict=True):
                unpacked[f"{packed[1]}.{part}_proj.{packed[3]}"] = value
    plain = {
        re.sub(r"encoder\.(transformer\.|(?=feature_projection\.))", _shorter, name): tensor
        for name, tensor in unpacked.items()
    }
    return rename(plain, HUGGINGFACE, source=source)


def _shorter(match: re.Match[str]) -> str:
    # "encoder.transformer.layers" -> "encoder.layers", "encoder.feature_projection" -> without
    return "encoder." if match[1] else ""


def read_torchaudio(
    tensors: Mapping[str, Tensor],
    chosen: Mapping[str, Any] | None = None,
    *,
    source: str = "the torchaudio state dict",
    told: Mapping[str, Any] | None = None,
) -> Imported:
    """Read a wav2vec 2.0, HuBERT or WavLM model of torchaudio from its tensors.

    Args:
        tensors: what its ``state_dict`` gave.
        chosen: options by dotted name that go before all others.
        source: what is read, for messages.
        told: options by dotted name that are known from elsewhere.

    Returns:
        The model as plain values.
    """
    named = torchaudio_names(tensors, source=source)
    return describe(named, told or {}, chosen or {}, source=source)


def read_module(
    module: nn.Module,
    chosen: Mapping[str, Any] | None = None,
    *,
    source: str = "the torchaudio model",
) -> Imported:
    """Read a model of torchaudio that is in memory, with what its modules tell of themselves.

    Args:
        module: a ``torchaudio.models.Wav2Vec2Model``, or what a bundle wraps around one.
        chosen: options by dotted name that go before all others.
        source: what is read, for messages.

    Returns:
        The model as plain values.
    """
    inner: Any = module.model if hasattr(module, "normalize_waveform") else module
    transformer = inner.encoder.transformer
    told = {
        "frontend.strides": [layer.stride for layer in inner.feature_extractor.conv_layers],
        "frontend.normalise": bool(getattr(module, "normalize_waveform", False)),
        "frontend.dropout": inner.encoder.feature_projection.dropout.p,
        # the stack's own flag says whether its norm stands before the layers
        "encoder.norm": "post" if transformer.layer_norm_first else "pre",
        "encoder.heads": transformer.layers[0].attention.num_heads,
        "encoder.dropout": transformer.dropout.p,
        "encoder.layer_drop": transformer.layer_drop,
    }
    return read_torchaudio(module.state_dict(), chosen, source=source, told=told)


def read_bundle(name: str, chosen: Mapping[str, Any] | None = None) -> Imported:
    """Fetch and read a published model by the name of its bundle.

    Args:
        name: such as HUBERT_BASE, of ``torchaudio.pipelines``.
        chosen: options by dotted name that go before all others.

    Returns:
        The model as plain values.

    Raises:
        UsageError: if there is no such bundle.
        EnvironmentProblem: if it cannot be fetched.
    """
    from torchaudio import pipelines

    bundle = getattr(pipelines, name, None)
    if not isinstance(bundle, pipelines.Wav2Vec2Bundle):
        known = [
            each
            for each in dir(pipelines)
            if isinstance(getattr(pipelines, each), pipelines.Wav2Vec2Bundle)
        ]
        raise UsageError(
            f"{name} is no file, no folder and no bundle of torchaudio",
            remedy=f"name an existing path, or one of {', '.join(known)}",
        )
    try:
        module = bundle.get_model()
    # urllib's errors are OSErrors; a wrong checksum is a RuntimeError
    except (OSError, RuntimeError) as error:
        raise EnvironmentProblem(
            f"the bundle {name} cannot be fetched: {error}",
            remedy="connect to the network, or give the path of a checkpoint that you have",
        ) from None
    return read_module(module, chosen, source=f"torchaudio {name}")
