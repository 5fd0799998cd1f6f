"""Draw what width pruning has left of a model, layer by layer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from speechlite.config.safe_yaml import load_yaml
from speechlite.engine.figure_canvas import COLOURS, WIDTH, canvas, svg_text

__all__ = ["architecture_figures"]

_PANELS = (
    ("channels", "channels"),
    ("heads", "heads"),
    ("units", "units"),
)
_LAYER = re.compile(r"layers\.(\d+)\.(?:.*\.)?(channels|heads|units)")


def architecture_figures(paths: Sequence[Path]) -> list[tuple[str, str, str]]:
    """Draw the pruned models below some directories (DPHuBERT, Fig. 2).

    Args:
        paths: experiment directories.

    Returns:
        Titles, captions and SVG texts, one for each chain whose plan says what it left; of several
        seeds the first.
    """
    figures, seen = [], set()
    for path in paths:
        for config in sorted(path.rglob("model/config.yaml")):
            name = config.parent.parent.name
            counts = _counts(config)
            if counts and name not in seen and ".tmp" not in str(config):
                seen.add(name)
                caption = f"Units left (dark) of those before pruning (light); {name}, first seed."
                figures.append((f"Architecture of {name}", caption, _draw(counts)))
    return figures


def _counts(config: Path) -> Mapping[str, Sequence[int]] | None:
    content = load_yaml(config)
    edits = content.get("edits") if isinstance(content, dict) else None
    for edit in reversed(edits or []):
        left = edit.get("plan", {}).get("left")
        if isinstance(left, dict):
            return {name: count for name, count in left.items() if _LAYER.search(name)}
    return None


def _draw(counts: Mapping[str, Sequence[int]]) -> str:
    found: dict[str, dict[int, Sequence[int]]] = {}
    for name, count in counts.items():
        match = _LAYER.search(name)
        if match is None:
            continue
        panel, layer = found.setdefault(match[2], {}), int(match[1])
        # a macaron layer has two feed-forward blocks
        panel[layer] = [sum(pair) for pair in zip(panel.get(layer, (0, 0)), count, strict=True)]
    shown = [(part, title) for part, title in _PANELS if part in found]
    with canvas((WIDTH, 1.9 * len(shown)), rows=len(shown)) as (figure, axes):
        for panel, (part, title) in zip(axes[:, 0], shown, strict=True):
            _draw_panel(panel, found[part], title)
        return svg_text(figure)


def _draw_panel(panel: Any, counts: Mapping[int, Sequence[int]], title: str) -> None:
    layers = sorted(counts)
    positions = [layer + 1 for layer in layers]
    panel.bar(positions, [counts[layer][1] for layer in layers], color=COLOURS[0], alpha=0.2)
    bars = panel.bar(positions, [counts[layer][0] for layer in layers], color=COLOURS[0])
    panel.bar_label(bars, [str(counts[layer][0]) for layer in layers], fontsize=6)
    panel.set_xticks(positions)
    panel.set_ylabel(title)
    panel.set_xlabel("layer")
