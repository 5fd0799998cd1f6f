"""The result record: one JSON file for one model on one task, comparable across recipes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from speechlite.core.errors import DataError

__all__ = ["SCHEMA", "Measure", "Result", "incomparable_because"]

SCHEMA = "speechlite.result/1"
"""Name and version of the form of a record; readers refuse another one."""


@dataclass(frozen=True)
class Measure:
    """Hold one metric of one split.

    Args:
        name: ``wer``, ``acc`` ...
        split: the split that it was measured on.
        value: in ``unit``; None where ``why`` says what is missing.
        unit: ``%``, ``s``, ``1`` ...
        higher_is_better: the direction of improvement.
        n: units counted: frames, words.
        errors: counts such as sub, del, ins.
        ci: ``{method, level, low, high, unit_resampled, resamples, seed}`` or None.
        scorer: ``name version`` of what counted.
        normaliser: ``name version`` of what prepared reference and hypothesis.
        per_utterance: file with one JSON line an utterance, relative to the record.
        per_utterance_sha256: hash of that file.
        why: the reason where ``value`` is None.
    """

    name: str
    split: str
    value: float | None
    unit: str = "%"
    higher_is_better: bool = False
    n: int | None = None
    errors: Mapping[str, float] = field(default_factory=dict)
    ci: Mapping[str, Any] | None = None
    scorer: str | None = None
    normaliser: str | None = None
    per_utterance: str | None = None
    per_utterance_sha256: str | None = None
    why: str | None = None


@dataclass(frozen=True)
class Result:
    """Hold everything known of one model on one task.

    Args:
        kind: ``measured`` here, or ``reported`` by a paper.
        identity: run_id, recipe, experiment, row, table, task, task_version, model, chain, seed,
            started, ended, status, citation.
        metrics: the measures.
        config: resolved_sha256 and overrides.
        code: version, git_commit, dirty, plugins.
        data: by split: fingerprint, num_utterances, num_speakers, hours.
        seeds: init, data.
        env: cpu, cores, threads, torch, python, os, device_fingerprint.
        cost: params, storage, macs, rtf, peak_memory, train; absent ones are None with a reason
            under ``why``.
        provenance: parents, inputs, log.
        notes: free text, escaped wherever it is shown.
    """

    kind: str
    identity: Mapping[str, Any]
    metrics: tuple[Measure, ...]
    config: Mapping[str, Any] = field(default_factory=dict)
    code: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    seeds: Mapping[str, Any] = field(default_factory=dict)
    env: Mapping[str, Any] = field(default_factory=dict)
    cost: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    notes: str = ""

    def to_json(self) -> str:
        """Return the record as canonical JSON: sorted keys, one final newline.

        Returns:
            The text of a record file.
        """
        content = {"schema": SCHEMA, **asdict(self)}
        return json.dumps(content, sort_keys=True, indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str, *, path: str | None = None) -> Result:
        """Read a record that ``to_json`` wrote.

        Args:
            text: JSON of one record.
            path: the file it came from, for error messages.

        Returns:
            The record.

        Raises:
            DataError: if it is not JSON, or not a record of this schema.
        """
        remedy = "remove the file, or write it again with the command that made it"
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DataError(f"not valid JSON: {error}", remedy=remedy, path=path) from None
        schema = content.pop("schema", None) if isinstance(content, dict) else None
        if schema != SCHEMA:
            raise DataError(f"schema is {schema!r}, expected {SCHEMA!r}", remedy=remedy, path=path)
        try:
            measures = tuple(Measure(**measure) for measure in content.pop("metrics"))
            record = cls(metrics=measures, **content)
        except (TypeError, KeyError) as error:
            raise DataError(f"malformed record: {error}", remedy=remedy, path=path) from None
        if record.kind not in ("measured", "reported"):
            cause = f"kind is {record.kind!r}, expected 'measured' or 'reported'"
            raise DataError(cause, remedy=remedy, path=path)
        return record

    def measure(self, name: str, split: str | None = None) -> Measure | None:
        """Return a metric of this record.

        Args:
            name: the metric's name.
            split: the split; None takes the first one that has the metric.

        Returns:
            The measure, or None where the record has none.
        """
        for measure in self.metrics:
            if measure.name == name and split in (None, measure.split):
                return measure
        return None


def incomparable_because(first: Result, second: Result, name: str, split: str) -> str | None:
    """Say why a metric of two records must not be compared.

    Two records compare only where both are measured, and metric, split content, scorer and
    normaliser agree.

    Args:
        first: a record.
        second: another record.
        name: the metric.
        split: the split.

    Returns:
        The first field that differs, in words; None where they compare.
    """
    kinds = {first.kind, second.kind}
    if kinds == {"measured", "reported"}:
        return "one is measured, one is reported by a paper"
    if kinds == {"reported"}:
        return "reported numbers carry no per-utterance scores"
    measures = (first.measure(name, split), second.measure(name, split))
    if measures[0] is None or measures[1] is None:
        return f"one has no {name} on {split}"
    prints = [record.data.get(split, {}).get("fingerprint") for record in (first, second)]
    if prints[0] != prints[1] or prints[0] is None:
        return f"{split} has fingerprint {prints[0]} in one and {prints[1]} in the other"
    for aspect in ("scorer", "normaliser"):
        values = [getattr(measure, aspect) for measure in measures]
        if values[0] != values[1]:
            return f"{aspect} is {values[0]!r} in one and {values[1]!r} in the other"
    if first.identity.get("task_version") != second.identity.get("task_version"):
        return "the task's version differs"
    return None
