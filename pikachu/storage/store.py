"""The whole database, as :class:`pikachu.core.interfaces.IStore` describes it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from time import monotonic
from typing import Final, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger

from sqlalchemy import bindparam, insert

from pikachu.core.concurrency import ImmediatePool, IThreadCaller, WorkerPool, uncancelled
from pikachu.core.errors import ConfigError, StoreUnavailable
from pikachu.core.interfaces import IWorkerPool, Sealed
from pikachu.core.model.certificates import IssuerRecord, StatusChange
from pikachu.core.model.objects import Quotas
from pikachu.storage.accounts import AccountStore
from pikachu.storage.audit import AuditStore, store_events
from pikachu.storage.certificates import CertificateStore, subject_search
from pikachu.storage.challenges import ChallengePasswordStore
from pikachu.storage.database import Batch, Database, Transaction, in_memory, parse_url
from pikachu.storage.issuance import IssuanceStore
from pikachu.storage.keys import KeyStore
from pikachu.storage.migrate import SchemaState, create, describe, find_search, migrate, schema_state
from pikachu.storage.nodes import NodeLock, NodeStore
from pikachu.storage.owners import OwnerStore
from pikachu.storage.policies import PolicyStore
from pikachu.storage.quotas import require_quota
from pikachu.storage.revocation import RevocationStore, prove_writable, register_issuer
from pikachu.storage.sealed import SealedStore, newest_sealed
from pikachu.storage.sessions import SessionStore
from pikachu.storage.settings import DEFAULT_SETTINGS, StoreSettings
from pikachu.storage.statistics import StatisticsStore
from pikachu.storage.templates import TemplateStore
from pikachu.storage.writer import GroupCommit

log = Logger()
T = TypeVar("T")

READERS: Final = 3
_WAITING_WRITES: Final = 5000
_WAITING_READS: Final = 5000

_index_subject: Final = insert(subject_search).values(rowid=bindparam("rowid"), subject=bindparam("subject"))


def _finish(tx: Transaction) -> None:
    """Write what the works of a transaction have gathered."""
    store_events(tx)
    if tx.search and tx.subjects and tx.dialect == "sqlite":
        tx.write_many(_index_subject, [{"rowid": row, "subject": subject} for row, subject in tx.subjects])


class Store(
    CertificateStore,
    IssuanceStore,
    NodeStore,
    RevocationStore,
    PolicyStore,
    AccountStore,
    OwnerStore,
    ChallengePasswordStore,
    TemplateStore,
    SessionStore,
    KeyStore,
    SealedStore,
    AuditStore,
    StatisticsStore,
):
    """One database with its readers and its writer; see :func:`open_store`.

    :param reader: runs reads; not more than ``READERS`` at a time.
    :param writer: runs one batch of writes at a time.
    :param queue: how many writes may wait; one more fails with Overloaded.
    :param fsync: whether a commit in a file waits until the disk has it.
    :param quotas: how much an account may own; ``None``: as much as it likes.
    """

    def __init__(
        self,
        url: str,
        reader: IWorkerPool,
        writer: IWorkerPool,
        *,
        queue: int = _WAITING_WRITES,
        fsync: bool = True,
        quotas: Quotas | None = None,
        settings: StoreSettings = DEFAULT_SETTINGS,
    ) -> None:
        self._quotas = quotas or Quotas()
        self._settings = settings
        self._database = Database(url, _finish, settings, readers=READERS, fsync=fsync)
        if in_memory(self._database.url):
            create(self._database)
        find_search(self._database)
        self._node_lock = NodeLock(self._database)
        self._reader = reader
        self._writer = GroupCommit(self._database, writer, self._announce, queue)
        self._subscribers: list[Callable[[list[StatusChange]], None]] = []
        self._watchers: list[Callable[[int], None]] = []
        self._closed: StoreUnavailable | None = None
        self._pools = (reader, writer)

    def subscribe(self, callback: Callable[[list[StatusChange]], None]) -> None:
        """Call *callback* with the revocations and releases of each commit, before those who asked for them are
        told that they are done; in the reactor's thread.
        """
        self._subscribers.append(callback)

    @uncancelled
    async def announce_changes(self, after: int) -> int:
        """Call the subscribers with the changes after that one, whichever process has made them.

        :return: the id of the newest; fails with StoreUnavailable.
        """
        while changes := await self.changes_since(after):
            after = changes[-1].id
            self._tell(self._subscribers, changes)
        return after

    def watch_events(self, callback: Callable[[int], None]) -> None:
        """Call *callback* with the id of the newest audit event of each commit with one; in the reactor's thread."""
        self._watchers.append(callback)

    def register_issuer(self, name: str, key_identifier: bytes, certificate: bytes, now: datetime) -> IssuerRecord:
        """The record of that key, made or brought up to date; blocks.  Raises StoreUnavailable."""
        record, _ = self._database.write(lambda tx: register_issuer(tx, name, key_identifier, certificate, now))
        return record

    def newest_sealed(self) -> list[Sealed]:
        """The newest sealed value of each kind that there is; blocks.  Raises StoreUnavailable."""
        return self._database.read(newest_sealed)

    def check(self) -> Deferred[None]:
        """Fails with StoreUnavailable when the database does not answer."""
        return fail(self._closed) if self._closed else self._reader.run(self._database.check)

    def check_write(self) -> Deferred[None]:
        """Fail with StoreUnavailable when nothing can be written and committed."""
        return self._write("check_write", prove_writable)

    def sealed_samples(self) -> Deferred[list[Sealed]]:
        """Return the newest sealed value of each kind that there is."""
        return self._read("sealed_samples", newest_sealed)

    def release_connections(self) -> None:
        """Close the connections: a process that forks must not share them with its child."""
        if not in_memory(self._database.url):
            self._database.close()

    def close(self) -> Deferred[None]:
        """Finish what is queued, then close.  What comes later fails with StoreUnavailable."""
        self._closed = StoreUnavailable("the database is closed")

        def close(_: None) -> None:
            for pool in self._pools:
                if isinstance(pool, WorkerPool):
                    pool.stopService()
            self._node_lock.release()
            self._database.close()

        return self._writer.idle().addCallback(close)

    def _announce(self, written: Batch) -> None:
        if written.changes:
            self._tell(self._subscribers, written.changes)
        if written.last_event is not None:
            self._tell(self._watchers, written.last_event)

    @staticmethod
    def _tell(callbacks: list[Callable[[T], None]], what: T) -> None:
        for callback in callbacks:
            try:
                callback(what)
            except Exception:  # noqa: BLE001 - the commit is made, and those who wrote wait for its result
                log.failure("after a commit")

    def _read(self, name: str, work: Callable[[Transaction], T]) -> Deferred[T]:
        return fail(self._closed) if self._closed else self._reader.run(self._database.read, self._timed(name, work))

    def _write(self, name: str, work: Callable[[Transaction], T]) -> Deferred[T]:
        return fail(self._closed) if self._closed else self._writer.write(self._timed(name, work))

    def _timed(self, name: str, work: Callable[[Transaction], T]) -> Callable[[Transaction], T]:
        """Return *work* so that it is logged by its name, without its values, when it takes long."""

        def timed(tx: Transaction) -> T:
            began = monotonic()
            try:
                return work(tx)
            finally:
                seconds = monotonic() - began
                if seconds >= self._settings.slow_seconds:
                    log.warn("The database transaction {name} took {seconds:.1f} s.", name=name, seconds=seconds)

        return timed

    def _require_quota(self, tx: Transaction, kind: str, owner_id: int | None) -> None:
        require_quota(tx, self._quotas, kind, owner_id)


def open_store(
    url: str,
    reactor: IThreadCaller | None = None,
    *,
    fsync: bool = True,
    quotas: Quotas | None = None,
    settings: StoreSettings = DEFAULT_SETTINGS,
) -> Store:
    """The store of the database at *url*; an older schema is migrated first.  Blocks.

    :param reactor: its threads do the work; with ``None`` the caller's own thread does, and every Deferred has fired
        when it is returned.
    :param fsync: whether a commit in a file waits until the disk has it.
    :param quotas: how much an account may own; ``None``: as much as it likes.
    :raises ConfigError: when there is no such database, or it is not Pikachu's, or a newer Pikachu's.
    """
    parsed = parse_url(url)
    if not in_memory(parsed):
        state = schema_state(url)
        if state is SchemaState.EMPTY:
            raise ConfigError(f"{describe(parsed)} does not exist yet; run pikachu init")
        if state is SchemaState.OLDER:
            migrate(url)
    if reactor is None:
        return Store(url, ImmediatePool(), ImmediatePool(), fsync=fsync, quotas=quotas, settings=settings)
    reads = WorkerPool("reads", reactor, READERS, queue=_WAITING_READS)
    writes = WorkerPool("writes", reactor, 1, queue=1)
    return Store(url, reads, writes, fsync=fsync, quotas=quotas, settings=settings)
