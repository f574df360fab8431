"""Databases for tests: stores with and without threads, and a PostgreSQL server of the test run's own."""

from __future__ import annotations

import atexit
import queue
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from secrets import randbits, token_bytes
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from sqlalchemy import create_engine, text

from pikachu.core.approvals import Approver
from pikachu.core.interfaces import Begun
from pikachu.core.model.account_objects import Quotas
from pikachu.core.model.certificates import CertificateRecord, IssuerRecord, Method
from pikachu.core.model.events import Event
from pikachu.core.model.requests import Intent, NewRequest
from pikachu.core.sealing import Sealer
from pikachu.storage.database import parse_url
from pikachu.storage.migrate import migrate
from pikachu.storage.settings import DEFAULT_SETTINGS, StoreSettings
from pikachu.storage.store import Store, open_store
from tests.support.owners import add_owner
from tests.support.postgresql import running_postgresql

T = TypeVar("T")

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
#: Under whose key the stores of tests seal what tests write.
SEALER = Sealer(b"a SECRET_KEY of tests")

#: The approver at the console.
CONSOLE: Final = Approver("cli (root)", None, allows_own=False)

#: Statements that make a database of this version one of version 0038: no idempotency keys.
AS_0038: Final = ("DROP TABLE idempotency_keys", "UPDATE pikachu_schema SET version_num = '0038'")
#: And one of version 0037: no indexes of pending CSRs.
AS_0037: Final = (
    *AS_0038,
    *(f"DROP INDEX {name}" for name in ("csrs_pending", "csrs_pending_owner")),
    "UPDATE pikachu_schema SET version_num = '0037'",
)
#: And one of version 0036: no overrides of lint.
AS_0036: Final = (
    *AS_0037,
    "DROP TABLE lint_overrides",
    *(f"ALTER TABLE {name} DROP COLUMN lint_override" for name in ("policies", "default_policy")),
    "UPDATE pikachu_schema SET version_num = '0036'",
)
#: And one of version 0035: no delta CRLs and no shards.
AS_0035: Final = (
    *AS_0036,
    *(f"DROP TABLE {name}" for name in ("crl_parts", "crl_shards", "expired_crl_entries")),
    "DROP INDEX crl_entries_shard",
    "DROP INDEX status_changes_issuer",
    *(f"ALTER TABLE {name} DROP COLUMN shard" for name in ("crl_entries", "status_changes")),
    "UPDATE pikachu_schema SET version_num = '0035'",
)
#: And one of version 0031: no notices.
AS_0031: Final = (
    *AS_0035,
    *(f"DROP TABLE {name}" for name in ("notice_messages", "noticed", "notice_rules")),
    "UPDATE pikachu_schema SET version_num = '0031'",
)
#: And one of version 0029: no messages about revocations.
AS_0029: Final = (
    *AS_0031,
    *(f"DROP TABLE {name}" for name in ("revocation_messages", "message_cursors")),
    "UPDATE pikachu_schema SET version_num = '0029'",
)
#: And one of version 0033, which came before that: no first approvals, nobody who made requests.
AS_0033: Final = (
    *AS_0029,
    *(
        f"ALTER TABLE requests DROP COLUMN {name}"
        for name in ("approvals", "requester_ids", "first_approver_id", "first_approved_by", "first_approved_at")
    ),
    *(f"ALTER TABLE {name} DROP COLUMN created_by_id" for name in ("challenges", "batches")),
    "UPDATE pikachu_schema SET version_num = '0033'",
)
#: And one of version 0028: no transparency log.
AS_0028: Final = (
    *AS_0033,
    *(f"DROP TABLE {name}" for name in ("log_entries", "log_tiles", "audit_pruning")),
    "DELETE FROM audit_keys WHERE id = 2",
    "UPDATE pikachu_schema SET version_num = '0028'",
)
#: And one of version 0027: no passkeys.
AS_0027: Final = (
    *AS_0028,
    "DROP TABLE passkeys",
    "UPDATE pikachu_schema SET version_num = '0027'",
)
#: And one of version 0026: no roles of policies.
AS_0026: Final = (
    *AS_0027,
    "DROP TABLE default_policy",
    "ALTER TABLE policies DROP COLUMN roles",
    "UPDATE pikachu_schema SET version_num = '0026'",
)
#: And one of version 0024: no second factors, no accounts of providers.
AS_0024: Final = (
    *AS_0026,
    "DROP TABLE external_identities",
    "DROP TABLE totp_secrets",
    "DROP TABLE recovery_codes",
    "ALTER TABLE accounts DROP COLUMN has_second_factor",
    "UPDATE pikachu_schema SET version_num = '0024'",
)
#: And one of version 0023: no lists of identities.
AS_0023: Final = (
    *AS_0024,
    "DROP TABLE identity_lists",
    "DROP TABLE identities",
    "UPDATE pikachu_schema SET version_num = '0023'",
)
#: And one of version 0022: no choices of accounts, no set-up checklist.
AS_0022: Final = (
    *AS_0023,
    *(f"DROP TABLE {name}" for name in ("preferences", "saved_filters", "setup_marks")),
    "UPDATE pikachu_schema SET version_num = '0022'",
)
#: And one of version 0021: no files of jobs.
AS_0021: Final = (
    *AS_0022,
    "DROP TABLE job_files",
    "DROP INDEX jobs_filed",
    "ALTER TABLE jobs DROP COLUMN size",
    "UPDATE pikachu_schema SET version_num = '0021'",
)
#: And one of version 0020: no password resets.
AS_0020: Final = (
    *AS_0021,
    "DROP TABLE password_resets",
    "ALTER TABLE accounts DROP COLUMN must_change_password",
    "UPDATE pikachu_schema SET version_num = '0020'",
)
#: And one of version 0019: no devices.
AS_0019: Final = (
    *AS_0020,
    "DROP INDEX certificates_device",
    "DROP INDEX challenges_device",
    "DROP TABLE devices",
    "ALTER TABLE certificates DROP COLUMN device_id",
    "ALTER TABLE challenges DROP COLUMN device_key",
    "UPDATE pikachu_schema SET version_num = '0019'",
)
#: And one of version 0018: no reasons of ended sessions, no drafts.
AS_0018: Final = (
    *AS_0019,
    "DROP TABLE ended_sessions",
    "DROP TABLE drafts",
    "UPDATE pikachu_schema SET version_num = '0018'",
)
#: And one of version 0017: no batches.
AS_0017: Final = (
    *AS_0018,
    "DROP INDEX challenges_batch",
    "DROP TABLE batches",
    *(f"ALTER TABLE challenges DROP COLUMN {name}" for name in ("policy", "batch_id")),
    "UPDATE pikachu_schema SET version_num = '0017'",
)
#: And one of version 0016: fewer filters of certificates.
AS_0016: Final = (
    *AS_0017,
    "DROP INDEX certificates_kind",
    "DROP INDEX certificates_issued",
    "DROP INDEX certificates_fingerprint",
    "DROP INDEX certificates_deleted",
    "DROP INDEX csrs_certificate",
    "ALTER TABLE certificates DROP COLUMN fingerprint",
    "DELETE FROM backfills",
    "UPDATE pikachu_schema SET version_num = '0016'",
)
#: And one of version 0014: no jobs, no names of challenge passwords.
AS_0014: Final = (
    *AS_0016,
    *(f"DROP INDEX challenges_{name}" for name in ("label", "owner_label")),
    *(f"ALTER TABLE challenges DROP COLUMN {name}" for name in ("label", "subject", "sans", "subject_der", "san_der")),
    "ALTER TABLE requests DROP COLUMN added_names",
    "DROP TABLE job_rows",
    "DROP TABLE jobs",
    "UPDATE pikachu_schema SET version_num = '0014'",
)
#: And one of version 0013: no leases, no shared CRLs.
AS_0013: Final = (
    *AS_0014,
    "DROP TABLE leases",
    "DROP TABLE published_crls",
    "UPDATE pikachu_schema SET version_num = '0013'",
)
#: And one of version 0011: it knew no directory, and had no indexes for lists of recovered revocations.
AS_0011: Final = (
    *AS_0013,
    "DROP INDEX recovered_revocations_waiting",
    "DROP INDEX recovered_revocations_date",
    "ALTER TABLE accounts DROP COLUMN directory_id",
    "ALTER TABLE accounts DROP COLUMN suspended_by_directory",
    "UPDATE pikachu_schema SET version_num = '0011'",
)
#: And one of version 0009: no recovered revocations, search in subjects.
AS_0009: Final = (
    *AS_0011,
    "DROP TABLE recovered_revocations",
    "DROP TABLE certificate_search",
    "DROP TABLE backfills",
    "ALTER TABLE certificates DROP COLUMN sans",
    "ALTER TABLE certificates DROP COLUMN search_text",
    "UPDATE pikachu_schema SET version_num = '0009'",
)
#: And one of version 0008, except for the hashes of its events.
AS_0008: Final = (*AS_0009, "DROP TABLE audit_keys", "UPDATE pikachu_schema SET version_num = '0008'")
#: And one of version 0007, which had no default policies.
AS_0007: Final = (
    *AS_0008,
    *(f"DROP INDEX policies_{one}" for one in ("est_default", "est_system_default")),
    *(f"DROP INDEX policies_{one}" for one in ("scep_default", "scep_system_default")),
    *(f"ALTER TABLE policies DROP COLUMN default_for_{one}" for one in ("est", "scep")),
    "UPDATE pikachu_schema SET version_num = '0007'",
)
#: And one of version 0006, which knew of CA certificates by its files only.
AS_0006: Final = (
    *AS_0007,
    "DELETE FROM certificates WHERE infrastructure IN ('root', 'issuing_ca')",
    "DELETE FROM certificates WHERE infrastructure = 'https' AND method = 'CA'",
    "DROP INDEX certificates_infrastructure",
    "ALTER TABLE certificates DROP COLUMN infrastructure",
    "UPDATE pikachu_schema SET version_num = '0006'",
)
#: And one of version 0004.
AS_0004: Final = (
    *AS_0006,
    *(
        f"ALTER TABLE {table} DROP COLUMN {name}"
        for table in ("policies", "templates")
        for name in ("version", "updated_by")
    ),
    *(f"DROP INDEX {name}" for name in ("csrs_owner", "policies_owner", "challenges_unused_owner")),
    "DROP TABLE nodes",
    "UPDATE pikachu_schema SET version_num = '0004'",
)
#: And one of version 0002.
AS_0002: Final = (*AS_0004, "DROP TABLE owner_revocations", "UPDATE pikachu_schema SET version_num = '0002'")


class Calls:
    """Calls that threads pass to the reactor; the test runs them while it waits."""

    def __init__(self) -> None:
        self._calls: queue.Queue[tuple[Callable[..., object], tuple[Any, ...], dict[str, Any]]] = queue.Queue()

    def callFromThread(self, callable: Callable[..., object], *args: object, **kwargs: object) -> None:  # noqa: N802
        """Call in the test's thread."""
        self._calls.put((callable, args, kwargs))

    def callLater(  # noqa: N802
        self, delay: float, callable: Callable[..., object], *args: object, **kwargs: object
    ) -> None:
        """Call in the test's next turn; there is no delay of another length."""
        assert delay == 0
        self._calls.put((callable, args, kwargs))

    def make_one(self, seconds: float = 60) -> None:
        """Wait for a call, and make it."""
        call, args, kwargs = self._calls.get(timeout=seconds)
        call(*args, **kwargs)


@dataclass
class Opened:
    """A store under test, and the way to wait for what it promises."""

    store: Store
    url: str
    calls: Calls = field(default_factory=Calls)
    _issuer: IssuerRecord | None = None

    @property
    def issuer(self) -> IssuerRecord:
        """An issuer that the store knows."""
        if self._issuer is None:
            self._issuer = self.store.register_issuer("ec", b"the key of ec", b"certificate", NOW)
        return self._issuer

    def get(self, promise: Deferred[T]) -> T:
        """Wait for the result and return it, or raise the failure."""
        results: list[Any] = []
        promise.addBoth(results.append)
        while not results:
            self.calls.make_one()
        if isinstance(results[0], Failure):
            results[0].raiseException()
        result: T = results[0]
        return result

    def request(self, name: str = "device", *, subject: str | None = None, **values: Any) -> NewRequest:
        """An enrollment of a new key."""
        fields: dict[str, Any] = {
            "method": Method.EST,
            "csr": b"csr of " + name.encode(),
            "subject": f"CN={name},O=Acme" if subject is None else subject,
            "key_type": "EC/prime256v1",
            "key_id": token_bytes(32),
            "policy": "default",
            "issuer": "ec",
            "principal": "someone",
            "owner_id": None,
            "created_at": NOW,
        }
        return NewRequest(**(fields | values))

    def intent(self, request: NewRequest, name: str = "device", **values: Any) -> Intent:
        """Build the issuance intent for *request*."""
        fields: dict[str, Any] = {
            "serial": randbits(150) | 1,
            "issuer_id": self.issuer.id,
            "tbs": b"tbs of " + name.encode(),
            "subject": request.subject,
            "common_name": name,
            "key_type": request.key_type,
            "key_id": request.key_id,
            "not_before": NOW,
            "not_after": NOW + timedelta(days=90),
            "policy": request.policy,
            "process": "this",
        }
        return Intent(**(fields | values))

    def begin(self, name: str = "device", *, intent: dict[str, Any] | None = None, **values: Any) -> tuple[int, Intent]:
        """(request id, intent) of a request that is to be issued."""
        add_owner(self.store, self.get, values.get("owner_id"), NOW)
        request = self.request(name, **values)
        meant = self.intent(request, name, **(intent or {}))
        begun = self.get(self.store.begin(request, meant, NOW))
        assert isinstance(begun, Begun)
        return begun.request_id, meant

    def complete(self, request_id: int, der: bytes = b"certificate", at: datetime = NOW) -> CertificateRecord:
        """The certificate, stored."""
        return self.get(self.store.complete(request_id, der, Method.EST, event("create"), at))

    def issue(self, name: str = "device", *, intent: dict[str, Any] | None = None, **values: Any) -> CertificateRecord:
        """A certificate of that name."""
        return self.complete(self.begin(name, intent=intent, **values)[0])

    def close(self) -> None:
        """Close the store."""
        self.get(self.store.close())


def seal(_: int) -> bytes:
    """Seal a value as an earlier version did: for any row."""
    return SEALER.seal("key", b"secret")


def event(kind: str = "create", name: str = "thing", **values: Any) -> Event:
    """An audit event."""
    return Event(kind, "certificate", name, "someone", {"how": "test"}, **values)


def execute(url: str, *statements: str) -> None:
    """Change the database behind the store's back."""
    engine = create_engine(parse_url(url))
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


@contextmanager
def opened(
    url: str,
    *,
    threads: bool = False,
    fsync: bool = True,
    quotas: Quotas | None = None,
    settings: StoreSettings = DEFAULT_SETTINGS,
    unlock: bool = True,
) -> Iterator[Opened]:
    """The database at *url*, made when it is new."""
    path = parse_url(url).database
    if url.startswith("sqlite:///") and path and not Path(path).exists():
        shutil.copy(_migrated_file(), path)
    migrate(url)
    calls = Calls()
    store = open_store(url, calls if threads else None, fsync=fsync, quotas=quotas, settings=settings)
    one = Opened(store, url, calls)
    try:
        if unlock:
            store.unlock(SEALER, NOW)
        yield one
    finally:
        one.close()


@cache
def _migrated_file() -> Path:
    """A new database of this version, which is made once: migrating takes longer than most tests."""
    folder = tempfile.TemporaryDirectory(prefix="pikachu-")
    atexit.register(folder.cleanup)
    path = Path(folder.name) / "migrated.db"
    migrate(f"sqlite:///{path}")
    return path


@contextmanager
def postgresql_server(*, migrated: bool = True) -> Iterator[Callable[[], str]]:
    """A PostgreSQL server of its own; gives a function that makes a database and returns its URL.

    :param migrated: whether it has the tables of this version; else it is empty.
    """
    with running_postgresql() as server:
        if not migrated:
            yield lambda: server.url(server.new_database())
            return
        template = server.new_database()
        migrate(server.url(template))
        yield lambda: server.url(server.new_database(template=template))


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Wait for something that happens elsewhere."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)
