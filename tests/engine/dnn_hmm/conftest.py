from __future__ import annotations

import contextlib
import io
import shutil

import pytest
from made_recognition import pretrain_words, words, write_recipe

from speechlite.cli.main import main


def quiet(line):
    """Run a command line; return its status and the lines that it wrote on standard error."""
    told = io.StringIO()
    with contextlib.redirect_stderr(told), contextlib.redirect_stdout(io.StringIO()):
        status = main(line)
    return status, told.getvalue().splitlines()


@pytest.fixture(scope="session")
def template(speech, tmp_path_factory):
    """Give a recipe with its model built and no step run; tests must not change it."""
    root = tmp_path_factory.mktemp("template") / "recipe"
    write_recipe(root, speech)
    assert quiet(pretrain_words(root))[0] == 0
    return root


@pytest.fixture(scope="session")
def finished(template, tmp_path_factory):
    """Give a recipe after all its steps, and what they told; tests must not change it."""
    root = tmp_path_factory.mktemp("finished") / "recipe"
    copy(template, root)
    status, lines = quiet(words(root))
    assert status == 0, lines
    return root, lines


@pytest.fixture
def recipe(template, tmp_path):
    """Give a recipe to change, with its model built and no step run."""
    return copy(template, tmp_path / "recipe")


@pytest.fixture(scope="session")
def changing(template, tmp_path_factory):
    """Give a recipe that tests may run with other options, but not otherwise change."""
    return copy(template, tmp_path_factory.mktemp("changing") / "recipe")


@pytest.fixture
def run():
    return quiet


@pytest.fixture
def refused():
    """Run steps that must fail; return the only line of error."""

    def call(root, steps, *overrides):
        status, lines = quiet(words(root, steps, *overrides))
        errors = [line for line in lines if line.startswith("speechlite: error: ")]
        assert errors == lines[-1:]
        assert "this is a bug" not in errors[0]
        assert 1 <= status <= 6
        return errors[0]

    return call


def copy(source, target):
    shutil.copytree(source, target)
    for file in [*target.glob("conf/*.yaml"), *target.glob("data/*/wav.scp")]:
        file.write_text(file.read_text().replace(str(source), str(target)))
    return target
