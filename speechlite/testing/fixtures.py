"""Small models and batches for testing components; all of them are functions of a seed.

Shapes: B batch, T samples, S frames, D model width, L labels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from speechlite.core.component import Component
from speechlite.core.model import ModelSpec, SpeechModel
from speechlite.core.types import Batch, Hidden, LabelSpace, Padded
from speechlite.engine.build import build_model
from speechlite.plugins.discovery import discover
from speechlite.plugins.registry import Registry

__all__ = [
    "installed_registry",
    "label_space",
    "small_batch",
    "small_hidden",
    "small_model",
    "tiny_options",
    "waves",
]

_FRAMES = (41, 29, 17)
_LABELS = {"frame": _FRAMES, "sequence": (6, 4, 3), "utterance": (1, 1, 1)}


def installed_registry() -> Registry:
    """Return the registry of all installed plugins.

    Returns:
        A fresh registry.
    """
    return Registry(discover())


def tiny_options(component: Component, registry: Registry) -> object:
    """Return options that build a small instance of a component.

    Args:
        component: its record.
        registry: where it is installed.

    Returns:
        What the ``tiny`` class method of its config gives, or the defaults where it has none.
    """
    config = registry.config_class(component)
    tiny = getattr(config, "tiny", None)
    return config() if tiny is None else tiny()


def waves(*, sample_rate: int = 16000, seed: int = 0) -> Padded:
    """Return three waveforms of different length: noise with a voice-like period.

    Args:
        sample_rate: samples a second.
        seed: seed of the noise.

    Returns:
        Values (3, T) in [-1, 1] and lengths.
    """
    generator = torch.Generator().manual_seed(seed)
    lengths_B = torch.tensor([sample_rate * count // 100 for count in (62, 43, 31)])
    time_T = torch.arange(int(lengths_B.max())) / sample_rate
    tone_T = 0.2 * torch.sin(2 * torch.pi * 140 * time_T)
    noise_BT = 0.05 * torch.randn(len(lengths_B), len(time_T), generator=generator)
    valid_BT = torch.arange(len(time_T)) < lengths_B[:, None]
    return Padded((tone_T + noise_BT) * valid_BT, lengths_B)


def small_model(registry: Registry) -> SpeechModel:
    """Return a trained-looking Conformer of three layers on FBANK, in eval mode.

    Its linear weights have fading singular values, so that every kind of compressor finds
    something to do.

    Args:
        registry: where the built-in components are.

    Returns:
        A model of about 50,000 parameters.
    """
    torch.manual_seed(0)
    encoder = {"name": "conformer", "dim": 32, "layers": 3, "heads": 2}
    spec = ModelSpec(
        frontend={"name": "fbank"}, encoder={**encoder, "feedforward": 64, "kernel_size": 5}
    )
    model = build_model(spec, registry)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Linear):
                module.weight.copy_(_with_fading_spectrum(module.weight))
    return model.eval()


def _with_fading_spectrum(weight_OI: Tensor) -> Tensor:
    left_OR, values_R, right_RI = torch.linalg.svd(weight_OI, full_matrices=False)
    fading_R = values_R[0] * 0.5 ** torch.arange(len(values_R))
    return (left_OR * fading_R) @ right_RI


def small_hidden(*, dim: int = 16, num_layers: int = 4, seed: int = 0) -> Hidden:
    """Return hidden states of three utterances.

    Args:
        dim: width D.
        num_layers: how many hidden states.
        seed: seed of the values.

    Returns:
        States of 41, 29 and 17 frames.
    """
    generator = torch.Generator().manual_seed(seed)
    lengths_B = torch.tensor(_FRAMES)
    valid_BS1 = (torch.arange(max(_FRAMES)) < lengths_B[:, None])[..., None]
    shape = (len(_FRAMES), max(_FRAMES), dim)
    layers = tuple(torch.randn(shape, generator=generator) * valid_BS1 for _ in range(num_layers))
    return Hidden(layers, lengths_B)


def label_space() -> LabelSpace:
    """Return a label space of five classes; the first is a blank, the second a space.

    Returns:
        The classes of the stream ``labels``.
    """
    return LabelSpace("labels", ("<blank>", " ", "A", "B", "C"))


def small_batch(layout: str, *, seed: int = 0) -> Batch:
    """Return the labels that belong to ``small_hidden``.

    Args:
        layout: ``frame``, ``sequence`` or ``utterance``.
        seed: seed of the labels and of the batch.

    Returns:
        A batch of three utterances by two speakers.
    """
    generator = torch.Generator().manual_seed(seed)
    lengths_B = torch.tensor(_LABELS[layout])
    shape = (len(lengths_B), int(lengths_B.max()))
    values_BL = torch.randint(2, len(label_space().symbols), shape, generator=generator)
    valid_BL = torch.arange(shape[1]) < lengths_B[:, None]
    return Batch(
        ids=("a-1", "a-2", "b-1"),
        speakers=("a", "a", "b"),
        labels={"labels": Padded(values_BL * valid_BL, lengths_B)},
        seed=seed,
    )
