"""The model contract: a frontend and an encoder, and nothing else.

Shapes: B batch, T samples, S frames, F features, D model width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from speechlite.core.errors import DataError
from speechlite.core.types import Batch, Hidden, Padded

__all__ = ["Edit", "Encoder", "Frontend", "ModelSpec", "PruneGroup", "SpeechModel"]


@dataclass(frozen=True)
class ModelSpec:
    """Name a model's two components with their options.

    Args:
        frontend: ``{"name": ..., option: value, ...}``.
        encoder: the same for the encoder.
    """

    frontend: Mapping[str, Any]
    encoder: Mapping[str, Any]


@dataclass(frozen=True)
class Edit:
    """Record one carried-out compression.

    Args:
        compressor: ``{"name": ..., option: value, ...}``.
        plan: what the compressor decided, as plain JSON values.
    """

    compressor: Mapping[str, Any]
    plan: Mapping[str, Any]


@dataclass(frozen=True)
class PruneGroup:
    """Say which rows and columns of which weights vanish together.

    A unit whose multiplier is 0 computes as if it were gone. A block that can vanish as a whole
    is a group of one unit, which owns all of the block's weights.

    Args:
        name: dotted name, unique in the model.
        size: number of units in the group.
        gate: installs a multiplier (size,) on the units' activations, of the model's type and no
            ``nn.Parameter``; None takes it off again.
        slices: ``(name of a parameter or buffer, axis, width)``: each unit owns ``width``
            consecutive indices of the axis.
        absorbed_by: names among those of ``slices``: multiplying what a unit owns of these tensors
            has the effect of its multiplier.
        pair_macs: multiply-accumulates that a unit spends on each pair of frames, beside those of
            its weights.
        pairs: how many pairs there are of so many frames; None for all of them.
    """

    name: str
    size: int
    gate: Callable[[Tensor | None], None]
    slices: tuple[tuple[str, int, int], ...]
    absorbed_by: tuple[str, ...] = ()
    pair_macs: int = 0
    pairs: Callable[[int], int] | None = None

    def inside(self, prefix: str) -> PruneGroup:
        """Return the same group as a part of a larger module.

        Args:
            prefix: name of the part in the larger module.

        Returns:
            A group whose names begin with the prefix.
        """
        return replace(
            self,
            name=f"{prefix}.{self.name}",
            slices=tuple((f"{prefix}.{name}", axis, width) for name, axis, width in self.slices),
            absorbed_by=tuple(f"{prefix}.{name}" for name in self.absorbed_by),
        )


class Frontend(nn.Module, ABC):
    """Turn a waveform into frames of the encoder's width.

    A subclass is built as ``Frontend(config, *, dim)``, where ``dim`` is the encoder's width, or
    None to leave the features as they are.
    """

    sample_rate: int
    """Samples a second that ``extract`` expects."""
    stride: int
    """Samples from one frame to the next."""
    min_samples: int
    """Samples of the shortest utterance that gives a frame."""
    num_features: int
    """Width F of what ``extract`` gives."""

    @abstractmethod
    def extract(self, waves_BT: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features of a batch of waveforms.

        Args:
            waves_BT: samples in [-1, 1], zero beyond the lengths.
            lengths_B: valid samples, int64.

        Returns:
            features (B, S, F), zero beyond the lengths, and the valid frames (B,).
        """

    @abstractmethod
    def project(self, features_BSF: Tensor) -> Tensor:
        """Bring features to the encoder's width.

        Args:
            features_BSF: what ``extract`` gave, masked or not.

        Returns:
            frames (B, S, D).
        """

    def forward(self, waves_BT: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return projected frames of a batch of waveforms.

        Args:
            waves_BT: samples in [-1, 1], zero beyond the lengths.
            lengths_B: valid samples, int64.

        Returns:
            frames (B, S, D) and the valid frames (B,).
        """
        features_BSF, frame_lengths_B = self.extract(waves_BT, lengths_B)
        return self.project(features_BSF), frame_lengths_B

    def prune_groups(self) -> Sequence[PruneGroup]:
        """Return the groups of units that width pruning may remove.

        Returns:
            The groups, named from the frontend on; none by default.
        """
        return ()


class Encoder(nn.Module, ABC):
    """Turn frames into the hidden states of every layer.

    A subclass is built as ``Encoder(config)``. It keeps its layers in ``layers``; each keeps the
    shape of its input, and each can be removed.
    """

    dim: int | None
    """Width D of frames and hidden states; None where the features' own width is kept."""
    layers: nn.ModuleList
    layer_drop: float = 0.0
    """Probability that a training step skips a layer."""

    @abstractmethod
    def forward(
        self, frames_BSD: Tensor, lengths_B: Tensor, *, num_layers: int | None = None
    ) -> Hidden:
        """Return the hidden states of the first ``num_layers`` layers.

        Args:
            frames_BSD: projected frames; anything may stand beyond the lengths.
            lengths_B: valid frames, int64.
            num_layers: how many layers to execute, 0 to ``len(layers)``; None means all.

        Returns:
            ``num_layers + 1`` hidden states; those beyond a length are zero.
        """

    def draw_depth(self, seed: int) -> int | None:
        """Draw how many layers a training step executes.

        Args:
            seed: the step's seed, equal on all processes.

        Returns:
            A number of layers, or None for all; None by default.
        """
        return None

    def prune_groups(self) -> Sequence[PruneGroup]:
        """Return the groups of units that width pruning may remove.

        Returns:
            The groups, named from the encoder on; none by default.
        """
        return ()


class SpeechModel(nn.Module):
    """Join a frontend and an encoder; the only model type that the rest of the code sees.

    Args:
        frontend: the frontend, built for the encoder's width.
        encoder: the encoder.
        spec: what the two were built from.
        edits: the compressions carried out since, in order.
    """

    def __init__(
        self,
        frontend: Frontend,
        encoder: Encoder,
        *,
        spec: ModelSpec,
        edits: Sequence[Edit] = (),
    ) -> None:
        super().__init__()
        self.frontend = frontend
        self.encoder = encoder
        self.spec = spec
        self.edits = tuple(edits)

    @property
    def dim(self) -> int:
        """Width of the hidden states."""
        return self.encoder.dim or self.frontend.num_features

    @property
    def num_layers(self) -> int:
        """Number of layers that a full forward executes."""
        return len(self.encoder.layers)

    def extract(self, batch: Batch) -> Padded:
        """Return the features of a batch, from its cache where it carries one.

        Args:
            batch: utterances as waves or as cached features.

        Returns:
            features (B, S, F) with their lengths.

        Raises:
            DataError: if the batch has neither waves nor features.
        """
        if batch.features is not None:
            return batch.features
        if batch.waves is None:
            raise DataError(
                "a batch has neither waves nor features", remedy="build it with one of the two"
            )
        return Padded(*self.frontend.extract(batch.waves.values, batch.waves.lengths))

    def encode(self, features: Padded, *, num_layers: int | None = None) -> Hidden:
        """Return the hidden states for given features.

        Args:
            features: (B, S, F) with lengths, masked or not.
            num_layers: how many layers to execute; None means all.

        Returns:
            ``num_layers + 1`` hidden states.
        """
        return self.run(self.project(features), num_layers=num_layers)

    def project(self, features: Padded) -> Padded:
        """Return the encoder's input for given features.

        Args:
            features: (B, S, F) with lengths, masked or not.

        Returns:
            frames (B, S, D) with lengths.
        """
        return Padded(self.frontend.project(features.values), features.lengths)

    def run(self, frames: Padded, *, num_layers: int | None = None) -> Hidden:
        """Return the hidden states for given frames.

        Args:
            frames: (B, S, D) with lengths, masked or not.
            num_layers: how many layers to execute; None means all.

        Returns:
            ``num_layers + 1`` hidden states.
        """
        hidden: Hidden = self.encoder(frames.values, frames.lengths, num_layers=num_layers)
        return hidden

    def prune_groups(self) -> tuple[PruneGroup, ...]:
        """Return the groups of units that width pruning may remove.

        Returns:
            Those of the frontend, then those of the encoder, named from the model on.
        """
        return (
            *(group.inside("frontend") for group in self.frontend.prune_groups()),
            *(group.inside("encoder") for group in self.encoder.prune_groups()),
        )

    def forward(
        self, waves_BT: Tensor, lengths_B: Tensor, *, num_layers: int | None = None
    ) -> Hidden:
        """Return the hidden states for a batch of waveforms.

        Args:
            waves_BT: samples in [-1, 1], zero beyond the lengths.
            lengths_B: valid samples, int64.
            num_layers: how many layers to execute; None means all.

        Returns:
            ``num_layers + 1`` hidden states.
        """
        batch = Batch(ids=(), waves=Padded(waves_BT, lengths_B))
        return self.encode(self.extract(batch), num_layers=num_layers)
