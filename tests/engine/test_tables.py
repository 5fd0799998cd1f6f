from __future__ import annotations

import csv
import io
import re
import unicodedata

import pytest
from hostile_text import HOSTILE
from made_records import make_record, write_experiment
from markdown_it import MarkdownIt

from speechlite.core.result import Measure
from speechlite.engine.compare import compare, load_records
from speechlite.engine.comparison import Cell, Column
from speechlite.engine.escape import clean, csv_text, html_text, latex, markdown
from speechlite.engine.layout import number
from speechlite.engine.tables import to_csv, to_latex, to_markdown, to_terminal

SCORE = Column("wer", "WER", "score", digits=2)
COST = Column("bytes", "on disk", "cost", digits=3)


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    folder = write_experiment(tmp_path_factory.mktemp("exp"))
    return compare(load_records([folder]), resamples=200)


@pytest.fixture(scope="module")
def hostile():
    records = [
        make_record(
            (Measure("wer", "test_clean", None, why=text),),
            identity={"row": f"{text} {index}", "table": None, "recipe": text},
            cost={"why": {"rtf": text}},
        )
        for index, text in enumerate(HOSTILE)
    ]
    failed = make_record((), identity={"row": "F", "status": HOSTILE[0]}, notes=HOSTILE[1])
    return compare([*records, failed], resamples=10)


def has_control(text):
    return any(unicodedata.category(c) in ("Cc", "Cf", "Cs") and c not in "\n" for c in text)


@pytest.mark.parametrize("text", HOSTILE)
def test_clean_when_text_is_hostile_then_no_control_character_is_left(text):
    assert not has_control(clean(text))
    assert "\n" not in clean(text)


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_when_text_is_hostile_then_renders_as_plain_text(text):
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    source = f"| head |\n| --- |\n| {markdown(text)} |\n"
    rendered = parser.render(source)
    tags = set(re.findall(r"</?([a-z]+)", rendered))
    assert tags <= {"table", "thead", "tbody", "tr", "th", "td"}
    assert rendered.count("<td>") == 1
    cell = re.search(r"<td>(.*)</td>", rendered, re.DOTALL)[1]
    shown = cell.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", '"')
    assert shown.replace("&amp;", "&") == clean(text)


@pytest.mark.parametrize("text", HOSTILE)
def test_csv_text_when_text_is_hostile_then_starts_no_formula(text):
    assert csv_text(text)[0] not in "=+-@\t\r\uff1d"


def brace_depths(text):
    depth, depths = 0, []
    for piece in re.findall(r"\\.|[{}]", text):
        depth += {"{": 1, "}": -1}.get(piece, 0)
        depths.append(depth)
    return depths


@pytest.mark.parametrize("text", HOSTILE)
def test_latex_when_text_is_hostile_then_braces_balance_and_no_command_is_left(text):
    escaped = latex(text)
    depths = brace_depths(escaped)
    assert not depths or (depths[-1] == 0 and min(depths) >= 0)
    commands = set(re.findall(r"\\([A-Za-z]+)", escaped))
    assert all(name.startswith("text") for name in commands)
    assert not re.search(r"(?<!\\)[#$%&_^~]", escaped)


def test_html_text_when_text_has_lines_then_keeps_only_their_ends():
    assert html_text("a\x1b[1m\nb\tc") == "a[1m\nb c"


def test_to_terminal_when_rows_are_hostile_then_output_has_no_control_character(hostile):
    output = to_terminal(hostile, width=400, color=False)
    assert not has_control(output)
    assert "[bold red]x[/bold red]" in output


def test_to_terminal_when_width_is_given_then_no_line_is_wider(comparison):
    for width in (60, 80, 120, 200):
        assert max(map(len, to_terminal(comparison, width=width, color=False).split("\n"))) <= width


@pytest.mark.parametrize("width", [60, 100, 300])
def test_to_terminal_when_width_is_given_then_every_value_is_shown(comparison, width):
    output = to_terminal(comparison, width=width, color=False)
    for _, _, column, cell in comparison.cells():
        assert number(cell.value, column) in output
        if cell.low is not None:
            assert f"[{number(cell.low, column)}, {number(cell.high, column)}]" in output


def test_to_terminal_when_no_color_is_set_then_has_no_escape(comparison, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in to_terminal(comparison, width=120)
    assert "\x1b" in to_terminal(comparison, width=120, color=True)


def test_to_csv_when_rows_are_hostile_then_parses_back_to_the_same_texts(hostile):
    text = to_csv(hostile)
    rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    assert text.count("\r\n") == len(rows) + 1
    assert {row["system"] for row in rows} == {
        csv_text(row.name) for _, row, _, _ in hostile.cells()
    }


def test_to_csv_when_parsed_back_then_numbers_are_exact(comparison):
    rows = list(csv.DictReader(io.StringIO(to_csv(comparison), newline="")))
    for line, (_, row, column, cell) in zip(rows, comparison.cells(), strict=True):
        assert (line["system"], line["column"]) == (row.name, column.key)
        for name in ("value", "low", "high", "reported"):
            value = getattr(cell, name)
            assert line[name] == "" if value is None else float(line[name]) == value
        if cell.difference:
            assert float(line["delta"]) == cell.difference.delta


def test_to_markdown_when_parsed_then_each_table_has_equal_columns(hostile):
    lines = [line for line in to_markdown(hostile).split("\n") if line.startswith("|")]
    pipes = {len(re.findall(r"(?<!\\)\|", line)) for line in lines}
    assert len(pipes) == 2


def test_to_markdown_when_rendered_then_best_is_bold_and_legend_says_so(comparison):
    rendered = MarkdownIt("commonmark").enable("table").render(to_markdown(comparison))
    best = [c for _, _, _, c in comparison.cells() if "best" in c.marks]
    assert rendered.count("<strong>") == len(best)
    assert "Bold: best of its column" in rendered
    assert rendered.count("<table>") == 2


def test_to_latex_when_rows_are_hostile_then_braces_balance(hostile):
    depths = brace_depths(to_latex(hostile))
    assert depths[-1] == 0
    assert min(depths) >= 0


def test_to_latex_when_written_then_each_line_has_as_many_cells_as_columns(comparison):
    for table in re.findall(r"\\begin\{tabular\}.*?\\end\{tabular\}", to_latex(comparison), re.S):
        columns = len(re.search(r"tabular\}\{([lS ]+)\}", table)[1].split())
        lines = [line for line in table.split("\n") if line.endswith(r"\\")]
        assert {len(re.findall(r"(?<!\\)&", line)) + 1 for line in lines} == {columns}


def test_to_latex_when_row_is_best_or_tied_then_is_bold_or_has_a_dagger(comparison):
    text = to_latex(comparison)
    marks = [mark for _, _, _, cell in comparison.cells() for mark in cell.marks]
    assert text.count(r"\bfseries") == marks.count("best")
    assert text.count(r"{$^{\dagger}$}") == marks.count("tied")


@pytest.mark.parametrize("write", [to_csv, to_latex, to_markdown])
def test_writers_when_called_twice_then_bytes_are_identical(comparison, write):
    assert write(comparison).encode() == write(comparison).encode()


@pytest.mark.parametrize("write", [to_csv, to_latex, to_markdown])
def test_writers_when_rows_are_hostile_then_text_is_utf8_without_controls(hostile, write):
    assert not has_control(write(hostile).encode().decode().replace("\r\n", "\n"))


@pytest.mark.parametrize(
    ("value", "column", "expected"),
    [
        (None, SCORE, "-"),
        (8.256, SCORE, "8.26"),
        (0.0, COST, "0"),
        (33.712, COST, "33.7"),
        (0.012345, COST, "0.0123"),
        (134.8, COST, "135"),
        (1234.0, COST, "1234"),
        (1.5e9, COST, "1.50e+09"),
        (3e-7, COST, "3.00e-07"),
    ],
)
def test_number_when_formatted_then_has_the_columns_digits(value, column, expected):
    assert number(value, column) == expected


def test_cell_when_nothing_is_known_then_shows_a_hyphen(comparison):
    assert number(Cell().value, SCORE, signed=True) == "-"
