"""What every frontend must do."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from speechlite.core.component import Component
from speechlite.core.model import Frontend
from speechlite.testing import pruning
from speechlite.testing.fixtures import installed_registry, tiny_options, waves
from speechlite.testing.modules import close, has_all_gradients, round_trips

__all__ = ["CHECKS"]

_DIM = 24


def _build(component: Component, dim: int | None = _DIM) -> Frontend:
    registry = installed_registry()
    torch.manual_seed(0)
    frontend: Frontend = registry.load(component)(tiny_options(component, registry), dim=dim)
    return frontend.eval()


def frontend_states_its_grid(component: Component) -> None:
    """Check rate, stride, shortest utterance and width.

    Args:
        component: the frontend.
    """
    frontend = _build(component)
    for name in ("sample_rate", "stride", "min_samples", "num_features"):
        value = getattr(frontend, name)
        assert isinstance(value, int), f"{name} is {value!r}, expected an integer"
        assert value > 0, f"{name} is {value}"


def frontend_lengths_agree(component: Component) -> None:
    """Check shapes and lengths, and that nothing stands beyond the lengths.

    Args:
        component: the frontend.
    """
    frontend = _build(component)
    sound = waves(sample_rate=frontend.sample_rate)
    before = sound.values.clone()
    features_BSF, lengths_B = frontend.extract(sound.values, sound.lengths)
    assert features_BSF.shape[1:] == (int(lengths_B.max()), frontend.num_features)
    expected = 1 + (sound.lengths - frontend.min_samples) // frontend.stride
    assert torch.equal(lengths_B, expected), f"{lengths_B.tolist()} frames, not {expected.tolist()}"
    for row, length in enumerate(lengths_B.tolist()):
        assert not features_BSF[row, length:].any(), "features beyond the lengths are not zero"
    assert frontend.project(features_BSF).shape == (*features_BSF.shape[:2], _DIM)
    assert torch.equal(sound.values, before), "the input was changed"


def frontend_ignores_padding(component: Component) -> None:
    """Check that a longer batch changes nothing inside the lengths.

    Args:
        component: the frontend.
    """
    frontend = _build(component)
    sound = waves(sample_rate=frontend.sample_rate)
    together_BSF, lengths_B = frontend.extract(sound.values, sound.lengths)
    for row, samples in enumerate(sound.lengths.tolist()):
        alone_BSF, _ = frontend.extract(sound.values[row : row + 1, :samples], sound.lengths[[row]])
        close(together_BSF[row, : lengths_B[row]], alone_BSF[0], "features with padding")


def frontend_takes_the_shortest_utterance(component: Component) -> None:
    """Check that ``min_samples`` give one finite frame.

    Args:
        component: the frontend.
    """
    frontend = _build(component)
    wave_BT = waves(sample_rate=frontend.sample_rate).values[:1, : frontend.min_samples]
    features_BSF, lengths_B = frontend.extract(wave_BT, torch.tensor([wave_BT.shape[1]]))
    assert lengths_B.tolist() == [1], f"{lengths_B.tolist()} frames"
    assert bool(torch.isfinite(features_BSF).all()), "features are not finite"


def frontend_trains_and_saves(component: Component) -> None:
    """Check gradients, determinism in eval mode and a round trip of the state.

    Args:
        component: the frontend.
    """
    frontend = _build(component)
    sound = waves(sample_rate=frontend.sample_rate)
    first, second = (frontend(sound.values, sound.lengths)[0] for _ in range(2))
    assert torch.equal(first, second), "two passes in eval mode differ"
    has_all_gradients(frontend, first.square().sum())
    round_trips(frontend, _build(component))
    bare = _build(component, dim=None)
    assert bare(sound.values, sound.lengths)[0].shape[-1] == bare.num_features


def frontend_groups_fit_their_tensors(component: Component) -> None:
    """Check that prune groups have names of their own, and own what is there.

    Args:
        component: the frontend.
    """
    pruning.groups_fit_their_tensors(_build(component))


def frontend_gates_are_neutral(component: Component) -> None:
    """Check that a gate of ones changes nothing, and that none is left behind.

    Args:
        component: the frontend.
    """
    pruning.gates_are_neutral(_build(component), _run)


def frontend_units_vanish(component: Component) -> None:
    """Check that units under a gate of zero compute as if cut out.

    Args:
        component: the frontend.
    """
    pruning.units_vanish(_build(component), _run)


def frontend_blocks_vanish(component: Component) -> None:
    """Check that blocks under a gate of zero compute as if cut out.

    Args:
        component: the frontend.
    """
    pruning.blocks_vanish(_build(component), _run)


def frontend_multipliers_are_absorbed(component: Component) -> None:
    """Check that weights can take up what gates multiply by.

    Args:
        component: the frontend.
    """
    pruning.multipliers_are_absorbed(_build(component), _run)


def _run(frontend: Frontend) -> tuple[Tensor, ...]:
    sound = waves(sample_rate=frontend.sample_rate)
    with torch.no_grad():
        frames_BSD, _ = frontend(sound.values, sound.lengths)
    return (frames_BSD,)


CHECKS: tuple[Callable[[Component], None], ...] = (
    frontend_states_its_grid,
    frontend_lengths_agree,
    frontend_ignores_padding,
    frontend_takes_the_shortest_utterance,
    frontend_trains_and_saves,
    frontend_groups_fit_their_tensors,
    frontend_gates_are_neutral,
    frontend_units_vanish,
    frontend_blocks_vanish,
    frontend_multipliers_are_absorbed,
)
"""What the suite checks of a frontend, in order."""
