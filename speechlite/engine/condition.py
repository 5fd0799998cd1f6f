"""Decide on conditions such as ``wer.delta > 0.3``, by which a comparison fails a pipeline."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

from speechlite.core.errors import DataError, UsageError
from speechlite.engine.comparison import Cell, Column, Comparison

__all__ = ["Condition", "parse_condition", "rows_that_meet"]

_PATTERN = re.compile(
    r"\s*(?P<column>[\w/.-]+)\.(?P<field>[a-z_]+)\s*(?P<sign><=|>=|<|>)"
    r"\s*(?P<limit>[+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)\s*",
    re.ASCII,
)
_SIGNS: MappingProxyType[str, Callable[[float, float], bool]] = MappingProxyType(
    {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
)
_FIELDS: MappingProxyType[str, Callable[[Cell], float | None]] = MappingProxyType(
    {
        "value": lambda cell: cell.value,
        "low": lambda cell: cell.low,
        "high": lambda cell: cell.high,
        "delta": lambda cell: cell.difference.delta if cell.difference else None,
        "delta_low": lambda cell: cell.difference.low if cell.difference else None,
        "delta_high": lambda cell: cell.difference.high if cell.difference else None,
        "p": lambda cell: cell.difference.p_holm if cell.difference else None,
    }
)


@dataclass(frozen=True)
class Condition:
    """Hold a condition on one field of one column.

    Args:
        column: a metric (``wer``), a cost (``rtf``) or a column's key (``ctc/wer/test_clean``).
        field: ``value``, ``low``, ``high``, ``delta``, ``delta_low``, ``delta_high`` or ``p``.
        sign: ``<``, ``<=``, ``>`` or ``>=``.
        limit: the number to compare with, in the column's unit.
    """

    column: str
    field: str
    sign: str
    limit: float


def parse_condition(text: str) -> Condition:
    """Return the condition that a text such as ``wer.delta > 0.3`` states.

    Args:
        text: column, point, field, sign, number.

    Returns:
        The condition.

    Raises:
        UsageError: if the text is no condition or names no field.
    """
    remedy = "write for example 'wer.delta > 0.3'"
    match = _PATTERN.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} is not a condition", remedy=remedy)
    if match["field"] not in _FIELDS:
        cause = f"condition names the field {match['field']!r}"
        raise UsageError(cause, remedy=f"name one of: {', '.join(_FIELDS)}")
    try:
        limit = float(match["limit"])
    except ValueError:
        raise UsageError(f"{match['limit']!r} is not a number", remedy=remedy) from None
    if not math.isfinite(limit):
        raise UsageError(f"{match['limit']!r} is not finite", remedy=remedy)
    return Condition(match["column"], match["field"], match["sign"], limit)


def rows_that_meet(comparison: Comparison, condition: Condition) -> list[str]:
    """Return the rows for which a condition holds.

    Args:
        comparison: the comparison.
        condition: the condition.

    Returns:
        One line a row and column: its name, the column and the number.

    Raises:
        UsageError: if no column has that name.
        DataError: if no row has a number there, so that nothing could be decided.
    """
    read, holds = _FIELDS[condition.field], _SIGNS[condition.sign]
    met, known, num_numbers = [], dict[str, None](), 0
    for block, row, column, cell in comparison.cells():
        known.update({column.metric: None, column.key: None})
        if not _is_named(column, condition.column):
            continue
        value = read(cell)
        if value is not None:
            num_numbers += 1
            if holds(value, condition.limit):
                met.append(f"{block.title}: {row.name}: {column.key}.{condition.field} = {value:g}")
    if condition.column not in known:
        cause = f"no column is called {condition.column!r}"
        raise UsageError(cause, remedy=f"name one of: {', '.join(known)}")
    if not num_numbers:
        cause = f"no row has {condition.column}.{condition.field}, so nothing can be decided"
        raise DataError(cause, remedy="compare runs that have per-utterance scores and a baseline")
    return met


def _is_named(column: Column, name: str) -> bool:
    return name in (column.metric, column.key)
