"""Check docstrings against signatures: every public name says what it takes, gives and raises.

Public is what ``__all__`` names, with the public methods of its classes. A finding is printed as
``file:line: message``; any finding makes the exit code 1.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["check_file", "check_tree", "main", "sections"]

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("speechlite", "plugins/*/[!t]*", "tools")
"""Where public names live, as patterns below the root."""

Function = ast.FunctionDef | ast.AsyncFunctionDef
Finding = tuple[int, str]

_SECTION = re.compile(r"(Args|Returns|Yields|Raises):\s*$")
_ENTRY = re.compile(r" {4}(\*{0,2}\w+):(?: |$)")


def sections(docstring: str) -> dict[str, list[str]]:
    """Split a docstring into its sections.

    Args:
        docstring: the text, indented as it may be.

    Returns:
        By name of the section, the names of its entries in order; none in running text.
    """
    found: dict[str, list[str]] = {}
    current = None
    for line in inspect.cleandoc(docstring).splitlines():
        if heading := _SECTION.match(line):
            current = found.setdefault(heading[1], [])
        elif line and not line.startswith(" "):
            current = None
        elif current is not None and (entry := _ENTRY.match(line)):
            current.append(entry[1].lstrip("*"))
    return found


def _is_called(node: Function | ast.ClassDef, name: str) -> bool:
    return any(ast.unparse(item).partition("(")[0].endswith(name) for item in node.decorator_list)


def _parameters(function: Function, *, bound: bool) -> list[str]:
    arguments = function.args
    names = [item.arg for item in (*arguments.posonlyargs, *arguments.args)]
    if bound and not _is_called(function, "staticmethod"):
        names = names[1:]
    names += [arguments.vararg.arg] if arguments.vararg else []
    names += [item.arg for item in arguments.kwonlyargs]
    return names + ([arguments.kwarg.arg] if arguments.kwarg else [])


def _own_nodes(function: Function) -> Iterator[ast.AST]:
    """Give the nodes of a function's body without those of the functions inside it."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            waiting += ast.iter_child_nodes(node)


def _raised(function: Function) -> set[str]:
    raises = [node.exc for node in _own_nodes(function) if isinstance(node, ast.Raise)]
    calls = [exc.func for exc in raises if isinstance(exc, ast.Call)]
    names = {func.id for func in calls if isinstance(func, ast.Name)}
    # a private function that makes an error is no name of a class
    return {name for name in names if name[0].isupper()}


def _gives(function: Function) -> str | None:
    """Return the section that a function's result belongs in."""
    nodes = list(_own_nodes(function))
    if any(isinstance(node, (ast.Yield, ast.YieldFrom)) for node in nodes):
        return "Yields"
    is_nothing = function.returns is None or ast.unparse(function.returns) in ("None", "NoReturn")
    return None if is_nothing else "Returns"


def _check_arguments(name: str, documented: list[str], expected: list[str]) -> Iterator[str]:
    if documented != expected:
        written, signature = ", ".join(documented), ", ".join(expected)
        yield f"{name}: Args are ({written}), the signature has ({signature})"


def _check_function(function: Function, name: str, *, bound: bool) -> Iterator[Finding]:
    text = ast.get_docstring(function)
    if text is None:
        yield function.lineno, f"{name}: no docstring"
        return
    found, line = sections(text), function.lineno
    for message in _check_arguments(
        name, found.get("Args", []), _parameters(function, bound=bound)
    ):
        yield line, message
    given = {section for section in ("Returns", "Yields") if section in found}
    expected = {section for section in (_gives(function),) if section}
    is_property = _is_called(function, "property")
    if given != expected and not is_property:
        words = [" and ".join(sorted(one)) or "nothing" for one in (given, expected)]
        yield line, f"{name}: docstring has {words[0]}, expected {words[1]}"
    missing = _raised(function) - set(found.get("Raises", []))
    if missing:
        yield line, f"{name}: Raises lacks {', '.join(sorted(missing))}"


def _documented_lines(body: list[ast.stmt]) -> Iterator[tuple[str, int, bool]]:
    """Give each plain assignment of a body: its name, its line, whether a docstring follows."""
    for node, follower in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign):
            targets = [node.target]
        elif isinstance(node, ast.Assign):
            targets = node.targets
        else:
            continue
        value = follower.value if isinstance(follower, ast.Expr) else None
        is_documented = isinstance(value, ast.Constant) and isinstance(value.value, str)
        for target in targets:
            if isinstance(target, ast.Name):
                yield target.id, node.lineno, is_documented


def _check_dataclass(node: ast.ClassDef, documented: list[str]) -> Iterator[Finding]:
    fields = [item for item in _documented_lines(node.body) if not item[0].startswith("_")]
    if node.name.endswith(("Config", "Options")) or (not documented and fields):
        for field, line, is_documented in fields:
            if not is_documented:
                yield line, f"{node.name}.{field}: no docstring line"
        return
    for message in _check_arguments(node.name, documented, [field for field, *_ in fields]):
        yield node.lineno, message


def _check_class(node: ast.ClassDef) -> Iterator[Finding]:
    text = ast.get_docstring(node)
    if text is None:
        yield node.lineno, f"{node.name}: no docstring"
        return
    methods = {item.name: item for item in node.body if isinstance(item, Function)}
    documented = sections(text).get("Args", [])
    if _is_called(node, "dataclass"):
        yield from _check_dataclass(node, documented)
    elif "__init__" in methods:
        expected = _parameters(methods["__init__"], bound=True)
        for message in _check_arguments(node.name, documented, expected):
            yield node.lineno, message
    for name, method in methods.items():
        if not name.startswith("_") and not _is_called(method, ".setter"):
            yield from _check_function(method, f"{node.name}.{name}", bound=True)


def _public_names(tree: ast.Module) -> list[str] | None:
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return [str(name) for name in ast.literal_eval(node.value)]
    return None


def _defines_names(tree: ast.Module) -> bool:
    kinds = (ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)
    return any(isinstance(node, kinds) for node in tree.body)


def _is_script(tree: ast.Module) -> bool:
    last = tree.body[-1]
    return isinstance(last, ast.If) and ast.unparse(last.test) == "__name__ == '__main__'"


def _check_module(tree: ast.Module) -> Iterator[Finding]:
    if ast.get_docstring(tree) is None:
        yield 1, "the module has no docstring"
    public = _public_names(tree)
    if public is None and _defines_names(tree) and not _is_script(tree):
        yield 1, "the module has no __all__"
    public = public or []
    constants = {name: (line, told) for name, line, told in _documented_lines(tree.body)}
    for node in tree.body:
        if isinstance(node, Function) and node.name in public:
            yield from _check_function(node, node.name, bound=False)
        elif isinstance(node, ast.ClassDef) and node.name in public:
            yield from _check_class(node)
    for name in public:
        line, told = constants.get(name, (0, True))
        if not told and not name.startswith("__"):
            yield line, f"{name}: no docstring line"


def check_file(path: Path) -> list[str]:
    """Return what is wrong with the docstrings of a file.

    Args:
        path: the file.

    Returns:
        One ``file:line: message`` a finding, in the order of lines.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return [f"{path}:{line}: {message}" for line, message in sorted(_check_module(tree))]


def check_tree(root: Path = ROOT) -> list[str]:
    """Return what is wrong with the docstrings of the package, its plugins and its tools.

    Args:
        root: the folder that holds them.

    Returns:
        One ``file:line: message`` a finding.
    """
    folders = [folder for pattern in FOLDERS for folder in sorted(root.glob(pattern))]
    files = [path for folder in folders for path in sorted(folder.rglob("*.py"))]
    return [finding for path in files for finding in check_file(path)]


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
