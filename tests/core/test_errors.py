"""Errors: one line, a place, a remedy, an exit code."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest

from speechlite.core import errors
from speechlite.core.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    EnvironmentProblem,
    LockError,
    PlanError,
    PluginError,
    SpeechliteError,
    UsageError,
)

EXIT_CODES = {
    SpeechliteError: 1,
    UsageError: 2,
    ConfigError: 2,
    PlanError: 2,
    DataError: 3,
    CheckpointError: 3,
    LockError: 4,
    PluginError: 5,
    EnvironmentProblem: 5,
}


def test_errors_when_listed_then_each_has_its_exit_code_here():
    assert {kind.__name__ for kind in EXIT_CODES} == set(errors.__all__)


@pytest.mark.parametrize("kind", list(EXIT_CODES), ids=lambda kind: kind.__name__)
def test_error_when_raised_then_it_exits_with_the_documented_code(kind):
    error = kind("three given, two expected", remedy="give two")
    assert isinstance(error, SpeechliteError)
    assert error.exit_code == EXIT_CODES[kind]
    assert str(error) == "three given, two expected; give two"


def test_error_when_it_has_a_place_then_the_line_begins_with_it():
    error = DataError("no duration", remedy="add it", path="data/text", line=7)
    assert str(error) == "data/text:7: no duration; add it"
    assert (error.path, error.line) == (Path("data/text"), 7)


def test_error_when_it_has_no_line_number_then_the_path_stands_alone():
    assert str(DataError("empty", remedy="fill it", path="wav.scp")) == "wav.scp: empty; fill it"


def test_error_when_the_cause_has_several_lines_then_the_message_has_one():
    assert str(DataError("first\n  second", remedy="act\n")) == "first second; act"


@pytest.mark.parametrize("travel", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_error_when_it_crosses_processes_then_it_arrives_whole(travel):
    error = CheckpointError("torn", remedy="copy again", path="a/b", line=2)
    arrived = travel(error)
    assert type(arrived) is CheckpointError
    assert str(arrived) == str(error)
    assert (arrived.cause, arrived.remedy) == ("torn", "copy again")
    assert (arrived.path, arrived.line) == (Path("a/b"), 2)
