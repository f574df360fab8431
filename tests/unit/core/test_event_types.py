"""Types of audit events: each that is recorded can be chosen as a filter."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from pikachu.core.model.events import ACCOUNT_EVENT_TYPES, OBJECT_EVENT_TYPES, RESOURCE_TYPES

PACKAGE = Path(__file__).parents[3] / "pikachu"
# Function → the positions of an event's type and of its resource type.
POSITIONS = {"Event": (0, 1), "event_by": (1, 2)}


def texts(node: ast.expr) -> Iterator[str]:
    """The strings that an expression can be, where it names them."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from (*texts(node.body), *texts(node.orelse))


def recorded() -> tuple[set[str], set[str]]:
    """The types, and the resource types, that the package's source records."""
    found: tuple[set[str], set[str]] = (set(), set())
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                for names, position in zip(found, POSITIONS.get(node.func.id, ()), strict=False):
                    names.update(text for one in node.args[position : position + 1] for text in texts(one))
    return found


def test_recorded_types_are_known() -> None:
    """AUD-1, AUD-2: an unknown one would be refused as a filter until it is first recorded."""
    types, resource_types = recorded()
    assert {"create", "download", "revoke"} <= types
    assert types - set(OBJECT_EVENT_TYPES) - set(ACCOUNT_EVENT_TYPES) == set()
    assert resource_types - set(RESOURCE_TYPES) == set()
