"""Connections, transactions and the translation of their errors.

Reads run concurrently, each in its own transaction.  Writes are serialized across all processes: a write transaction
takes the database's only write lock at its start (``BEGIN IMMEDIATE`` in SQLite, an advisory lock in PostgreSQL).
Therefore the rows that a write transaction has read can't change before it writes, and the ids of status changes and
audit events increase in commit order.
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
from sqlalchemy.pool import PoolProxiedConnection, StaticPool
from sqlalchemy.sql import Executable
from sqlalchemy.sql.elements import CompilerElement

from pikachu.core.audit_interfaces import ChainPosition
from pikachu.core.errors import ConfigError, PikachuError, StoreUnavailable
from pikachu.core.model.certificates import StatusChange
from pikachu.storage.driver_errors import DatabaseDefect, defect_of, is_of_driver, outage_of
from pikachu.storage.settings import DEFAULT_SETTINGS, StoreSettings

T = TypeVar("T")
Row = tuple[Any, ...]


def parse_url(url: str) -> URL:
    """Parse the URL of a SQLite or PostgreSQL database.

    :raises ConfigError: for any other URL.
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
    """Return whether the database exists in this process only."""
    return url.get_backend_name() == "sqlite" and url.database in {None, "", ":memory:"}


@dataclass(frozen=True, slots=True)
class AuditKey:
    """The key of the events' hashes.

    :param unkeyed: the end of the events of earlier versions, whose hashes have no key.
    :param finding: the defect that was found in these events when the key was created, or empty.
    """

    key: bytes = field(repr=False)
    unkeyed: ChainPosition
    finding: str


class Transaction:
    """An open transaction.

    :ivar audit_key: the key of the events' hashes; ``None`` until the store is unlocked.
    :ivar has_written: whether the current transaction function has written anything.
    :ivar changes: the revocations and releases to publish after the commit.
    :ivar constraint_error: the driver's exception for a violated constraint.
    """

    __slots__ = (
        "_cursor",
        "_texts",
        "audit_key",
        "changes",
        "connection",
        "constraint_error",
        "events",
        "has_written",
        "head",
        "search",
        "settings",
        "texts",
    )

    def __init__(
        self,
        connection: Connection,
        texts: Texts,
        settings: StoreSettings,
        audit_key: AuditKey | None,
        *,
        search: bool,
    ) -> None:
        self.connection = connection
        self.audit_key = audit_key
        self.settings = settings
        driver: Any = connection.dialect.loaded_dbapi
        self.constraint_error: type[Exception] = driver.IntegrityError
        self._cursor = connection.connection.cursor()
        self._texts = texts
        self.search = search
        self.has_written = False
        self.changes: list[StatusChange] = []
        # Written together at the end of the transaction: new audit events, the chain's head, and texts to index.
        self.events: list[dict[str, object]] = []
        self.head: tuple[int, bytes] | None = None
        self.texts: list[tuple[int, str]] = []

    @property
    def dialect(self) -> str:
        """The name of the SQL dialect: ``sqlite`` or ``postgresql``."""
        return self.connection.dialect.name

    def rows(self, statement: CompilerElement, parameters: Mapping[str, object] | None = None) -> list[Row]:
        """Return the rows of a constant *statement*, which is compiled once per process."""
        self._run(statement, parameters)
        return self._cursor.fetchall()  # type: ignore[return-value]  # DBAPI rows are tuples

    def batches(
        self, statement: CompilerElement, parameters: Mapping[str, object] | None, size: int
    ) -> Iterator[list[Row]]:
        """Yield the rows of a constant *statement*, *size* at a time; exhaust it before the next statement."""
        self._run(statement, parameters)
        while rows := self._cursor.fetchmany(size):
            yield rows  # type: ignore[misc]  # DBAPI rows are tuples

    def row(self, statement: CompilerElement, parameters: Mapping[str, object] | None = None) -> Row | None:
        """Return the first row of a constant *statement*."""
        self._run(statement, parameters)
        return self._cursor.fetchone()

    def write(self, statement: CompilerElement, parameters: Mapping[str, object] | None = None) -> int:
        """Execute a constant *statement* and return the number of changed rows."""
        self._run(statement, parameters)
        if self._cursor.rowcount:
            self.has_written = True
        return self._cursor.rowcount

    def insert(self, statement: CompilerElement, parameters: Mapping[str, object]) -> int:
        """Execute a constant INSERT … RETURNING and return the new id."""
        self.has_written = True
        self._run(statement, parameters)
        row = self._cursor.fetchone()
        assert row is not None  # noqa: S101 - INSERT … RETURNING gives one
        return int(row[0])

    def write_many(self, statement: CompilerElement, parameters: Sequence[Mapping[str, object]]) -> None:
        """Execute a constant *statement* once for each of *parameters*."""
        self.has_written = True
        text, defaults = self._texts.of(statement)
        self._cursor.executemany(text, [{**defaults, **values} for values in parameters] if defaults else parameters)

    def query(self, statement: Executable) -> list[Row]:
        """Return the rows of a *statement* that was built for this call."""
        return [tuple(row) for row in self.connection.execute(statement)]

    def _run(self, statement: CompilerElement, parameters: Mapping[str, object] | None) -> None:
        text, defaults = self._texts.of(statement)
        if defaults:
            parameters = {**defaults, **(parameters or {})}
        self._cursor.execute(text, parameters or {})


# By dialect.
_texts: Final[dict[str, dict[CompilerElement, tuple[str, dict[str, object]]]]] = {}


class Texts:
    """The SQL of constant statements in one dialect; the databases of a process share it.

    An enrollment needs about ten statements.  SQLAlchemy's execution takes four times as long as the driver's and
    would limit the enrollment rate more than the database does.
    """

    def __init__(self, engine: Engine) -> None:
        self._dialect = engine.dialect
        self._cache = _texts.setdefault(engine.dialect.name, {})

    def of(self, statement: CompilerElement) -> tuple[str, dict[str, object]]:
        """Return the SQL of *statement* and its literal parameters."""
        cached = self._cache.get(statement)
        if cached is None:
            compiled = statement.compile(dialect=self._dialect)
            constants = {name: value for name, value in (compiled.params or {}).items() if value is not None}
            cached = self._cache[statement] = (str(compiled), constants)
        return cached


Work = Callable[[Transaction], Any]


@dataclass(slots=True)
class Batch:
    """The results of a batch: (True, result) or (False, Failure) for each function, in order.

    :ivar last_event: the id of the newest audit event written, or ``None``.
    """

    outcomes: list[tuple[bool, Any]] = field(default_factory=list)
    changes: list[StatusChange] = field(default_factory=list)
    last_event: int | None = None


class _StatementFailed(Exception):
    """A function failed after writing, so its transaction must be rolled back."""


class Database:
    """One database.  Its methods block and are thread-safe.

    :param finish: writes what a transaction has collected, immediately before its commit.
    :param fsync: whether a commit to a file waits for the disk.
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
        # Whether texts of certificates have an index; set when the schema is known.
        self.search = False
        # Set when the store is unlocked; see pikachu.storage.audit_key.
        self.audit_key: AuditKey | None = None
        self.writer, self.reader = _engines(self.url, readers, settings, fsync=fsync)
        self._texts = Texts(self.writer)

    def read(self, work: Callable[[Transaction], T]) -> T:
        """Run *work* in a read transaction with one snapshot of the database.

        :raises StoreUnavailable: when the database does not answer.
        """
        with self.translated(), self.reader.connect() as connection, connection.begin():
            return work(Transaction(connection, self._texts, self._settings, self.audit_key, search=self.search))

    def read_batch(self, works: Sequence[Work]) -> Batch:
        """Run all *works* in one read transaction; if the database rejects a statement, run each in its own.

        A function may therefore run twice.
        """
        try:
            return self.read(lambda transaction: Batch([_outcome(work, transaction) for work in works]))
        except (StoreUnavailable, DatabaseDefect):
            failed = (False, _failure())
            if len(works) == 1 or failed[1].check(StoreUnavailable):
                # Each of the others would time out, too.
                return Batch([failed] * len(works))
        return Batch([outcome for work in works for outcome in self.read_batch([work]).outcomes])

    def write(self, work: Callable[[Transaction], T]) -> tuple[T, list[StatusChange]]:
        """Run *work* in its own write transaction and commit it.

        :raises StoreUnavailable: when the database does not answer.
        """
        batch = self.write_batch([work])
        success, value = batch.outcomes[0]
        if not success:
            value.raiseException()
        return value, batch.changes

    def write_batch(self, works: Sequence[Work]) -> Batch:
        """Run all *works* in one transaction; if one fails after writing, run each in its own transaction.

        A function may therefore run twice and must have no effects except in the database.
        """
        try:
            return self._attempt(works)
        except StoreUnavailable:
            return Batch([(False, _failure())] * len(works))
        except _StatementFailed as error:
            if len(works) == 1:
                return Batch([(False, Failure(error.__cause__))])
        batch = Batch()
        for index, work in enumerate(works):
            single = self.write_batch([work])
            batch.outcomes += single.outcomes
            batch.changes += single.changes
            batch.last_event = batch.last_event if single.last_event is None else single.last_event
            success, value = single.outcomes[0]
            if not success and value.check(StoreUnavailable):
                # Each of the others would time out, too.
                batch.outcomes += [(False, value)] * (len(works) - index - 1)
                break
        return batch

    def _attempt(self, works: Sequence[Work]) -> Batch:
        batch = Batch()
        with self.translated(), self.writer.connect() as connection, connection.begin():
            transaction = Transaction(connection, self._texts, self._settings, self.audit_key, search=self.search)
            try:
                for work in works:
                    transaction.has_written = False
                    try:
                        batch.outcomes.append((True, work(transaction)))
                    except PikachuError:
                        if transaction.has_written:
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
        """Check that the database answers.

        :raises StoreUnavailable: when it does not.
        """
        with self.translated(), self.reader.connect() as connection:
            connection.exec_driver_sql("SELECT 1").scalar()

    def close(self) -> None:
        """Close all connections; later transactions open new ones."""
        self.reader.dispose()
        self.writer.dispose()

    def open_session(self) -> Connection:
        """Open a connection outside of the pools, in autocommit mode.

        :raises StoreUnavailable: when the database does not answer.
        """
        with self.translated():
            connection = self.reader.connect().execution_options(isolation_level="AUTOCOMMIT")
            connection.detach()
            return connection

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Translate the driver's errors: outages become StoreUnavailable, others DatabaseDefect."""
        try:
            yield
        except Exception as error:
            cause = outage_of(error)
            if cause is None:
                if is_of_driver(error):
                    # Not chained, since the driver's message may quote values.
                    raise defect_of(error) from None
                raise
            # A broken connection must not be reused; the pools open new ones.
            if not in_memory(self.url):
                self.reader.dispose()
                self.writer.dispose()
            raise StoreUnavailable("the database does not answer; try again soon", error=cause) from None


def _outcome(work: Work, transaction: Transaction) -> tuple[bool, Any]:
    """Return the result of a function that reads, or its failure, unless the transaction has failed."""
    try:
        return True, work(transaction)
    except Exception as error:
        if is_of_driver(error):
            raise
        return False, _failure()


def _failure() -> Failure:
    failure = Failure()
    failure.cleanFailure()
    return failure


def _engines(url: URL, readers: int, settings: StoreSettings, *, fsync: bool) -> tuple[Engine, Engine]:
    """Return the engines (writer, reader)."""
    if url.get_backend_name() == "postgresql":
        from pikachu.storage.postgresql import postgresql_engines

        return postgresql_engines(url, readers, settings.busy_seconds, is_limited=settings.is_limited)
    busy_seconds = settings.busy_seconds
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
    """Compiler of SQLite's SQL with the index hints of lists."""

    def get_from_hint_text(self, table: object, text: str | None) -> str | None:
        """Return the hint, ``INDEXED BY …``, that follows the table's name."""
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
        # Negative for KiB; room for the inner index pages of a million certificates and the rows of a day.
        cursor.execute(f"PRAGMA cache_size = {-65536 if write else -16384}")
        cursor.close()

    statement = "BEGIN IMMEDIATE" if write else "BEGIN"

    def begin(dbapi_connection: PoolProxiedConnection) -> None:
        dbapi_connection.cursor().execute(statement)

    # As the dialect's own method, since an engine with listeners looks for them at every step of each transaction.
    engine.dialect.do_begin = begin  # type: ignore[method-assign]
