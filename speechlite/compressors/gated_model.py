"""A model whose units are switched by hard-concrete gates."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from speechlite.compressors.sizes import SizeFunction
from speechlite.core.model import PruneGroup, SpeechModel
from speechlite.core.types import Batch, Hidden, Padded
from speechlite.nn.gates import HardConcrete

__all__ = ["GatedModel", "Gates"]


class Gates(nn.Module):
    """Hold the gates of a model's groups, and the multipliers of their constraint.

    Args:
        groups: the groups to gate.
        drop_rates: probability that a multiplier of each starts below one half, by name of the
            group.
        learning_rate: peak learning rate of all that is held here.
    """

    def __init__(
        self,
        groups: Sequence[PruneGroup],
        *,
        drop_rates: Mapping[str, float],
        learning_rate: float,
    ) -> None:
        super().__init__()
        self.names = tuple(group.name for group in groups)
        self._places = {name: place for place, name in enumerate(self.names)}
        self.learning_rate = learning_rate
        self.of_groups = nn.ModuleList(
            HardConcrete(group.size, drop_rate=drop_rates[group.name]) for group in groups
        )

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def __getitem__(self, name: str) -> HardConcrete:
        gate = self.of_groups[self._places[name]]
        assert isinstance(gate, HardConcrete)
        return gate


class GatedModel(SpeechModel):
    """Run a copy of a model under gates; they are drawn once for each batch in training.

    Args:
        model: the model; not changed.
        gates: a gate for each of its groups, by name.
        constraint: the multipliers of the size constraint.
        sizes: size of the model as a function of the units that are left.
    """

    def __init__(
        self, model: SpeechModel, gates: Gates, constraint: nn.Module, sizes: SizeFunction
    ) -> None:
        copied = copy.deepcopy(model)
        super().__init__(copied.frontend, copied.encoder, spec=model.spec, edits=model.edits)
        self.gates = gates
        self.constraint = constraint
        self.sizes = sizes

    def extract(self, batch: Batch) -> Padded:
        """Return the features of a batch, under the frontend's gates.

        Args:
            batch: utterances as waves or as cached features.

        Returns:
            features (B, S, F) with their lengths.
        """
        self._install("frontend.")
        return super().extract(batch)

    def run(self, frames: Padded, *, num_layers: int | None = None) -> Hidden:
        """Return the hidden states for given frames, under the encoder's gates.

        Args:
            frames: (B, S, D) with lengths.
            num_layers: how many layers to execute; None means all.

        Returns:
            ``num_layers + 1`` hidden states.
        """
        self._install("encoder.")
        return super().run(frames, num_layers=num_layers)

    def without_gates(self) -> SpeechModel:
        """Return the model without its gates.

        Returns:
            A copy; gates have no effect on it.
        """
        for group in self.prune_groups():
            group.gate(None)
        frontend, encoder = copy.deepcopy(self.frontend), copy.deepcopy(self.encoder)
        return SpeechModel(frontend, encoder, spec=self.spec, edits=self.edits)

    def multipliers(self) -> dict[str, Tensor]:
        """Return what the gates multiply units by in eval mode.

        Returns:
            (U,) by name of the group, without gradients.
        """
        was_training = self.gates.training
        self.gates.eval()
        found = {name: self.gates[name]().detach() for name in self.gates.names}
        self.gates.train(was_training)
        return found

    def _install(self, part: str) -> None:
        for group in self.prune_groups():
            if group.name.startswith(part) and group.name in self.gates:
                group.gate(self.gates[group.name]())
