"""What the encoders share: ESPnet's layers, run so that they keep speechlite's contract.

Shapes: B batch, S frames, P relative distances, D model width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

from torch import Tensor, nn

from speechlite.core.model import Encoder, PruneGroup
from speechlite.core.types import Hidden
from speechlite.nn.dropout import Dropout
from speechlite.nn.lengths import padding_mask, zero_beyond
from speechlite.nn.normalization import MaskedBatchNorm
from speechlite.nn.positional import relative_positions
from speechlite.nn.stack import build_layers, draw_depth, layer_groups, run_layers
from speechlite_espnet.blocks import input_through
from speechlite_espnet.config import StackConfig

__all__ = ["ChannelsFirstBatchNorm", "EspnetEncoder", "EspnetLayer"]


class ChannelsFirstBatchNorm(MaskedBatchNorm):
    """Normalise channels by the statistics of valid frames, in the layout of ``nn.BatchNorm1d``."""

    def forward(self, channels_BDS: Tensor, valid_BS: Tensor | None = None) -> Tensor:
        """Return normalised channels.

        Args:
            channels_BDS: input.
            valid_BS: which frames count; None for all.

        Returns:
            (B, D, S); what stands beyond the lengths means nothing.
        """
        return super().forward(zero_beyond(channels_BDS.mT, valid_BS), valid_BS).mT


class EspnetLayer(nn.Module):
    """Run one of ESPnet's layers so that padding changes nothing.

    ESPnet masks attention only: its convolutions read what stands beyond the lengths. Here the
    named modules get zeros there, through hooks that last as long as the forward.

    Args:
        layer: ESPnet's layer, its blocks already prunable.
        convolutions: names of the modules that mix frames, with input (B, channels, S).
        norms: names of the ``ChannelsFirstBatchNorm`` in it.
        blocks: names of the prunable blocks; those that the layer lacks are passed over.
    """

    def __init__(
        self,
        layer: Any,
        *,
        convolutions: Sequence[str],
        norms: Sequence[str] = (),
        blocks: Sequence[str],
    ) -> None:
        super().__init__()
        self.layer = layer
        self.convolutions = tuple(convolutions)
        self.norms = tuple(norms)
        self.blocks = tuple(name for name in blocks if getattr(layer, name) is not None)

    def forward(self, frames_BSD: Tensor, positions_1PD: Tensor, valid_BS: Tensor | None) -> Tensor:
        """Return the layer's output.

        Args:
            frames_BSD: input frames.
            positions_1PD: sinusoids of the distances S - 1 to 1 - S.
            valid_BS: which frames are valid; None for all.

        Returns:
            (B, S, D); what stands beyond the lengths means nothing.
        """
        valid_B1S = None if valid_BS is None else valid_BS[:, None]
        with ExitStack() as hooks:
            for module, change in self._changes(valid_BS):
                hooks.enter_context(input_through(module, change))
            (output_BSD, _), _ = self.layer((frames_BSD, positions_1PD), valid_B1S)
        result_BSD: Tensor = output_BSD
        return result_BSD

    def _changes(
        self, valid_BS: Tensor | None
    ) -> Iterator[tuple[nn.Module, Callable[[Tensor], Any]]]:
        # looked up each time: a compressor may have put others there
        if valid_BS is None:
            return
        for name in self.convolutions:
            yield self.layer.get_submodule(name), partial(_zero_beyond_channels, valid_BS=valid_BS)
        for name in self.norms:
            yield self.layer.get_submodule(name), partial(_beside, valid_BS=valid_BS)

    def prune_groups(self) -> tuple[PruneGroup, ...]:
        """Return the heads, the inner units and their blocks.

        Returns:
            The groups of the blocks that are left.
        """
        return tuple(
            group.inside(f"layer.{name}")
            for name in self.blocks
            for group in getattr(self.layer, name).prune_groups()
        )


def _zero_beyond_channels(channels_BDS: Tensor, *, valid_BS: Tensor) -> Tensor:
    return channels_BDS.masked_fill(~valid_BS[:, None], 0.0)


def _beside(channels_BDS: Tensor, *, valid_BS: Tensor) -> tuple[Tensor, Tensor]:
    return channels_BDS, valid_BS


class EspnetEncoder(Encoder):
    """Stack ESPnet's layers over frames of the model's width.

    Args:
        config: the options.
        espnet_encoder: ESPnet's encoder, with one layer where all depths share one.
        make_layer: takes one of its layers and makes it an ``EspnetLayer``.
    """

    def __init__(
        self,
        config: StackConfig,
        espnet_encoder: Any,
        make_layer: Callable[[Any], EspnetLayer],
    ) -> None:
        super().__init__()
        self.config = config
        self.dim: int = config.dim
        self.layer_drop = config.layer_drop
        rest = iter(espnet_encoder.encoders)
        self.layers = build_layers(
            lambda: make_layer(next(rest)), config.layers, share_parameters=config.share_parameters
        )
        self.dropout = Dropout(config.positional_dropout)
        self.final_norm = espnet_encoder.after_norm

    def forward(
        self, frames_BSD: Tensor, lengths_B: Tensor, *, num_layers: int | None = None
    ) -> Hidden:
        """Return the hidden states of the first ``num_layers`` layers.

        Args:
            frames_BSD: projected frames; anything may stand beyond the lengths.
            lengths_B: valid frames, int64.
            num_layers: layers to execute; None means all.

        Returns:
            ``num_layers + 1`` hidden states; the first is the frames before ESPnet scales them.
        """
        valid_BS = padding_mask(lengths_B, frames_BSD.shape[1])
        frames_BSD = zero_beyond(frames_BSD, valid_BS)
        positions_PD = relative_positions(frames_BSD.shape[1], self.dim, like=frames_BSD)
        positions_1PD = self.dropout(positions_PD[None])
        hidden = run_layers(
            self.layers,
            lambda layer, x_BSD: layer(x_BSD, positions_1PD, valid_BS),
            self.dropout(frames_BSD * math.sqrt(self.dim)),
            num_layers=num_layers,
            final_norm=self.final_norm,
            valid_BS=valid_BS,
            layer_drop=self.layer_drop if self.training else 0.0,
        )
        return Hidden((frames_BSD, *hidden[1:]), lengths_B)

    def draw_depth(self, seed: int) -> int | None:
        """Draw how many layers a training step executes.

        Args:
            seed: the step's seed.

        Returns:
            A depth within ``random_depth``, or None for all layers.
        """
        return draw_depth(seed, self.config.random_depth, len(self.layers))

    def prune_groups(self) -> tuple[PruneGroup, ...]:
        """Return the heads, inner units and blocks of each layer.

        Returns:
            The groups; those of a shared layer once.
        """
        return layer_groups(self.layers)
