"""What every encoder must do."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from speechlite.core.component import Component
from speechlite.core.model import Encoder
from speechlite.testing import pruning
from speechlite.testing.fixtures import installed_registry, small_hidden, tiny_options
from speechlite.testing.modules import close, has_all_gradients, round_trips

__all__ = ["CHECKS"]

_WIDTH_OF_FEATURES = 24


def _build(component: Component) -> Encoder:
    registry = installed_registry()
    torch.manual_seed(0)
    encoder: Encoder = registry.load(component)(tiny_options(component, registry))
    return encoder.eval()


def _frames(encoder: Encoder) -> tuple[Tensor, Tensor]:
    hidden = small_hidden(dim=encoder.dim or _WIDTH_OF_FEATURES)
    return hidden.layers[0], hidden.lengths


def encoder_returns_every_layer(component: Component) -> None:
    """Check number, shape and padding of the hidden states, and that the input is kept.

    Args:
        component: the encoder.
    """
    encoder = _build(component)
    frames_BSD, lengths_B = _frames(encoder)
    before = frames_BSD.clone()
    hidden = encoder(frames_BSD, lengths_B)
    assert len(hidden.layers) == len(encoder.layers) + 1, f"{len(hidden.layers)} hidden states"
    for layer_BSD in hidden.layers:
        assert layer_BSD.shape == frames_BSD.shape, f"a hidden state of {tuple(layer_BSD.shape)}"
        for row, length in enumerate(lengths_B.tolist()):
            assert not layer_BSD[row, length:].any(), "states beyond the lengths are not zero"
    assert torch.equal(hidden.lengths, lengths_B), "lengths changed"
    assert torch.equal(frames_BSD, before), "the input was changed"


def encoder_ignores_padding(component: Component) -> None:
    """Check that neither a longer batch nor NaN beyond the lengths changes anything.

    Args:
        component: the encoder.
    """
    encoder = _build(component)
    frames_BSD, lengths_B = _frames(encoder)
    together = encoder(frames_BSD, lengths_B)
    dirty_BSD = frames_BSD.clone()
    for row, length in enumerate(lengths_B.tolist()):
        dirty_BSD[row, length:] = float("nan")
        alone = encoder(frames_BSD[row : row + 1, :length], lengths_B[[row]])
        for depth, (first, second) in enumerate(zip(together.layers, alone.layers, strict=True)):
            close(first[row, :length], second[0], f"states of layer {depth} with padding")
    for first, second in zip(together.layers, encoder(dirty_BSD, lengths_B).layers, strict=True):
        close(first, second, "states with NaN beyond the lengths")


def encoder_stops_early(component: Component) -> None:
    """Check that fewer layers give the same states, without executing the others.

    Args:
        component: the encoder.
    """
    encoder = _build(component)
    frames_BSD, lengths_B = _frames(encoder)
    whole = encoder(frames_BSD, lengths_B)
    calls: list[int] = []
    for layer in {id(layer): layer for layer in encoder.layers}.values():
        layer.register_forward_hook(lambda *_: calls.append(1))
    for depth in range(len(encoder.layers) + 1):
        calls.clear()
        early = encoder(frames_BSD, lengths_B, num_layers=depth)
        assert len(early.layers) == depth + 1, f"{len(early.layers)} states for {depth} layers"
        assert len(calls) == depth, f"{len(calls)} layers executed for {depth}"
        for first, second in zip(early.layers[:-1], whole.layers[:-1], strict=False):
            close(first, second, f"states with {depth} layers")


def encoder_layers_can_be_removed(component: Component) -> None:
    """Check that an encoder without its last layer computes what fewer layers do.

    Args:
        component: the encoder.
    """
    encoder = _build(component)
    frames_BSD, lengths_B = _frames(encoder)
    if not len(encoder.layers):
        return
    depth = len(encoder.layers) - 1
    early = encoder(frames_BSD, lengths_B, num_layers=depth).layers
    encoder.layers = encoder.layers[:depth]
    for first, second in zip(early, encoder(frames_BSD, lengths_B).layers, strict=True):
        close(first, second, "states without the last layer")


def encoder_trains_and_saves(component: Component) -> None:
    """Check gradients, determinism in eval mode and a round trip of the state.

    Args:
        component: the encoder.
    """
    encoder = _build(component)
    frames_BSD, lengths_B = _frames(encoder)
    first, second = (encoder(frames_BSD, lengths_B).layers[-1] for _ in range(2))
    assert torch.equal(first, second), "two passes in eval mode differ"
    if any(parameter.requires_grad for parameter in encoder.parameters()):
        # a plain sum has no gradient through a final norm
        has_all_gradients(encoder.train(), encoder(frames_BSD, lengths_B).layers[-1].pow(3).sum())
    round_trips(encoder, _build(component))


def encoder_draws_depth_from_the_seed(component: Component) -> None:
    """Check that the depth of a step is a function of its seed, within the layers.

    Args:
        component: the encoder.
    """
    encoder = _build(component)
    for seed in range(20):
        depth = encoder.draw_depth(seed)
        assert depth == encoder.draw_depth(seed), "the same seed drew two depths"
        assert depth is None or 1 <= depth <= len(encoder.layers), f"drew {depth} layers"


def encoder_groups_fit_their_tensors(component: Component) -> None:
    """Check that prune groups have names of their own, and own what is there.

    Args:
        component: the encoder.
    """
    pruning.groups_fit_their_tensors(_build(component))


def encoder_gates_are_neutral(component: Component) -> None:
    """Check that a gate of ones changes nothing, and that none is left behind.

    Args:
        component: the encoder.
    """
    pruning.gates_are_neutral(_build(component), _run)


def encoder_units_vanish(component: Component) -> None:
    """Check that units under a gate of zero compute as if cut out.

    Args:
        component: the encoder.
    """
    pruning.units_vanish(_build(component), _run)


def encoder_blocks_vanish(component: Component) -> None:
    """Check that blocks under a gate of zero compute as if cut out.

    Args:
        component: the encoder.
    """
    pruning.blocks_vanish(_build(component), _run)


def encoder_multipliers_are_absorbed(component: Component) -> None:
    """Check that weights can take up what gates multiply by.

    Args:
        component: the encoder.
    """
    pruning.multipliers_are_absorbed(_build(component), _run)


def _run(encoder: Encoder) -> tuple[Tensor, ...]:
    with torch.no_grad():
        layers: tuple[Tensor, ...] = encoder(*_frames(encoder)).layers
    return layers


CHECKS: tuple[Callable[[Component], None], ...] = (
    encoder_returns_every_layer,
    encoder_ignores_padding,
    encoder_stops_early,
    encoder_layers_can_be_removed,
    encoder_trains_and_saves,
    encoder_draws_depth_from_the_seed,
    encoder_groups_fit_their_tensors,
    encoder_gates_are_neutral,
    encoder_units_vanish,
    encoder_blocks_vanish,
    encoder_multipliers_are_absorbed,
)
"""What the suite checks of an encoder, in order."""
