"""Make result records with per-utterance scores, as an evaluation would write them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from speechlite.core.result import Measure, Result

__all__ = ["make_record", "make_scores", "write_experiment", "write_record"]


def make_scores(
    *, error_rate: float, speakers: int = 8, utterances: int = 6, seed: int = 0
) -> list[dict[str, Any]]:
    """Return scores of 20 words an utterance, with a different rate for each speaker.

    Args:
        error_rate: mean share of wrong words.
        speakers: number of speakers.
        utterances: utterances a speaker.
        seed: seed of the draws.

    Returns:
        One mapping an utterance.
    """
    generator = np.random.default_rng(seed)
    scores = []
    for speaker in range(speakers):
        rate = np.clip(generator.normal(error_rate, error_rate / 3), 0.001, 0.9)
        for utterance in range(utterances):
            errors = int(generator.binomial(20, rate))
            detail = {"reference": "SOME WORDS", "hypothesis": "SUM WORDS", "sub": errors}
            scores.append(
                {
                    "id": f"s{speaker:02d}-u{utterance:03d}",
                    "speaker": f"s{speaker:02d}",
                    "numerator": errors,
                    "denominator": 20,
                    "detail": detail,
                }
            )
    return scores


def make_record(
    measures: tuple[Measure, ...],
    *,
    identity: dict[str, Any] | None = None,
    fingerprint: str = "f" * 16,
    **fields: Any,
) -> Result:
    """Return a finished record on test_clean.

    Args:
        measures: its measures.
        identity: what differs from the default identity.
        fingerprint: fingerprint of the split.
        **fields: other sections of the record.

    Returns:
        The record.
    """
    default = {
        "run_id": "01",
        "recipe": "librispeech/layer_reduction",
        "experiment": "1",
        "row": "Exp.1 Conformer-8L",
        "table": "Table 1",
        "task": "ctc",
        "task_version": "1",
        "seed": 0,
        "started": "2026-11-20T10:00:00",
        "ended": "2026-11-20T11:00:00",
        "status": "done",
    }
    cost = {
        "params": {"total": 33_700_000, "trainable": 33_700_000, "nonzero": 33_700_000},
        "storage": {"bytes_on_disk": 134_800_000, "format": "safetensors"},
        "macs": {"per_second_audio": 3.4e9, "convention": "1 MAC = 2 FLOP"},
        "rtf": {"p50": 0.0123, "p95": 0.014, "n": 20},
        "peak_memory": {"bytes": 410_000_000, "how": "rss"},
        "train": {"seconds": 5200.0, "seconds_per_epoch": 130.0, "epochs": 40},
    }
    content: dict[str, Any] = {
        "code": {"version": "0.1.0", "git_commit": "0123abc", "dirty": False},
        "data": {"test_clean": {"fingerprint": fingerprint, "num_utterances": 48}},
        "env": {"device_fingerprint": "cpu-a", "torch": "2.11.0", "python": "3.11.4", "cpu": "c"},
        "cost": cost,
    }
    return Result(
        kind="measured",
        identity={**default, **(identity or {})},
        metrics=measures,
        **{**content, **fields},
    )


def write_record(
    folder: Path,
    scores: list[dict[str, Any]] | None,
    *,
    name: str = "wer",
    higher_is_better: bool = False,
    measure: dict[str, Any] | None = None,
    **fields: Any,
) -> Path:
    """Write a record and its per-utterance scores to ``folder/results``.

    Args:
        folder: the experiment's directory.
        scores: the utterances' scores; None writes none.
        name: the metric.
        higher_is_better: its direction.
        measure: what differs from the default measure.
        **fields: passed to ``make_record``.

    Returns:
        Path of the record.
    """
    results = folder / "results"
    results.mkdir(parents=True, exist_ok=True)
    stem = f"record_{len(list(results.glob('*.json')))}"
    values: dict[str, Any] = {"value": 5.0}
    if scores is not None:
        text = "".join(json.dumps(score) + "\n" for score in scores)
        (results / f"{stem}.jsonl").write_text(text, encoding="utf-8")
        values = {
            "value": 100
            * sum(s["numerator"] for s in scores)
            / sum(s["denominator"] for s in scores),
            "per_utterance": f"{stem}.jsonl",
            "per_utterance_sha256": hashlib.sha256(text.encode()).hexdigest(),
        }
    content = {
        "name": name,
        "split": "test_clean",
        "higher_is_better": higher_is_better,
        "scorer": "made 1",
        "normaliser": "none 1",
        **values,
        **(measure or {}),
    }
    path = results / f"{stem}.json"
    path.write_text(make_record((Measure(**content),), **fields).to_json(), encoding="utf-8")
    return path


def write_experiment(folder: Path) -> Path:
    """Write an experiment of three rows, two tasks, and two seeds for two of the rows.

    Args:
        folder: the experiment's directory.

    Returns:
        The directory.
    """
    rows = (("Exp.1 Conformer-8L", 0.08), ("Exp.5 Conformer-8L + PSS", 0.085))
    for index, (row, rate) in enumerate(rows):
        for seed in (0, 1):
            _write_both(folder / f"row{index}_{seed}", row, rate, seed)
    _write_both(folder / "row2_0", "Exp.3 Conformer-5L + PSS", 0.2, 0)
    return folder


def _write_both(folder: Path, row: str, rate: float, seed: int) -> None:
    scores = make_scores(error_rate=rate, seed=seed)
    identity = {"row": row, "seed": seed}
    write_record(folder, scores, identity={**identity, "task": "ctc"})
    for score in scores:
        score["numerator"] = 20 - score["numerator"]
    write_record(
        folder,
        scores,
        name="acc",
        higher_is_better=True,
        identity={**identity, "task": "phone"},
    )
