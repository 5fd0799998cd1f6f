from __future__ import annotations

import subprocess
import sys
from importlib.metadata import PackageNotFoundError

import pytest

from speechlite.core.errors import EnvironmentProblem
from speechlite.hmm import wheels

GOOD = {"kaldifst": "1.7.17", "kaldi-hmm-gmm": "1.1.4", "kaldi-decoder": "0.2.11"}


def install(monkeypatch, versions):
    def version(name):
        if name not in versions:
            raise PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(wheels, "version", version)


def test_versions_when_they_work_together_are_accepted(monkeypatch):
    install(monkeypatch, GOOD)
    wheels.check_versions()


@pytest.mark.parametrize("package", GOOD)
def test_versions_when_a_package_is_missing_say_what_to_install(monkeypatch, package):
    install(monkeypatch, {name: found for name, found in GOOD.items() if name != package})
    with pytest.raises(EnvironmentProblem, match=rf"{package} is not installed; DNN-HMM.*\[hmm\]"):
        wheels.check_versions()


@pytest.mark.parametrize(
    ("package", "found"),
    [
        ("kaldifst", "1.8.0"),
        ("kaldifst", "1.70.1"),
        ("kaldi-hmm-gmm", "1.2"),
        ("kaldi-decoder", "0.3.1"),
    ],
)
def test_versions_when_they_do_not_work_together_are_refused(monkeypatch, package, found):
    install(monkeypatch, {**GOOD, package: found})
    with pytest.raises(
        EnvironmentProblem, match=rf"{package} is {found}, expected .*hang or crash"
    ):
        wheels.check_versions()


def test_wheels_when_versions_are_wrong_are_not_imported():
    # in a process of its own: importing the wrong pair would never return
    code = (
        "import sys; from speechlite.hmm import wheels\n"
        "wheels.version = lambda name: '1.8.0'\n"
        "try: wheels.load_wheels()\n"
        "except wheels.EnvironmentProblem: print('kaldifst' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_wheels_when_one_cannot_be_imported_say_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "kaldi_hmm_gmm", None)
    with pytest.raises(EnvironmentProblem, match=r"wheels of DNN-HMM cannot be imported.*\[hmm\]"):
        wheels.load_wheels.__wrapped__()


def test_wheels_when_loaded_twice_are_the_same():
    assert wheels.load_wheels() is wheels.load_wheels()


def test_module_when_imported_loads_no_wheel():
    code = (
        "import sys, speechlite.hmm.wheels, speechlite.hmm.config\n"
        "print([n for n in ('kaldifst', 'kaldi_hmm_gmm', 'numpy', 'torch') if n in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
