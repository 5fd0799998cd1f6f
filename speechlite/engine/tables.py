"""Write a comparison for the terminal and as Markdown, CSV and LaTeX.

Equal comparisons give equal bytes: dates and versions come from the records only.
"""

from __future__ import annotations

import csv
import io
import os
import shutil
import sys

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from speechlite.engine.comparison import Block, Cell, Column, Comparison, Row
from speechlite.engine.escape import clean, csv_text, latex, markdown
from speechlite.engine.layout import Grid, GridCell, block_lines, grids, legend

__all__ = ["to_csv", "to_latex", "to_markdown", "to_terminal"]

_DAGGER = "\N{DAGGER}"
_DIAMOND = "\N{BLACK DIAMOND}"
_MAX_NAME = 32
_PADDING = 3
_STYLES = {"reported": "italic cyan", "difference": "", "name": "", "value": ""}
_CSV_HEADER = (
    *("block", "separate_because", "system", "status", "seeds", "kind", "column", "task", "metric"),
    *("split", "unit", "value", "low", "high", "level", "values_by_seed", "reported", "baseline"),
    *("delta", "delta_low", "delta_high", "probability_of_improvement", "p_value", "p_holm"),
    *("utterances", "speakers", "marks", "why"),
)


def to_terminal(
    comparison: Comparison, *, width: int | None = None, color: bool | None = None
) -> str:
    """Write a comparison for a terminal.

    Args:
        comparison: the comparison.
        width: columns of the terminal; None asks it.
        color: whether to use colour; None does so on a terminal without ``NO_COLOR``.

    Returns:
        The text.
    """
    if color is None:
        color = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    output = io.StringIO()
    console = Console(
        file=output,
        width=width or shutil.get_terminal_size((100, 24)).columns,
        force_terminal=color,
        color_system="standard" if color else None,
        no_color=not color,
        legacy_windows=False,
        highlight=False,
        markup=False,
        emoji=False,
    )
    for label, text in comparison.facts:
        console.print(Text(f"{label}: {clean(text)}"))
    for block in comparison.blocks:
        for line in block_lines(block):
            console.print(Text(clean(line), style="bold"))
        for grid in grids(block):
            console.print()
            for part in _parts(grid, console.width):
                console.print(_rich_table(grid, part))
            for index, note in enumerate(grid.notes, start=1):
                console.print(Text(f"({index}) {clean(note)}"))
    for line in legend(comparison):
        console.print(Text(line, style="dim"))
    lines = (line.rstrip() for line in output.getvalue().split("\n"))
    return "\n".join(lines)


def to_markdown(comparison: Comparison) -> str:
    """Write the tables of a comparison as GitHub-flavoured Markdown.

    Args:
        comparison: the comparison.

    Returns:
        The text.
    """
    lines: list[str] = []
    title = None
    for block in comparison.blocks:
        if block.title != title:
            lines += [f"## {markdown(block.title)}", ""]
            title = block.title
        for line in block_lines(block):
            lines += [f"**{markdown(line)}**", ""]
        for grid in grids(block):
            lines += _markdown_table(grid)
    lines += [f"- {markdown(line)}" for line in legend(comparison)]
    return "\n".join(lines) + "\n"


def to_csv(comparison: Comparison) -> str:
    """Write a comparison as CSV: one line for each row and column, in full precision.

    Args:
        comparison: the comparison.

    Returns:
        CSV as in RFC 4180, with a header line.
    """
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\r\n")
    writer.writerow(_CSV_HEADER)
    for block, row, column, cell in comparison.cells():
        writer.writerow(_csv_line(comparison, block, row, column, cell))
    return output.getvalue()


def to_latex(comparison: Comparison) -> str:
    r"""Write the tables of a comparison for LaTeX with booktabs and siunitx.

    Args:
        comparison: the comparison.

    Returns:
        LaTeX source of one ``table`` for each table; bold is best, a dagger means not
        significantly different from the best.
    """
    lines = [
        r"% needs \usepackage{booktabs} and \usepackage{siunitx} (version 3) with",
        r"% \sisetup{mode = match, reset-text-series = false, reset-text-family = false}",
    ]
    for block in comparison.blocks:
        for grid in grids(block):
            lines += _latex_table(grid, block_lines(block))
    lines += [f"% {latex(line)}" for line in legend(comparison)]
    return "\n".join(lines) + "\n"


def _parts(grid: Grid, width: int) -> list[list[int]]:
    """Part the columns of a table that is too wide; the first column leads every part."""
    widths = [_column_width(grid, index) for index in range(len(grid.header))]
    parts = [[0]]
    for index in range(1, len(widths)):
        taken = sum(widths[i] + _PADDING for i in parts[-1])
        if len(parts[-1]) > 1 and taken + widths[index] + _PADDING > width:
            parts.append([0])
        parts[-1].append(index)
    return parts


def _column_width(grid: Grid, index: int) -> int:
    words = [len(word) for word in clean(grid.header[index].lines[0]).split()]
    lines = [
        len(clean(line)) + 4 * len(row[index].notes)
        for row in grid.rows
        for line in row[index].lines
    ]
    widest = max([*words, *lines], default=1)
    # headings break between words: below nine characters that makes them tall
    return min(widest, _MAX_NAME) if index == 0 else max(widest + 1, 9)


def _rich_table(grid: Grid, part: list[int]) -> Table:
    continued = "" if part[1:2] == [1] else " (continued)"
    title = Text(clean(grid.title) + continued, style="bold")
    table = Table(title=title, box=SIMPLE_HEAD, title_justify="left")
    for index in part:
        table.add_column(
            Text(clean(grid.header[index].lines[0])),
            justify="left" if grid.header[index].kind == "name" else "right",
            overflow="fold",
            width=_column_width(grid, index) if index else None,
        )
    for row in grid.rows:
        table.add_row(*(_rich_cell(row[index]) for index in part))
    return table


def _rich_cell(cell: GridCell) -> Text:
    style = "bold" if "best" in cell.marks else _STYLES[cell.kind]
    text = Text(clean(cell.lines[0]), style=style)
    text.append(_suffix(cell))
    for number in cell.notes:
        text.append(f" ({number})")
    for line in cell.lines[1:]:
        text.append("\n" + clean(line), style="dim")
    return text


def _suffix(cell: GridCell) -> str:
    return (_DAGGER if "tied" in cell.marks else "") + (_DIAMOND if "front" in cell.marks else "")


def _markdown_table(grid: Grid) -> list[str]:
    header = [markdown(cell.lines[0]) for cell in grid.header]
    header = [
        f"*{text}*" if cell.kind == "reported" else text
        for cell, text in zip(grid.header, header, strict=True)
    ]
    rule = [":--" if cell.kind == "name" else "--:" for cell in grid.header]
    lines = [f"### {markdown(grid.title)}", "", _pipes(header), _pipes(rule)]
    lines += [_pipes([_markdown_cell(cell) for cell in row]) for row in grid.rows]
    lines.append("")
    for index, note in enumerate(grid.notes, start=1):
        lines.append(f"({index}) {markdown(note)}  ")
    return [*lines, ""] if grid.notes else lines


def _pipes(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _markdown_cell(cell: GridCell) -> str:
    first = markdown(cell.lines[0])
    if "best" in cell.marks:
        first = f"**{first}**"
    elif cell.kind == "reported" and first != "-":
        first = f"*{first}*"
    first += _suffix(cell)
    first += "".join(f" ({number})" for number in cell.notes)
    return "<br>".join([first, *(markdown(line) for line in cell.lines[1:])])


def _csv_line(
    comparison: Comparison, block: Block, row: Row, column: Column, cell: Cell
) -> list[str]:
    found = cell.difference
    texts = (block.title, block.separate_because or "", row.name, row.status, "; ".join(row.seeds))
    described = (column.kind, column.key, column.task, column.metric, column.split, column.unit)
    by_seed = "; ".join(f"{seed}: {_exact(value)}" for seed, value in cell.by_seed)
    return [
        *(csv_text(text) for text in (*texts, *described)),
        *(_exact(value) for value in (cell.value, cell.low, cell.high)),
        _exact(comparison.level) if cell.low is not None else "",
        csv_text(by_seed),
        _exact(cell.reported),
        csv_text(block.baseline or ""),
        *(_exact(getattr(found, name, None)) for name in ("delta", "low", "high")),
        _exact(getattr(found, "probability_of_improvement", None)),
        *(_exact(getattr(found, name, None)) for name in ("p_value", "p_holm")),
        *(_exact(getattr(found, name, None)) for name in ("num_utterances", "num_speakers")),
        csv_text("; ".join(cell.marks)),
        csv_text(cell.why or ""),
    ]


def _exact(value: float | None) -> str:
    return "" if value is None else repr(value)


def _latex_table(grid: Grid, sentences: object) -> list[str]:
    kept = [i for i, cell in enumerate(grid.header) if cell.kind != "difference"]
    columns = " ".join("l" if grid.header[i].kind == "name" else "S" for i in kept)
    caption = " ".join(latex(line) for line in [grid.title + ".", *sentences])  # type: ignore[misc]
    lines = [
        r"\begin{table}",
        rf"\caption{{{caption}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(f"{{{latex(grid.header[i].lines[0])}}}" for i in kept) + r" \\",
        r"\midrule",
    ]
    for row in grid.rows:
        lines.append(" & ".join(_latex_cell(row[i]) for i in kept) + r" \\")
    return [*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""]


def _latex_cell(cell: GridCell) -> str:
    text = cell.lines[0]
    if cell.kind == "name" or not _is_number(text):
        return f"{{{latex(text)}}}"
    dagger = r"{$^{\dagger}$}" if "tied" in cell.marks else ""
    return (r"\bfseries " if "best" in cell.marks else "") + text + dagger


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
