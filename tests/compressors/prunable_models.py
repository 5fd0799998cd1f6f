"""Small models of every kind that declares prune groups, with weights that hide no error."""

from __future__ import annotations

import torch
from torch import nn

from speechlite.compressors.config import L0StructuredConfig
from speechlite.compressors.l0_structured import L0Structured
from speechlite.core.model import ModelSpec
from speechlite.engine.build import build_model
from speechlite.testing.fixtures import installed_registry, waves

REGISTRY = installed_registry()

_STACK = {"name": "conv_waveform", "channels": [12, 16, 20], "kernels": [10, 3, 3]}
_STACK["strides"] = [5, 4, 4]
_TRANSFORMER = {"name": "transformer", "dim": 32, "layers": 3, "heads": 4, "feedforward": 40}
_TRANSFORMER |= {"positions": "convolution", "position_kernel": 8, "position_groups": 4}
_CONFORMER = {"name": "conformer", "dim": 16, "layers": 2, "heads": 4, "feedforward": 24}
_CONFORMER |= {"kernel_size": 3}
_FBANK = {"name": "fbank", "num_mels": 8}

KINDS = {
    "base": (_STACK, {**_TRANSFORMER, "norm": "post"}),
    "large": ({**_STACK, "norm": "layer", "bias": True}, {**_TRANSFORMER, "norm": "pre"}),
    "wavlm": (_STACK, {**_TRANSFORMER, "norm": "post", "relative_bias": True}),
    "scaled": ({**_STACK, "channel_scale": True}, {**_TRANSFORMER, "norm": "post"}),
    "reduced": (_STACK, {**_TRANSFORMER, "norm": "post", "time_reduction": 2}),
    "shared": (_STACK, {**_TRANSFORMER, "norm": "post", "share_parameters": True}),
    "conformer": (_FBANK, _CONFORMER),
    "macaron": (_FBANK, {**_CONFORMER, "macaron": True}),
}


def model_of(kind, *, seed=0, **encoder):
    """Return a model of a kind, in eval mode, whose biases and scales are random, too."""
    frontend, options = KINDS[kind]
    torch.manual_seed(seed)
    model = build_model(ModelSpec(frontend, {**options, **encoder}), REGISTRY).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.2)
    return model


def states(model):
    """Return all hidden states of three padded utterances."""
    sound = waves()
    with torch.no_grad():
        return model.eval()(sound.values, sound.lengths).layers


def num_parameters(model):
    """Return the parameters of a model, shared ones once."""
    return sum(parameter.numel() for parameter in model.parameters())


def everything(groups):
    """Return all units of all groups, as numbers that are left."""
    return {group.name: torch.tensor(float(group.size)) for group in groups}


def random_units(groups, *, seed, share=0.6):
    """Draw which units stay: blocks too, one unit at least where no block holds it."""
    generator = torch.Generator().manual_seed(seed)
    units = {group.name: torch.rand(group.size, generator=generator) < share for group in groups}
    for group in groups:
        mask = units[group.name]
        block = f"{group.name.rpartition('.')[0]}.block"
        if block not in units and not mask.any():
            mask[0] = True
        elif block in units and group.size > 1 and not (units[block] and mask.any()):
            mask[:] = False
            units[block][:] = False
    return units


def indices(units):
    """Return rising indices of the units that stay, by name of the group."""
    return {name: mask.nonzero()[:, 0].tolist() for name, mask in units.items()}


def numbers(units):
    """Return how many units stay, by name of the group."""
    return {name: mask.sum().double() for name, mask in units.items()}


def compressor(**options):
    """Return the ``l0_structured`` compressor with some options; its target suits every kind."""
    return L0Structured(L0StructuredConfig(**{"target": 0.3, **options}))


def gated(kind_or_model, compressor, *, seed=0, spread=2.0):
    """Return a gated model, in eval mode, whose gates have drifted at random."""
    model = model_of(kind_or_model) if isinstance(kind_or_model, str) else kind_or_model
    prepared = compressor.prepare(model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for gate in prepared.gates.of_groups:
            noise_U = torch.randn(gate.log_alpha.shape, generator=generator)
            gate.log_alpha.copy_(0.5 + spread * noise_U)
    return prepared.eval()
