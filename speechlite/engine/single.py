"""Evaluate one checkpoint outside of a sweep."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path

from speechlite.config.schema import EvaluateConfig, ProfileConfig
from speechlite.engine.checkpoint import checkpoint_sha256, load_model
from speechlite.engine.directories import own_directory
from speechlite.engine.evaluate import evaluate
from speechlite.engine.head_files import load_head
from speechlite.engine.profile import profile
from speechlite.engine.records import write_record
from speechlite.engine.stamps import fingerprint
from speechlite.plugins.registry import Registry

__all__ = ["evaluate_checkpoint"]


def evaluate_checkpoint(
    config: EvaluateConfig,
    source: Path,
    directory: Path,
    registry: Registry,
    *,
    row: str,
    features: Path | None,
) -> Path:
    """Evaluate a checkpoint on a task and write its record.

    Args:
        config: the task, its head and how to train it.
        source: the checkpoint.
        directory: the record goes to its ``results`` subdirectory.
        registry: where components are looked up.
        row: name of the row in tables.
        features: directory of cached features; None computes them.

    Returns:
        The record.
    """
    started = datetime.now(timezone.utc).isoformat(timespec="seconds")
    model = load_model(source, registry)
    identity = {
        "recipe": None,
        "experiment": row,
        "row": row,
        "table": None,
        "layer": config.training.num_layers,
        "model": model.spec.encoder["name"],
        "model_sha256": checkpoint_sha256(source),
        "chain": "+".join(str(asdict(edit)["compressor"]["name"]) for edit in model.edits)
        or "none",
        "seed": config.training.seed,
        "started": started,
    }
    with own_directory(directory):
        result = evaluate(
            config,
            model,
            registry,
            own=load_head(source, registry) if config.training.own_head else None,
            features=features,
            description=row,
        )
        return write_record(
            directory / "results",
            config.task.name,
            result,
            config=config,
            identity=identity,
            cost=profile(model, ProfileConfig(), source),
            inputs={str(path): fingerprint(path) for path in (source, *_named_files(config))},
            registry=registry,
        )


def _named_files(config: EvaluateConfig) -> list[Path]:
    names = [config.task.subword_model, *getattr(config.head.options, "files", ())]
    return [Path(name) for name in names if name]
