"""Decide a recipe's claims from records: scores by paired intervals, costs by ratios."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import mean
from typing import Any

from speechlite.config.safe_yaml import load_yaml
from speechlite.core.errors import ConfigError
from speechlite.core.result import Result
from speechlite.engine.record_files import load_records, read_scores
from speechlite.engine.report import Claim
from speechlite.engine.statistics import nested_difference

__all__ = ["decide_claims"]

_SCORE = {"claim", "row", "baseline", "task", "metric", "split", "expect"}
_OTHER_TASK = "baseline_task"
_COST = {"claim", "row", "baseline", "cost", "reported_percent"}
_MISSING = "not decided"


def decide_claims(path: Path, paths: Iterable[str | Path]) -> list[Claim]:
    """Decide every claim of a file.

    Args:
        path: a YAML list. A claim on a score has the keys ``claim``, ``row``, ``baseline``,
            ``task``, ``metric``, ``split`` and ``expect`` (higher or lower), and
            ``baseline_task`` where the baseline's scores are those of another task on the same
            utterances; one on a cost has ``claim``, ``row``, ``baseline``, ``cost`` (dotted path
            in a record's cost section, where less is better) and ``reported_percent``.
        paths: where records lie.

    Returns:
        Each claim with ``holds``, ``does not hold`` or ``not decided``, and its numbers.

    Raises:
        ConfigError: if the file does not have that form.
    """
    claims = load_yaml(path)
    if not isinstance(claims, list):
        raise ConfigError("expected a list of claims", remedy="begin each with '- '", path=path)
    records = [record for record in load_records(paths) if record.kind == "measured"]
    return [_decide(claim, records, path) for claim in claims]


def _decide(claim: Any, records: list[Result], path: Path) -> Claim:
    keys = set(claim) if isinstance(claim, dict) else set()
    if keys - {_OTHER_TASK} == _SCORE and claim["expect"] in ("higher", "lower"):
        return _decide_score(claim, records)
    if keys == _COST:
        return _decide_cost(claim, records)
    raise ConfigError(
        f"a claim has the keys {sorted(keys)}, expected {sorted(_SCORE)} with expect higher or "
        f"lower, or {sorted(_COST)}",
        remedy="correct the claim",
        path=path,
    )


def _by_seed(records: list[Result], row: str, task: str | None) -> dict[Any, Result]:
    return {
        record.identity.get("seed"): record
        for record in records
        if record.identity.get("row") == row and task in (None, record.identity.get("task"))
    }


def _decide_score(claim: Mapping[str, Any], records: list[Result]) -> Claim:
    first = _by_seed(records, claim["row"], claim["task"])
    second = _by_seed(records, claim["baseline"], claim.get(_OTHER_TASK, claim["task"]))
    seeds = sorted(set(first) & set(second), key=str)
    pairs = []
    for seed in seeds:
        measures = [of[seed].measure(claim["metric"], claim["split"]) for of in (first, second)]
        if measures[0] is not None and measures[1] is not None:
            pairs.append((read_scores(measures[0]), read_scores(measures[1])))
    if not pairs:
        return claim["claim"], _MISSING, "a row was not evaluated"
    higher = claim["expect"] == "higher"
    difference = nested_difference(pairs, higher_is_better=higher)
    # the limit on the doubtful side decides, not the point
    limit = difference["low"] if higher else difference["high"]
    holds = limit is not None and (limit > 0 if higher else limit < 0)
    shown = {key: _percent(difference[key]) for key in ("delta", "low", "high")}
    text = f"{shown['delta']} points, 95 % [{shown['low']}, {shown['high']}], {len(pairs)} seeds"
    return claim["claim"], "holds" if holds else "does not hold", text


def _percent(value: float | None) -> str:
    return "?" if value is None else f"{100 * value:+.2f}"


def _decide_cost(claim: Mapping[str, Any], records: list[Result]) -> Claim:
    values = []
    for row in (claim["row"], claim["baseline"]):
        found = [_cost(record, claim["cost"]) for record in _by_seed(records, row, None).values()]
        values.append([value for value in found if value is not None])
    if not values[0] or not values[1]:
        return claim["claim"], _MISSING, "a row was not measured"
    saved = 100 * (1 - mean(values[0]) / mean(values[1]))
    text = f"{saved:.1f} % less; the paper reports {claim['reported_percent']} %"
    return claim["claim"], "holds" if saved > 0 else "does not hold", text


def _cost(record: Result, dotted: str) -> float | None:
    value: Any = record.cost
    for key in dotted.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return float(value) if isinstance(value, int | float) else None
