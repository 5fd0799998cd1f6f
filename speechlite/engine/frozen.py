"""Hidden states of a frozen model, computed once where memory allows.

Shapes: S frames, D model width.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from speechlite.core.model import SpeechModel
from speechlite.core.types import Batch, Hidden
from speechlite.data.order import BatchOrder
from speechlite.data.reader import UtteranceReader, pad
from speechlite.engine.progress import track

__all__ = ["FrozenModel", "HiddenCache"]

HiddenCache = dict[tuple[int | None, bool], dict[str, tuple[Tensor, ...]]]
"""Hidden states by utterance, for each number of layers and choice of the last one alone."""


class FrozenModel:
    """Give batches with hidden states, from memory or by a forward pass.

    Args:
        model: the model; put into eval mode, never trained.
        reader: reads its utterances.
        num_layers: layers to execute; None means all.
        last_only: whether the last hidden state is all that is wanted.
        cache_bytes: memory for hidden states; beyond it they are computed anew each time.
        cache: states of the same model and layers that an earlier task left; filled further.
    """

    def __init__(
        self,
        model: SpeechModel,
        reader: UtteranceReader,
        *,
        num_layers: int | None,
        last_only: bool,
        cache_bytes: float,
        cache: HiddenCache | None = None,
    ) -> None:
        self.model = model.eval()
        self.reader = reader
        self.num_layers = num_layers
        self.last_only = last_only
        first = next(model.parameters(), None)
        self._device = torch.device("cpu") if first is None else first.device
        self._cache = {} if cache is None else cache.setdefault((num_layers, last_only), {})
        self._free_bytes = cache_bytes - sum(map(_size_bytes, self._cache.values()))

    @property
    def num_states(self) -> int:
        """Number of hidden states in each ``Hidden``."""
        if self.last_only:
            return 1
        return 1 + (self.model.num_layers if self.num_layers is None else self.num_layers)

    def fill(self, order: BatchOrder, description: str) -> None:
        """Compute the hidden states of all utterances of a split, as far as memory allows.

        Args:
            order: the split's batches.
            description: what the progress bar says.
        """
        batches = [
            names for names in order.epoch(0) if not all(name in self._cache for name in names)
        ]
        with track(description, len(batches)) as tracker:
            for done, names in enumerate(batches, start=1):
                if self._free_bytes <= 0:
                    break
                self._remember(names, self._forward(self.reader.read(names).to(self._device)))
                tracker.update(done)

    def read(self, names: Sequence[str]) -> tuple[Batch, Hidden]:
        """Return a batch with its hidden states.

        Args:
            names: utterance ids.

        Returns:
            The batch (labels only where its states come from memory) and the states.
        """
        if not all(name in self._cache for name in names):
            batch = self.reader.read(names).to(self._device)
            return batch, self._forward(batch)
        states: Iterable[tuple[Tensor, ...]] = zip(
            *(self._cache[name] for name in names), strict=True
        )
        padded = [pad(list(layer)).to(self._device) for layer in states]
        hidden = Hidden(tuple(layer.values for layer in padded), padded[0].lengths)
        return self.reader.read_labels(names).to(self._device), hidden

    def _forward(self, batch: Batch) -> Hidden:
        with torch.no_grad():
            features = self.model.extract(batch)
            hidden = self.model.encode(features, num_layers=self.num_layers)
        return Hidden(hidden.layers[-1:], hidden.lengths) if self.last_only else hidden

    def _remember(self, names: Sequence[str], hidden: Hidden) -> None:
        for row, (name, length) in enumerate(zip(names, hidden.lengths.tolist(), strict=True)):
            states = tuple(layer[row, :length].to("cpu", copy=True) for layer in hidden.layers)
            self._free_bytes -= _size_bytes(states)
            self._cache[name] = states


def _size_bytes(states: tuple[Tensor, ...]) -> int:
    return sum(state.numel() * state.element_size() for state in states)
