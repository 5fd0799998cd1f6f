"""The ``masked_prediction`` objective: guess the units of masked frames.

Shapes: B batch, S frames, D model width, P prediction width, C codewords, N frames that count.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechlite.core.errors import DataError
from speechlite.core.model import SpeechModel
from speechlite.core.objective import Objective
from speechlite.core.types import Batch, LabelSpace, Loss, Padded
from speechlite.nn.lengths import padding_mask
from speechlite.nn.masking import choose_spans
from speechlite.objectives.config import MaskedPredictionConfig

__all__ = ["MaskedPrediction"]

_STREAM = "units"


class MaskedPrediction(Objective):
    """Classify masked frames by the cosine to codewords (HuBERT, arXiv 2106.07447, section II).

    Args:
        config: the options.
        model: the model to be trained; gives the width.
        labels: the codebook, as the classes of the stream ``units``.
    """

    needs = (_STREAM,)

    def __init__(
        self,
        config: MaskedPredictionConfig,
        *,
        model: SpeechModel,
        labels: Mapping[str, LabelSpace],
    ) -> None:
        super().__init__()
        self.config = config
        num_units = len(labels[_STREAM].symbols)
        self.mask_embedding = nn.Parameter(torch.empty(model.dim).uniform_())
        self.projection = nn.Linear(model.dim, config.prediction_dim)
        self.codewords = nn.Parameter(torch.empty(num_units, config.prediction_dim).uniform_())

    def forward(self, model: SpeechModel, batch: Batch) -> Loss:
        """Return the cross-entropy of the frames that count, and the penalty on features.

        Args:
            model: the model to train; executes as many layers as its encoder draws.
            batch: the step's utterances with their units, one for each frame.

        Returns:
            The weighted sum, and the weighted number of frames.
        """
        config = self.config
        features = model.extract(batch)
        masked_BS = choose_spans(
            features.lengths,
            features.values.shape[1],
            batch.ids,
            seed=batch.seed,
            probability=config.mask_probability,
            span_frames=config.mask_frames,
            min_spans=config.min_spans,
        )
        frames = model.project(features)
        embedding_D = self.mask_embedding.to(frames.values.dtype)
        altered_BSD = torch.where(masked_BS[..., None], embedding_D, frames.values)
        depth = model.encoder.draw_depth(batch.seed) if self.training else None
        hidden = model.run(Padded(altered_BSD, frames.lengths), num_layers=depth)
        valid_BS = padding_mask(frames.lengths, masked_BS.shape[1])
        known_BS = ~masked_BS if valid_BS is None else valid_BS & ~masked_BS
        units_BS = self._units(batch, masked_BS)
        total = hidden.layers[-1].new_zeros((), dtype=torch.float32)
        weight = torch.zeros_like(total)
        parts = {}
        counted = {
            "masked": (config.masked_weight, masked_BS),
            "unmasked": (config.unmasked_weight, known_BS),
        }
        for name, (factor, counted_BS) in counted.items():
            if factor == 0:
                continue
            loss, hits = self._classify(hidden.layers[-1][counted_BS], units_BS[counted_BS])
            count = counted_BS.sum()
            total, weight = total + factor * loss, weight + factor * count
            parts[f"{name}_accuracy"] = hits / count.clamp(min=1)
        if config.feature_penalty:
            square = _mean_square(features)
            total = total + config.feature_penalty * square * weight
            parts["feature_square"] = square.detach()
        return Loss(sum=total, weight=weight.detach(), parts=parts)

    def _classify(self, states_ND: Tensor, units_N: Tensor) -> tuple[Tensor, Tensor]:
        guess_NP = functional.normalize(self.projection(states_ND).float(), dim=-1)
        codewords_CP = functional.normalize(self.codewords.float(), dim=-1)
        logits_NC = guess_NP @ codewords_CP.mT / self.config.temperature
        loss = functional.cross_entropy(logits_NC, units_N, reduction="sum")
        return loss, (logits_NC.detach().argmax(-1) == units_N).sum()

    def _units(self, batch: Batch, like_BS: Tensor) -> Tensor:
        if _STREAM not in batch.labels:
            raise DataError(
                "a batch has no units", remedy="set data.units to what speechlite units wrote"
            )
        units = batch.labels[_STREAM].values
        if units.shape != like_BS.shape:
            raise DataError(
                f"a batch has units {tuple(units.shape)} for frames {tuple(like_BS.shape)}",
                remedy="make units for the frames of this frontend",
            )
        return units


def _mean_square(features: Padded) -> Tensor:
    # zeros beyond the lengths add nothing
    count = features.lengths.sum().clamp(min=1) * features.values.shape[-1]
    return features.values.float().square().sum() / count
