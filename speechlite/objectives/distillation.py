"""The ``distillation`` objective: match a frozen teacher's hidden states.

Shapes: B batch, S frames, D the student's width, E the teacher's width, N valid frames.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechlite.core.errors import ConfigError
from speechlite.core.model import SpeechModel
from speechlite.core.objective import Objective
from speechlite.core.types import Batch, Hidden, Loss
from speechlite.nn.lengths import padding_mask
from speechlite.objectives.config import DistillationConfig

__all__ = ["Distillation"]


class Distillation(Objective):
    """Sum L1 and cosine distances between a student's states and a teacher's.

    Layer to layer, this is DPHuBERT's Eq. 1 (arXiv 2305.17651); from the last layer by a head for
    each target it is DistilHuBERT's (arXiv 2110.01900). Heads are no part of the student.

    Args:
        config: the options.
        model: the student.
        teacher: the teacher, which is not trained and not kept with this objective's weights.
    """

    reads = ("teacher",)

    def __init__(
        self, config: DistillationConfig, *, model: SpeechModel, teacher: SpeechModel
    ) -> None:
        super().__init__()
        self.config = config
        self._check(model, teacher)
        self.has_idle_layers = self._depth(model) < model.num_layers
        # in a tuple, so that neither checkpoints nor the optimiser see its weights
        self._teacher = (teacher.eval().requires_grad_(False),)
        self.heads = nn.ModuleList(self._heads(model.dim, teacher.dim))

    def forward(self, model: SpeechModel, batch: Batch) -> Loss:
        """Return the distance of the student's states to the teacher's.

        Args:
            model: the student.
            batch: the step's utterances.

        Returns:
            The sum over layers and valid frames, and the number of frames.
        """
        teacher = self._teacher[0].to(next(model.parameters()).device)
        with torch.no_grad():
            targets = teacher.encode(teacher.extract(batch), num_layers=max(self.config.layers))
        hidden = model.encode(model.extract(batch), num_layers=self._depth(model))
        valid_BS = padding_mask(hidden.lengths, hidden.layers[0].shape[1])
        l1 = cosine = hidden.layers[0].new_zeros((), dtype=torch.float32)
        for number, layer in enumerate(self.config.layers):
            guess_BSE = self._guess(hidden, number)
            guess, target = _valid(guess_BSE, valid_BS), _valid(targets.layers[layer], valid_BS)
            l1 = l1 + (guess - target).abs().mean(dim=-1).sum()
            similarity_N = functional.cosine_similarity(guess, target, dim=-1)
            if self.config.log_sigmoid:
                similarity_N = functional.logsigmoid(similarity_N)
            cosine = cosine - similarity_N.sum()
        weight = hidden.lengths.sum().float()
        parts = {"l1": l1.detach() / weight, "cosine": cosine.detach() / weight}
        total = self.config.l1_weight * l1 + self.config.cosine_weight * cosine
        return Loss(sum=total, weight=weight, parts=parts)

    def _guess(self, hidden: Hidden, number: int) -> Tensor:
        if self.config.mode == "prediction":
            state_BSD = hidden.layers[-1]
        else:
            state_BSD = hidden.layers[self._student_layers()[number]]
        head = self.heads[self._head_of(number)]
        if not isinstance(head, _UpsamplingHead):
            guess_BSE: Tensor = head(state_BSD)
            return guess_BSE
        reduced_BSD = _joined(state_BSD, hidden.lengths, self.config.upsample)
        guess_BSE = head(reduced_BSD.mT)
        return guess_BSE[:, : state_BSD.shape[1]]

    def _head_of(self, number: int) -> int:
        if len(self.heads) == len(self.config.layers):
            return number
        # the encoder's input is of another kind than the layers' outputs
        return 0 if self.config.layers[number] == 0 else len(self.heads) - 1

    def _heads(self, dim: int, teacher_dim: int) -> list[nn.Module]:
        config = self.config
        if config.mode == "prediction":
            return [
                nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, teacher_dim))
                for _ in config.layers
            ]
        if config.upsample > 1:
            return [_UpsamplingHead(dim, teacher_dim, config.upsample) for _ in config.layers]
        own = len(config.layers)
        if config.share_projections:
            own = 2 if {0} < set(config.layers) else 1
        return [_identity_like(dim, teacher_dim) for _ in range(own)]

    def _student_layers(self) -> list[int]:
        return self.config.student_layers or self.config.layers

    def _depth(self, model: SpeechModel) -> int:
        if self.config.mode == "prediction":
            return model.num_layers
        return max(self._student_layers())

    def _check(self, model: SpeechModel, teacher: SpeechModel) -> None:
        if next(model.parameters(), None) is None:
            raise ConfigError(
                "the student has no parameters that distillation could train",
                remedy="choose an encoder with layers, or compress without an objective",
            )
        if max(self.config.layers) > teacher.num_layers or self._depth(model) > model.num_layers:
            raise ConfigError(
                f"distillation matches layers {self._student_layers()} of a student of "
                f"{model.num_layers} with {self.config.layers} of a teacher of "
                f"{teacher.num_layers}",
                remedy="change objective.layers or objective.student_layers",
            )
        frames = [_frames(part) for part in (model, teacher)]
        if frames[0] != frames[1]:
            raise ConfigError(
                f"the student's frames are {frames[0]}, the teacher's {frames[1]}",
                remedy="choose a student with the teacher's frames",
            )


class _UpsamplingHead(nn.Module):
    # FitHuBERT, section 3.3
    def __init__(self, dim: int, teacher_dim: int, rate: int) -> None:
        super().__init__()
        self.upsample = nn.ConvTranspose1d(dim, dim, rate, rate)
        self.linear = nn.Linear(dim, teacher_dim)

    def forward(self, reduced_BDS: Tensor) -> Tensor:
        guess_BSE: Tensor = self.linear(self.upsample(reduced_BDS).mT)
        return guess_BSE


def _frames(model: SpeechModel) -> str:
    part = model.frontend
    return f"{part.min_samples} samples every {part.stride} at {part.sample_rate} Hz"


def _joined(states_BSD: Tensor, lengths_B: Tensor, rate: int) -> Tensor:
    # the mean of each ``rate`` valid frames; (B, S / rate, D)
    padding = -states_BSD.shape[1] % rate
    states_BSD = functional.pad(states_BSD, (0, 0, 0, padding))
    positions_S = torch.arange(states_BSD.shape[1], device=lengths_B.device)
    valid_BS = (positions_S < lengths_B[:, None]).to(states_BSD.dtype)
    sums_BSD = (states_BSD * valid_BS[..., None]).unflatten(1, (-1, rate)).sum(2)
    return sums_BSD / valid_BS.unflatten(1, (-1, rate)).sum(2).clamp(min=1.0)[..., None]


def _identity_like(dim: int, teacher_dim: int) -> nn.Linear:
    linear = nn.Linear(dim, teacher_dim)
    if dim == teacher_dim:
        nn.init.eye_(linear.weight)
        nn.init.zeros_(linear.bias)
    return linear


def _valid(states_BSE: Tensor, valid_BS: Tensor | None) -> Tensor:
    states_NE = states_BSE.flatten(0, 1) if valid_BS is None else states_BSE[valid_BS]
    return states_NE.float()
