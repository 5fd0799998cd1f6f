"""The check of recipes accepts the recipes that there are, and names what is wrong with others."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import check_recipes
import pytest

from speechlite.plugins.discovery import discover
from speechlite.plugins.registry import Registry

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "egs" / "librispeech" / "layer_reduction"
SOURCES = ("run.sh", "README.md", "conf", "local")


@pytest.fixture(scope="module")
def registry():
    return Registry(discover())


@pytest.fixture
def recipe(tmp_path) -> Path:
    folder = tmp_path / "egs" / "librispeech" / "copied"
    folder.mkdir(parents=True)
    for name in SOURCES:
        copy = shutil.copytree if (RECIPE / name).is_dir() else shutil.copy2
        copy(RECIPE / name, folder / name)
    # one experiment is enough to see that systems and chains are composed
    (folder / "conf" / "experiments.yaml").write_text(
        "recipe: r\nsystems:\n  a: {overrides: []}\nchains:\n"
        '  d: [["compressor=depth", "compressor.layers=2"]]\n'
        'experiments:\n  "1": {system: a, chain: d, rows: [{table: t, row: r}]}\ndefault: ["1"]\n'
    )
    for path in sorted((folder / "conf").glob("*_full.yaml")):
        path.unlink()
    return folder


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_recipe_when_it_is_sound_has_no_findings(recipe, registry):
    assert check_recipes.check_recipe(recipe, registry) == []


@pytest.mark.parametrize("name", check_recipes.NEEDED)
def test_recipe_when_a_file_is_missing_names_it(recipe, registry, name):
    (recipe / name).unlink()
    (finding,) = check_recipes.check_recipe(recipe, registry)
    assert finding == f"{recipe}:1: lacks {name}"


@pytest.mark.parametrize(
    ("name", "old", "new", "finding"),
    [
        ("run.sh", 'main "$@"', "size=1\n" * 20, r"run\.sh:\d+: \d+ lines, at most 25 expected"),
        ("run.sh", "experiments= #", "experiments=#", r"option experiments has no comment"),
        ("run.sh", "main", "python -c 1; main", r"run\.sh:\d+: calls python; shell sequences"),
        ("README.md", "# ", "# /home/me/x ", r"README\.md:1: a path of one machine"),
        (
            "conf/evaluate_ctc_mini.yaml",
            "[data/train",
            "[/mnt/data/train",
            r":8: a path of one machine",
        ),
        (
            "conf/pretrain_mini.yaml",
            "- objective: recon",
            "- objective: x_",
            r"pretrain_mini\.yaml:\d+: .*x_struction",
        ),
        (
            "conf/pretrain_mini.yaml",
            "max_steps:",
            "max_stpes:",
            r"pretrain_mini\.yaml:\d+: .*stpes",
        ),
        ("conf/encoder/conformer_mini.yaml", "dim:", "dmi:", r"conformer_mini\.yaml:\d+: .*dmi"),
        ("conf/head/ctc_mini.yaml", "[ctc]", "[noctc]", r"ctc_mini\.yaml:\d+: .*noctc"),
        ("conf/experiments.yaml", "compressor=depth", "compressor=width", r"width"),
        ("conf/experiments.yaml", "overrides: []", 'overrides: ["encoder.x=1"]', r"encoder\.x"),
        (
            "conf/experiments.yaml",
            "default:",
            "preset:",
            r"experiments\.yaml:1: expected the keys",
        ),
        ("conf/claims.yaml", "claim:", "\tclaim:", r"claims\.yaml:\d+: "),
    ],
)
def test_recipe_when_something_is_wrong_names_the_place(recipe, registry, name, old, new, finding):
    edit(recipe / name, old, new)
    findings = check_recipes.check_recipe(recipe, registry)
    assert any(re.search(finding, one) for one in findings), findings


def test_recipe_when_a_script_is_not_executable_names_it(recipe, registry):
    (recipe / "local" / "data.sh").chmod(0o644)
    (finding,) = check_recipes.check_recipe(recipe, registry)
    assert re.search(r"data\.sh:1: not executable; run chmod \+x", finding)


def test_template_when_it_is_sound_has_no_findings():
    assert check_recipes.check_template(ROOT / "egs" / "TEMPLATE") == []


def test_template_when_an_option_has_no_comment_names_it(tmp_path):
    folder = shutil.copytree(ROOT / "egs" / "TEMPLATE", tmp_path / "TEMPLATE")
    edit(folder / "driver.sh", "scale=mini #", "scale=mini#")
    (finding,) = check_recipes.check_template(folder)
    assert re.search(r"driver\.sh:\d+: option scale has no comment beside its default", finding)


def test_template_when_the_driver_grows_says_how_far(tmp_path):
    folder = shutil.copytree(ROOT / "egs" / "TEMPLATE", tmp_path / "TEMPLATE")
    driver = folder / "driver.sh"
    driver.write_text(driver.read_text() + "# more\n" * 100)
    (finding,) = check_recipes.check_template(folder)
    assert re.search(r"lines, at most 150 expected", finding)
