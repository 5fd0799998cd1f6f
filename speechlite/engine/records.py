"""Write result records: measures, cost, and where everything came from."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import uuid
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

import speechlite
from speechlite.config.compose import config_hash, to_mapping
from speechlite.config.dnn_hmm import DnnHmmConfig
from speechlite.config.schema import EvaluateConfig
from speechlite.core.result import Measure, Result
from speechlite.data.atomic import replace_file
from speechlite.engine.evaluate import Evaluation, SplitScore
from speechlite.engine.progress import say
from speechlite.engine.splits import describe
from speechlite.engine.statistics import ratio_interval
from speechlite.plugins.discovery import notify_result
from speechlite.plugins.registry import Registry

__all__ = ["environment", "write_record"]

_NORMALISER = "speechlite.whitespace 1"
_TEXT_METRICS = ("wer", "cer")


def environment() -> dict[str, Any]:
    """Return what the numbers of a run depend on beside code and data.

    Returns:
        Versions, processor, cores, threads, and a fingerprint for comparing times.
    """
    facts: dict[str, Any] = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "os": platform.platform(terse=True),
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }
    identity = json.dumps([platform.node(), facts["cpu"], facts["cores"], facts["torch"]])
    facts["device_fingerprint"] = hashlib.sha256(identity.encode()).hexdigest()[:16]
    return facts


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _code(registry: Registry) -> dict[str, Any]:
    root = Path(speechlite.__file__).parent

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(  # noqa: S603 (fixed program and arguments)
                ["git", "-C", str(root), *arguments],  # noqa: S607
                capture_output=True,
                text=True,
                timeout=10,
                check=True,
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    status = git("status", "--porcelain")
    return {
        "version": speechlite.__version__,
        "git_commit": git("rev-parse", "HEAD"),
        "dirty": None if status is None else bool(status),
        "plugins": [
            {"name": plugin.distribution, "version": plugin.version}
            for plugin in registry.discovery.plugins
        ],
    }


def write_record(
    directory: Path,
    name: str,
    evaluation: Evaluation,
    *,
    config: EvaluateConfig | DnnHmmConfig,
    identity: Mapping[str, Any],
    cost: Mapping[str, Any],
    inputs: Mapping[str, str],
    registry: Registry,
) -> Path:
    """Write one record with its per-utterance scores beside it.

    Args:
        directory: where records of this model go.
        name: file name of the record without suffix.
        evaluation: the scores.
        config: what they were made with.
        identity: recipe, experiment, row, table, model, chain, seed, layer, started.
        cost: what the model costs.
        inputs: hashes of what was read, by path.
        registry: the plugins that took part.

    Returns:
        The record.
    """
    directory.mkdir(parents=True, exist_ok=True)
    splits = {test.split.name: describe(test.split) for test in evaluation.tests}
    splits[evaluation.train.name] = describe(evaluation.train)
    values = to_mapping(config)
    record = Result(
        kind="measured",
        identity={
            "run_id": uuid.uuid4().hex,
            "task": config.task.name,
            "task_version": config.task.version,
            "status": "done",
            "ended": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            **identity,
        },
        metrics=tuple(_measure(directory, name, test) for test in evaluation.tests),
        config={"resolved_sha256": config_hash(config), "values": values},
        code=_code(registry),
        data=splits,
        seeds={"head": config.training.seed, "model": identity.get("seed")},
        env=environment(),
        cost=dict(cost),
        provenance={
            "inputs": dict(inputs),
            "dev": evaluation.dev,
            "best_step": evaluation.best_step,
            "seconds": evaluation.seconds,
            "search": dict(evaluation.search),
            "labels": dict(evaluation.labels),
        },
    )
    path = directory / f"{name}.json"
    with replace_file(path) as stream:
        stream.write(record.to_json().encode())
    for complaint in notify_result(registry.discovery, json.loads(record.to_json())):
        say(complaint)
    return path


def _measure(directory: Path, name: str, test: SplitScore) -> Measure:
    rows = [asdict(score) for score in test.scores]
    content = "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows).encode()
    file = f"{name}.{test.split.name}.jsonl"
    with replace_file(directory / file) as stream:
        stream.write(content)
    errors: dict[str, float] = {}
    for row in rows:
        for kind in ("sub", "del", "ins"):
            if kind in row["detail"]:
                errors[kind] = errors.get(kind, 0) + row["detail"][kind]
    return Measure(
        name=test.metric,
        split=test.split.name,
        value=test.value,
        unit=test.unit,
        higher_is_better=test.higher_is_better,
        n=int(sum(score.denominator for score in test.scores)),
        errors=errors,
        ci=_in_percent(ratio_interval(rows)),
        scorer=test.scorer,
        normaliser=_NORMALISER if test.metric in _TEXT_METRICS else None,
        per_utterance=file,
        per_utterance_sha256=hashlib.sha256(content).hexdigest(),
    )


def _in_percent(interval: Mapping[str, Any]) -> dict[str, Any]:
    scaled = {
        key: None if interval.get(key) is None else 100.0 * interval[key]
        for key in ("value", "low", "high")
    }
    return {**interval, **scaled}
