"""Upgrades from every earlier schema, and one that fails (OPS-3): each version left a dump in tests/vectors/schemas.

A new version adds its own with ``python -m tests.support.schema_dumps``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from pikachu.storage.driver_errors import DatabaseDefect
from pikachu.storage.migrate import HEAD, VERSIONS, migrate
from tests.support.databases import execute
from tests.support.schema_dumps import FOLDER, Rows, begun, load, rows_of, schema_of

KINDS: Final = ("sqlite", "postgresql")
_fresh: dict[str, dict[str, Any]] = {}


@pytest.fixture(scope="module")
def emptied(new_postgresql: Callable[[], str]) -> Callable[[], str]:
    """Return what empties a database of PostgreSQL, which is faster than creating one, and returns its URL."""
    url = new_postgresql()

    def empty() -> str:
        execute(url, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
        return url

    return empty


@pytest.fixture(params=KINDS)
def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Return what makes an empty database of a kind, in place of the one before, and returns its URL."""
    if request.param == "sqlite":
        names = iter(range(10))
        return lambda: f"sqlite:///{tmp_path}/{next(names)}.db"
    make: Callable[[], str] = request.getfixturevalue("emptied")
    return make


def kind_of(url: str) -> str:
    """Return the name of a kind of database."""
    return url.partition(":")[0]


def dump_of(url: str, version: str) -> Path:
    """Return the dump of a version for the kind of a database."""
    return FOLDER / kind_of(url) / f"{version}.sql"


def survived(before: Rows, after: Rows) -> None:
    """Check that each row is there, with the same values in the columns that are still there."""
    for table, rows in before.items():
        if table in ("pikachu_schema", "sqlite_sequence"):
            continue
        for row in rows:
            kept = [{name: one[name] for name in row if name in one} for one in after[table]]
            common = set().union(*kept)
            assert {name: value for name, value in row.items() if name in common} in kept, table


def test_each_version_has_its_dumps() -> None:
    """A new version of the schema comes with its dumps."""
    for kind in KINDS:
        assert {one.stem for one in (FOLDER / kind).glob("*.sql")} == set(VERSIONS), kind


@pytest.mark.parametrize("version", VERSIONS)
def test_upgrade(new_database: Callable[[], str], version: str) -> None:
    """The rows of that version survive, and the schema is that of a new database."""
    url = new_database()
    load(url, dump_of(url, version))
    with begun(url) as connection:
        before = rows_of(connection)
    assert before["pikachu_schema"] == [{"version_num": version}]
    migrate(url)
    with begun(url) as connection:
        after, schema = rows_of(connection), schema_of(connection)
    assert after["pikachu_schema"] == [{"version_num": HEAD}]
    survived(before, after)
    if kind_of(url) not in _fresh:
        empty = new_database()
        migrate(empty)
        with begun(empty) as connection:
            _fresh[kind_of(url)] = schema_of(connection)
    assert schema == _fresh[kind_of(url)]


def test_a_failed_migration(new_database: Callable[[], str]) -> None:
    """A migration that fails after many others leaves the former schema with its rows, which is upgraded later."""
    url = new_database()
    load(url, dump_of(url, "0001"))
    execute(url, "CREATE TABLE notice_messages (something INTEGER)")
    with begun(url) as connection:
        before = rows_of(connection), schema_of(connection)
    with pytest.raises(DatabaseDefect):
        migrate(url)
    with begun(url) as connection:
        assert (rows_of(connection), schema_of(connection)) == before
    execute(url, "DROP TABLE notice_messages")
    migrate(url)
    with begun(url) as connection:
        after = rows_of(connection)
    del before[0]["notice_messages"]
    survived(before[0], after)
    assert after["pikachu_schema"] == [{"version_num": HEAD}]
