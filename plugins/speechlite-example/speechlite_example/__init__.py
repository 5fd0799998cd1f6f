"""An example plugin: what it offers, as records; nothing here imports torch."""

from __future__ import annotations

from speechlite import Component, hookimpl
from speechlite.hookspecs import Command

__all__ = ["speechlite_commands", "speechlite_components"]


@hookimpl
def speechlite_components() -> list[Component]:
    """Offer an encoder, a compressor and a head.

    Returns:
        One record a component.
    """
    return [
        Component(
            kind="encoder",
            name="gru",
            target="speechlite_example.gru:GruEncoder",
            config="speechlite_example.config:GruConfig",
            summary="bidirectional GRU layers with residual connections",
        ),
        Component(
            kind="compressor",
            name="low_rank",
            target="speechlite_example.low_rank:LowRank",
            config="speechlite_example.config:LowRankConfig",
            summary="linear layers as products of two thin ones, by singular values",
        ),
        Component(
            kind="head",
            name="mean_linear",
            target="speechlite_example.mean_linear:MeanLinearHead",
            config="speechlite_example.config:MeanLinearConfig",
            summary="one class an utterance, from the mean of its frames",
        ),
    ]


@hookimpl
def speechlite_commands() -> list[Command]:
    """Offer a command.

    Returns:
        One record a command.
    """
    return [
        Command(
            name="low_rank_saving",
            summary="print what factors of a rank save of a linear layer's weights",
            target="speechlite_example.command:run",
        )
    ]
