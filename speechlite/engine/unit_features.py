"""The features that units are made of: a frontend's, or a hidden state of a model.

They are computed batch by batch and handed on by utterance; nothing keeps those of a whole split.

Shapes: B batch, S frames, F features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechlite.config.compose import to_mapping
from speechlite.config.schema import Choice
from speechlite.config.units import UnitsConfig
from speechlite.core.errors import ConfigError, DataError
from speechlite.core.model import SpeechModel
from speechlite.core.types import Batch
from speechlite.data.order import BatchOrder
from speechlite.data.reader import FrameGrid, UtteranceReader
from speechlite.engine.build import build_frontend
from speechlite.engine.checkpoint import checkpoint_sha256, load_model
from speechlite.engine.progress import track
from speechlite.engine.splits import Split, frame_grid
from speechlite.plugins.registry import Registry

__all__ = ["FeatureSource", "describe_source", "open_source"]


@dataclass(frozen=True)
class FeatureSource:
    """Compute features of utterances.

    Args:
        grid: the frames that get features.
        dim: width F of the features.
        device: where they are computed.
        compute: gives (B, S, F) and the valid frames (B,) of a batch on that device.
    """

    grid: FrameGrid
    dim: int
    device: torch.device
    compute: Callable[[Batch], tuple[Tensor, Tensor]]

    def stream(
        self, split: Split, names: Sequence[str], *, batch_seconds: float, description: str
    ) -> Iterator[tuple[str, Tensor]]:
        """Compute the features of some utterances, keeping those of one batch at a time.

        Args:
            split: where the utterances are.
            names: their ids; at least one.
            batch_seconds: audio of a batch; at least one utterance.
            description: what the progress bar says.

        Yields:
            Ids with features (S, F), float32 on the CPU, in an order that depends on the
            arguments alone.

        Raises:
            DataError: if a feature is not finite.
        """
        reader = UtteranceReader(split.utterances, self.grid)
        durations = {name: split.durations[name] for name in names}
        order = BatchOrder(
            durations,
            batch_seconds=max(batch_seconds, *durations.values()),
            num_buckets=20,
            seed=0,
            shuffle=False,
        )
        done = 0
        with track(description, len(names)) as tracker:
            for batch_names in order.epoch(0):
                yield from self._features(reader, batch_names)
                done += len(batch_names)
                tracker.update(done)

    def _features(
        self, reader: UtteranceReader, names: tuple[str, ...]
    ) -> Iterator[tuple[str, Tensor]]:
        with torch.no_grad():
            values_BSF, lengths_B = self.compute(reader.read(names).to(self.device))
        for name, values_SF, length in zip(names, values_BSF, lengths_B.tolist(), strict=True):
            features_SF = values_SF[:length].float().cpu()
            if not torch.isfinite(features_SF).all():
                raise DataError(
                    f"utterance {name} has features that are not finite",
                    remedy="check its audio, and whether the model's training diverged",
                )
            yield name, features_SF


def describe_source(config: UnitsConfig) -> dict[str, Any]:
    """Return what identifies the features, without computing anything.

    Args:
        config: the options.

    Returns:
        The frontend with its options, or the checkpoint's hash and the layer.

    Raises:
        CheckpointError: if there is no checkpoint.
    """
    if config.model is None:
        return {"frontend": to_mapping(config.frontend)}
    sha256 = checkpoint_sha256(Path(config.model))
    return {"model": config.model, "checkpoint_sha256": sha256, "layer": config.layer}


def open_source(config: UnitsConfig, registry: Registry) -> FeatureSource:
    """Build what computes the features.

    Args:
        config: the options.
        registry: where components are looked up.

    Returns:
        The source.

    Raises:
        ConfigError: if the model has no such layer, the frontend's features are trained, or the
            accelerator is not there.
        CheckpointError: if the checkpoint cannot be read.
    """
    device = _device(config.accelerator)
    if config.frontend is not None:
        return _frontend_source(config.frontend, registry, device)
    assert config.model is not None
    assert config.layer is not None
    model = load_model(Path(config.model), registry)
    if config.layer > model.num_layers:
        raise ConfigError(
            f"layer={config.layer}, the model has hidden states 0 to {model.num_layers}",
            remedy="change layer",
        )
    return _model_source(model.to(device), config.layer, device)


def _frontend_source(choice: Choice, registry: Registry, device: torch.device) -> FeatureSource:
    frontend = build_frontend(choice, registry).eval().to(device)
    if any(True for _ in frontend.parameters()):
        raise ConfigError(
            f"the features of {choice.name} are trained, and these weights are fresh",
            remedy="cluster mfcc or fbank features, or name a model and its layer",
        )

    def compute(batch: Batch) -> tuple[Tensor, Tensor]:
        assert batch.waves is not None
        return frontend.extract(batch.waves.values, batch.waves.lengths)

    return FeatureSource(frame_grid(frontend), frontend.num_features, device, compute)


def _model_source(model: SpeechModel, layer: int, device: torch.device) -> FeatureSource:
    # the last executed layer passes the final norm; one layer more leaves this state as it is
    # within a full forward
    depth = min(layer + 1, model.num_layers)

    def compute(batch: Batch) -> tuple[Tensor, Tensor]:
        hidden = model.encode(model.extract(batch), num_layers=depth)
        return hidden.layers[layer], hidden.lengths

    return FeatureSource(frame_grid(model.frontend), model.dim, device, compute)


def _device(accelerator: str) -> torch.device:
    if accelerator == "gpu" and not torch.cuda.is_available():
        cause = "accelerator=gpu, and there is no GPU"
        raise ConfigError(cause, remedy="set accelerator=cpu")
    usable = accelerator != "cpu" and torch.cuda.is_available()
    return torch.device("cuda" if usable else "cpu")
