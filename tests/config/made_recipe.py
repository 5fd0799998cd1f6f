"""A recipe's folder of YAML files, and a plugin whose components they choose."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from made_plugins import MadePlugin

OPTIONS = """\
from __future__ import annotations

import enum
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal


class Norm(enum.Enum):
    layer = 1
    batch = 2


@dataclass(frozen=True)
class Decay:
    rate: float = 0.5
    steps: list[int] = field(default_factory=lambda: [1, 2])


@dataclass(frozen=True)
class FlatConfig:
    mels: int = 80


@dataclass(frozen=True)
class WideConfig:
    dim: int = 8
    layers: int = 2
    dropout: float = 0.1
    causal: bool = False
    label: str = "a"
    note: str | None = None
    depth: tuple[int, int] | None = None
    kernels: tuple[int, ...] = (3, 5)
    pooling: Literal["mean", "max"] = "mean"
    norm: Norm = Norm.layer
    decay: Decay = field(default_factory=Decay)
    weights: dict[str, float] = field(default_factory=lambda: {"a": 1.0})
    folder: Path | None = None

    def __post_init__(self):
        if self.dim % 2:
            raise ValueError(f"dim={self.dim}, expected an even number")


@dataclass(frozen=True)
class ThinConfig:
    width: int = 4


@dataclass(frozen=True)
class NeedyConfig:
    dim: int
"""

OFFERS = """\
@hookimpl
def speechlite_components():
    path = "recipe_options:"
    return [
        component(kind="frontend", name="flat", config=path + "FlatConfig"),
        component(name="wide", config=path + "WideConfig"),
        component(name="thin", config=path + "ThinConfig"),
        component(name="needy", config=path + "NeedyConfig"),
        component(kind="objective", name="match", config=path + "FlatConfig"),
    ]
"""

PLUGIN = MadePlugin("recipe-plugin", OFFERS, files={"recipe_options.py": OPTIONS})

PRIMARY = """\
defaults:
  - frontend: flat
  - encoder: wide_small
  - objective: match
trainer:
  max_steps: 12
data:
  train: [data/train]
"""

PRESET = """\
defaults: [wide]
layers: 3
"""

FILES = {"mini.yaml": PRIMARY, "encoder/wide_small.yaml": PRESET}


def write_recipe(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    for name, content in {**FILES, **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder
