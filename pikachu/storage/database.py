"""Connections, transactions and what their errors mean.

Reads may run side by side, each in a transaction of its own; writes are serial, also over several processes, because a
write transaction takes the database's one write lock at its beginning (``BEGIN IMMEDIATE`` in SQLite, an advisory
lock in PostgreSQL).  So what a write has looked up still holds when it writes, and ids of status changes and of audit
events rise in the order of their commits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from twisted.python.failure import Failure

from sqlalchemy import Connection, Engine, create_engine, event, exc
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler
from sqlalchemy.engine import URL, make_url
from sqlalchemy.pool import StaticPool
from sqlalchemy.sql import Executable
from sqlalchemy.sql.elements import CompilerElement

from pikachu.core.errors import ConfigError, PikachuError, StoreUnavailable
from pikachu.core.model.certificates import StatusChange
from pikachu.storage.driver_errors import defect_of, is_of_driver, outage_of
from pikachu.storage.settings import DEFAULT_SETTINGS, StoreSettings

T = TypeVar("T")
Row = tuple[Any, ...]

# Any number will do, as long as every Pikachu takes the same one.
_WRITE_LOCK: Final = 0x50494B41


def parse_url(url: str) -> URL:
    """The URL of a SQLite or PostgreSQL database.

    :raises ConfigError: when it is none of these.
    """
    try:
        parsed = make_url(url)
    except exc.ArgumentError:
        raise ConfigError("[DATABASE] url is not a database URL, such as postgresql://user@host/name") from None
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        return parsed.set(drivername="sqlite+pysqlite")
    if backend in {"postgresql", "postgres"}:
        return parsed.set(drivername="postgresql+psycopg")
    raise ConfigError(f"[DATABASE] url: {backend!r} is not supported; use sqlite or postgresql")


def in_memory(url: URL) -> bool:
    """Whether the database lives in this process only."""
    return url.get_backend_name() == "sqlite" and url.database in {None, "", ":memory:"}


class Transaction:
    """An open transaction.

    :ivar dirty: whether the work that runs in it has written anything yet.
    :ivar changes: revocations and releases that its commit makes known.
    :ivar constraint_error: what the driver raises when a constraint is broken.
    """

    __slots__ = (
        "_cursor",
        "_texts",
        "changes",
        "connection",
        "constraint_error",
        "dirty",
        "events",
        "head",
        "search",
        "settings",
        "subjects",
    )

    def __init__(self, connection: Connection, texts: Texts, settings: StoreSettings, *, search: bool) -> None:
        self.connection = connection
        self.settings = settings
        driver: Any = connection.dialect.loaded_dbapi
        self.constraint_error: type[Exception] = driver.IntegrityError
        self._cursor = connection.connection.cursor()
        self._texts = texts
        self.search = search
        self.dirty = False
        self.changes: list[StatusChange] = []
        # Written together when the transaction ends: the audit chain's new rows and its head, and subjects to index.
        self.events: list[dict[str, object]] = []
        self.head: tuple[int, bytes] | None = None
        self.subjects: list[tuple[int, str]] = []

    @property
    def dialect(self) -> str:
        """``sqlite`` or ``postgresql``."""
        return self.connection.dialect.name

    def rows(self, statement: CompilerElement, parameters: Mapping[str, object] | None = None) -> list[Row]:
        """The rows of a constant *statement*: it is compiled once in the life of the process."""
        self._run(statement, parameters)
        return self._cursor.fetchall()  # type: ignore[return-value]  # DBAPI rows are tuples

    def batches(
        self, statement: CompilerElement, parameters: Mapping[str, object] | None, size: int
    ) -> Iterator[list[Row]]:
        """The rows of a constant *statement*, *size* at a time; take them all before the next statement."""
        self._run(statement, parameters)
        while rows := self._cursor.fetchmany(size):
            yield rows  # type: ignore[misc]  # DBAPI rows are tuples

    def row(self, statement: CompilerElement, parameters: Mapping[str, object] | None = None) -> Row | None:
        """The first row of a constant *statement*."""
        self._run(statement, parameters)
        return self._cursor.fetchone()

    def write(self, statement: CompilerElement, parameters: Mapping[str, object] | None = None) -> int:
        """How many rows a constant *statement* changed."""
        self._run(statement, parameters)
        if self._cursor.rowcount:
            self.dirty = True
        return self._cursor.rowcount

    def insert(self, statement: CompilerElement, parameters: Mapping[str, object]) -> int:
        """The id that a constant INSERT … RETURNING gave."""
        self.dirty = True
        self._run(statement, parameters)
        row = self._cursor.fetchone()
        assert row is not None  # noqa: S101 - INSERT … RETURNING gives one
        return int(row[0])

    def write_many(self, statement: CompilerElement, parameters: Sequence[Mapping[str, object]]) -> None:
        """Execute a constant *statement* once for each of *parameters*."""
        self.dirty = True
        text, defaults = self._texts.of(statement)
        self._cursor.executemany(text, [{**defaults, **one} for one in parameters] if defaults else parameters)

    def query(self, statement: Executable) -> list[Row]:
        """The rows of a *statement* that was made for this call."""
        return [tuple(row) for row in self.connection.execute(statement)]

    def _run(self, statement: CompilerElement, parameters: Mapping[str, object] | None) -> None:
        text, defaults = self._texts.of(statement)
        if defaults:
            parameters = {**defaults, **(parameters or {})}
        self._cursor.execute(text, parameters or {})


class Texts:
    """The SQL of constant statements in one dialect.

    A certificate takes about ten statements.  SQLAlchemy's own execution takes four times as long as the driver's,
    so that it, and not the database, would bound the rate of enrollments.
    """

    def __init__(self, engine: Engine) -> None:
        self._dialect = engine.dialect
        self._known: dict[CompilerElement, tuple[str, dict[str, object]]] = {}

    def of(self, statement: CompilerElement) -> tuple[str, dict[str, object]]:
        """Its SQL, and the values that stand in the statement itself."""
        known = self._known.get(statement)
        if known is None:
            compiled = statement.compile(dialect=self._dialect)
            constants = {name: value for name, value in (compiled.params or {}).items() if value is not None}
            known = self._known[statement] = (str(compiled), constants)
        return known


Work = Callable[[Transaction], Any]


@dataclass(slots=True)
class Batch:
    """What became of a batch: (True, result) or (False, Failure) for each work, in order.

    :ivar last_event: the id of the newest audit event that was written; ``None`` where there is none.
    """

    outcomes: list[tuple[bool, Any]] = field(default_factory=list)
    changes: list[StatusChange] = field(default_factory=list)
    last_event: int | None = None


class _StatementFailed(Exception):
    """A work failed after it had written; nothing of its transaction may stay."""


class Database:
    """One database.  Its methods block; they may be called from any thread.

    :param finish: writes what a transaction has gathered, just before its commit.
    :param fsync: whether a commit in a file waits until the disk has it.
    """

    def __init__(
        self,
        url: str,
        finish: Callable[[Transaction], None],
        settings: StoreSettings = DEFAULT_SETTINGS,
        *,
        readers: int = 3,
        fsync: bool = True,
    ) -> None:
        self.url = parse_url(url)
        self._finish = finish
        self._settings = settings
        # Whether subjects are indexed for search by any part of them; set when the schema is known.
        self.search = False
        self.writer, self.reader = _engines(self.url, readers, settings.busy_seconds, fsync=fsync)
        self._texts = Texts(self.writer)

    def read(self, work: Callable[[Transaction], T]) -> T:
        """Do *work* in a transaction that sees one state of the database.

        :raises StoreUnavailable: when the database does not answer.
        """
        with self.translated(), self.reader.connect() as connection, connection.begin():
            return work(Transaction(connection, self._texts, self._settings, search=self.search))

    def write(self, work: Callable[[Transaction], T]) -> tuple[T, list[StatusChange]]:
        """Do *work* in a write transaction of its own, and commit.

        :raises StoreUnavailable: when the database does not answer.
        """
        batch = self.write_batch([work])
        success, value = batch.outcomes[0]
        if not success:
            value.raiseException()
        return value, batch.changes

    def write_batch(self, works: Sequence[Work]) -> Batch:
        """Do all *works* in one transaction; if one spoils it, each in a transaction of its own.

        A work may therefore run twice: it has no effects but those on the database.
        """
        try:
            return self._attempt(works)
        except StoreUnavailable:
            return Batch([(False, _failure())] * len(works))
        except _StatementFailed as spoiled:
            if len(works) == 1:
                return Batch([(False, Failure(spoiled.__cause__))])
        batch = Batch()
        for index, work in enumerate(works):
            one = self.write_batch([work])
            batch.outcomes += one.outcomes
            batch.changes += one.changes
            batch.last_event = batch.last_event if one.last_event is None else one.last_event
            success, value = one.outcomes[0]
            if not success and value.check(StoreUnavailable):
                # Each further one would wait as long as this one did.
                batch.outcomes += [(False, value)] * (len(works) - index - 1)
                break
        return batch

    def _attempt(self, works: Sequence[Work]) -> Batch:
        batch = Batch()
        with self.translated(), self.writer.connect() as connection, connection.begin():
            transaction = Transaction(connection, self._texts, self._settings, search=self.search)
            try:
                for work in works:
                    transaction.dirty = False
                    try:
                        batch.outcomes.append((True, work(transaction)))
                    except PikachuError:
                        if transaction.dirty:
                            raise
                        batch.outcomes.append((False, _failure()))
                self._finish(transaction)
            except Exception as error:
                if outage_of(error) is not None:
                    raise
                raise _StatementFailed from (defect_of(error) if is_of_driver(error) else error)
        batch.changes = transaction.changes
        if transaction.events and transaction.head is not None:
            batch.last_event = transaction.head[0]
        return batch

    def check(self) -> None:
        """Ask the database for a sign of life.

        :raises StoreUnavailable: when it gives none.
        """
        with self.translated(), self.reader.connect() as connection:
            connection.exec_driver_sql("SELECT 1").scalar()

    def close(self) -> None:
        """Close all connections; those who come later open new ones."""
        self.reader.dispose()
        self.writer.dispose()

    def open_session(self) -> Connection:
        """Open a connection of the caller's own, outside of transactions; it stays when the pools are closed.

        :raises StoreUnavailable: when the database does not answer.
        """
        with self.translated():
            connection = self.reader.connect().execution_options(isolation_level="AUTOCOMMIT")
            connection.detach()
            return connection

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Raise StoreUnavailable for what tells that the database does not answer."""
        try:
            yield
        except Exception as error:
            cause = outage_of(error)
            if cause is None:
                if is_of_driver(error):
                    # Not chained: the driver's own text may quote values.
                    raise defect_of(error) from None
                raise
            # A broken connection must not serve the next transaction; the pools make new ones.
            if not in_memory(self.url):
                self.reader.dispose()
                self.writer.dispose()
            raise StoreUnavailable("the database does not answer; try again soon", error=cause) from None


def _failure() -> Failure:
    failure = Failure()
    failure.cleanFailure()
    return failure


def _engines(url: URL, readers: int, busy_seconds: float, *, fsync: bool) -> tuple[Engine, Engine]:
    """(writer, reader)."""
    if url.get_backend_name() == "postgresql":
        writer = create_engine(url, pool_size=1, max_overflow=1, pool_timeout=busy_seconds, hide_parameters=True)
        reader = create_engine(
            url,
            pool_size=readers,
            max_overflow=2,
            pool_timeout=busy_seconds,
            isolation_level="REPEATABLE READ",
            hide_parameters=True,
        )

        @event.listens_for(writer, "begin")
        def lock(connection: Connection) -> None:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITE_LOCK})")

        return writer, reader
    arguments = {"check_same_thread": False, "timeout": busy_seconds, "isolation_level": None}
    options: dict[str, Any] = {"connect_args": arguments, "paramstyle": "named", "hide_parameters": True}
    if in_memory(url):
        shared = create_engine(url, poolclass=StaticPool, **options)
        _sqlite(shared, write=True, fsync=fsync)
        return shared, shared
    writer = create_engine(url, pool_size=1, **options)
    reader = create_engine(url, pool_size=readers, max_overflow=2, **options)
    _sqlite(writer, write=True, fsync=fsync)
    _sqlite(reader, write=False, fsync=fsync)
    return writer, reader


class _HintingCompiler(SQLiteCompiler):
    """SQLite's SQL with the hints that lists give: which index to walk along."""

    def get_from_hint_text(self, table: object, text: str | None) -> str | None:
        """``INDEXED BY …`` stands behind the table's name."""
        return text


def _sqlite(engine: Engine, *, write: bool, fsync: bool) -> None:
    engine.dialect.statement_compiler = _HintingCompiler

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _: object) -> None:
        cursor = connection.cursor()
        if write:
            cursor.execute("PRAGMA journal_mode = WAL")
            cursor.execute(f"PRAGMA synchronous = {'FULL' if fsync else 'OFF'}")
        else:
            cursor.execute("PRAGMA query_only = ON")
        cursor.execute("PRAGMA foreign_keys = ON")
        # KiB, with a minus in front: the indexes' inner pages of a million certificates, and room for the day's rows.
        cursor.execute(f"PRAGMA cache_size = {-65536 if write else -16384}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
