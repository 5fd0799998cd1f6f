from __future__ import annotations

import os
import re
from dataclasses import replace

import html5lib
import pytest
from hostile_text import HOSTILE
from made_records import make_record, make_scores, write_experiment, write_record

from speechlite.core.errors import DataError, EnvironmentProblem, UsageError
from speechlite.core.result import Measure
from speechlite.engine.compare import compare, load_records
from speechlite.engine.compare_run import comparison_figures, run_compare
from speechlite.engine.report import write_report, write_results

SVG = '<svg xmlns="http://www.w3.org/2000/svg"/>\n'
FIGURES = [("A figure", "What it shows.", SVG)]
CLAIMS = [("It is smaller", "holds", {"ratio": 7.84}), ("It is faster", "not tested", "no CPU")]
SAFE_TAGS = {
    *("html", "head", "meta", "title", "style", "body", "h1", "h2", "dl", "dt", "dd", "div"),
    *("table", "caption", "thead", "tbody", "tr", "th", "td", "span", "sup", "ol", "ul", "li"),
    *("p", "figure", "img", "figcaption", "strong", "details", "summary", "pre"),
}


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    folder = write_experiment(tmp_path_factory.mktemp("exp"))
    return compare(load_records([folder]), resamples=100)


def parse(path):
    text = path.read_text(encoding="utf-8")
    return html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(text)


def assert_harmless(tree):
    for element in tree.iter():
        if not isinstance(element.tag, str):
            continue
        assert element.tag in SAFE_TAGS
        for name, value in element.attrib.items():
            assert not name.lower().startswith("on")
            assert "javascript:" not in value.lower()
            if name in ("src", "href", "action", "data"):
                assert value.startswith("data:image/svg+xml;base64,")


def test_write_report_when_written_then_is_valid_html_that_loads_nothing(comparison, tmp_path):
    path = write_report(comparison, tmp_path / "report.html", figures=FIGURES, claims=CLAIMS)
    tree = parse(path)
    assert_harmless(tree)
    policies = [e.get("content") for e in tree.iter("meta") if e.get("http-equiv")]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]
    assert "url(" not in path.read_text()
    assert len(list(tree.iter("img"))) == 1
    assert path.stat().st_size < 2_000_000


def test_write_report_when_values_are_reported_then_their_cells_are_marked(comparison, tmp_path):
    block = comparison.blocks[0]
    columns = (replace(block.columns[0], reported_title="reported"), *block.columns[1:])
    changed = replace(comparison, blocks=(replace(block, columns=columns),))
    tree = parse(write_report(changed, tmp_path / "report.html"))
    marked = [e for e in tree.iter("td") if "reported" in e.get("class", "").split()]
    assert len(marked) == len(block.rows)


@pytest.mark.parametrize("text", HOSTILE)
def test_write_report_when_texts_are_hostile_then_parsed_tree_is_harmless(tmp_path, text):
    scores = make_scores(error_rate=0.3, speakers=2, utterances=1)
    for number, score in enumerate(scores):
        score.update(id=f"{text}{number}", speaker=f"{text}{number}")
        score["detail"] = {"hypothesis": text, text: "key"}
    identity = {"row": text, "table": text, "recipe": text, "task": text}
    code = {"version": text, "git_commit": text}
    write_record(tmp_path, scores, identity=identity, code=code, cost={"why": {"rtf": text}})
    comparison = compare(load_records([tmp_path]), resamples=10)
    claims, figures = (
        [(text, text, {text: text})],
        [(text, text, text.encode("ascii", "replace").decode())],
    )
    options = {"claims": claims, "figures": figures, "config": text, "title": text}
    path = write_report(comparison, tmp_path / "report.html", **options)
    assert_harmless(html5lib.parse(path.read_text(), namespaceHTMLElements=False))
    results = write_results(comparison, tmp_path / "RESULTS.md", claims=claims)
    assert "<script" not in results.read_text()


def test_write_report_when_called_twice_then_bytes_are_identical(comparison, tmp_path):
    first = write_report(comparison, tmp_path / "a.html", figures=FIGURES).read_bytes()
    assert write_report(comparison, tmp_path / "b.html", figures=FIGURES).read_bytes() == first


def test_write_report_when_row_has_examples_then_lists_at_most_20(comparison, tmp_path):
    tree = parse(write_report(comparison, tmp_path / "report.html", config="a: 1"))
    groups = list(tree.iter("details"))
    assert len(groups) == len(comparison.blocks[0].rows) + 1
    for group in groups[:-1]:
        assert 1 <= len(list(group.find(".//tbody"))) <= 20
    assert groups[-1].find("pre").text == "a: 1"


def test_write_report_when_too_large_then_utterances_are_left_out(comparison, tmp_path):
    big = "<svg>" + "x" * 1_420_000 + "</svg>"
    row = comparison.blocks[0].rows[0]
    example = replace(row.examples[0], detail={str(n): "y" * 400 for n in range(20)})
    rows = tuple(replace(row, examples=(example,) * 20) for _ in range(3))
    block = replace(comparison.blocks[0], rows=rows)
    path = write_report(
        replace(comparison, blocks=(block,)), tmp_path / "r.html", figures=[("a", "b", big)]
    )
    assert "utterances were left out" in path.read_text()
    assert path.stat().st_size < 2_000_000


def test_write_report_when_figures_are_too_large_then_is_refused(comparison, tmp_path):
    with pytest.raises(DataError, match="expected at most 2000000"):
        write_report(comparison, tmp_path / "r.html", figures=[("a", "b", "x" * 2_000_000)])
    assert not (tmp_path / "r.html").exists()


def test_write_results_when_written_then_has_header_tables_claims_and_figures(comparison, tmp_path):
    path = write_results(comparison, tmp_path / "RESULTS.md", figures=FIGURES, claims=CLAIMS)
    text = path.read_text()
    assert text.startswith("# Results\n\nGenerated by `speechlite compare`; do not edit.\n")
    assert "- commit: 0123abc\n" in text
    assert "| It is smaller | holds | ratio 7.84 |" in text
    name = re.search(r"!\[A figure\]\((figures/[a-z0-9_.]+)\)", text)[1]
    assert (tmp_path / name).read_text() == SVG


def test_write_results_when_called_twice_then_bytes_are_identical(comparison, tmp_path):
    first = write_results(comparison, tmp_path / "a.md").read_bytes()
    assert write_results(comparison, tmp_path / "b.md").read_bytes() == first


def test_write_results_when_directory_is_a_file_then_is_refused(comparison, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentProblem, match="cannot be made"):
        write_results(comparison, tmp_path / "file" / "RESULTS.md")


def test_write_results_when_replacing_fails_then_the_old_file_stays(
    comparison, tmp_path, monkeypatch
):
    path = tmp_path / "RESULTS.md"
    path.write_text("old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(EnvironmentProblem, match="No space left on device"):
        write_results(comparison, path)
    assert [p.name for p in tmp_path.iterdir()] == ["RESULTS.md"]
    assert path.read_text() == "old"


def test_run_compare_when_given_directories_then_writes_both_files(tmp_path):
    write_experiment(tmp_path / "exp")
    comparison, text = run_compare(
        [tmp_path / "exp"], out_dir=tmp_path / "out", formats=("csv", "markdown")
    )
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "RESULTS.md",
        "figures",
        "report.html",
    ]
    assert text.startswith("block,separate_because")
    assert [row.name[:5] for row in comparison.blocks[0].rows] == ["Exp.1", "Exp.3", "Exp.5"]


def test_run_compare_when_format_is_unknown_then_lists_the_formats(tmp_path):
    with pytest.raises(UsageError, match="format is 'pdf'; name one of: terminal, markdown"):
        run_compare([tmp_path], formats=("pdf",))


def test_comparison_figures_when_layers_are_compared_then_draws_them():
    measure = Measure("wer", "test_clean", 5.0)
    data = {"test_clean": {"fingerprint": "f"}}
    records = [
        make_record((measure,), identity={"table": "Table 2", "layer": layer}, data=data)
        for layer in "56"
    ]
    (figure,) = comparison_figures(compare(records))
    assert (
        figure[0] == "librispeech/layer_reduction, Table 2, CTC WER, test_clean by inference layer"
    )
