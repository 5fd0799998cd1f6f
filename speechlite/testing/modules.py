"""Checks that hold for any module: gradients, round trips, padding."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["TOLERANCE", "close", "has_all_gradients", "round_trips"]

TOLERANCE = 1e-5
"""Largest difference that padding may make, in float32."""


def close(first: Tensor, second: Tensor, what: str) -> None:
    """Check that two tensors agree.

    Args:
        first: a tensor.
        second: another one.
        what: what they are, for the message.
    """
    assert first.shape == second.shape, f"{what}: {tuple(first.shape)}, {tuple(second.shape)}"
    if first.numel():
        difference = float((first - second).detach().abs().max())
        assert difference <= TOLERANCE, f"{what} differ by {difference:.2e}"


def has_all_gradients(module: nn.Module, loss: Tensor) -> None:
    """Check that a loss reaches every trainable parameter.

    Args:
        module: the module.
        loss: a scalar computed with it.
    """
    loss.backward()
    missing = [
        name
        for name, parameter in module.named_parameters()
        if parameter.requires_grad and parameter.grad is None
    ]
    assert not missing, f"no gradient reaches {missing}"


def round_trips(module: nn.Module, twin: nn.Module) -> None:
    """Check that a module's state fits a module built from the same options.

    Args:
        module: the module.
        twin: another one from the same options; takes the state.
    """
    twin.load_state_dict(module.state_dict(), strict=True)
    for name, value in module.state_dict().items():
        assert torch.equal(value, twin.state_dict()[name]), f"{name} changed in a round trip"
