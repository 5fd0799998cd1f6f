"""A speechlite checkpoint as a frontend of ESPnet.

Shapes: B batch, T samples, S frames, D model width.
"""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

import speechlite
from speechlite.core.errors import ConfigError, DataError
from speechlite.core.types import Hidden
from speechlite.nn.layer_sum import LayerSum
from speechlite.nn.lengths import padding_mask, zero_beyond
from speechlite_espnet.quiet import espnet_imports

with espnet_imports():
    from espnet2.asr.frontend.abs_frontend import AbsFrontend

__all__ = ["SpeechliteFrontend", "register"]


class SpeechliteFrontend(AbsFrontend):
    """Turn waves into hidden states of a speechlite model, inside a model of ESPnet.

    Args:
        checkpoint: directory that ``speechlite pretrain``, ``compress`` or ``import`` wrote.
        layer: ``weighted`` for a learned sum over all hidden states, ``last``, or the number of
            layers to execute, 0 to the model's depth; the others cost nothing then.
        trainable: whether training changes the model; the weights of the sum always learn.
        fs: sample rate in hertz, as ESPnet's recipes pass it: 16000 or ``16k``.

    Raises:
        CheckpointError: if there is no checkpoint, or it is damaged.
        ConfigError: if the model has no such layer, or another sample rate.
    """

    def __init__(
        self,
        checkpoint: str,
        layer: str | int = "weighted",
        trainable: bool = False,
        fs: int | str = 16000,
    ) -> None:
        super().__init__()
        self.checkpoint = Path(checkpoint)
        self.model = speechlite.load_model(self.checkpoint)
        self.num_layers = _depth(layer, self.model.num_layers)
        self.trainable = trainable
        _check_rate(fs, self.model.frontend.sample_rate)
        self.model.requires_grad_(trainable)
        self.layer_sum = LayerSum(
            self.model.num_layers + 1, "weighted" if layer == "weighted" else "last"
        )

    def output_size(self) -> int:
        """Return the width of the frames.

        Returns:
            The model's width D.
        """
        return self.model.dim

    def forward(self, input: Tensor, input_lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return the frames of a batch of waves.

        Args:
            input: samples in [-1, 1], (B, T).
            input_lengths: valid samples, (B,).

        Returns:
            frames (B, S, D), zero beyond the lengths, and the valid frames (B,).

        Raises:
            DataError: if the waves have several channels.
        """
        if input.dim() != 2:
            raise DataError(
                f"waves of shape {tuple(input.shape)}, expected (batch, samples)",
                remedy="give the frontend one channel",
            )
        # ESPnet may cut the batch where speechlite's convolutions need more samples
        missing = max(self.model.frontend.min_samples - input.shape[1], 0)
        waves_BT = functional.pad(input, (0, missing))
        waves_BT = zero_beyond(waves_BT, padding_mask(input_lengths, waves_BT.shape[1]))
        with nullcontext() if self.trainable else torch.no_grad():
            hidden: Hidden = self.model(waves_BT, input_lengths, num_layers=self.num_layers)
        return self.layer_sum(hidden), hidden.lengths

    def train(self, mode: bool = True) -> SpeechliteFrontend:
        """Set training mode; a model that is not trained stays in eval mode.

        Args:
            mode: whether to train.

        Returns:
            The frontend.
        """
        super().train(mode)
        self.model.train(mode and self.trainable)
        return self

    def reload_pretrained_parameters(self) -> None:
        """Take the checkpoint's weights again; ESPnet calls it after it has drawn new ones."""
        fresh = speechlite.load_model(self.checkpoint)
        self.model.load_state_dict(fresh.state_dict())


def register(choices: Any, *, name: str = "speechlite") -> None:
    """Add the frontend to those that ESPnet's configurations can name.

    Args:
        choices: ESPnet's ``espnet2.tasks.asr.frontend_choices``, or that of another task.
        name: what configurations write after ``frontend:``.
    """
    choices.classes[name] = SpeechliteFrontend


def _depth(layer: str | int, num_layers: int) -> int | None:
    if layer in ("weighted", "last"):
        return None
    if isinstance(layer, bool) or not isinstance(layer, int) or not 0 <= layer <= num_layers:
        raise ConfigError(
            f"layer={layer!r}, expected weighted, last, or 0 to {num_layers}",
            remedy="change frontend_conf.layer",
        )
    return layer


def _check_rate(fs: int | str, sample_rate: int) -> None:
    text = str(fs).lower()
    digits, scale = (text[:-1], 1000) if text.endswith("k") else (text, 1)
    if not digits.isdecimal() or int(digits) * scale != sample_rate:
        raise ConfigError(
            f"fs={fs}, the checkpoint's model expects {sample_rate}",
            remedy="change frontend_conf.fs and resample the audio",
        )
