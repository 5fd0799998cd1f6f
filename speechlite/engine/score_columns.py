"""The score columns of a comparison: values, intervals, differences and marks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from speechlite.core.errors import DataError
from speechlite.core.result import Measure
from speechlite.engine.comparison import Cell, Column, Difference, Example
from speechlite.engine.grouping import Runs, natural_order, text_of
from speechlite.engine.record_files import Score, read_scores
from speechlite.engine.statistics import holm, nested_difference, nested_interval

__all__ = ["Settings", "score_cells", "score_columns", "worst_examples"]

_METRIC_TITLES = {"acc": "accuracy", "wer": "WER", "cer": "CER", "per": "PER", "eer": "EER"}
_TASK_TITLES = {"ctc": "CTC", "dnn_hmm": "DNN-HMM", "dnn_hmm_rescored": "DNN-HMM rescored"}
_TASK_ORDER = ("phone", "dnn_hmm", "dnn_hmm_rescored", "ctc")
_NUM_EXAMPLES = 20


@dataclass(frozen=True)
class Settings:
    """Hold the settings of all intervals of a comparison.

    Args:
        level: probability that an interval should cover, in (0, 1).
        resamples: bootstrap replicates.
        seed: seed of the resampling.
    """

    level: float = 0.95
    resamples: int = 10_000
    seed: int = 0


@dataclass(frozen=True)
class _Scored:
    name: str
    measures: Mapping[str, Measure]
    scores: Mapping[str, tuple[Score, ...]]


def score_columns(rows: Sequence[Runs], *, metrics: Sequence[str] | None) -> list[Column]:
    """Return a column for each task, split and metric that any row has.

    Args:
        rows: the rows.
        metrics: names of the metrics to show; None shows all.

    Returns:
        The columns: phone classification first, then DNN-HMM, CTC, and other tasks by name.
    """
    found: dict[tuple[str, str, str], Measure] = {}
    for row in rows:
        for record in row.done:
            for measure in record.metrics:
                if metrics is None or measure.name in metrics:
                    key = (text_of(record, "task"), measure.split, measure.name)
                    found.setdefault(key, measure)
    ordered = sorted(found, key=lambda key: (_task_rank(key[0]), key[2], _split_rank(key[1])))
    return [_column(key, found[key]) for key in ordered]


def score_cells(
    rows: Sequence[Runs], column: Column, *, baseline: str | None, settings: Settings
) -> list[Cell]:
    """Return one column's cells with intervals, differences to the baseline and marks.

    Args:
        rows: rows that compare with each other.
        column: the column.
        baseline: name of the row that differences refer to; None for no differences.
        settings: settings of the intervals.

    Returns:
        One cell a row.

    Raises:
        DataError: if per-utterance scores are malformed.
    """
    scored = [_scored(row, column) for row in rows]
    cells = [_cell(item, column, settings) for item in scored]
    names = [row.name for row in rows]
    if baseline in names:
        reference = scored[names.index(baseline)]
        found = [
            None if s is reference else _difference(s, reference, column, settings) for s in scored
        ]
        for index, difference in enumerate(_adjusted(found)):
            cells[index] = replace(cells[index], difference=difference)
    return _marked(cells, scored, column, settings)


def worst_examples(row: Runs, columns: Sequence[Column]) -> tuple[tuple[Example, ...], str]:
    """Return the utterances on which a row did worst.

    Args:
        row: the row.
        columns: the block's score columns; an error rate is preferred to an accuracy.

    Returns:
        At most 20 utterances of the first seed, worst first, and the title of their column.
    """
    for column in sorted(columns, key=lambda column: column.higher_is_better):
        for scores in _scored(row, column).scores.values():
            ordered = sorted(scores, key=lambda score: (-_badness(score, column), score.id))
            examples = tuple(
                Example(s.id, s.speaker, s.numerator, s.denominator, s.detail)
                for s in ordered[:_NUM_EXAMPLES]
                if _badness(s, column) > 0
            )
            return examples, column.title
    return (), ""


def _task_rank(task: str) -> tuple[int, str]:
    return (_TASK_ORDER.index(task) if task in _TASK_ORDER else len(_TASK_ORDER), task)


def _split_rank(split: str) -> tuple[bool, Any]:
    return (not split.startswith("test"), natural_order(split))


def _column(key: tuple[str, str, str], measure: Measure) -> Column:
    task, split, name = key
    metric = _METRIC_TITLES.get(name, name)
    shown = _TASK_TITLES.get(task, task)
    title = f"{shown} {metric}".strip() + (f", {split}" if split else "")
    return Column(
        key="/".join(key[i] for i in (0, 2, 1)),
        title=title,
        kind="score",
        unit="" if measure.unit == "1" else measure.unit,
        digits=2 if measure.unit == "%" else 3,
        higher_is_better=measure.higher_is_better,
        metric=name,
        task=task,
        split=split,
    )


def _scored(row: Runs, column: Column) -> _Scored:
    measures: dict[str, Measure] = {}
    for record in row.of_task(column.task):
        measure = record.measure(column.metric, column.split)
        if measure is not None:
            measures[text_of(record, "seed")] = measure
    scores = {seed: read_scores(measure) for seed, measure in measures.items()}
    return _Scored(row.name, measures, {seed: found for seed, found in scores.items() if found})


def _scale(column: Column) -> float:
    return 100.0 if column.unit == "%" else 1.0


def _cell(scored: _Scored, column: Column, settings: Settings) -> Cell:
    by_seed = tuple((seed, m.value) for seed, m in scored.measures.items())
    values = [value for _, value in by_seed if value is not None]
    whys = [m.why for m in scored.measures.values() if m.why]
    if not values:
        return Cell(by_seed=by_seed, why=whys[0] if whys else None)
    cell = Cell(value=math.fsum(values) / len(values), by_seed=by_seed)
    low, high, why = _interval(scored, column, settings)
    return replace(cell, low=low, high=high, why=whys[0] if whys else why)


def _interval(
    scored: _Scored, column: Column, settings: Settings
) -> tuple[float | None, float | None, str | None]:
    measures = list(scored.measures.values())
    if len(scored.scores) < len(measures):
        ci = measures[0].ci if len(measures) == 1 else None
        if ci is not None and ci.get("level") == settings.level:
            return _number(ci.get("low")), _number(ci.get("high")), None
        return None, None, "no interval: the per-utterance scores are missing"
    scale = _scale(column)
    for seed, scores in scored.scores.items():
        value = scored.measures[seed].value
        counted = math.fsum(s.denominator for s in scores)
        ratio = scale * math.fsum(s.numerator for s in scores) / counted if counted else math.nan
        if value is None or not math.isclose(ratio, value, rel_tol=1e-3, abs_tol=1e-3):
            return None, None, "no interval: the value is not the ratio of the utterances' sums"
    try:
        found = nested_interval(list(scored.scores.values()), **vars(settings))
    except DataError as error:
        return None, None, f"no interval: {error.cause}"
    if found["low"] is None:
        return None, None, f"no interval: {found['why']}"
    return scale * found["low"], scale * found["high"], None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _difference(
    first: _Scored, second: _Scored, column: Column, settings: Settings
) -> Difference | None:
    seeds = [seed for seed in first.scores if seed in second.scores]
    if not seeds:
        return None
    try:
        found = nested_difference(
            [(first.scores[seed], second.scores[seed]) for seed in seeds],
            higher_is_better=column.higher_is_better,
            **vars(settings),
        )
    except DataError as error:
        cause = f"{first.name} and {second.name}, {column.title}: {error.cause}"
        raise DataError(cause, remedy=error.remedy) from None
    scale = _scale(column)
    return Difference(
        delta=scale * found["delta"],
        low=None if found["low"] is None else scale * found["low"],
        high=None if found["high"] is None else scale * found["high"],
        probability_of_improvement=found["probability_of_improvement"],
        p_value=found["p_value"],
        p_holm=found["p_value"],
        num_utterances=found["n"],
        num_speakers=found["num_blocks"],
        seeds=tuple(seeds),
    )


def _adjusted(found: Sequence[Difference | None]) -> list[Difference | None]:
    adjusted = iter(holm([d.p_value for d in found if d is not None]))
    return [None if d is None else replace(d, p_holm=next(adjusted)) for d in found]


def _marked(
    cells: Sequence[Cell], scored: Sequence[_Scored], column: Column, settings: Settings
) -> list[Cell]:
    present = [i for i, cell in enumerate(cells) if cell.value is not None]
    if len(present) < 2:
        return list(cells)
    sign = -1.0 if column.higher_is_better else 1.0
    best = min(present, key=lambda i: sign * (cells[i].value or 0.0))
    others = [i for i in present if i != best]
    tests = _adjusted([_difference(scored[i], scored[best], column, settings) for i in others])
    marks = {best: ("best",)}
    for index, test in zip(others, tests, strict=True):
        if cells[index].value == cells[best].value:
            marks[index] = ("best",)
        elif test is not None and (test.p_holm > 1.0 - settings.level or sign * test.delta < 0):
            marks[index] = ("tied",)
    return [replace(cell, marks=marks.get(i, ())) for i, cell in enumerate(cells)]


def _badness(score: Score, column: Column) -> float:
    if score.denominator <= 0:
        return 0.0 if column.higher_is_better else score.numerator
    ratio = score.numerator / score.denominator
    return 1.0 - ratio if column.higher_is_better else ratio
