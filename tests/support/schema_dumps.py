"""Dumps of databases of earlier versions, which upgrades are tested with (OPS-3).

``python -m tests.support.schema_dumps`` writes those that are missing into ``tests/vectors/schemas``: what an earlier
version has made is never written again.
"""

from __future__ import annotations

import re
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Column,
    Connection,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    create_engine,
    inspect,
    select,
)

from pikachu.storage.database import parse_url
from pikachu.storage.migrate import VERSIONS, upgrade
from tests.support.postgresql import PostgreSQL, running_postgresql

FOLDER: Final = Path(__file__).parents[1] / "vectors" / "schemas"
#: The full-text index of SQLite and its own tables; what they hold is in other tables.
INDEX: Final = "certificate_search"
#: The values of columns whose texts migrations parse.
_JSON: Final = {"limits": "{}", "choices": "{}", "entries": "[]"}
_NUMBERS: Final = (Integer, BigInteger, SmallInteger)
# What pg_dump writes besides statements about the schema and rows, some of it for one version only.
_NOISE: Final = re.compile(r"--.*|SET .*;|SELECT pg_catalog.set_config.*;|\\(?:un)?restrict .*|\s*")

Rows = dict[str, list[dict[str, Any]]]


def _names(connection: Connection) -> list[str]:
    is_sqlite = connection.dialect.name == "sqlite"
    return [one for one in inspect(connection).get_table_names() if not (is_sqlite and one.startswith(INDEX))]


def rows_of(connection: Connection) -> Rows:
    """Return all rows by table."""
    return {
        name: [dict(row) for row in connection.exec_driver_sql(f'SELECT * FROM "{name}"').mappings()]
        for name in _names(connection)
    }


def schema_of(connection: Connection) -> dict[str, Any]:
    """Return what a schema demands: columns, keys and indexes of each table, in no order."""
    inspector = inspect(connection)
    columns, indexes = inspector.get_multi_columns(), inspector.get_multi_indexes()
    keys, unique = inspector.get_multi_pk_constraint(), inspector.get_multi_unique_constraints()
    foreign = inspector.get_multi_foreign_keys()
    return {
        name: {
            "columns": {one["name"]: (repr(one["type"]), one["nullable"]) for one in columns[None, name]},
            "key": keys[None, name]["constrained_columns"],
            "unique": sorted(tuple(one["column_names"]) for one in unique[None, name]),
            "foreign": sorted(
                (tuple(one["constrained_columns"]), one["referred_table"]) for one in foreign[None, name]
            ),
            "indexes": {
                one["name"]: (
                    tuple(one.get("expressions") or one["column_names"]),
                    bool(one["unique"]),
                    sorted((key, str(value)) for key, value in one.get("dialect_options", {}).items()),
                )
                for one in indexes[None, name]
            },
        }
        for name in _names(connection)
    }


def _value(column: Column[Any]) -> object:
    """Return a value that a column takes."""
    if isinstance(column.type, LargeBinary):
        return b"\x01\x02"
    if isinstance(column.type, ARRAY):
        return [1]
    if isinstance(column.type, _NUMBERS):
        return 1
    return 1.0 if isinstance(column.type, Float) else _JSON.get(column.name, f"some {column.name}")


def _fill(connection: Connection) -> None:
    """Give each empty table a row, those first that others refer to."""
    names = _names(connection)
    metadata = MetaData()
    metadata.reflect(connection, only=names)
    for table in metadata.sorted_tables:
        if table.name != "pikachu_schema" and connection.execute(select(table).limit(1)).first() is None:
            connection.execute(table.insert().values({column.name: _value(column) for column in table.columns}))


@contextmanager
def begun(url: str) -> Iterator[Connection]:
    """Connect to a database in one transaction."""
    engine = create_engine(parse_url(url))
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def load(url: str, dump: Path) -> None:
    """Load a dump into an empty database."""
    text = dump.read_text("utf-8")
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        with closing(sqlite3.connect(str(parsed.database))) as database:
            database.executescript(text)
        return
    with begun(url) as connection:
        connection.exec_driver_sql(text)


def _dump_sqlite(path: Path) -> str:
    with closing(sqlite3.connect(path)) as database:
        return "".join(f"{line}\n" for line in database.iterdump())


def _dump_postgresql(server: PostgreSQL, name: str) -> str:
    where = ("-h", str(server.folder), "-p", str(server.port), "-U", "pikachu")
    text = server.run("pg_dump", "--inserts", "--no-owner", "--no-privileges", *where, name)
    return "".join(f"{line}\n" for line in text.splitlines() if not _NOISE.fullmatch(line))


def main() -> None:
    """Write the dumps that are missing."""
    with tempfile.TemporaryDirectory() as folder, running_postgresql() as server:
        path = Path(folder, "pikachu.db")
        name = server.new_database()
        for version in VERSIONS:
            for kind, url in (("sqlite", f"sqlite:///{path}"), ("postgresql", server.url(name))):
                with begun(url) as connection:
                    upgrade(connection, version)
                    _fill(connection)
                target = FOLDER / kind / f"{version}.sql"
                target.parent.mkdir(parents=True, exist_ok=True)
                if not target.exists():
                    dump = _dump_sqlite(path) if kind == "sqlite" else _dump_postgresql(server, name)
                    target.write_text(dump, "utf-8")


if __name__ == "__main__":
    main()
