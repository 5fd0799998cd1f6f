"""Plugins made on the spot: a module and its installation record in a folder on sys.path."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

HEADER = """\
from speechlite import Component, hookimpl
from speechlite.hookspecs import Command


def component(**changes):
    fields = dict(kind="encoder", name="thin", target="{module}:Thin", config="{module}:ThinConfig",
                  summary="a made-up encoder")
    return Component(**{{**fields, **changes}})


"""

CONFIG = """\
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ThinConfig:
    width: int = 4


"""

OFFERS_THIN = """\
@hookimpl
def speechlite_components():
    return [component()]
"""


@dataclass(frozen=True)
class MadePlugin:
    distribution: str
    source: str = OFFERS_THIN
    header: bool = True
    entry_points: str | bytes | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    metadata: str | None = None

    @property
    def module(self) -> str:
        return self.distribution.replace("-", "_").replace(".", "_")

    def write(self, folder: Path) -> None:
        header = HEADER.format(module=self.module) + CONFIG if self.header else ""
        (folder / f"{self.module}.py").write_text(header + self.source)
        record = folder / f"{self.module}-1.5.dist-info"
        record.mkdir()
        metadata = self.metadata
        if metadata is None:
            metadata = f"Metadata-Version: 2.1\nName: {self.distribution}\nVersion: 1.5\n"
        (record / "METADATA").write_text(metadata)
        entry_points = self.entry_points or f"[speechlite]\nmade = {self.module}\n"
        if isinstance(entry_points, str):
            entry_points = entry_points.encode()
        (record / "entry_points.txt").write_bytes(entry_points)
        for name, text in self.files.items():
            (folder / name).write_text(text)


def install(folder: Path, plugins: Iterable[MadePlugin]) -> Path:
    folder.mkdir(exist_ok=True)
    for plugin in plugins:
        plugin.write(folder)
    return folder


def entry_points_in(folder: Path) -> list[importlib.metadata.EntryPoint]:
    return [
        entry_point
        for distribution in importlib.metadata.distributions(path=[str(folder)])
        for entry_point in distribution.entry_points
    ]


def forget_modules_of(folder: Path) -> None:
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(str(folder)):
            del sys.modules[name]


def run_speechlite(
    *arguments: str, folder: Path, environ: Mapping[str, str] | None = None, timeout: float = 60
) -> subprocess.CompletedProcess[str]:
    variables = {
        **os.environ,
        "PYTHONPATH": str(folder),
        "SPEECHLITE_TRACE": "",
        "SPEECHLITE_BLOCK": "",
        **(environ or {}),
    }
    return subprocess.run(
        [sys.executable, "-m", "speechlite", *arguments],
        env=variables,
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=folder,
        check=False,
    )


Installer = Callable[[Sequence[MadePlugin]], list[importlib.metadata.EntryPoint]]


def installer(tmp_path: Path, prepend: Callable[[str], None]) -> Iterator[Installer]:
    folder = tmp_path / "site"
    prepend(str(folder))

    def put(plugins: Sequence[MadePlugin]) -> list[importlib.metadata.EntryPoint]:
        return entry_points_in(install(folder, plugins))

    yield put
    forget_modules_of(folder)
