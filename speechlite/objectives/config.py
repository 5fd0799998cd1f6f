"""Options of the built-in objectives; importing this module loads no torch."""

from __future__ import annotations

from dataclasses import dataclass, field

from speechlite.core.errors import ConfigError

__all__ = [
    "DistillationConfig",
    "FinetuneConfig",
    "MaskedPredictionConfig",
    "ReconstructionConfig",
]


@dataclass(frozen=True)
class ReconstructionConfig:
    """Options of ``reconstruction``; defaults are Layer Reduction's, section 2.1."""

    mask_ratio: float = 0.15
    """Part of the frames that is altered, in (0, 1]."""
    block_frames: int = 7
    """Consecutive frames of an altered block."""
    zero_probability: float = 0.8
    """Probability that an utterance's blocks are set to zero."""
    replace_probability: float = 0.1
    """Probability that they are replaced by frames from elsewhere; else they are kept."""
    altered_only: bool = True
    """Whether the loss counts the altered frames only, or all valid ones."""

    def __post_init__(self) -> None:
        if not 0 < self.mask_ratio <= 1 or self.block_frames < 1:
            raise ConfigError(
                f"mask_ratio={self.mask_ratio}, block_frames={self.block_frames}: expected "
                "0 < mask_ratio <= 1 and at least one frame",
                remedy="change objective.mask_ratio or objective.block_frames",
            )
        chances = (self.zero_probability, self.replace_probability)
        if min(chances) < 0 or sum(chances) > 1:
            raise ConfigError(
                f"zero_probability={chances[0]}, replace_probability={chances[1]}: expected "
                "probabilities that sum to at most 1",
                remedy="change objective.zero_probability or objective.replace_probability",
            )


@dataclass(frozen=True)
class DistillationConfig:
    """Options of ``distillation``; defaults are DPHuBERT's for a teacher of base size."""

    teacher: str | None = None
    """Checkpoint of the teacher; null takes the model that is compressed, or a chain's first."""
    layers: list[int] = field(default_factory=lambda: [0, 4, 8, 12])
    """Hidden states of the teacher to match; 0 is the encoder's input."""
    student_layers: list[int] | None = None
    """Hidden states of the student that match them, one for each; null takes the same."""
    mode: str = "layers"
    """layers: each state is projected to its counterpart; prediction: heads on the last state."""
    share_projections: bool = True
    """Whether one projection serves all layers but layer 0."""
    upsample: int = 1
    """Frames that a state of a time-reduced student stands for; heads bring them to the rate."""
    l1_weight: float = 1.0
    """Weight of the L1 distance."""
    cosine_weight: float = 1.0
    """Weight of the cosine distance."""
    log_sigmoid: bool = False
    """Whether the cosine enters as -log sigmoid(cos), as in DistilHuBERT, or as -cos."""

    def __post_init__(self) -> None:
        rows = self.layers if self.student_layers is None else self.student_layers
        if not self.layers or len(rows) != len(self.layers) or min([*self.layers, *rows]) < 0:
            raise ConfigError(
                f"layers={list(self.layers)}, student_layers={self.student_layers}: expected "
                "layers from 0, and as many of the student as of the teacher",
                remedy="change objective.layers or objective.student_layers",
            )
        if self.mode not in ("layers", "prediction"):
            raise ConfigError(
                f"mode={self.mode!r}, expected layers or prediction", remedy="change objective.mode"
            )
        weights = (self.l1_weight, self.cosine_weight)
        are_finite = all(0 <= weight < float("inf") for weight in weights)
        if not are_finite or sum(weights) == 0 or self.upsample < 1:
            raise ConfigError(
                f"l1_weight={weights[0]}, cosine_weight={weights[1]}, upsample={self.upsample}: "
                "expected weights of at least 0, not both 0, and at least one frame",
                remedy="change objective.l1_weight, cosine_weight or upsample",
            )

    @classmethod
    def tiny(cls) -> DistillationConfig:
        """Return the options that conformance tests build.

        Returns:
            Options of a small component.
        """
        return cls(layers=[0, 1])


@dataclass(frozen=True)
class MaskedPredictionConfig:
    """Options of ``masked_prediction``; defaults are HuBERT base's, section V-B."""

    mask_probability: float = 0.08
    """Probability that a frame begins a masked span, in (0, 1]."""
    mask_frames: int = 10
    """Frames of a masked span."""
    min_spans: int = 2
    """Fewest spans of an utterance that has room for them."""
    prediction_dim: int = 256
    """Width of the codewords' embeddings and of what is compared with them."""
    temperature: float = 0.1
    """Divisor of the cosine similarities."""
    masked_weight: float = 1.0
    """Weight of masked frames."""
    unmasked_weight: float = 0.0
    """Weight of the other frames."""
    feature_penalty: float = 10.0
    """Weight of the mean square of the frontend's features."""

    def __post_init__(self) -> None:
        if not 0 < self.mask_probability <= 1 or min(self.mask_frames, self.prediction_dim) < 1:
            raise ConfigError(
                f"mask_probability={self.mask_probability}, mask_frames={self.mask_frames}, "
                f"prediction_dim={self.prediction_dim}: expected 0 < mask_probability <= 1 and "
                "positive numbers",
                remedy="change objective.mask_probability, mask_frames or prediction_dim",
            )
        weights = (self.masked_weight, self.unmasked_weight, self.feature_penalty)
        are_finite = all(0 <= weight < float("inf") for weight in weights)
        if not are_finite or sum(weights[:2]) == 0 or not 0 < self.temperature < float("inf"):
            raise ConfigError(
                f"masked_weight={weights[0]}, unmasked_weight={weights[1]}, "
                f"feature_penalty={weights[2]}, temperature={self.temperature}: expected weights "
                "of at least 0, frames that count, and a positive temperature",
                remedy="change the weights of objective, or objective.temperature",
            )
        if self.min_spans < 0:
            raise ConfigError(
                f"min_spans={self.min_spans}, expected at least 0",
                remedy="change objective.min_spans",
            )


@dataclass(frozen=True)
class FinetuneConfig:
    """Options of ``finetune``."""

    freeze_features: bool = True
    """Whether the frontend's features stay as they are, as in wav2vec 2.0, section 4.3."""
    head_learning_rate: float | None = None
    """Peak learning rate of the head, which then has no weight decay; null takes the model's."""

    def __post_init__(self) -> None:
        if self.head_learning_rate is not None and not self.head_learning_rate > 0:
            raise ConfigError(
                f"head_learning_rate={self.head_learning_rate}, expected more than 0",
                remedy="change objective.head_learning_rate",
            )

    @classmethod
    def tiny(cls) -> FinetuneConfig:
        """Return the options that conformance tests build.

        Returns:
            Options of a small component.
        """
        return cls()
