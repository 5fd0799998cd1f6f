"""Pretrain a model under an objective and keep its best weights."""

from __future__ import annotations

from pathlib import Path

import torch

from speechlite.config.compose import to_mapping
from speechlite.config.schema import PretrainConfig
from speechlite.core.types import stateless_seed
from speechlite.engine.build import build_model, model_spec
from speechlite.engine.stamps import Stamp
from speechlite.engine.training_run import own_run, set_threads, train, training_inputs
from speechlite.plugins.registry import Registry

__all__ = ["pretrain"]


def pretrain(
    config: PretrainConfig, directory: Path, registry: Registry, *, force: bool = False
) -> Path:
    """Train until the last step, or go on where an earlier run stopped.

    Args:
        config: the options.
        directory: where checkpoints, logs and the model go; one run owns it at a time.
        registry: where components are looked up.
        force: whether to train anew although the stamp says that nothing has changed.

    Returns:
        The directory of the best model.

    Raises:
        Interrupted: if a signal stopped the run.
        SpeechliteError: any other problem, in one line.
    """
    stamp = Stamp.of(to_mapping(config), training_inputs(config, registry))

    def work() -> None:
        set_threads(config.trainer.threads)
        torch.manual_seed(stateless_seed(config.trainer.seed, "weights"))
        model = build_model(model_spec(config.frontend, config.encoder), registry)
        train(config, model, directory, registry, stamp)

    own_run(directory, stamp, work, name="pretrain", force=force)
    return directory / "model"
