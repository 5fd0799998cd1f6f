"""Find, for a row and a column of ours, the number that a paper prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from speechlite.core.result import Measure, Result
from speechlite.engine.comparison import Cell, Column
from speechlite.engine.cost_columns import COSTS
from speechlite.engine.grouping import Section, text_of

__all__ = ["Reported"]

_TASKS = {
    "beam": "ASR, fine-tuned, with LM",
    "finetuned": "ASR, fine-tuned",
    "frozen": "ASR, frozen",
    "phone": "phone classification",
    "dnn_hmm": "ASR DNN-HMM, no rescoring",
    "dnn_hmm_rescored": "ASR DNN-HMM, rescored",
}
_COSTS = {cost.column.key: cost.reported_as for cost in COSTS if cost.reported_as}


@dataclass(frozen=True)
class Reported:
    """Hold the numbers that papers print, to be looked up by system and table.

    Args:
        records: records of kind ``reported``.
    """

    records: tuple[Result, ...]

    def of_section(self, section: Section) -> Reported:
        """Return the numbers that belong to a section's table.

        Args:
            section: the section.

        Returns:
            The numbers of that table, of the papers that name at least one of its rows.
        """
        names = {row.name for row in section.rows} | {
            f"{row.name} SLI({row.layer})" for row in section.rows
        }
        tabled = [
            r for r in self.records if not section.table or text_of(r, "table") == section.table
        ]
        papers = {text_of(r, "experiment") for r in tabled if text_of(r, "row") in names}
        return replace(self, records=tuple(r for r in tabled if text_of(r, "experiment") in papers))

    def systems(self) -> list[str]:
        """Return the systems in the order of the tables.

        Returns:
            Their names, each once.
        """
        return list(dict.fromkeys(text_of(record, "row") for record in self.records))

    def titled(self, column: Column) -> Column:
        """Return a column with the heading of its reported values.

        Args:
            column: the column.

        Returns:
            The column; unchanged where no system reports it.
        """
        for system in self.systems():
            measure = self.measure(system, column)
            if measure is not None:
                parts = [measure.split if column.kind == "score" else "", measure.unit]
                told = "; ".join(part for part in parts if part)
                return replace(column, reported_title=f"reported ({told})" if told else "reported")
        return column

    def beside(self, cell: Cell, system: str, column: Column) -> Cell:
        """Return a cell with the reported value beside it.

        Args:
            cell: the cell.
            system: name of its row.
            column: its column.

        Returns:
            The cell; unchanged where nothing is reported.
        """
        measure = self.measure(system, column)
        if measure is None:
            return cell
        return replace(cell, reported=measure.value, reported_why=measure.why)

    def measure(self, system: str, column: Column) -> Measure | None:
        """Return what is reported of a system for a column.

        Args:
            system: name of the system.
            column: a score or cost column.

        Returns:
            The measure, or None.
        """
        name = column.metric if column.kind == "score" else _COSTS.get(column.key, "")
        found = [
            measure
            for record in self.records
            if text_of(record, "row") == system
            for measure in record.metrics
            if measure.name == name
        ]
        if column.kind == "cost":
            return next((m for m in found if _same_scale(m.unit, column.unit)), None)
        return _of_task(found, column.task)


def _same_scale(reported: str, shown: str) -> bool:
    return reported.endswith(shown) if shown else reported in ("", "1")


def _of_task(measures: Sequence[Measure], task: str) -> Measure | None:
    wanted = {task.casefold(), _TASKS.get(task, task).casefold()}
    for measure in measures:
        if measure.split.casefold() in wanted:
            return measure
    return measures[0] if len(measures) == 1 and task not in _TASKS else None
