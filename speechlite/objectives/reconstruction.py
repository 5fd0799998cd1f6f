"""The ``reconstruction`` objective: predict altered frames (masked predictive coding).

Shapes: B batch, S frames, F features, D model width.
"""

from __future__ import annotations

import torch
from torch import nn

from speechlite.core.model import SpeechModel
from speechlite.core.objective import Objective
from speechlite.core.types import Batch, Loss, Padded
from speechlite.nn.lengths import padding_mask
from speechlite.nn.masking import alter_time
from speechlite.objectives.config import ReconstructionConfig

__all__ = ["Reconstruction"]


class Reconstruction(Objective):
    """Reconstruct features from a time-altered copy by a linear predictor and an L1 loss.

    Masked predictive coding (Jiang et al. 2019, arXiv 1910.09932) with the time alteration of
    TERA (Liu et al. 2021, arXiv 2007.06028), as in section 2.1 of Layer Reduction.

    Args:
        config: the options.
        model: the model to be trained; gives the widths of the predictor.
    """

    def __init__(self, config: ReconstructionConfig, *, model: SpeechModel) -> None:
        super().__init__()
        self.config = config
        self.predictor = nn.Linear(model.dim, model.frontend.num_features)

    def forward(self, model: SpeechModel, batch: Batch) -> Loss:
        """Return the L1 loss of the reconstructed frames.

        Args:
            model: the model to train; executes as many layers as its encoder draws.
            batch: the step's utterances.

        Returns:
            The summed absolute error, a feature's mean over the F features, and the number of
            frames.
        """
        target = model.extract(batch)
        altered_BSF, chosen_BS = alter_time(
            target.values,
            target.lengths,
            batch.ids,
            seed=batch.seed,
            ratio=self.config.mask_ratio,
            block_frames=self.config.block_frames,
            zero_probability=self.config.zero_probability,
            replace_probability=self.config.replace_probability,
        )
        depth = model.encoder.draw_depth(batch.seed) if self.training else None
        hidden = model.encode(Padded(altered_BSF, target.lengths), num_layers=depth)
        counted_BS = chosen_BS
        if not self.config.altered_only:
            valid_BS = padding_mask(target.lengths, chosen_BS.shape[1])
            counted_BS = torch.ones_like(chosen_BS) if valid_BS is None else valid_BS
        predicted_NF = self.predictor(hidden.layers[-1][counted_BS])
        errors_N = (predicted_NF - target.values[counted_BS]).abs().mean(dim=-1)
        return Loss(sum=errors_N.float().sum(), weight=counted_BS.sum().float())
