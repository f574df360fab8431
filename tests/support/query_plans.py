"""How SQLite carries out the statements of a store."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.event import listen

from tests.support.databases import Opened


@contextmanager
def traced(db: Opened) -> Iterator[list[str]]:
    """Collect the statements that SQLite runs, with their values."""
    statements: list[str] = []
    db.store.release_connections()
    for engine in (db.store.database.reader, db.store.database.writer):
        listen(engine, "connect", lambda connection, _: connection.set_trace_callback(statements.append))
    yield statements
    db.store.release_connections()


def plans_of(db: Opened, table: str, read: Callable[[], object]) -> list[set[str]]:
    """The steps of each SELECT and DELETE of *read*, and of each SELECT in it, that reads *table*."""
    with traced(db) as statements:
        read()
    connection = sqlite3.connect(Path(str(db.store.database.url.database)))
    plans: list[set[str]] = []
    for statement in statements:
        if re.search(rf"\bFROM {table}\b", statement):
            rows = connection.execute(f"EXPLAIN QUERY PLAN {statement}")
            # Whether the index has all columns that are read depends on the statement, and costs little.
            steps_of: dict[int, set[str]] = {}
            for _, parent, _, step in rows:
                steps_of.setdefault(parent, set()).add(step.replace("COVERING INDEX", "INDEX"))
            plans += steps_of.values()
    connection.close()
    assert plans
    return plans
