"""Random small architectures, cut at random."""

from __future__ import annotations

import random
from functools import cache

import torch
from torch import nn

from speechlite.core.model import Edit, ModelSpec
from speechlite.core.types import Padded
from speechlite.engine.build import build_model, replay_edits
from speechlite.nn.pruning import ranges_of
from speechlite.testing.fixtures import installed_registry

registry = cache(installed_registry)


def build(spec):
    return build_model(spec, registry()).eval()


def with_random_weights(model, seed=0):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.3, generator=generator)
    return model


def noise(lengths, *, padding=0, seed=0):
    """Return utterances of given lengths, each the same whatever its neighbours are."""
    waves_BT = torch.zeros(len(lengths), max(lengths) + padding)
    for row, length in enumerate(lengths):
        generator = torch.Generator().manual_seed(seed + row)
        waves_BT[row, :length] = 0.1 * torch.randn(length, generator=generator)
    return Padded(waves_BT, torch.tensor(lengths))


def random_spec(seed):
    """Return one of both conv norms, both layer norms, both positions, with and without bias."""
    draw = random.Random(seed)
    heads = draw.randint(1, 4)
    frontend = {
        "name": "conv_waveform",
        "channels": [draw.randint(1, 9) for _ in range(3)],
        "kernels": [10, 3, 2],
        "strides": [5, 4, 2],
        "norm": ("group", "layer")[seed % 2],
        "bias": draw.random() < 0.5,
        "channel_scale": draw.random() < 0.3,
        "normalise": draw.random() < 0.3,
    }
    encoder = {
        "name": "transformer",
        "dim": 4 * heads,
        "heads": heads,
        "layers": draw.randint(1, 3),
        "feedforward": draw.randint(1, 12),
        "norm": ("pre", "post")[seed // 2 % 2],
        "relative_bias": seed // 4 % 2 == 0,
        "positions": ("convolution", "sinusoids")[draw.random() < 0.3],
        "position_kernel": draw.randint(1, 6),
        "position_groups": 2,
    }
    return ModelSpec(frontend=frontend, encoder=encoder)


def random_kept(model, seed):
    """Return units to keep: any number of heads and inner units, none included, any channels."""
    draw = random.Random(seed)
    kept = {}
    for group in model.prune_groups():
        kind = group.name.rpartition(".")[2]
        if kind == "block":
            continue
        fewest = 1 if kind == "channels" else 0
        count = 0 if not fewest and draw.random() < 0.25 else draw.randint(fewest, group.size)
        kept[group.name] = sorted(draw.sample(range(group.size), count))
        if count == 0:
            kept[f"{group.name.rpartition('.')[0]}.block"] = []
    return kept


def edit_of_kept(kept):
    plan = {"kept": {name: ranges_of(units) for name, units in kept.items()}}
    return Edit(compressor={"name": "l0_structured"}, plan=plan)


def cut_at_random(model, seed):
    """Return the model after one recorded edit."""
    edit = edit_of_kept(random_kept(model, seed))
    return replay_edits(model, (edit,), registry()).eval()
