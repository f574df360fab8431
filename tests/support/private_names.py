"""Uses of private names of other libraries."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

_ASSIGNED = re.compile(r"self\.(_[a-zA-Z]\w*)")


def foreign_private_uses(module: str, path: Path, own: frozenset[str]) -> Iterator[tuple[int, str]]:
    """Yield line and text of each use of a private name that another library defines.

    :param own: private names that the package defines itself.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.module.startswith("pikachu"):
            for alias in node.names:
                if _is_private(alias.name) or any(_is_private(part) for part in node.module.split(".")):
                    yield node.lineno, f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Attribute) and _is_private(node.attr) and node.attr not in own:
            yield node.lineno, ast.unparse(node)
        elif isinstance(node, ast.ClassDef) and node in tree.body:
            names = _private_names(getattr(importlib.import_module(module), node.name))
            for inner in ast.walk(node):
                if isinstance(inner, ast.Attribute) and inner.attr in names & own:
                    yield inner.lineno, ast.unparse(inner)
                elif isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef) and inner.name in names:
                    yield inner.lineno, inner.name


def private_definitions(path: Path) -> Iterator[str]:
    """Yield the private names that a module defines: functions, classes, variables and attributes."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.attr if isinstance(node, ast.Attribute) else node.id


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def _private_names(kind: type) -> frozenset[str]:
    """Return the private names of the classes of other libraries that a class derives from."""
    names: set[str] = set()
    for base in kind.__mro__:
        if base.__module__.partition(".")[0] == "twisted":
            names.update(name for name in vars(base) if _is_private(name))
            names.update(_ASSIGNED.findall(inspect.getsource(base)))
    return frozenset(names)
