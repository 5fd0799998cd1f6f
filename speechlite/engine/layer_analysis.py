"""How hidden states change from layer to layer (Figs. 2 and 3 of Layer Reduction).

Shapes: N frames, D model width.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from speechlite.core.model import SpeechModel
from speechlite.core.types import stateless_seed
from speechlite.data.atomic import replace_file
from speechlite.data.reader import UtteranceReader
from speechlite.engine.checkpoint import checkpoint_sha256
from speechlite.engine.splits import frame_grid, read_split

__all__ = ["analyse_layers", "layer_figures"]

_NUM_FRAMES = 50
_NUM_UTTERANCES = 50
_NAME = "layers.json"


def analyse_layers(model: SpeechModel, source: Path, directories: Sequence[str]) -> None:
    """Write how a model's layers differ, beside its checkpoint, unless that has been done.

    For consecutive layers the mean L2 distance and cosine similarity of a frame's two hidden
    states, and a t-SNE embedding of 50 frames in every layer.

    Args:
        model: the model, in eval mode.
        source: its checkpoint.
        directories: data directories to take frames from.
    """
    path = source.parent / _NAME
    made_with = {"model": checkpoint_sha256(source), "data": list(directories)}
    if _read(path).get("made_with") == made_with:
        return
    layers = _frames_of_layers(model, directories)
    pairs = list(zip(layers, layers[1:], strict=False))
    content = {
        "made_with": made_with,
        "name": source.parent.parent.parent.name,
        "l2": [float((b_ND - a_ND).norm(dim=-1).mean()) for a_ND, b_ND in pairs],
        "cosine": [
            float(functional.cosine_similarity(a_ND, b_ND, dim=-1).mean()) for a_ND, b_ND in pairs
        ],
        "embedding": _embedding(layers),
    }
    with replace_file(path) as stream:
        stream.write(json.dumps(content).encode())


def _read(path: Path) -> dict[str, Any]:
    # what cannot be read is made again, or not drawn
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _frames_of_layers(model: SpeechModel, directories: Sequence[str]) -> list[Tensor]:
    split = read_split(directories, frame_grid(model.frontend))
    reader = UtteranceReader(split.utterances, frame_grid(model.frontend), max_seconds=4.0)
    names = sorted(split.utterances)[:_NUM_UTTERANCES]
    kept: list[list[Tensor]] = [[] for _ in range(model.num_layers + 1)]
    with torch.no_grad():
        for name in names:
            hidden = model.encode(model.extract(reader.read([name])))
            for layer, states_BSD in zip(kept, hidden.layers, strict=True):
                layer.append(states_BSD[0])
    # the encoder's input is no layer
    return [torch.cat(states) for states in kept[1:]]


def _embedding(layers: Sequence[Tensor]) -> list[list[list[float]]]:
    from sklearn.manifold import TSNE

    generator = torch.Generator().manual_seed(stateless_seed("frames", len(layers[0])))
    chosen = torch.randperm(len(layers[0]), generator=generator)[:_NUM_FRAMES]
    points = torch.cat([layer_ND[chosen] for layer_ND in layers]).numpy()
    flat = TSNE(random_state=0, perplexity=min(30, len(points) // 4), init="pca").fit_transform(
        points
    )
    rows: list[list[list[float]]] = flat.reshape(len(layers), -1, 2).tolist()
    return rows


def layer_figures(paths: Sequence[Path]) -> list[tuple[str, str, str]]:
    """Draw what ``analyse_layers`` wrote below some directories.

    Args:
        paths: experiment directories.

    Returns:
        Titles, captions and SVG texts; none where nothing was analysed.
    """
    import numpy as np

    from speechlite.engine.plots import layer_embedding, layer_transitions

    found: dict[str, Any] = {}
    for path in paths:
        for file in sorted(path.rglob(_NAME)):
            content = _read(file)
            if content.keys() >= {"name", "l2", "cosine", "embedding"}:
                found.setdefault(content["name"], content)
    if not found:
        return []
    curves = {name: {"l2": item["l2"], "cosine": item["cosine"]} for name, item in found.items()}
    points = {name: np.array(item["embedding"]) for name, item in found.items()}
    return [
        (
            "Layer embeddings (Fig. 2 of Layer Reduction)",
            f"t-SNE of {_NUM_FRAMES} frames in every layer; first seed of each model.",
            layer_embedding(points),
        ),
        (
            "Layer transitions (Fig. 3 of Layer Reduction)",
            "Mean L2 distance and cosine similarity of a frame between consecutive layers.",
            layer_transitions(curves),
        ),
    ]
