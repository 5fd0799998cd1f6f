"""Run the experiments of a recipe, one stage at a time, in one process."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from speechlite.config.compose import compose, to_mapping
from speechlite.config.schema import (
    CompressConfig,
    EvaluateConfig,
    PretrainConfig,
    ProfileConfig,
)
from speechlite.core.errors import ConfigError, DataError
from speechlite.core.types import stateless_seed
from speechlite.data.atomic import replace_file
from speechlite.data.features import FeatureStore
from speechlite.engine.build import build_model, model_spec
from speechlite.engine.checkpoint import checkpoint_sha256, load_model, save_model
from speechlite.engine.compress import compress_checkpoint
from speechlite.engine.directories import own_directory
from speechlite.engine.evaluate import evaluate
from speechlite.engine.experiments import NO_CHAIN, Experiment, Row, at_scale
from speechlite.engine.frozen import HiddenCache
from speechlite.engine.head_files import load_head
from speechlite.engine.layer_analysis import analyse_layers
from speechlite.engine.pretrain import pretrain
from speechlite.engine.profile import profile
from speechlite.engine.progress import say
from speechlite.engine.records import environment, write_record
from speechlite.engine.stamps import Stamp
from speechlite.engine.training_run import is_further_process
from speechlite.plugins.registry import Registry

__all__ = ["Sweep", "compression_cost", "profile_once", "training_cost", "usable_features"]


@dataclass(frozen=True)
class _Job:
    item: Experiment
    seed: int
    config: EvaluateConfig
    label: str
    cache: HiddenCache


@dataclass(frozen=True)
class Sweep:
    """Join what all experiments of a run have in common.

    Args:
        recipe: name for records.
        exp_dir: directory of the sweep.
        seeds: seeds of pretraining and heads.
        config_dir: folder of the recipe's YAML files.
        overrides: options from the command line, after those of the experiments.
        registry: where components are looked up.
    """

    recipe: str
    exp_dir: Path
    seeds: Sequence[int]
    config_dir: Path
    overrides: Sequence[str]
    registry: Registry

    def pretrain(self, experiments: Sequence[Experiment], config_name: str) -> None:
        """Pretrain every system once a seed.

        Args:
            experiments: what the systems are taken from.
            config_name: primary file of pretraining.
        """
        systems = {item.system.name: item for item in experiments}
        runs = [(item, seed) for item in systems.values() for seed in self.seeds]
        configs = [self._pretrain_config(*run, config_name) for run in runs]
        for (item, seed), config in zip(runs, configs, strict=True):
            directory = item.directory(self.exp_dir, seed) / "pretrain"
            if item.system.trained:
                pretrain(config, directory, self.registry)
            elif not is_further_process():
                self._build_untrained(config, directory, seed)

    def _pretrain_config(self, item: Experiment, seed: int, config_name: str) -> PretrainConfig:
        config: PretrainConfig = compose(
            "pretrain",
            registry=self.registry,
            config_dir=self.config_dir,
            config_name=config_name,
            overrides=[
                *at_scale(item.system.overrides, config_name.rpartition("_")[2]),
                *self.overrides,
                f"trainer.seed={seed}",
            ],
        )
        return config

    def _build_untrained(self, config: PretrainConfig, directory: Path, seed: int) -> None:
        spec = model_spec(config.frontend, config.encoder)
        stamp = Stamp.of({**asdict(spec), "seed": seed}, [])
        with own_directory(directory):
            if stamp.reason_to_run(directory) is None:
                return
            torch.manual_seed(stateless_seed(seed, "weights"))
            save_model(build_model(spec, self.registry), directory / "model")
            facts = {"seconds": 0.0, "steps": 0, "epochs": 0.0, "audio_hours_seen": 0.0}
            with replace_file(directory / "training.json") as stream:
                stream.write(json.dumps(facts).encode())
            stamp.write(directory, outputs=["model", "training.json"])

    def compress(self, experiments: Sequence[Experiment], scale: str | None = None) -> None:
        """Carry out every chain once a seed.

        Args:
            experiments: what the chains are taken from.
            scale: what the names of the steps' primary files end in; None for nothing.
        """
        for item in experiments:
            for seed in self.seeds:
                self._compress_one(item, seed, scale)

    def _compress_one(self, item: Experiment, seed: int, scale: str | None) -> None:
        base = item.directory(self.exp_dir, seed)
        first = source = base / "pretrain" / "model"
        for step in item.steps:
            name = f"{step.config}_{scale}" if step.config and scale else step.config
            config: CompressConfig = compose(
                "compress",
                registry=self.registry,
                config_dir=self.config_dir,
                config_name=name,
                overrides=[
                    *at_scale(step.overrides, scale or ""),
                    *self.overrides,
                    f"trainer.seed={seed}",
                ],
            )
            source = compress_checkpoint(
                config, source, base / step.name, self.registry, first=first
            )

    def evaluate(
        self,
        experiments: Sequence[Experiment],
        config_names: Sequence[str],
        *,
        features: Path | None,
    ) -> None:
        """Evaluate every experiment on every task once a seed.

        Args:
            experiments: what to evaluate.
            config_names: primary files of the tasks.
            features: directory of cached features, used by models with a matching frontend.

        Raises:
            ConfigError: if two of the tasks have one name.
        """
        configs = [
            compose(
                "evaluate",
                registry=self.registry,
                config_dir=self.config_dir,
                config_name=name,
                overrides=self.overrides,
            )
            for name in config_names
        ]
        if len({config.task.name for config in configs}) < len(configs):
            raise ConfigError(
                f"two of {list(config_names)} have one task.name, and would share a directory",
                remedy="give each task a name of its own",
            )
        runs = [(item, seed) for seed in self.seeds for item in experiments]
        for number, (item, seed) in enumerate(runs, start=1):
            cache: HiddenCache = {}
            for config in configs:
                training = replace(config.training, seed=seed)
                label = f"[{number}/{len(runs)}] {item.id} seed {seed} {config.task.name}"
                job = _Job(item, seed, replace(config, training=training), label, cache)
                self._evaluate_one(job, features)

    def _evaluate_one(self, job: _Job, features: Path | None) -> None:
        item, task = job.item, job.config.task
        source = item.model_directory(self.exp_dir, job.seed)
        directory = item.directory(self.exp_dir, job.seed) / item.chain / "results"
        directory = directory / f"{item.id}-{task.name}"
        data = [Path(name) for name in task.train + task.dev + task.test + task.label_files]
        files = [task.symbols, task.subword_model, *getattr(job.config.head.options, "files", ())]
        data += [Path(name) for name in files if name]
        told = [asdict(row) for row in item.rows]
        rows = [{key: value for key, value in row.items() if value is not None} for row in told]
        stamp = Stamp.of({**to_mapping(job.config), "rows": rows}, [source, *data])
        with own_directory(directory):
            reason = stamp.reason_to_run(directory)
            if reason is None:
                say(f"{job.label}: up to date")
                return
            say(f"{job.label}: {reason}")
            self._write_records(job, features, source, directory, stamp)

    def _write_records(
        self, job: _Job, features: Path | None, source: Path, directory: Path, stamp: Stamp
    ) -> None:
        started = datetime.now(timezone.utc).isoformat(timespec="seconds")
        item = job.item
        model = load_model(source, self.registry)
        cost = profile_once(source, model, ProfileConfig(convention=item.convention))
        if item.chain == NO_CHAIN and model.num_layers > 1:
            analyse_layers(model, source, job.config.task.dev)
        base = item.directory(self.exp_dir, job.seed)
        cost["train"] = training_cost(base / "pretrain")
        cost["compress"] = compression_cost([base / step.name for step in item.steps])
        result = evaluate(
            job.config,
            model,
            self.registry,
            own=load_head(source, self.registry) if job.config.training.own_head else None,
            features=usable_features(features, model.spec.frontend),
            cache=job.cache,
            description=job.label,
        )
        for old in directory.glob("record*"):
            old.unlink()
        names = []
        for number, row in enumerate(item.rows, start=1):
            record = write_record(
                directory,
                f"record{number}",
                result,
                config=job.config,
                identity=self._identity(job, row, source, started),
                cost=cost,
                inputs=stamp.inputs,
                registry=self.registry,
            )
            scores = record.parent.glob(f"{record.stem}.*.jsonl")
            names += [record.name, *(path.name for path in scores)]
        stamp.write(directory, outputs=names)

    def _identity(self, job: _Job, row: Row, source: Path, started: str) -> dict[str, Any]:
        return {
            "recipe": self.recipe,
            "experiment": job.item.id,
            "row": row.row,
            "table": row.table,
            "layer": row.layer,
            "line": row.line,
            "model": job.item.system.name,
            "model_sha256": checkpoint_sha256(source),
            "chain": job.item.chain,
            "seed": job.seed,
            "started": started,
        }


def usable_features(features: Path | None, frontend: Any) -> Path | None:
    """Return cached features where a model can use them.

    Args:
        features: directory of cached features, or None.
        frontend: name and options of the model's frontend.

    Returns:
        The directory; None where another frontend made the features.

    Raises:
        DataError: if the directory holds no features.
    """
    # features of another frontend than the model's are no use to it
    if features is None:
        return None
    stores = sorted(index.parent for index in features.glob("*/features.json"))
    if not stores:
        raise DataError(
            "there are no features", remedy="run the features stage first", path=features
        )
    return features if FeatureStore(stores[0]).facts.get("frontend") == dict(frontend) else None


def training_cost(directory: Path) -> dict[str, Any]:
    """Read what training a model took.

    Args:
        directory: the directory that holds the model.

    Returns:
        Seconds, steps, epochs and the device; nothing but the reason for an imported model.

    Raises:
        DataError: if the facts are unreadable, or there is no model either.
    """
    path = directory / "training.json"
    if not path.is_file() and (directory / "model").is_dir():
        return {"why": "the model was not trained here"}
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise DataError(
            "is missing or unreadable", remedy="run the pretrain stage again", path=path
        ) from None
    wanted = ("seconds", "steps", "epochs", "seconds_per_epoch", "audio_hours_seen", "device")
    return {key: facts.get(key) for key in (*wanted, "threads", "best_step")}


def compression_cost(directories: Sequence[Path]) -> dict[str, Any]:
    """Read what the steps of a chain took.

    Args:
        directories: directories of the steps; those without training cost nothing.

    Returns:
        Seconds, steps and hours of audio seen, all together, and the seconds of the last step;
        nothing but the reason where there are no steps.
    """
    if not directories:
        return {"why": "the model was not compressed"}
    facts = [
        training_cost(path) if (path / "training.json").is_file() else {} for path in directories
    ]
    found: dict[str, Any] = {
        name: sum(fact.get(name) or 0 for fact in facts)
        for name in ("seconds", "steps", "audio_hours_seen")
    }
    return found | {"last_seconds": facts[-1].get("seconds") or 0}


def profile_once(source: Path, model: Any, config: ProfileConfig) -> dict[str, Any]:
    """Profile a checkpoint, or take its profile from an earlier run on this machine.

    Args:
        source: the checkpoint; the profile lies beside it.
        model: the loaded model.
        config: what to measure.

    Returns:
        The cost section of a record.
    """
    path = source.parent / "profile.json"
    facts = {
        "config": asdict(config),
        "model": checkpoint_sha256(source),
        "device": environment()["device_fingerprint"],
    }
    known = _read_profile(path)
    if known.get("made_with") == facts and "cost" in known:
        return dict(known["cost"])
    cost = profile(model, config, source)
    with replace_file(path) as stream:
        stream.write(json.dumps({"made_with": facts, "cost": cost}, indent=1).encode())
    return cost


def _read_profile(path: Path) -> dict[str, Any]:
    # what cannot be read is measured again
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
