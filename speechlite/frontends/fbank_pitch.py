"""The ``fbank_pitch`` frontend: log-mel energies and Kaldi's pitch features.

Shapes: B batch, T samples, S frames, F features, D model width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from speechlite.core.model import Frontend
from speechlite.frontends.config import FbankPitchConfig
from speechlite.nn.cmvn import normalise_utterance
from speechlite.nn.fbank import LogMelFilterbank
from speechlite.nn.pitch import KaldiPitch
from speechlite.nn.projection import feature_projection

__all__ = ["FbankPitch"]


class FbankPitch(Frontend):
    """Compute 80 FBANK and 3 pitch features (Ghahremani et al. 2014), as Layer Reduction does.

    Args:
        config: the options.
        dim: the encoder's width, or None to leave features as they are.
    """

    def __init__(self, config: FbankPitchConfig, *, dim: int | None) -> None:
        super().__init__()
        self.config = config
        self.sample_rate = config.sample_rate
        self.stride = config.sample_rate // 100
        self.min_samples = config.sample_rate // 40
        self.num_features = config.num_mels + 3
        self.normalise = config.normalise == "utterance"
        self.filterbank = LogMelFilterbank(sample_rate=config.sample_rate, num_mels=config.num_mels)
        self.pitch = KaldiPitch(sample_rate=config.sample_rate)
        self.projection = feature_projection(self.num_features, dim)

    def extract(self, waves_BT: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return log-mel energies with warped NCCF, normalised log-pitch and its delta.

        Args:
            waves_BT: samples in [-1, 1], zero beyond the lengths.
            lengths_B: valid samples, int64.

        Returns:
            features (B, S, F) and the valid frames (B,).
        """
        energies_BSM, frame_lengths_B = self.filterbank(waves_BT, lengths_B)
        pitch_BS3, _ = self.pitch(waves_BT, lengths_B)
        features_BSF = torch.cat([energies_BSM, pitch_BS3], dim=-1)
        if self.normalise:
            features_BSF = normalise_utterance(features_BSF, frame_lengths_B)
        return features_BSF, frame_lengths_B

    def project(self, features_BSF: Tensor) -> Tensor:
        """Bring features to the encoder's width.

        Args:
            features_BSF: what ``extract`` gave, masked or not.

        Returns:
            (B, S, D).
        """
        return self.projection(features_BSF)
