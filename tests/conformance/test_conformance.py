"""Every installed component passes the public conformance suite."""

from __future__ import annotations

import pytest

from speechlite.testing.conformance import CHECKS, check_component, conformance_cases

CASES = conformance_cases()


@pytest.mark.parametrize(
    ("component", "check"),
    CASES,
    ids=[f"{component.kind}-{component.name}-{check.__name__}" for component, check in CASES],
)
def test_component_when_installed_then_it_conforms(component, check):
    check(component)


def test_suite_when_run_then_it_covers_every_kind():
    assert {component.kind for component, _ in CASES} == set(CHECKS)


def test_check_component_when_it_conforms_then_nothing_is_raised():
    check_component("encoder", "identity")
