"""The whole database, as :class:`pikachu.core.interfaces.IStore` describes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from time import monotonic
from typing import Final, TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from pikachu.core.audit_interfaces import AuditKeyOrigin
from pikachu.core.concurrency import ImmediatePool, IReactor, WorkerPool, uncancelled
from pikachu.core.errors import ConfigError, SecretKeyChanged, StoreUnavailable
from pikachu.core.interfaces import IWorkerPool, Sealed
from pikachu.core.model.account_objects import Quotas
from pikachu.core.model.certificates import IssuerRecord, OwnCertificate, RevokedCA, StatusChange
from pikachu.core.node_interfaces import Notification, Topic
from pikachu.core.sealing import Sealer
from pikachu.signers.checkpoint_signer import new_checkpoint_key
from pikachu.storage.accounts import AccountStore
from pikachu.storage.audit import AuditStore, store_events
from pikachu.storage.audit_key import load_audit_key, new_audit_key
from pikachu.storage.backfills import BackfillStore
from pikachu.storage.certificate_lists import CertificateListStore
from pikachu.storage.certificate_search import write_index
from pikachu.storage.certificates import CertificateStore
from pikachu.storage.challenge_passwords import ChallengePasswordStore
from pikachu.storage.checkpoint_key import load_checkpoint_key
from pikachu.storage.crl_parts import CRLPartStore
from pikachu.storage.csrs import CSRStore
from pikachu.storage.database import Batch, Database, Transaction, in_memory, parse_url
from pikachu.storage.device_retirement import DeviceRetirementStore
from pikachu.storage.devices import DeviceStore
from pikachu.storage.engines import EngineStore
from pikachu.storage.enrollment_batches import BatchStore
from pikachu.storage.housekeeping import HousekeepingStore
from pikachu.storage.idempotency import IdempotencyStore
from pikachu.storage.identity_lists import IdentityListStore
from pikachu.storage.imports import ImportStore
from pikachu.storage.infrastructure import InfrastructureStore, has_all_own, register_own, revoked_cas
from pikachu.storage.issuance import IssuanceStore
from pikachu.storage.jobs import JobStore
from pikachu.storage.keys import KeyStore
from pikachu.storage.leases import LeaseStore
from pikachu.storage.migrate import SchemaState, create, describe, find_search, migrate, newer_schema, schema_state
from pikachu.storage.nodes import NodeLock, NodeStore
from pikachu.storage.notice_rules import NoticeRuleStore
from pikachu.storage.notices import NoticeStore
from pikachu.storage.notifications import NotificationReceiver, NotificationStore, send_notification
from pikachu.storage.owners import OwnerStore
from pikachu.storage.passkeys import PasskeyStore
from pikachu.storage.policies import PolicyStore
from pikachu.storage.preferences import PreferenceStore, SetupStore
from pikachu.storage.quotas import require_quota
from pikachu.storage.recovery import RecoveryStore
from pikachu.storage.renewal_statistics import RenewalStatisticsStore
from pikachu.storage.revocation import RevocationStore, prove_writable, register_issuer
from pikachu.storage.revocation_messages import RevocationMessageStore
from pikachu.storage.sealed_columns import SealedStore, newest_sealed
from pikachu.storage.second_factors import SecondFactorStore
from pikachu.storage.sessions import SessionStore
from pikachu.storage.settings import DEFAULT_SETTINGS, StoreSettings
from pikachu.storage.sign_in import SignInStore
from pikachu.storage.statistics import StatisticsStore
from pikachu.storage.templates import TemplateStore
from pikachu.storage.transactions import Batches
from pikachu.storage.transparency_log import LogStore

log = Logger()
T = TypeVar("T")

READERS: Final = 3
_WAITING_WRITES: Final = 5000
_WAITING_READS: Final = 5000


def _finish(tx: Transaction) -> None:
    """Write the audit events and search index rows that a transaction has collected, and notify other nodes."""
    store_events(tx)
    if tx.changes:
        send_notification(tx, Notification(Topic.STATUS))
    if tx.search and tx.texts:
        write_index(tx)


class Store(
    CertificateStore,
    CertificateListStore,
    IssuanceStore,
    EngineStore,
    ImportStore,
    InfrastructureStore,
    NodeStore,
    NotificationStore,
    LeaseStore,
    IdempotencyStore,
    RevocationStore,
    RecoveryStore,
    CRLPartStore,
    PolicyStore,
    AccountStore,
    OwnerStore,
    ChallengePasswordStore,
    BatchStore,
    DeviceStore,
    DeviceRetirementStore,
    IdentityListStore,
    CSRStore,
    TemplateStore,
    SessionStore,
    KeyStore,
    SealedStore,
    AuditStore,
    StatisticsStore,
    RenewalStatisticsStore,
    BackfillStore,
    JobStore,
    SignInStore,
    PreferenceStore,
    SetupStore,
    SecondFactorStore,
    PasskeyStore,
    LogStore,
    HousekeepingStore,
    RevocationMessageStore,
    NoticeRuleStore,
    NoticeStore,
):
    """One database with its readers and its writer; see :func:`open_store`.

    :param reader: runs reads; at most ``READERS`` at a time.
    :param writer: runs one batch of writes at a time.
    :param queue: maximum number of waiting writes; further writes fail with Overloaded.
    :param fsync: whether a commit to a file waits for the disk.
    :param quotas: the quotas of accounts; ``None`` for no limits.
    :param settings: time limits and thresholds.
    :param reactor: in whose thread notifications of other nodes are delivered, and batches gathered; ``None`` receives
        none, and runs each function at once.
    :ivar database: the connections.
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
        reactor: IReactor | None = None,
    ) -> None:
        self._quotas = quotas or Quotas()
        self._settings = settings
        self.database = Database(url, _finish, settings, readers=READERS, fsync=fsync)
        self._checkpoint_key: bytes | None = None
        if in_memory(self.database.url):
            create(self.database)
            # Nobody else can read or write it.
            self.database.audit_key = new_audit_key()
            self._checkpoint_key = new_checkpoint_key()
        find_search(self.database)
        self._node_lock = NodeLock(self.database)
        self._reader = reader
        # On SQLite, one thread reads rows as fast as several; a server on the network answers several at a time.
        at_once = READERS if self.has_nodes else 1
        # Not callFromThread, which wakes the reactor by system calls though it is awake.
        later = None if reactor is None else partial(reactor.callLater, 0)
        self._points = Batches(
            "reads", reader, self.database.read_batch, queue=_WAITING_READS, at_once=at_once, later=later
        )
        self._writer = Batches(
            "writes", writer, self.database.write_batch, queue=queue, announce=self._announce, later=later
        )
        self._subscribers: list[Callable[[list[StatusChange]], None]] = []
        self._watchers: list[Callable[[int], None]] = []
        self._closed: StoreUnavailable | None = None
        # The newest write that failed since the last check.
        self._failed_write: StoreUnavailable | None = None
        self._pools = (reader, writer)
        self._thread_caller = reactor
        self._receiver: NotificationReceiver | None = None

    @property
    def has_nodes(self) -> bool:
        """Whether several servers can use this database."""
        return self.database.url.get_backend_name() == "postgresql"

    def subscribe(self, callback: Callable[[list[StatusChange]], None]) -> None:
        """Call *callback* with the status changes of each commit, in the reactor's thread, before the Deferreds of
        the writes fire.
        """
        self._subscribers.append(callback)

    @uncancelled
    async def announce_changes(self, after: int) -> int:
        """Call the subscribers with the status changes after *after*, of all processes.

        :return: the id of the newest change; fails with StoreUnavailable.
        """
        while changes := await self.changes_since(after):
            after = changes[-1].id
            self._notify(self._subscribers, changes)
        return after

    def watch_events(self, callback: Callable[[int], None]) -> None:
        """Call *callback* with the id of the newest audit event of each commit, in the reactor's thread."""
        self._watchers.append(callback)

    def register_issuer(self, name: str, key_identifier: bytes, certificate: bytes, now: datetime) -> IssuerRecord:
        """Create or update the record of an issuer's key; blocks.  Raises StoreUnavailable."""
        record, _ = self.database.write(lambda tx: register_issuer(tx, name, key_identifier, certificate, now))
        return record

    def register_own(self, found: Sequence[OwnCertificate], now: datetime) -> list[OwnCertificate]:
        """Insert and mark those of the CA's own certificates that are missing; blocks.  Raises StoreUnavailable."""
        if self.database.read(lambda tx: has_all_own(tx, found)):
            return []
        taken, _ = self.database.write(lambda tx: register_own(tx, found, now))
        return taken

    def revoked_cas_at_start(self) -> list[RevokedCA]:
        """Return the revoked certificates of issuing CAs; blocks.  Raises StoreUnavailable."""
        return self.database.read(revoked_cas)

    def unlock(self, sealer: Sealer, now: datetime, *, renew: bool = False) -> None:
        """See :meth:`pikachu.core.interfaces.ISealedStore.unlock`."""
        if renew or self.database.audit_key is None:
            try:
                self.database.audit_key = load_audit_key(self.database, sealer, now, renew=renew)
                self._checkpoint_key = load_checkpoint_key(self.database, sealer, now, renew=renew)
            finally:
                # The caller may fork, or need to be the only one that is connected.
                self.release_connections()

    def audit_key_origin(self) -> AuditKeyOrigin:
        """See :meth:`pikachu.core.audit_interfaces.IAuditStore.audit_key_origin`."""
        key = self.database.audit_key
        return AuditKeyOrigin() if key is None else AuditKeyOrigin(key.unkeyed.count, key.finding)

    def checkpoint_key(self) -> bytes:
        """See :meth:`pikachu.core.log_interfaces.ILogStore.checkpoint_key`."""
        if self._checkpoint_key is None:
            raise SecretKeyChanged("The key of checkpoints does not open with this SECRET_KEY. Put the old one back.")
        return self._checkpoint_key

    def newest_sealed(self) -> list[Sealed]:
        """Return the newest sealed value of each kind; blocks.  Raises StoreUnavailable."""
        return self.database.read(newest_sealed)

    def check(self) -> Deferred[None]:
        """Fail with StoreUnavailable when the database does not answer."""
        return fail(self._closed) if self._closed else self._reader.run(self.database.check)

    def check_write(self) -> Deferred[None]:
        """Fail with StoreUnavailable when nothing can be written and committed, or a write failed since the last check.

        On a full disk the check's own row may fit into space that an earlier one left, while certificates don't fit.
        """
        failed, self._failed_write = self._failed_write, None
        if failed is not None:
            return fail(failed)
        return fail(self._closed) if self._closed else self._writer.add(self._timed("check_write", prove_writable))

    def sealed_samples(self) -> Deferred[list[Sealed]]:
        """Return the newest sealed value of each kind."""
        return self._read("sealed_samples", newest_sealed)

    def newer_schema(self) -> Deferred[str | None]:
        """Return the version of the schema if a newer program has migrated the database meanwhile, or None."""
        if in_memory(self.database.url):
            return succeed(None)
        return self._read("newer_schema", newer_schema)

    def release_connections(self) -> None:
        """Close the connections before a fork, so that no child process shares them."""
        if not in_memory(self.database.url):
            self.database.close()

    def close(self) -> Deferred[None]:
        """Finish the queued writes, then close; later calls fail with StoreUnavailable."""
        self._closed = StoreUnavailable("the database is closed")

        def close(_: None) -> None:
            if self._receiver is not None:
                self._receiver.stop()
            for pool in self._pools:
                if isinstance(pool, WorkerPool):
                    pool.stopService()
            self._node_lock.release()
            self.database.close()

        return self._writer.idle().addCallback(close)

    def _announce(self, written: Batch) -> None:
        if written.changes:
            self._notify(self._subscribers, written.changes)
        if written.last_event is not None:
            self._notify(self._watchers, written.last_event)

    @staticmethod
    def _notify(callbacks: list[Callable[[T], None]], value: T) -> None:
        for callback in callbacks:
            try:
                callback(value)
            except Exception:  # noqa: BLE001 - the writes are committed, and their callers wait for the results
                log.failure("A subscriber of commits failed.")

    def _read(self, name: str, work: Callable[[Transaction], T]) -> Deferred[T]:
        return fail(self._closed) if self._closed else self._reader.run(self.database.read, self._timed(name, work))

    def _read_point(self, name: str, work: Callable[[Transaction], T]) -> Deferred[T]:
        return fail(self._closed) if self._closed else self._points.add(self._timed(name, work))

    def _write(self, name: str, work: Callable[[Transaction], T]) -> Deferred[T]:
        if self._closed:
            return fail(self._closed)
        return self._writer.add(self._timed(name, work)).addErrback(self._remember)

    def _remember(self, failure: Failure) -> Failure:
        if isinstance(failure.value, StoreUnavailable):
            self._failed_write = failure.value
        return failure

    def _timed(self, name: str, work: Callable[[Transaction], T]) -> Callable[[Transaction], T]:
        """Wrap *work* to log its name, without values, when it is slow."""

        def timed(tx: Transaction) -> T:
            began = monotonic()
            try:
                return work(tx)
            finally:
                seconds = monotonic() - began
                if seconds >= self._settings.slow_seconds:
                    log.warn("The database transaction {name} took {seconds:.1f} s.", name=name, seconds=seconds)

        return timed

    def _require_quota(self, tx: Transaction, kind: str, owner_id: int | None, more: int = 1) -> None:
        require_quota(tx, self._quotas, kind, owner_id, more)


def open_store(
    url: str,
    reactor: IReactor | None = None,
    *,
    fsync: bool = True,
    quotas: Quotas | None = None,
    settings: StoreSettings = DEFAULT_SETTINGS,
) -> Store:
    """Open the store of the database at *url*, after migrating an older schema; blocks.

    :param reactor: the reactor whose worker threads run the transactions; ``None`` runs them in the caller's thread,
        so that every Deferred has fired on return.
    :param fsync: whether a commit to a file waits for the disk.
    :param quotas: the quotas of accounts; ``None`` for no limits.
    :param settings: time limits and thresholds.
    :raises ConfigError: when the database does not exist, is not Pikachu's, or belongs to a newer Pikachu.
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
    return Store(url, reads, writes, fsync=fsync, quotas=quotas, settings=settings, reactor=reactor)
