"""The version of the schema, and migration to the version of this program.

The table ``pikachu_schema`` has the version.  A start with a current database reads that table only and does not
import Alembic.
"""

from __future__ import annotations

import os
from enum import Enum
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Text, column, exc, insert, inspect, select, table
from sqlalchemy.engine import URL

from pikachu.core.errors import ConfigError, StoreUnavailable
from pikachu.storage.database import Database, Transaction, in_memory, parse_url
from pikachu.storage.lock import lock_database
from pikachu.storage.nodes import without_servers
from pikachu.storage.schema import audit_head, metadata
from pikachu.storage.settings import StoreSettings

#: All versions of the schema; the last one is this program's.
VERSIONS: Final = tuple(f"{number:04}" for number in (*range(1, 29), 33, 29, 31, *range(35, 40)))
HEAD: Final = VERSIONS[-1]
VERSION_TABLE: Final = "pikachu_schema"

# Indexing a million rows takes a while, and so does waiting for another node that migrates.
_UNLIMITED: Final = StoreSettings(is_limited=False)
_version: Final = select(column("version_num", Text)).select_from(table(VERSION_TABLE))
_FULL_TEXT: Final = (
    "CREATE VIRTUAL TABLE certificate_search USING fts5(content, content = '', tokenize = 'trigram', detail = none)"
)


class SchemaState(Enum):
    """The state of a database relative to this program."""

    EMPTY = "empty"
    OLDER = "older"
    CURRENT = "current"


def describe(url: URL) -> str:
    """Return the database's name for messages: the file, or the URL without its password."""
    if url.get_backend_name() == "sqlite":
        return f"[PATHS] db_path: {url.database or ':memory:'}"
    return f"[DATABASE] url: {url.render_as_string(hide_password=True)}"


def schema_state(url: str) -> SchemaState:
    """Return the state of a database without changing it.

    :raises ConfigError: when it can't be opened, is not Pikachu's, or belongs to a newer Pikachu.
    """
    parsed = parse_url(url)
    if _is_missing(parsed):
        return SchemaState.EMPTY
    database = Database(url, _nothing)
    try:
        return _state(database)
    finally:
        database.close()


def _state(database: Database) -> SchemaState:
    name = describe(database.url)
    try:
        with database.reader.connect() as connection:
            tables = set(inspect(connection).get_table_names())
            if VERSION_TABLE not in tables:
                # This excludes SQLite's internal tables.
                if tables:
                    raise ConfigError(f"{name} is a database of something else; name another one")
                return SchemaState.EMPTY
            version = connection.execute(_version).scalar()
    except (exc.SQLAlchemyError, StoreUnavailable) as error:
        cause = error.orig if isinstance(error, exc.DBAPIError) and error.orig else error
        reason = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
        raise ConfigError(f"{name} can't be opened as a database: {reason}") from error
    if version is None:
        return SchemaState.EMPTY
    if version not in VERSIONS:
        raise ConfigError(f"{name} belongs to a newer Pikachu (schema {version}); install that one")
    return SchemaState.CURRENT if version == HEAD else SchemaState.OLDER


def newer_schema(tx: Transaction) -> str | None:
    """Return the version of the schema if it is newer than this program, or None."""
    row = tx.row(_version)
    return None if row is None or row[0] is None or row[0] in VERSIONS else str(row[0])


def migrate(url: str) -> SchemaState:
    """Create or migrate the schema and return its previous state.

    :raises ConfigError: like :func:`schema_state`.
    """
    parsed = parse_url(url)
    state = schema_state(url)
    if state is SchemaState.CURRENT or in_memory(parsed):
        return state
    if _is_missing(parsed):
        _make_file(parsed)
    database = Database(url, _nothing, _UNLIMITED)
    try:
        database.write(lambda transaction: upgrade(transaction.connection))
    except StoreUnavailable as error:
        raise ConfigError(f"{describe(parsed)} can't be migrated: {error.context.get('error', error)}") from error
    finally:
        database.close()
    return state


def migrate_unserved(url: str) -> SchemaState:
    """Migrate like :func:`migrate`, but refuse an older database that is in use by a server, since a server of the
    previous version would continue to write the old form.

    :raises ConfigError: when a server uses it, and like :func:`schema_state`.
    """
    parsed = parse_url(url)
    if schema_state(url) is not SchemaState.OLDER:
        return migrate(url)
    is_file = parsed.get_backend_name() == "sqlite"
    with lock_database(Path(str(parsed.database))) if is_file else without_servers(url):
        return migrate(url)


def upgrade(connection: Connection, revision: str = HEAD) -> None:
    """Migrate the schema within the transaction of *connection*.

    :param revision: one of ``VERSIONS``.
    """
    from alembic import command
    from alembic.config import Config

    configuration = Config()
    folder = Path(__file__).parent / "migrations"
    configuration.set_main_option("script_location", str(folder).replace("%", "%%"))
    configuration.attributes["connection"] = connection
    configuration.attributes["version_table"] = VERSION_TABLE
    command.upgrade(configuration, revision)


def create(database: Database) -> None:
    """Create the tables of this version in an in-memory database."""

    def work(transaction: Transaction) -> None:
        connection = transaction.connection
        metadata.create_all(connection)
        connection.execute(insert(audit_head).values(id=1, count=0, hash=bytes(32)))
        if has_trigrams(connection):
            connection.exec_driver_sql(_FULL_TEXT)

    database.write(work)


def has_trigrams(connection: Connection) -> bool:
    """Return whether this SQLite has FTS5 with the trigram tokenizer (3.34)."""
    options = connection.exec_driver_sql("SELECT sqlite_compileoption_used('ENABLE_FTS5')").scalar()
    version = connection.exec_driver_sql("SELECT sqlite_version()").scalar()
    return bool(options) and tuple(int(part) for part in str(version).split(".")) >= (3, 34)


def find_search(database: Database) -> None:
    """Set whether the texts of certificates have an index.

    :raises ConfigError: when they have one that this Python's SQLite can't update.
    """
    with database.reader.connect() as connection:
        if database.url.get_backend_name() == "postgresql":
            known = connection.exec_driver_sql("SELECT to_regclass('certificate_search')").scalar()
            database.search = known is not None
            return
        rows = connection.exec_driver_sql("SELECT 1 FROM sqlite_master WHERE name = 'certificate_search'").all()
        if not rows:
            return
        try:
            connection.exec_driver_sql("SELECT rowid FROM certificate_search LIMIT 0").all()
        except exc.OperationalError:
            raise ConfigError(f"{describe(database.url)} needs a Python whose SQLite has FTS5") from None
        database.search = True


def _is_missing(url: URL) -> bool:
    if url.get_backend_name() != "sqlite":
        return False
    return in_memory(url) or not Path(str(url.database)).exists()


def _make_file(url: URL) -> None:
    """Create an empty file with mode 0600, since it will contain sealed keys."""
    path = Path(str(url.database))
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise ConfigError(f"{describe(url)} can't be made: {error.strerror}") from error


def _nothing(_: Transaction) -> None:
    """Collect no events or index rows: migrations write them directly."""
