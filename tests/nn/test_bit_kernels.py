"""Which program multiplies bits, and what stands in the way of the others."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from speechlite.core.errors import ConfigError, EnvironmentProblem
from speechlite.nn import bit_kernels, bit_products, bit_products_native

VARIABLE = "SPEECHLITE_BIT_KERNEL"
HAS_COMPILER = any(shutil.which(name) for name in ("c++", "g++", "clang++"))
NEEDS_COMPILER = pytest.mark.skipif(not HAS_COMPILER, reason="needs a compiler")


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.delenv(VARIABLE, raising=False)
    bit_kernels._choose.cache_clear()
    yield
    monkeypatch.undo()
    bit_kernels._choose.cache_clear()


@pytest.fixture
def no_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.delitem(sys.modules, "speechlite.nn.bit_products_numba", raising=False)
    monkeypatch.delitem(sys.modules, "speechlite.nn.bit_vectors", raising=False)


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_kernel_when_the_variable_names_none_then_it_lists_them(monkeypatch):
    monkeypatch.setenv(VARIABLE, "fpga")
    with pytest.raises(ConfigError, match=r"is 'fpga', expected one of c\+\+, numba, torch; set"):
        bit_products.kernel_name()


def test_kernel_when_numba_is_missing_then_torch_runs_and_the_note_says_why(
    monkeypatch, empty_cache, no_numba
):
    assert bit_products.kernel_name() == "torch"
    assert "c++: no library is built; numba: numba cannot be imported" in bit_products.kernel_note()
    monkeypatch.setenv(VARIABLE, "numba")
    with pytest.raises(EnvironmentProblem, match="numba cannot be imported .* install the extra"):
        bit_products.kernel_name()


@pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="needs numba")
def test_kernel_when_numba_may_not_compile_then_torch_runs(monkeypatch, empty_cache):
    from speechlite.nn import bit_products_numba

    monkeypatch.setattr(bit_products_numba.config, "DISABLE_JIT", 1)
    assert bit_products.kernel_name() == "torch"
    assert bit_products.kernel_note().endswith("numba: numba is told not to compile")


def test_kernel_when_the_source_is_missing_then_another_runs(monkeypatch, tmp_path):
    monkeypatch.setattr(bit_products_native, "_SOURCE", tmp_path / "absent.cpp")
    assert bit_products.kernel_name() in ("numba", "torch")
    with pytest.raises(EnvironmentProblem, match="source or the home directory cannot be found"):
        bit_products.build_kernel()


def test_kernel_when_nothing_is_built_then_no_compiler_runs(monkeypatch, empty_cache):
    monkeypatch.setattr(bit_products_native, "_compile", pytest.fail)
    assert bit_products.kernel_name() in ("numba", "torch")
    assert bit_products.kernel_note().startswith("c++: no library is built")


@NEEDS_COMPILER
def test_build_when_done_then_a_fast_processor_takes_it_from_then_on(monkeypatch, cache):
    name = bit_products.build_kernel()
    monkeypatch.setattr(bit_products_native, "_compile", pytest.fail)
    assert bit_products.build_kernel() == name
    library = bit_products_native.NativeKernel(bit_products_native.built_library())
    assert library.name in ("c++ avx512", "c++ popcnt")
    assert name == (library.name if library.name == "c++ avx512" else name)
    monkeypatch.setenv(VARIABLE, "c++")
    assert bit_products.kernel_name() == library.name
    assert bit_products.kernel_note() == ""


@NEEDS_COMPILER
def test_kernel_when_neither_avx512_nor_numba_is_there_then_the_plain_library_runs(
    monkeypatch, no_numba
):
    monkeypatch.setattr(bit_products_native, "_level", lambda library: 1)
    assert bit_products.build_kernel() == "c++ popcnt"
    assert "c++: no AVX-512 VPOPCNTDQ; numba: " in bit_products.kernel_note()


def test_build_when_there_is_no_compiler_then_it_says_which_it_looked_for(monkeypatch, empty_cache):
    monkeypatch.setenv("PATH", str(empty_cache))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(EnvironmentProblem, match=r"no C\+\+ compiler \(looked for CXX, c\+\+"):
        bit_products.build_kernel()


def _script(folder: Path, text: str) -> str:
    path = folder / "compiler"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_build_when_the_compiler_fails_then_its_words_are_told_and_nothing_stays(
    monkeypatch, empty_cache
):
    monkeypatch.setenv("CXX", _script(empty_cache, "echo no such header >&2; exit 3"))
    with pytest.raises(EnvironmentProblem, match=r"failed with 3 \(no such header\)"):
        bit_products.build_kernel()
    assert list((empty_cache / "speechlite").iterdir()) == []


def test_build_when_the_compiler_hangs_then_it_is_stopped(monkeypatch, empty_cache):
    monkeypatch.setenv("CXX", _script(empty_cache, "exec sleep 30"))
    monkeypatch.setattr(bit_products_native, "_TIMEOUT_SECONDS", 0.1)
    with pytest.raises(EnvironmentProblem, match="took more than 0.1 seconds"):
        bit_products.build_kernel()


def test_build_when_the_cache_cannot_be_written_then_it_says_where(monkeypatch, empty_cache):
    (empty_cache / "speechlite").write_text("in the way")
    monkeypatch.setenv("CXX", _script(empty_cache, "exit 0"))
    with pytest.raises(EnvironmentProblem, match=r"cannot be written .* set XDG_CACHE_HOME"):
        bit_products.build_kernel()


def _plant_library() -> None:
    path = bit_products_native._library_path()
    path.parent.mkdir()
    path.write_bytes(b"not a library")


def test_kernel_when_the_library_is_damaged_then_another_runs_and_the_note_says_why(empty_cache):
    _plant_library()
    assert bit_products.kernel_name() in ("numba", "torch")
    assert bit_products.kernel_note().startswith("c++: the library cannot be loaded")


def test_kernel_when_another_user_owns_the_library_then_it_is_not_loaded(monkeypatch, empty_cache):
    _plant_library()
    owner = bit_products_native._library_path().stat().st_uid
    monkeypatch.setattr(bit_products_native.os, "getuid", lambda: owner + 1)
    assert bit_products.kernel_name() in ("numba", "torch")
    assert bit_products.kernel_note().startswith("c++: the library belongs to another user")


def test_kernel_when_the_processor_is_too_old_then_the_library_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(bit_products_native.ctypes, "CDLL", lambda path: None)
    monkeypatch.setattr(bit_products_native, "_level", lambda library: 0)
    with pytest.raises(EnvironmentProblem, match="the processor has no popcount instruction"):
        bit_products_native.NativeKernel(tmp_path)
