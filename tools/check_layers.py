"""Check who imports whom: the table of docs/architecture.md, over every import of the tree.

Imports inside functions count as well. A finding is printed as ``file:line: message``; any finding
makes the exit code 1.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["LAYERS", "Layer", "check_file", "check_tree", "layer_of", "main"]

ROOT = Path(__file__).resolve().parent.parent
DYNAMIC = ("speechlite.plugins.registry", "speechlite.cli.main")
"""The two modules that import by name: what the registry found, and the verb that was asked for."""


@dataclass(frozen=True)
class Layer:
    """Say what the modules of a layer may import.

    Args:
        project: modules of the project, each with what lies below it; plain ``speechlite`` stands
            for itself alone.
        packages: packages of others; ``None`` allows any.
        later: modules of the project that only a function may import, when it is called.
    """

    project: tuple[str, ...]
    packages: tuple[str, ...] | None = ()
    later: tuple[str, ...] = ()


def _component(folder: str, *packages: str) -> dict[str, Layer]:
    config = Layer(("core.component", "core.errors"))
    return {
        folder: Layer(("core", "nn", "data", "metrics", folder), ("torch", *packages)),
        f"{folder}.config": config,
    }


LAYERS = {
    "speechlite": Layer(
        ("core.component",),
        ("pluggy",),
        later=("core.model", "engine.checkpoint", "plugins"),
    ),
    "__main__": Layer(("cli.main",)),
    "hookspecs": Layer(("core.component", "plugins.command"), ("pluggy",)),
    "builtin": Layer(("speechlite",)),
    "core": Layer(("core",), ("torch",)),
    "core.component": Layer(("core.errors",)),
    "core.errors": Layer(()),
    "core.result": Layer(("core.errors",)),
    "nn": Layer(("core", "nn"), ("llvmlite", "numba", "numpy", "torch")),
    "metrics": Layer(("core", "metrics"), ("torch", "kaldialign")),
    "data": Layer(
        ("speechlite", "core", "data"),
        (
            "espeakng_loader",
            "filelock",
            "lhotse",
            "numpy",
            "safetensors",
            "scipy",
            "sentencepiece",
            "soundfile",
            "torch",
            "torchaudio",
        ),
    ),
    **_component("frontends"),
    **_component("encoders"),
    **_component("objectives"),
    **_component("compressors"),
    **_component("heads", "flashlight", "numpy"),
    **_component(
        "hmm",
        "_kaldi_hmm_gmm",
        "flashlight",
        "kaldi_decoder",
        "kaldi_hmm_gmm",
        "kaldifst",
        "numpy",
        "scipy",
    ),
    "interop": Layer(
        ("core", "nn", "data", "metrics", "interop"),
        ("onnx", "safetensors", "torch", "torchaudio"),
    ),
    "plugins": Layer(
        ("speechlite", "hookspecs", "core.component", "core.errors", "plugins"), ("pluggy",)
    ),
    "config": Layer(
        ("core.component", "core.errors", "plugins", "config", "hmm.config"),
        ("hydra", "omegaconf", "yaml"),
    ),
    "engine": Layer(
        ("speechlite", "core", "data", "metrics", "hmm", "interop", "plugins", "config", "engine"),
        (
            "filelock",
            "jinja2",
            "lightning",
            "matplotlib",
            "numpy",
            "rich",
            "safetensors",
            "scipy",
            "sklearn",
            "threadpoolctl",
            "torch",
            "yaml",
        ),
    ),
    "cli": Layer(
        ("speechlite", "core.component", "core.errors", "plugins", "config.stages", "cli"),
        ("yaml",),
        later=("core", "data", "metrics", "config", "engine", "testing"),
    ),
    "testing": Layer(
        ("core", "nn.pruning", "plugins", "config", "engine.build", "testing"), ("torch",)
    ),
}
"""What each layer may import; the longest name that fits a module is its layer."""

PLUGIN = Layer(("speechlite", "hookspecs", "core", "nn", "testing"), None)
"""What a separately installed plugin may import of the project; the rest is its own affair."""


@dataclass(frozen=True)
class Import:
    """Hold one import statement's target.

    Args:
        module: dotted name of what is imported.
        line: its line.
        later: whether a function or a type checker imports it, rather than the module itself.
    """

    module: str
    line: int
    later: bool


def _is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def _targets(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.level == 0:
        module = node.module or ""
        names = [f"{module}.{alias.name}" for alias in node.names]
        return [name if _is_module(name) else module for name in names]
    return []


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def _imports(node: ast.AST, *, later: bool = False) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        for module in _targets(child):
            yield Import(module, child.lineno, later)  # type: ignore[attr-defined]
        deferred = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        yield from _imports(child, later=later or deferred or _is_type_checking(child))


def layer_of(module: str) -> Layer:
    """Return the layer of a module of the project.

    Args:
        module: dotted name, with or without the leading ``speechlite.``.

    Returns:
        The layer with the longest name that fits.

    Raises:
        KeyError: if no layer fits.
    """
    name = module.removeprefix("speechlite.")
    while name not in LAYERS:
        name, dot, _ = name.rpartition(".")
        if not dot:
            raise KeyError(module)
    return LAYERS[name]


def _is_below(module: str, allowed: tuple[str, ...]) -> bool:
    if module == "speechlite":
        return "speechlite" in allowed
    name = module.removeprefix("speechlite.")
    return any(name == one or name.startswith(f"{one}.") for one in allowed)


def _refusal(found: Import, layer: Layer, own_package: str) -> str | None:
    package = found.module.partition(".")[0]
    if package == "speechlite":
        if _is_below(found.module, layer.project):
            return None
        if not _is_below(found.module, layer.later):
            return f"may not import {found.module}"
        return None if found.later else f"may import {found.module} inside a function only"
    if package in sys.stdlib_module_names or package == own_package or layer.packages is None:
        return None
    return None if package in layer.packages else f"may not import the package {package}"


def _odd_imports(tree: ast.AST, module: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            yield node.lineno, "relative import; write the full name"
        if isinstance(node, ast.Call) and module not in DYNAMIC:
            name = ast.unparse(node.func).rpartition(".")[2]
            if name in ("import_module", "__import__"):
                yield node.lineno, f"may not import by name; only {' and '.join(DYNAMIC)} may"


def check_file(path: Path, module: str, layer: Layer) -> list[str]:
    """Return what a file imports against the rules of its layer.

    Args:
        path: the file.
        module: its dotted name.
        layer: its layer.

    Returns:
        One ``file:line: message`` a finding, in the order of lines.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    own_package = module.partition(".")[0]
    findings = [
        (found.line, f"{module} {refusal}")
        for found in _imports(tree)
        if (refusal := _refusal(found, layer, own_package))
    ]
    is_own = own_package == "speechlite"
    findings += [(line, f"{module}: {odd}") for line, odd in _odd_imports(tree, module) if is_own]
    return [f"{path}:{line}: {message}" for line, message in sorted(findings)]


def _module_name(path: Path, parent: Path) -> str:
    parts = path.relative_to(parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def check_tree(root: Path = ROOT) -> list[str]:
    """Return every import in the package and its plugins that breaks a rule.

    Args:
        root: the folder that holds ``speechlite`` and ``plugins``.

    Returns:
        One ``file:line: message`` a finding.
    """
    findings = []
    for path in sorted((root / "speechlite").rglob("*.py")):
        module = _module_name(path, root)
        findings += check_file(path, module, layer_of(module))
    for distribution in sorted((root / "plugins").glob("*/")):
        for path in sorted(distribution.glob("*/**/*.py")):
            if not path.relative_to(distribution).parts[0].startswith(("tests", "build")):
                findings += check_file(path, _module_name(path, distribution), PLUGIN)
    scripts = sorted((root / "egs").glob("**/*.py"))
    return findings + [f"{path}:1: recipes use the command line only" for path in scripts]


def main() -> int:
    """Print the findings.

    Returns:
        1 where there are any, else 0.
    """
    findings = check_tree()
    print("\n".join(findings), end="\n" if findings else "")
    return int(bool(findings))


if __name__ == "__main__":
    sys.exit(main())
