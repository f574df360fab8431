"""Definitions of the package that nothing in the package uses."""

from __future__ import annotations

import ast
import importlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from zope.interface import implementedBy

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
# Decorators that hand their function to somebody: routes, pages, and listeners of SQLAlchemy.
_REGISTERING = ("Operation", "page", "listens_for", "compiles")


def unused(modules: Mapping[str, Path], others: str) -> Iterator[tuple[str, str]]:
    """Yield the module and qualified name of each unused function, class, method, property and constant.

    A use is the name anywhere in the package outside of its own definition, so a name that two definitions share counts
    for both.  Overridden methods and attributes of other libraries' classes are used by those.

    :param modules: paths of the modules by name.
    :param others: other texts that use names, such as templates.
    """
    trees = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in modules.items()}
    used = Counter(_WORD.findall(others))
    for tree in trees.values():
        used.update(_uses(tree))
    for module, tree in trees.items():
        for name, node in _definitions(tree):
            last = name.rpartition(".")[2]
            if used[last] > Counter(_uses(node))[last] or (last.startswith("__") and last.endswith("__")):
                continue
            if not _is_registered(node) and not _is_inherited(module, name):
                yield module, name


def _uses(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            yield node.attr
        elif isinstance(node, ast.alias):
            yield from node.name.split(".")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
            # As in getattr() and in annotations that are strings.
            yield node.value


def _definitions(tree: ast.Module | ast.ClassDef, prefix: str = "") -> Iterator[tuple[str, ast.AST]]:
    fields = isinstance(tree, ast.ClassDef) and _has_fields(tree)
    for node in tree.body:
        if isinstance(node, _Definition):
            yield prefix + node.name, node
            if isinstance(node, ast.ClassDef):
                yield from _definitions(node, f"{prefix}{node.name}.")
        elif isinstance(node, ast.Assign | ast.AnnAssign) and not fields:
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name):
                    yield prefix + target.id, node


def _has_fields(node: ast.ClassDef) -> bool:
    """Return whether the class attributes are fields or members, which are read by iteration too."""
    decorators = [ast.unparse(one) for one in node.decorator_list]
    bases = [ast.unparse(base) for base in node.bases]
    return any("dataclass" in one for one in decorators) or any(
        one.endswith(("Enum", "Flag", "Tuple")) for one in bases
    )


def _is_registered(node: ast.AST) -> bool:
    if not isinstance(node, _Definition):
        return False
    decorators = [ast.unparse(one).partition("(")[0] for one in node.decorator_list]
    return any(one.rpartition(".")[2] in _REGISTERING for one in decorators)


def _is_inherited(module: str, name: str) -> bool:
    """Return whether a class or interface of another library has the attribute too."""
    owner, _, attribute = name.rpartition(".")
    if not owner:
        return False
    kind: Any = importlib.import_module(module)
    for part in owner.split("."):
        kind = getattr(kind, part)
    assert isinstance(kind, type)
    libraries = [base for base in kind.__mro__[1:] if not base.__module__.startswith("pikachu")]
    interfaces = implementedBy(kind)  # type: ignore[no-untyped-call]
    return any(attribute in vars(base) for base in libraries) or any(attribute in one for one in interfaces)
