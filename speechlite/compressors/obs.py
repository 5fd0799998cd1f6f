"""The ``obs`` and ``wanda`` compressors: prune by what layers hear."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from speechlite.compressors.allocation import allocate
from speechlite.compressors.calibration import Heard, input_sums, stages
from speechlite.compressors.forwards import Forwards
from speechlite.compressors.pruning_config import ObsConfig, WandaConfig
from speechlite.compressors.sensitivity import mean_traces
from speechlite.compressors.unstructured import Leaf, Unstructured
from speechlite.core.errors import ConfigError
from speechlite.core.model import SpeechModel
from speechlite.core.types import Batch, Loss
from speechlite.nn.grams import InputGram, InputPower, InputSum
from speechlite.nn.obs import pattern_mask, prune_obs, row_mask

__all__ = ["Obs", "Wanda"]


class Obs(Unstructured):
    """Prune weights one by one, and let the others make up for each (SparseWAV, Eqs. 1 to 7).

    Layer by layer, the optimal brain surgeon (Hassibi and Stork 1993) in the column order of
    SparseGPT (Frantar and Alistarh 2023, arXiv 2301.00774), from the second moments of a layer's
    inputs over calibration data.

    Args:
        config: the options.
    """

    needs_batches = True

    def __init__(self, config: ObsConfig) -> None:
        super().__init__(config)
        self.options = config

    def calibrate(
        self,
        model: SpeechModel,
        batches: Iterable[Batch],
        loss: Callable[[SpeechModel, Batch], Loss] | None = None,
    ) -> None:
        """Prune the model's layers.

        Args:
            model: what ``prepare`` returned, in eval mode.
            batches: calibration data, read several times.
            loss: by which sensitivities are measured, where sparsity is mixed.

        Raises:
            ConfigError: if sparsity is to be mixed without a loss.
            DataError: if the data gives none.
            PlanError: if a layer is never executed, or more is pruned already.
        """
        options, leaves = self.options, self.leaves(model)
        counts = self.decided = self._allocated(model, leaves, batches, loss)

        def empty(leaf: Leaf) -> InputGram:
            device, precision = leaf.weight.device, options.precision
            return InputGram(*_inputs_of(leaf), device=device, precision=precision)

        def prune(name: str, weight_GOK: Tensor, gram_GKK: Tensor) -> Tensor:
            return prune_obs(
                weight_GOK,
                gram_GKK,
                num_pruned=counts[name],
                pattern=options.pattern,
                block=options.block,
                damping=options.damping,
                first_order=options.improved_saliency,
            )

        _prune_in_order(model, leaves, batches, empty, prune, sequential=options.sequential)

    def _allocated(
        self,
        model: SpeechModel,
        leaves: Mapping[str, Leaf],
        batches: Iterable[Batch],
        loss: Callable[[SpeechModel, Batch], Loss] | None,
    ) -> dict[str, int]:
        options = self.options
        if options.allocation == "uniform":
            return self.counts(leaves)
        if loss is None:
            raise ConfigError(
                f"allocation={options.allocation} measures sensitivities under a loss, and no "
                "objective is chosen",
                remedy="add objective=finetune, distillation or another, or "
                "compressor.allocation=uniform",
            )
        traces = mean_traces(
            model,
            leaves,
            batches,
            loss,
            probes=options.probes,
            max_batches=options.sensitivity_batches,
            seed=options.seed,
        )
        counts = allocate(
            {name: leaf.weight.numel() for name, leaf in leaves.items()},
            {name: int((leaf.weight == 0).sum()) for name, leaf in leaves.items()},
            sparsity=options.sparsity,
            sensitivities=traces,
            alpha=options.alpha,
            by_size=options.allocation == "sized",
        )
        return self.whole_tiles(counts)


class Wanda(Unstructured):
    """Prune by weight times the norm of its input, row by row (Sun et al. 2023, arXiv 2306.11695).

    The other weights stay as they are.

    Args:
        config: the options.
    """

    needs_batches = True

    def __init__(self, config: WandaConfig) -> None:
        super().__init__(config)
        self.options = config

    def calibrate(
        self,
        model: SpeechModel,
        batches: Iterable[Batch],
        loss: Callable[[SpeechModel, Batch], Loss] | None = None,
    ) -> None:
        """Prune the model's layers.

        Args:
            model: what ``prepare`` returned, in eval mode.
            batches: calibration data, read several times.
            loss: not used.

        Raises:
            PlanError: if a layer is never executed, or more is pruned already.
        """
        options, leaves = self.options, self.leaves(model)
        counts = self.decided = self.counts(leaves)

        def empty(leaf: Leaf) -> InputPower:
            return InputPower(*_inputs_of(leaf), device=leaf.weight.device)

        def prune(name: str, weight_GOK: Tensor, power_GK: Tensor) -> Tensor:
            saliency_OK = (weight_GOK.abs() * power_GK.sqrt()[:, None]).flatten(0, 1)
            kept_OK = _kept_by_row(saliency_OK, weight_GOK.flatten(0, 1), counts[name], options)
            return weight_GOK * kept_OK.view(weight_GOK.shape)

        _prune_in_order(model, leaves, batches, empty, prune, sequential=options.sequential)


def _kept_by_row(
    saliency_OK: Tensor, weight_OK: Tensor, count: int, options: WandaConfig
) -> Tensor:
    # what is pruned already goes first, also where another weight's input is silent
    saliency_OK = saliency_OK.masked_fill(weight_OK == 0, -1.0)
    if options.pattern != "unstructured":
        return pattern_mask(saliency_OK, num_pruned=count, pattern=options.pattern)
    return row_mask(saliency_OK, num_pruned=count)


def _prune_in_order(
    model: SpeechModel,
    leaves: Mapping[str, Leaf],
    batches: Iterable[Batch],
    empty: Callable[[Leaf], InputSum],
    prune: Callable[[str, Tensor, Tensor], Tensor],
    *,
    sequential: bool,
) -> None:
    keep = not any(name.startswith("frontend.") for name in leaves)
    heard = Heard(model, batches, keep=keep)
    order = stages(model, leaves, heard)
    forwards = Forwards(model, list(order.groups)) if sequential else None
    for names in order.groups.values() if sequential else (tuple(leaves),):
        group = {name: leaves[name] for name in names}
        sums = input_sums(group, order, heard, empty, forwards=forwards)
        for name, leaf in group.items():
            weight = leaf.weight.detach()
            weight_GOK = weight.flatten(1).unflatten(0, (len(sums[name]), -1))
            with torch.no_grad():
                leaf.weight.copy_(prune(name, weight_GOK, sums[name]).reshape(weight.shape))


def _inputs_of(leaf: Leaf) -> tuple[int, int]:
    # groups, and inputs of each
    return leaf.groups if isinstance(leaf, nn.Conv1d) else 1, leaf.weight[0].numel()
