"""What all stacks of layers share: parameter sharing, depth, and collecting hidden states.

Shapes: B batch, S frames, D model width.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from speechlite.core.errors import ConfigError
from speechlite.core.model import PruneGroup
from speechlite.nn.lengths import zero_beyond

__all__ = ["build_layers", "checked_depth", "draw_depth", "layer_groups", "run_layers"]


def build_layers(
    make_layer: Callable[[], nn.Module], num_layers: int, *, share_parameters: bool
) -> nn.ModuleList:
    """Build a stack of layers, or one layer that stands at every depth.

    Args:
        make_layer: builds one layer.
        num_layers: depth of the stack.
        share_parameters: whether all depths are the same module, as in Lan et al. 2020 (ALBERT,
            arXiv 1909.11942); its parameters then exist once.

    Returns:
        ``num_layers`` entries.
    """
    if share_parameters:
        return nn.ModuleList([make_layer()] * num_layers)
    return nn.ModuleList(make_layer() for _ in range(num_layers))


def draw_depth(seed: int, random_depth: Sequence[int] | None, num_layers: int) -> int | None:
    """Draw the depth of one training step uniformly.

    Args:
        seed: the step's seed.
        random_depth: lowest and highest depth, both included; None executes all layers.
        num_layers: layers that the stack has; the range is cut to it.

    Returns:
        A depth, or None for all layers.
    """
    if random_depth is None:
        return None
    low, high = (min(depth, num_layers) for depth in random_depth)
    return random.Random(seed).randint(low, high)  # noqa: S311 (no secret)


def checked_depth(layers: nn.ModuleList, num_layers: int | None) -> int:
    """Return how many layers to execute.

    Args:
        layers: the stack.
        num_layers: layers to execute, 0 to ``len(layers)``; None means all.

    Returns:
        A depth that the stack has.

    Raises:
        ConfigError: if the stack is not that deep.
    """
    depth = len(layers) if num_layers is None else num_layers
    if not 0 <= depth <= len(layers):
        raise ConfigError(
            f"num_layers is {depth}, expected 0 to {len(layers)}",
            remedy="ask for no more layers than the model has",
        )
    return depth


def run_layers(
    layers: nn.ModuleList,
    run_layer: Callable[[nn.Module, Tensor], Tensor],
    frames_BSD: Tensor,
    *,
    num_layers: int | None,
    final_norm: nn.Module | None,
    valid_BS: Tensor | None,
    layer_drop: float = 0.0,
) -> tuple[Tensor, ...]:
    """Execute the first layers of a stack and nothing of the others.

    Args:
        layers: the stack.
        run_layer: applies one layer to (B, S, D).
        frames_BSD: the encoder's input, zero beyond the lengths.
        num_layers: layers to execute, 0 to ``len(layers)``; None means all.
        final_norm: applied to the last executed layer's output only; None for none.
        valid_BS: which frames are valid, or None for all.
        layer_drop: probability of skipping a layer (Fan et al. 2020, arXiv 1909.11556); its state
            is then that of the layer before.

    Returns:
        ``num_layers + 1`` tensors (B, S, D), zero beyond the lengths.

    Raises:
        ConfigError: if the stack is not that deep.
    """
    depth = checked_depth(layers, num_layers)
    hidden = [frames_BSD]
    for layer in layers[:depth]:
        if layer_drop and torch.rand(()).item() < layer_drop:
            hidden.append(hidden[-1])
        else:
            hidden.append(zero_beyond(run_layer(layer, hidden[-1]), valid_BS))
    if final_norm is not None and depth > 0:
        hidden[-1] = zero_beyond(final_norm(hidden[-1]), valid_BS)
    return tuple(hidden)


def layer_groups(layers: nn.ModuleList) -> tuple[PruneGroup, ...]:
    """Return the prune groups of all layers, those of a shared layer once.

    Args:
        layers: the stack; each layer has ``prune_groups``.

    Returns:
        The groups, named from the encoder on.
    """
    depths = {id(layer): depth for depth, layer in reversed(list(enumerate(layers)))}
    return tuple(
        group.inside(f"layers.{depth}")
        for depth in sorted(depths.values())
        for group in layers[depth].prune_groups()  # type: ignore[operator]
    )
