"""The conformance suite: what every component of a kind must do, for authors of plugins.

In a plugin's own tests:

    @pytest.mark.parametrize(("component", "check"), conformance_cases("speechlite-thin"))
    def test_component_conforms(component, check):
        check(component)
"""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable

from speechlite.core.component import Component
from speechlite.core.errors import SpeechliteError
from speechlite.testing import compressors, encoders, frontends, heads, objectives
from speechlite.testing.fixtures import installed_registry, tiny_options

__all__ = ["CHECKS", "ConformanceError", "check_component", "conformance_cases"]

Check = Callable[[Component], None]


class ConformanceError(SpeechliteError):
    """Report a component that breaks its contract.

    Args:
        component: the component.
        check: name of the check that failed.
        cause: what was wrong.
    """

    def __init__(self, component: Component, check: str, cause: str) -> None:
        super().__init__(
            f"{component.kind} {component.name} fails {check}: {cause}",
            remedy=f"see the contract of a {component.kind} in speechlite.core",
        )


def config_loads_without_torch(component: Component) -> None:
    """Check that the options are a frozen dataclass whose module imports no torch.

    Args:
        component: the component.
    """
    module, _, name = component.config.partition(":")
    code = (
        f"import sys, importlib; config = importlib.import_module({module!r}).{name}; "
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False)  # noqa: S603 (own code)
    assert done.returncode == 0, f"importing {module} loads torch or fails"
    config = installed_registry().config_class(component)
    assert dataclasses.is_dataclass(config), f"{config} is no dataclass"
    frozen = config.__dataclass_params__.frozen  # type: ignore[attr-defined]  # typeshed lacks it
    assert frozen, f"{config} is not frozen"


def config_is_documented(component: Component) -> None:
    """Check that options have a docstring and defaults.

    Args:
        component: the component.
    """
    registry = installed_registry()
    config = registry.config_class(component)
    assert config.__doc__, f"{config} has no docstring"
    config()
    tiny_options(component, registry)


_COMMON: tuple[Check, ...] = (config_loads_without_torch, config_is_documented)

CHECKS: dict[str, tuple[Check, ...]] = {
    "frontend": (*_COMMON, *frontends.CHECKS),
    "encoder": (*_COMMON, *encoders.CHECKS),
    "objective": (*_COMMON, *objectives.CHECKS),
    "compressor": (*_COMMON, *compressors.CHECKS),
    "head": (*_COMMON, *heads.CHECKS),
}
"""The checks of each kind; each takes the component's record and raises AssertionError."""


def check_component(kind: str, name: str) -> None:
    """Run every check on one installed component.

    Args:
        kind: its kind.
        name: its name, with its distribution where the bare one is ambiguous.

    Raises:
        ConformanceError: if a check fails; the first one is reported.
    """
    component = installed_registry().get(kind, name)
    for check in CHECKS[kind]:
        try:
            check(component)
        except SpeechliteError:
            raise
        except Exception as error:
            cause = " ".join(str(error).split()) or type(error).__name__
            raise ConformanceError(component, check.__name__, cause) from error


def conformance_cases(distribution: str | None = None) -> list[tuple[Component, Check]]:
    """Return every check of every installed component, for ``pytest.mark.parametrize``.

    Args:
        distribution: only components of this distribution; None takes all.

    Returns:
        Pairs of a component and a check.
    """
    registry = installed_registry()
    return [
        (component, check)
        for component in registry.components()
        if distribution in (None, registry.distribution_of(component))
        for check in CHECKS[component.kind]
    ]
