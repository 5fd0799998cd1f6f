"""ESPnet's blocks as blocks whose units can vanish.

Each wraps one of ESPnet's modules, runs it, and adds gates and prune groups. Shapes: B batch,
S frames, P relative distances, D model width, H heads, K head width.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from speechlite.core.model import PruneGroup

__all__ = ["PrunableAttention", "PrunableFeedForward", "PrunableGatingMlp", "input_through"]


@contextlib.contextmanager
def input_through(module: nn.Module, change: Callable[[Tensor], Any]) -> Iterator[None]:
    """Let a module's input pass through a function as long as the context lasts.

    Nothing stays on the module: it can be copied and replaced, and ESPnet's own forward runs.

    Args:
        module: one that a forward calls with a tensor.
        change: from the input to what takes its place: a tensor, or a tuple of arguments.

    Yields:
        Nothing.
    """
    hook = module.register_forward_pre_hook(lambda _, inputs: change(inputs[0]))
    try:
        yield
    finally:
        hook.remove()


class _Block(nn.Module):
    # what the three have in common: gates, and what is left of a block that was cut

    def __init__(self) -> None:
        super().__init__()
        self.unit_gate: Tensor | None = None
        self.block_gate: Tensor | None = None

    def _emit(self, output_BSD: Tensor) -> Tensor:
        return output_BSD if self.block_gate is None else output_BSD * self.block_gate

    def _block(
        self, slices: tuple[tuple[str, int, int], ...], absorbed_by: tuple[str, ...]
    ) -> PruneGroup:
        gate = partial(setattr, self, "block_gate")
        return PruneGroup(name="block", size=1, gate=gate, slices=slices, absorbed_by=absorbed_by)


def _absent(frames_BSD: Tensor, output: nn.Module) -> Tensor:
    # without units the output's bias is left, without the block nothing is
    bias = output.bias
    assert isinstance(bias, Tensor)
    return torch.zeros_like(frames_BSD) + (bias if len(bias) else 0.0)


class PrunableAttention(_Block):
    """Attend by ESPnet's ``RelPositionMultiHeadedAttention``.

    Args:
        attention: ESPnet's module.
    """

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.attention = attention

    def forward(
        self,
        query_BSD: Tensor,
        key_BSD: Tensor,
        value_BSD: Tensor,
        positions_1PD: Tensor,
        valid_B1S: Tensor | None,
    ) -> Tensor:
        """Return the attended frames.

        Args:
            query_BSD: input frames.
            key_BSD: the same.
            value_BSD: the same.
            positions_1PD: sinusoids of the distances S - 1 to 1 - S.
            valid_B1S: which frames may be attended to; None for all.

        Returns:
            (B, S, D).
        """
        attention = self.attention
        # ESPnet counts heads once, when it builds; pruning cuts these biases
        attention.h = len(attention.pos_bias_u)
        if attention.h == 0:
            return _absent(query_BSD, attention.linear_out)
        arguments = query_BSD, key_BSD, value_BSD, positions_1PD, valid_B1S
        with input_through(attention.linear_out, self._gated):
            attended_BSD: Tensor = attention(*arguments)
        # ESPnet keeps the weights: memory of a whole graph, and a model that cannot be copied
        attention.attn = None
        return self._emit(attended_BSD)

    def _gated(self, heads_BSE: Tensor) -> Tensor:
        if self.unit_gate is None:
            return heads_BSE
        return heads_BSE * self.unit_gate.repeat_interleave(self.attention.d_k)

    def prune_groups(self) -> tuple[PruneGroup, ...]:
        """Return the heads, and the block as a whole.

        Returns:
            Two groups; none where no head is left.
        """
        num_heads, head_dim = self.attention.pos_bias_u.shape
        if num_heads == 0:
            return ()
        projections = [
            *(f"linear_{name}.{part}" for name in "qkv" for part in ("weight", "bias")),
            "linear_pos.weight",
        ]
        slices = [(name, 0, head_dim) for name in projections]
        slices += [("linear_out.weight", 1, head_dim), ("pos_bias_u", 0, 1), ("pos_bias_v", 0, 1)]
        heads = PruneGroup(
            name="heads",
            size=num_heads,
            gate=partial(setattr, self, "unit_gate"),
            slices=tuple(slices),
            absorbed_by=("linear_out.weight",),
            # widths K of products: scores of a key and of its about two distances, and the sum
            pair_macs=4 * head_dim,
        )
        whole = [(name, axis, width * num_heads) for name, axis, width in slices]
        whole += [("linear_out.bias", 0, len(self.attention.linear_out.bias))]
        block = self._block(tuple(whole), ("linear_out.weight", "linear_out.bias"))
        return heads.inside("attention"), block.inside("attention")


class PrunableFeedForward(_Block):
    """Map each frame by ESPnet's ``PositionwiseFeedForward``.

    Args:
        feedforward: ESPnet's module.
    """

    def __init__(self, feedforward: Any) -> None:
        super().__init__()
        self.feedforward = feedforward

    def forward(self, frames_BSD: Tensor) -> Tensor:
        """Return the mapped frames.

        Args:
            frames_BSD: input frames.

        Returns:
            (B, S, D).
        """
        if getattr(self.feedforward.w_1, "out_features", None) == 0:
            return _absent(frames_BSD, self.feedforward.w_2)
        with input_through(self.feedforward.w_2, self._gated):
            mapped_BSD: Tensor = self.feedforward(frames_BSD)
        return self._emit(mapped_BSD)

    def _gated(self, inner_BSM: Tensor) -> Tensor:
        return inner_BSM if self.unit_gate is None else inner_BSM * self.unit_gate

    def prune_groups(self) -> tuple[PruneGroup, ...]:
        """Return the inner units, and the block as a whole.

        Returns:
            Two groups; none where no unit is left.
        """
        dim, inner_dim = self.feedforward.w_2.weight.shape
        if inner_dim == 0:
            return ()
        slices = (("w_1.weight", 0, 1), ("w_1.bias", 0, 1), ("w_2.weight", 1, 1))
        units = PruneGroup(
            name="units",
            size=inner_dim,
            gate=partial(setattr, self, "unit_gate"),
            slices=slices,
            absorbed_by=("w_2.weight",),
        )
        whole = [(name, axis, inner_dim) for name, axis, _ in slices]
        block = self._block((*whole, ("w_2.bias", 0, dim)), ("w_2.weight", "w_2.bias"))
        return units.inside("feedforward"), block.inside("feedforward")


class PrunableGatingMlp(_Block):
    """Gate frames by ESPnet's ``ConvolutionalGatingMLP``; it can only vanish as a whole.

    A norm stands between its channels, so what is left of some of them computes something else.

    Args:
        mlp: ESPnet's module.
    """

    def __init__(self, mlp: Any) -> None:
        super().__init__()
        self.mlp = mlp

    def forward(self, frames: tuple[Tensor, Tensor], valid_B1S: Tensor | None) -> Tensor:
        """Return the gated frames.

        Args:
            frames: (B, S, D), and the positions, which the block does not use.
            valid_B1S: which frames are valid; ESPnet's module does not look at it.

        Returns:
            (B, S, D).
        """
        if len(self.mlp.csgu.norm.weight) == 0:
            return torch.zeros_like(frames[0])
        output_BSD: Tensor = self.mlp(frames[0], valid_B1S)
        return self._emit(output_BSD)

    def prune_groups(self) -> tuple[PruneGroup, ...]:
        """Return the block as a whole.

        Returns:
            One group; none where the block is gone.
        """
        tensors = dict(self.mlp.named_parameters())
        if len(tensors["csgu.norm.weight"]) == 0:
            return ()
        slices = tuple((name, 0, len(tensor)) for name, tensor in tensors.items())
        output = ("channel_proj2.weight", "channel_proj2.bias")
        return (self._block(slices, output).inside("mlp"),)
