"""Consistent copies of a whole database while servers write to it, and their loading.

SQLite's online backup copies the pages of one snapshot into a file; in WAL mode a reader does not hold up writers.
PostgreSQL's tables are read with COPY in one REPEATABLE READ transaction.  Their text form (PostgreSQL's manual, COPY,
"Text Format") is loaded into an empty PostgreSQL database, or into a SQLite file, where a backup is verified without a
server.
"""

from __future__ import annotations

import errno
import os
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, delete, inspect, update

from pikachu.core.errors import BadBackup, ConfigError, Conflict
from pikachu.storage.crl_part_schema import crl_parts
from pikachu.storage.database import Database, Transaction
from pikachu.storage.migrate import VERSION_TABLE, VERSIONS, describe, upgrade
from pikachu.storage.revocation import CRL_NUMBER_STEP
from pikachu.storage.schema import crls, issuers, metadata
from pikachu.storage.settings import StoreSettings

_UNLIMITED: Final = StoreSettings(is_limited=False)
_PIECE_BYTES: Final = 4 << 20
_PAGES: Final = 2048
_raise_numbers: Final = update(issuers).values(crl_number=issuers.c.crl_number + CRL_NUMBER_STEP)
# A server that starts publishes a CRL of these at once, since newer ones may have been published.
_outdate_crls: Final = update(crls).values(last_change=-1)
_forget_parts: Final = delete(crl_parts)
# Whoever signed out since the backup stays signed out.
_end_sessions: Final = delete(metadata.tables["sessions"])
# Derived from certificates, and of another form in SQLite.
_SEARCH: Final = "certificate_search"
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\"}

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class TableDescription:
    """A table of a copy.

    :param columns: the names and PostgreSQL types of its columns, in the order of its rows.
    """

    name: str
    columns: tuple[tuple[str, str], ...]


# --- SQLite ------------------------------------------------------------------------------


def copy_sqlite(source: Path, target: Path, progress: Progress) -> None:
    """Copy a SQLite database into a new file; blocks.

    :param progress: called with the bytes copied and those of the whole.
    :raises OSError: the disk is full, or the file can't be written.
    :raises ConfigError: the database can't be read.
    """
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    reader = sqlite3.connect(source, isolation_level=None)
    writer = sqlite3.connect(target, isolation_level=None)
    try:
        writer.execute("PRAGMA synchronous = OFF")
        page_bytes = int(reader.execute("PRAGMA page_size").fetchone()[0])
        # An open read transaction keeps its snapshot; otherwise each write of another process begins the copy anew.
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM sqlite_master").fetchone()

        def copied(_: int, remaining: int, total: int) -> None:
            progress((total - remaining) * page_bytes, total * page_bytes)

        reader.backup(writer, pages=_PAGES, progress=copied, sleep=0)
    except sqlite3.Error as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target)) from None
        raise ConfigError(f"[PATHS] db_path: {source} can't be copied: {error}") from None
    finally:
        writer.close()
        reader.close()


def sqlite_revision(path: Path) -> str:
    """Return the version of the schema of a SQLite file; blocks.

    :raises ConfigError: when it is no database of this program.
    """
    connection = sqlite3.connect(path)
    try:
        row = connection.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchone()  # noqa: S608 - a constant
    except sqlite3.DatabaseError:
        row = None
    finally:
        connection.close()
    if row is None:
        raise ConfigError("[PATHS] db_path names a database that pikachu init has not completed")
    return str(row[0])


def check_sqlite(path: Path) -> None:
    """Check the pages and indexes of a SQLite database; blocks.

    :raises BadBackup: when they are damaged.
    """
    connection = sqlite3.connect(path)
    try:
        result = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.DatabaseError as error:
        result = str(error)
    finally:
        connection.close()
    if result != "ok":
        raise BadBackup(f"the database in the backup is damaged: {result}")


def prepare_restored(url: str) -> None:
    """Raise the CRL numbers of a restored database of the present version, and end its sessions; blocks."""
    database = Database(url, _nothing, _UNLIMITED)
    try:
        database.write(lambda tx: _prepare(tx.connection))
    finally:
        database.close()


def _prepare(connection: Connection) -> None:
    connection.execute(_raise_numbers)
    connection.execute(_outdate_crls)
    connection.execute(_forget_parts)
    connection.execute(_end_sessions)


def leave_wal(path: Path) -> None:
    """Move everything from the write-ahead log of a closed SQLite database into its file; blocks."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        connection.close()


# --- PostgreSQL --------------------------------------------------------------------------


class Snapshot:
    """The tables of a PostgreSQL database in one transaction; see :func:`snapshot`.

    :ivar revision: the version of the schema.
    :ivar tables: parents before the tables that refer to them.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        revision = connection.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}").scalar()  # noqa: S608 - a constant
        self.revision = str(revision)
        inspector = inspect(connection)
        names = [name for name, _ in inspector.get_sorted_table_and_fkc_names() if name]
        self.tables = [
            TableDescription(name, tuple((one["name"], str(one["type"])) for one in inspector.get_columns(name)))
            for name in names
            if name != VERSION_TABLE
        ]

    def rows(self, table: TableDescription) -> Iterator[bytes]:
        """Yield the rows of a table in COPY's text form, some MiB at a time; a piece has complete rows."""
        piece = bytearray()
        driver: Any = self._connection.connection.driver_connection
        with driver.cursor() as cursor, cursor.copy(f"COPY {_columns(table)} TO STDOUT") as copy:
            for row in copy:
                piece += row
                if len(piece) >= _PIECE_BYTES:
                    yield bytes(piece)
                    piece.clear()
        if piece:
            yield bytes(piece)

    def sequences(self) -> dict[str, int]:
        """Return the last id that was given out in each table with generated ids."""
        values = {}
        for table in self.tables:
            name = self._connection.exec_driver_sql(
                "SELECT pg_get_serial_sequence(%(table)s, column_name) FROM information_schema.columns"
                " WHERE table_name = %(table)s AND column_name = 'id' AND table_schema = current_schema()",
                {"table": table.name},
            ).scalar()
            if name is not None:
                row = self._connection.exec_driver_sql(f"SELECT last_value, is_called FROM {name}").one()  # noqa: S608 - PostgreSQL's own name
                if row[1]:
                    values[table.name] = int(row[0])
        return values


@contextmanager
def snapshot(url: str) -> Iterator[Snapshot]:
    """Open a snapshot of a PostgreSQL database; blocks.

    :raises StoreUnavailable: when the database does not answer.
    """
    database = Database(url, _nothing, _UNLIMITED)
    try:
        with database.translated(), database.reader.connect() as connection, connection.begin():
            yield Snapshot(connection)
    finally:
        database.close()


class PostgreSQLLoader:
    """Loads a copy into an empty PostgreSQL database, in the transaction of :meth:`begun`."""

    def __init__(self, connection: Connection, revision: str, tables: Iterable[TableDescription]) -> None:
        self._connection = connection
        self._tables = {table.name: table for table in tables}
        upgrade(connection, revision)
        _check_tables(connection, self._tables)
        connection.exec_driver_sql(f"TRUNCATE {', '.join(map(_quoted, self._tables))}")

    @classmethod
    @contextmanager
    def begun(cls, url: str, revision: str, tables: Iterable[TableDescription]) -> Iterator[PostgreSQLLoader]:
        """Begin a transaction, committed at the end: all is loaded, or nothing.

        :raises Conflict: when the database has tables.
        """
        database = Database(url, _nothing, _UNLIMITED)
        try:
            with database.translated(), database.writer.connect() as connection, connection.begin():
                if inspect(connection).get_table_names():
                    raise Conflict(
                        f"{describe(database.url)} is not empty; a backup is restored into an empty one only"
                    )
                yield cls(connection, revision, tables)
        finally:
            database.close()

    def load(self, table: str, rows: bytes) -> None:
        """Append rows to a table."""
        driver: Any = self._connection.connection.driver_connection
        with driver.cursor() as cursor, cursor.copy(f"COPY {_columns(self._tables[table])} FROM STDIN") as copy:
            copy.write(rows)

    def finish(self, sequences: Mapping[str, int]) -> None:
        """Continue the ids, migrate to the present version, raise the CRL numbers and end the sessions."""
        for table, value in sequences.items():
            self._connection.exec_driver_sql(
                "SELECT setval(pg_get_serial_sequence(%(table)s, 'id'), %(value)s)",
                {"table": self._tables[table].name, "value": value},
            )
        upgrade(self._connection)
        _prepare(self._connection)


class SQLiteLoader:
    """Loads a copy of a PostgreSQL database into a new SQLite file, to be verified."""

    def __init__(self, connection: Connection, revision: str, tables: Iterable[TableDescription]) -> None:
        self._connection = connection
        self._tables = {table.name: table for table in tables if table.name != _SEARCH}
        upgrade(connection, revision)
        _check_tables(connection, self._tables)
        for name in reversed(self._tables):
            connection.exec_driver_sql(f"DELETE FROM {_quoted(name)}")  # noqa: S608 - a table of the schema

    @classmethod
    @contextmanager
    def begun(cls, path: Path, revision: str, tables: Iterable[TableDescription]) -> Iterator[SQLiteLoader]:
        """Create the file and begin a transaction, committed at the end."""
        database = Database(f"sqlite:///{path}", _nothing, _UNLIMITED, fsync=False)
        try:
            with database.translated(), database.writer.connect() as connection, connection.begin():
                yield cls(connection, revision, tables)
        finally:
            database.close()

    def load(self, table: str, rows: bytes) -> None:
        """Append rows to a table."""
        description = self._tables.get(table)
        if description is None:
            return
        names = ", ".join(_quoted(name) for name, _ in description.columns)
        places = ", ".join("?" * len(description.columns))
        statement = f"INSERT INTO {_quoted(table)} ({names}) VALUES ({places})"  # noqa: S608 - columns of the schema
        cursor = self._connection.connection.cursor()
        try:
            cursor.executemany(statement, list(parse_rows(rows, [kind for _, kind in description.columns])))
        except sqlite3.IntegrityError as error:
            raise BadBackup(f"the table {table} in the backup contradicts the schema: {error}") from None
        finally:
            cursor.close()

    def finish(self, _: Mapping[str, int]) -> None:
        """Do nothing: SQLite derives its sequences from the rows."""


def parse_rows(rows: bytes, types: Iterable[str]) -> Iterator[list[object]]:
    """Parse COPY's text form into values for SQLite.

    :param types: the PostgreSQL types of the columns.
    :raises BadBackup: when it is not such a text.
    """
    kinds = list(types)
    for line in rows.decode().split("\n")[:-1]:
        cells = line.split("\t")
        if len(cells) != len(kinds):
            raise BadBackup("a table in the backup has rows of another form")
        try:
            yield [_value(cell, kind) for cell, kind in zip(cells, kinds, strict=True)]
        except (ValueError, KeyError):
            raise BadBackup("a table in the backup has a value of another type") from None


def _value(cell: str, kind: str) -> object:
    if cell == "\\N":
        return None
    if kind in ("BIGINT", "INTEGER", "SMALLINT"):
        return int(cell)
    if "\\" in cell:
        cell = _ESCAPE.sub(lambda match: _ESCAPES[match[1]], cell)
    return bytes.fromhex(cell.removeprefix("\\x")) if kind == "BYTEA" else cell


def _check_tables(connection: Connection, tables: Mapping[str, TableDescription]) -> None:
    """Check that a copy's tables and columns are those of the schema, since their names become parts of statements."""
    inspector = inspect(connection)
    known = set(inspector.get_table_names())
    for table in tables.values():
        if table.name not in known or table.name == VERSION_TABLE:
            raise BadBackup("the backup has a table that its schema does not have")
        columns = {one["name"] for one in inspector.get_columns(table.name)}
        if not columns.issuperset(name for name, _ in table.columns):
            raise BadBackup(f"the table {table.name} in the backup has columns that its schema does not have")


def known_revision(revision: str) -> bool:
    """Return whether this program has a version of the schema."""
    return revision in VERSIONS


def _columns(table: TableDescription) -> str:
    return f"{_quoted(table.name)} ({', '.join(_quoted(name) for name, _ in table.columns)})"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _nothing(_: Transaction) -> None:
    """Collect no events: copies write rows as they are."""
