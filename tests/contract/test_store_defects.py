"""Statements that a database refuses are defects, not outages."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pikachu.storage.database import Database, Transaction
from pikachu.storage.driver_errors import DatabaseDefect
from pikachu.storage.migrate import migrate

HIDDEN = "hidden-name"
STATEMENTS: list[tuple[str, str | None]] = [
    ("SELECT * FROM missing_table", "missing_table"),
    ("SELECT missing_column FROM certificates", None),
    ("SELEC 1", None),
    (f"SELECT abs('{HIDDEN}', 1, 2)", None),
]


def refused(database_url: str, statement: str, *, write: bool) -> str:
    """The text of the defect; the database works on."""
    migrate(database_url)
    database = Database(database_url, lambda _: None)

    def work(transaction: Transaction) -> None:
        transaction.connection.exec_driver_sql(statement)

    run: Callable[[Callable[[Transaction], None]], object] = database.write if write else database.read
    with pytest.raises(DatabaseDefect) as caught:
        run(work)
    assert database.read(lambda tx: tx.connection.exec_driver_sql("SELECT 1").scalar()) == 1
    database.close()
    assert HIDDEN not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("statement", "named"), STATEMENTS, ids=[statement for statement, _ in STATEMENTS])
@pytest.mark.parametrize("write", [False, True], ids=["read", "write"])
def test_statements_that_are_wrong(database_url: str, statement: str, named: str | None, write: bool) -> None:
    """On SQLite and PostgreSQL; the name of what is missing is said where that can't be a value."""
    text = refused(database_url, statement, write=write)
    if named is not None and database_url.startswith("sqlite"):
        assert named in text


def test_a_constraint_that_nobody_expects_to_break(database_url: str) -> None:
    refused(database_url, f"INSERT INTO certificates (subject) VALUES ('{HIDDEN}')", write=True)
