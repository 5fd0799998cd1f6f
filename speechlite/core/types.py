"""The values that travel between components.

Shapes: B batch, T samples, S frames, F features, D model width, L labels of an utterance.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor

__all__ = ["Batch", "Hidden", "LabelSpace", "Loss", "Padded", "stateless_seed"]


def stateless_seed(*parts: object) -> int:
    """Return a 63-bit seed that is a pure function of ``parts``.

    Args:
        parts: anything with a stable ``repr``: integers and strings.

    Returns:
        An integer in ``[0, 2**63)``.
    """
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


@dataclass(frozen=True)
class Padded:
    """Hold sequences of unequal length in one tensor.

    Args:
        values: tensor (B, S, ...) or (B, S); what lies beyond a length is zero and means nothing.
        lengths: int64 tensor (B,), the valid length of each sequence.
    """

    values: Tensor
    lengths: Tensor

    def to(self, device: object) -> Padded:
        """Return the same sequences on another device.

        Args:
            device: anything that ``Tensor.to`` accepts.

        Returns:
            A new value; this one is unchanged.
        """
        return Padded(self.values.to(device), self.lengths.to(device))  # type: ignore[call-overload]


@dataclass(frozen=True)
class Batch:
    """Hold the utterances of one step, and the seed from which all its randomness comes.

    Args:
        ids: utterance ids, B of them.
        waves: samples in [-1, 1] (B, T), or None where ``features`` stands in for them.
        features: what the frontend's ``extract`` gives for these utterances, cached.
        labels: label streams by name, each (B, L) with its lengths.
        speakers: speaker ids, B of them.
        seed: a pure function of the run's seed and the step; equal on all processes.
    """

    ids: tuple[str, ...]
    waves: Padded | None = None
    features: Padded | None = None
    labels: Mapping[str, Padded] = field(default_factory=dict)
    speakers: tuple[str, ...] = ()
    seed: int = 0

    def to(self, device: object) -> Batch:
        """Return the same batch on another device.

        Args:
            device: anything that ``Tensor.to`` accepts.

        Returns:
            A new value; this one is unchanged.
        """
        return replace(
            self,
            waves=None if self.waves is None else self.waves.to(device),
            features=None if self.features is None else self.features.to(device),
            labels={name: stream.to(device) for name, stream in self.labels.items()},
        )


@dataclass(frozen=True)
class Hidden:
    """Hold the hidden states of every executed layer.

    Args:
        layers: num_layers + 1 tensors (B, S, D); ``layers[0]`` is the encoder's input, the last
            one has passed the encoder's final norm, if it has one.
        lengths: int64 tensor (B,), valid frames.
    """

    layers: tuple[Tensor, ...]
    lengths: Tensor


@dataclass(frozen=True)
class Loss:
    """Hold a loss as a sum and the number of units that it sums over.

    Keeping both apart lets a run normalise over all processes, so that the number of processes
    never changes the result.

    Args:
        sum: scalar tensor with a gradient.
        weight: scalar tensor without a gradient: masked frames, label frames, words ...
        parts: further scalars worth logging, by name.
    """

    sum: Tensor
    weight: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class LabelSpace:
    """Name the classes of a label stream.

    Args:
        stream: name of the label stream in ``Batch.labels``.
        symbols: the symbol of each class; its index is the label.
        word_mark: the character that parts words where symbols are joined to a text.
    """

    stream: str
    symbols: tuple[str, ...]
    word_mark: str = " "
