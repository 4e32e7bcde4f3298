"""Reads the package's own source: its modules, what each imports and when, the names it exports lazily."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.conftest import REPOSITORY

PACKAGE = REPOSITORY / "altub"


@dataclass(frozen=True)
class Import:
    """One import of a module. deferred: it happens inside a function or by a lazy export, not at import time."""

    source: str
    target: str
    line: int
    deferred: bool

    def __str__(self) -> str:
        return f"{self.source}:{self.line} imports {self.target}"


@cache
def modules() -> dict[str, Path]:
    """All modules of the package by dotted name."""
    return {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def module_name(path: Path) -> str:
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@cache
def imports(path: Path) -> tuple[Import, ...]:
    """All imports of a file, with full names (`altub.data.images`, `torch.nn`); type checkers' own left out.

    `from package import name` names the module `package.name` where there is one of the package's, the module that
    lazily exports the name where that is known, else `package`.
    """
    source = module_name(path)
    package = source if path.name == "__init__.py" else source.rpartition(".")[0]
    found = []
    for node, deferred in _walk(tree(path), False):
        if isinstance(node, ast.Import):
            found += [Import(source, alias.name, node.lineno, deferred) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _absolute("." * node.level + (node.module or ""), package)
            found += [Import(source, _home(base, alias.name), node.lineno, deferred) for alias in node.names]
    return (*found, *(Import(source, home, 1, True) for home in lazy_names(path).values()))


@cache
def lazy_names(path: Path) -> dict[str, str]:
    """Name -> full module name, of a package that calls `lazy_exports(__name__, {...})`."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "lazy_exports":
            return {name: _absolute(home, module_name(path)) for name, home in ast.literal_eval(node.args[1]).items()}
    return {}


def _walk(node: ast.AST, deferred: bool) -> Iterator[tuple[ast.AST, bool]]:
    """Every node that runs, and whether it runs only when a function is called."""
    if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
        for child in node.orelse:
            yield from _walk(child, deferred)
        return
    yield node, deferred
    inside = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
    for child in ast.iter_child_nodes(node):
        yield from _walk(child, deferred or inside)


def _absolute(name: str, package: str) -> str:
    level = len(name) - len(name.lstrip("."))
    if not level:
        return name
    return ".".join(filter(None, [*package.split(".")[: len(package.split(".")) - level + 1], name[level:]]))


def _home(base: str, name: str) -> str:
    if f"{base}.{name}" in modules():
        return f"{base}.{name}"
    return lazy_names(modules()[base]).get(name, base) if base in modules() else base
