"""The boundaries between layers, as structural types (``typing.Protocol``; see docs/adr/0002).

Every method that may wait returns a Deferred.  One store method is one transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, ParamSpec, Protocol, TypeAlias, TypeVar

from twisted.internet.defer import Deferred

from pikachu.core.approvals import Approver
from pikachu.core.audit_interfaces import IAuditStore
from pikachu.core.backfill_interfaces import IBackfillStore
from pikachu.core.challenge_interfaces import IBatchStore, IChallengeStore
from pikachu.core.crl_part_interfaces import ICRLPartStore
from pikachu.core.device_interfaces import IDeviceStore, IIdentityListStore
from pikachu.core.engine_interfaces import IEngineStore
from pikachu.core.housekeeping_interfaces import IHousekeepingStore
from pikachu.core.idempotency_interfaces import IIdempotencyStore
from pikachu.core.infrastructure_interfaces import IInfrastructureStore
from pikachu.core.job_interfaces import IJobStore
from pikachu.core.log_interfaces import ILogStore
from pikachu.core.model.account_objects import (
    AccountCertificate,
    KeyUse,
    NewAccountCertificate,
    NewKey,
    NewServiceCredential,
    NewSession,
    ServiceCredential,
    Session,
    StoredKey,
)
from pikachu.core.model.certificates import (
    CertificateRecord,
    CRLRecord,
    Infrastructure,
    IssuerRecord,
    Method,
    RevocationReason,
    StatusChange,
    StatusRecord,
)
from pikachu.core.model.events import Event
from pikachu.core.model.list_queries import ListQuery, Page
from pikachu.core.model.people import Account, NewAccount, NewToken, Token
from pikachu.core.model.policies import NO_NEXT_DEFAULTS, NextDefaults, Policy, SystemPolicySettings
from pikachu.core.model.requests import Intent, NewCSR, NewRequest, RequestRecord, StoredCSR
from pikachu.core.model.sign_in import SessionEnd
from pikachu.core.node_interfaces import INodeStore
from pikachu.core.owner_interfaces import IOwnerStore
from pikachu.core.passkey_interfaces import IPasskeyStore
from pikachu.core.preference_interfaces import IPreferenceStore, ISetupStore
from pikachu.core.recovery_interfaces import IRecoveryStore
from pikachu.core.revocation_message_interfaces import IRevocationMessageStore
from pikachu.core.second_factor_interfaces import ISecondFactorStore
from pikachu.core.sign_in_interfaces import ISignInStore
from pikachu.core.statistics_interfaces import IStatisticsStore
from pikachu.core.template_interfaces import ITemplateStore

if TYPE_CHECKING:
    # Nothing here needs its library.
    from pikachu.core.sealing import Sealer

P = ParamSpec("P")
T = TypeVar("T")


class IDelayedCall(Protocol):
    """A call that a clock has scheduled."""

    def cancel(self) -> None:
        """Do not make the call."""

    def active(self) -> bool:
        """Return whether the call is still pending."""

    def reset(self, seconds: float, /) -> None:
        """Make a pending call *seconds* from now."""


class IClock(Protocol):
    """Clock of timers and certificate dates: the system's, or Twisted's ``Clock`` in tests."""

    def seconds(self) -> float:
        """Return the seconds since 1970."""

    def callLater(  # noqa: N802 - Twisted's name
        self,
        delay: float,
        callable: Callable[P, object],
        *args: P.args,
        **kw: P.kwargs,
    ) -> IDelayedCall:
        """Call after *delay* seconds."""


class IWorkerPool(Protocol):
    """A named, bounded thread pool for work that would block the reactor."""

    def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Run *work* in a thread.

        The Deferred fails with :class:`pikachu.core.errors.Overloaded` when the pool's queue is full.
        """


@dataclass(frozen=True, slots=True)
class ToBeSigned:
    """A certificate to sign: its TBSCertificate, and the fields for engines that build certificates themselves."""

    tbs: bytes
    serial: int
    not_before: datetime
    not_after: datetime
    csr: bytes
    method: Method = Method.CA


class ISigner(Protocol):
    """An issuing key, usable only through this interface.

    :ivar certificate: the issuer's DER certificate.
    :ivar chain: DER certificates from the issuer to the root, both included.
    :ivar algorithm: the DER AlgorithmIdentifier of its signatures.
    """

    @property
    def certificate(self) -> bytes: ...
    @property
    def chain(self) -> tuple[bytes, ...]: ...
    @property
    def algorithm(self) -> bytes: ...

    def sign_certificate(self, to_be_signed: ToBeSigned) -> Deferred[bytes]:
        """Sign and return the DER certificate; fails with SignerUnavailable."""

    def sign(self, data: bytes) -> Deferred[bytes]:
        """Sign a TBSCertList, ResponseData or CMS attributes; fails with SignerUnavailable."""


class IDecrypter(Protocol):
    """A key that decrypts messages encrypted for its RSA certificate (SCEP)."""

    @property
    def certificate(self) -> bytes: ...

    def decrypt(self, encrypted_key: bytes, *, oaep_hash: str | None) -> Deferred[bytes | None]:
        """Return the content-encryption key, or ``None`` for wrong padding (RSAES-PKCS1-v1_5, or OAEP)."""


# --- storage -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Begun:
    """The result for a new request: recorded, with its intent unless it needs approval."""

    request_id: int


@dataclass(frozen=True, slots=True)
class Repeated:
    """The result for a repeated request.

    :param certificate: the certificate, if it was issued.
    """

    request: RequestRecord
    certificate: CertificateRecord | None


class ICertificateReader(Protocol):
    """Reads of issued certificates for lists, OCSP and downloads."""

    def certificate(self, certificate_id: int) -> Deferred[CertificateRecord]:
        """Return the certificate with that id; fails with NotFound, also for a deleted one."""

    def certificate_by_serial(self, serial: int, *, deleted: bool = False) -> Deferred[CertificateRecord]:
        """Return the certificate with that serial number; fails with UnknownSerial.

        :param deleted: include deleted certificates, and revoked serial numbers of intents without a certificate (id
            0, no DER).
        """

    def certificates(self, query: ListQuery, now: datetime) -> Deferred[Page[CertificateRecord]]:
        """List certificates.

        Free text matches subject, common name and serial number; text with thousands of matches, common names and the
        newest subjects only.  Filters: status, method, issuer.  Sort fields: id, serial, common_name, not_after,
        created_at, and for status revoked also revoked_at.
        """

    def expired_ids(self, now: datetime, after: int, limit: int) -> Deferred[list[int]]:
        """Return ids of expired certificates above *after*, ascending."""

    def status(self, issuer_id: int, serial: int) -> Deferred[StatusRecord | None]:
        """Return the status of a serial number, or ``None`` if the issuer never issued it."""

    def changes_since(self, change_id: int, limit: int = 1000) -> Deferred[list[StatusChange]]:
        """Return revocations and releases after *change_id*, in order, of all processes."""

    def latest_change(self) -> int:
        """Return the id of the newest status change, or 0 without one; blocks.  Raises StoreUnavailable."""

    def crl_entries(self, issuer_id: int, after: int) -> Deferred[tuple[int, int, bytes] | None]:
        """Return (last change id, number of entries, their concatenated DER) of the current revocations after change
        *after*, in order of revocation; ``None`` if an entry up to *after* was removed or replaced: restart from 0.
        """

    def last_crl(self, issuer_id: int) -> Deferred[CRLRecord | None]:
        """Return the newest recorded CRL of an issuer."""


class IIssuanceStore(Protocol):
    """The writes of the RA and the CA.  Each method is one transaction."""

    def register_issuer(self, name: str, key_identifier: bytes, certificate: bytes, now: datetime) -> IssuerRecord:
        """Create or update the record of an issuer's key, at start; blocks."""

    def begin(self, request: NewRequest, intent: Intent | None, now: datetime) -> Deferred[Begun | Repeated]:
        """Record the request and, unless it waits for approval (*intent* is ``None``), the intent; reserve its
        challenge password.

        Fails with Conflict when the challenge password is no longer available, and with PolicyViolation when the
        key was certified for another owner and another subject.
        """

    def approve(
        self, request_id: int, intent: Intent, approver: Approver, event: Event, now: datetime
    ) -> Deferred[RequestRecord]:
        """Approve a pending request: store its intent (→ issuing); the first of two approvals leaves it pending.

        Fails with NotFound, NotAuthorized (own request, role) and Conflict (state, both approvals by one person).
        """

    def reject(self, request_id: int, actor: str, reason: str, event: Event, now: datetime) -> Deferred[RequestRecord]:
        """Reject a pending request, release its challenge password, mark its stored CSR; NotFound, Conflict."""

    def complete(
        self,
        request_id: int,
        certificate: bytes,
        method: Method,
        event: Event,
        now: datetime,
        infrastructure: Infrastructure | None = ...,
    ) -> Deferred[CertificateRecord]:
        """Store certificate, audit event and consumed challenge password together (issuing → issued).

        Owner, subject and so on are those of the request and its intent.  The submitted stored CSR is marked as signed,
        with an event.
        """

    def fail(self, request_id: int, reason: str, event: Event, now: datetime) -> Deferred[None]:
        """Record that the signer failed (issuing → failed); the challenge password and the request can be reused."""

    def repeated(self, dedupe: bytes, now: datetime) -> Deferred[Repeated | None]:
        """Return the request with that digest within its window, as ``begin`` would; writes nothing."""

    def request(self, request_id: int) -> Deferred[RequestRecord]: ...
    def request_by_transaction(self, transaction: bytes) -> Deferred[Repeated | None]:
        """Return the newest request with that transaction digest."""

    def check_key(self, key_id: bytes, owner_id: int | None, subject: str, request_id: int = ...) -> Deferred[None]:
        """Require that ``begin`` (or ``approve`` of that request) would accept the key for this owner and subject;
        writes nothing.  Fails with PolicyViolation.
        """

    def requests(self, query: ListQuery) -> Deferred[Page[RequestRecord]]:
        """List requests; free text matches subject and principal.  Filters: ``state``, ``method``, and ``approval``
        (``true``) for those that wait for approval or were decided manually.
        """

    def abandon(self, request_id: int, event: Event, now: datetime) -> Deferred[None]:
        """Give up an orphaned intent (→ failed), but keep its serial number; otherwise like :meth:`fail`."""

    def revoke(
        self,
        serial: int,
        revoked_at: datetime,
        reason: RevocationReason,
        event: Event,
        now: datetime | None = ...,
    ) -> Deferred[tuple[CertificateRecord, bool]]:
        """Revoke a certificate, or the serial number of an intent without one; return (record, whether anything
        changed).

        Stores status, CRL entry, status change and event.  A repetition changes nothing, except that a hold can become
        a final revocation.  Fails with UnknownSerial.
        """

    def release(self, serial: int, event: Event, now: datetime) -> Deferred[CertificateRecord]:
        """Release a certificate from hold.  Fails with UnknownSerial, and with Conflict if it is not on hold."""

    def delete_certificate(self, certificate_id: int, event: Event, now: datetime) -> Deferred[None]: ...

    def next_crl_number(self, issuer_id: int, above: int) -> Deferred[int]:
        """Reserve a CRL number greater than *above* and all previous ones."""

    def record_crl(self, record: CRLRecord) -> Deferred[None]: ...
    def drop_listed_expired(
        self, issuer_id: int, ended_before: datetime, listed: int = ..., number: int | None = None
    ) -> Deferred[int]:
        """Delete the CRL entries of certificates that expired before *ended_before*, not their revocations; return
        their number.

        :param listed: the last change on a published CRL; later entries are kept.
        :param number: the number of the newest full CRL, if delta CRLs are to remove what it lists.
        """

    def relist_unexpired(self, issuer_id: int, now: datetime) -> Deferred[int]: ...
    def service_credential(self, key_identifier: bytes, purpose: str) -> Deferred[ServiceCredential | None]:
        """Return the newest OCSP or RA credential of an issuer key."""

    def service_credentials(self, key_identifier: bytes, purpose: str) -> Deferred[list[ServiceCredential]]:
        """Return all credentials of an issuer key and purpose, newest first."""

    def put_service_credential(self, credential: NewServiceCredential, now: datetime) -> Deferred[None]: ...


class IPolicyStore(Protocol):
    """Enrollment policies, except the texts of the default policy."""

    def policy(self, policy_id: int) -> Deferred[Policy]: ...
    def policy_by_name(self, name: str) -> Deferred[Policy | None]: ...
    def default_policy(self, protocol: Method, owner_id: int | None) -> Deferred[Policy | None]:
        """Return the default policy for EST or SCEP: the owner's, or the system's for ``None``."""

    def labels(self, protocol: Method, owner_id: int | None) -> Deferred[Sequence[Policy]]:
        """Return the policies used for EST or SCEP by name: the owner's, or the system's for ``None``; at most 200."""

    def policies(self, query: ListQuery) -> Deferred[Page[Policy]]:
        """List policies; *owner_id* selects that owner's and the system's."""

    def add_policy(self, policy: Policy, event: Event, now: datetime) -> Deferred[Policy]:
        """Create a policy; the first that an owner uses for a protocol becomes its default.

        Fails with Conflict if the name is taken.
        """

    def update_policy(
        self, policy: Policy, event: Event, now: datetime, next_defaults: NextDefaults = NO_NEXT_DEFAULTS
    ) -> Deferred[Policy]:
        """Update a policy; where it gives up being the default, nothing follows but *next_defaults*.

        Fails like :meth:`add_policy`, with EditConflict if its version has changed, and with Conflict and NotFound for
        a next default that does not suit.
        """

    def delete_policy(
        self,
        policy_id: int,
        decide: Callable[[Policy], Event],
        now: datetime,
        next_defaults: NextDefaults = NO_NEXT_DEFAULTS,
    ) -> Deferred[None]:
        """Delete a policy, with *next_defaults* as in :meth:`update_policy`."""

    def system_settings(self) -> Deferred[SystemPolicySettings]:
        """Return what is stored of the default policy beside its files."""

    def set_system_settings(self, settings: SystemPolicySettings, event: Event, now: datetime) -> Deferred[None]: ...


class IAccountStore(Protocol):
    """Accounts, tokens and stored CSRs."""

    def account(self, account_id: int) -> Deferred[Account]: ...
    def accounts_of(self, account_ids: Sequence[int]) -> Deferred[dict[int, Account]]: ...
    def account_by_name(self, username: str) -> Deferred[Account | None]: ...
    def accounts(self, query: ListQuery) -> Deferred[Page[Account]]: ...
    def add_account(self, account: NewAccount, event: Event, now: datetime) -> Deferred[Account]:
        """Create an account.  Fails with Conflict if the name, compared without case, is taken."""

    def add_token(self, token: NewToken, event: Event, now: datetime) -> Deferred[Token]:
        """Create a token.  Fails with Conflict if the account is not active or has a token with that name."""

    def token(self, token_id: int) -> Deferred[Token]:
        """Return the token with that id; fails with NotFound."""

    def token_by_digest(self, digest: bytes) -> Deferred[tuple[Token, Account] | None]: ...
    def touch_token(self, token_id: int, now: datetime) -> Deferred[None]: ...
    def tokens(self, query: ListQuery) -> Deferred[Page[Token]]: ...
    def delete_token(self, token_id: int, decide: Callable[[Token], Event], now: datetime) -> Deferred[None]: ...

    def add_csr(self, csr: NewCSR, event: Event, now: datetime) -> Deferred[StoredCSR]: ...
    def csr(self, csr_id: int) -> Deferred[StoredCSR]: ...
    def csrs(self, query: ListQuery) -> Deferred[Page[StoredCSR]]: ...
    def delete_csr(self, csr_id: int, decide: Callable[[StoredCSR], Event], now: datetime) -> Deferred[None]: ...
    def reject_csr(self, csr_id: int, event: Event, now: datetime) -> Deferred[StoredCSR]:
        """Reject a pending stored CSR.  Fails with NotFound, Conflict."""


class ISessionStore(Protocol):
    """Sign-in sessions, and client certificates bound to accounts."""

    def add_session(self, session: NewSession, event: Event, now: datetime) -> Deferred[Session]:
        """Create a session and set the account's last login.

        An account has at most twenty sessions; the oldest end.  Fails with NotFound, and with Conflict if the account
        is not active or its password has changed since *session.account* was read.
        """

    def session_by_digest(self, digest: bytes) -> Deferred[tuple[Session, Account] | None]: ...
    def sessions_of(self, account_id: int) -> Deferred[list[Session]]:
        """Return the sessions of an account, newest first."""

    def touch_session(self, session_id: int, now: datetime) -> Deferred[None]: ...
    def confirm_session(self, session_id: int, now: datetime) -> Deferred[None]: ...
    def end_session(
        self, session_id: int, event: Event | None, now: datetime, reason: SessionEnd | None = None
    ) -> Deferred[None]:
        """Delete a session, and record the *reason* for its browser.  Fails with NotFound."""

    def end_sessions(self, account_id: int, event: Event, now: datetime) -> Deferred[int]:
        """Delete all sessions of an account, by an administrator; return their number.  Fails with NotFound."""

    def end_idle_sessions(
        self, before: datetime, record: Callable[[Session, Account], Event], now: datetime, most: int
    ) -> Deferred[int]:
        """Delete up to *most* sessions that were idle since *before*; return their number.

        :param record: returns the event of one session; called possibly repeatedly and in another thread.
        """

    def last_seen(self, account_ids: Iterable[int]) -> Deferred[dict[int, datetime]]:
        """Return the last request times of the accounts that are signed in."""

    def bind_certificate(
        self, certificate: NewAccountCertificate, event: Event, now: datetime
    ) -> Deferred[AccountCertificate]:
        """Bind a client certificate to an account.  Fails with Conflict if it is bound to an account."""

    def account_certificates(self, account_id: int) -> Deferred[list[AccountCertificate]]: ...
    def account_certificate(self, certificate_id: int) -> Deferred[AccountCertificate]: ...
    def unbind_certificate(
        self, certificate_id: int, decide: Callable[[AccountCertificate, Account], Event], now: datetime
    ) -> Deferred[None]: ...
    def account_by_certificate(self, fingerprint: bytes) -> Deferred[Account | None]: ...


class IKeyStore(Protocol):
    """Stored private keys, sealed."""

    def add_key(self, key: NewKey, event: Event, now: datetime) -> Deferred[StoredKey]:
        """Store a private key."""

    def key(self, key_id: int) -> Deferred[StoredKey]: ...
    def keys_of_public(self, public: bytes) -> Deferred[list[StoredKey]]:
        """Return the keys whose SubjectPublicKeyInfo has that SHA-256, oldest first."""

    def keys(self, query: ListQuery) -> Deferred[Page[StoredKey]]:
        """List keys; free text matches name and type.

        Filter ``type``: RSA, EC, Ed25519, PQC; sort fields id, created_at, name.
        """

    def key_use(self, key_id: int) -> Deferred[KeyUse]: ...
    def delete_key(
        self, key_id: int, decide: Callable[[StoredKey, KeyUse], Event], now: datetime
    ) -> Deferred[None]: ...


@dataclass(frozen=True, slots=True)
class Sealed:
    """A value of the database that is sealed under SECRET_KEY.

    :param kind: ``key``, ``challenge password``, ``service key``, ``draft``, ``second factor`` or ``audit key``.
    :param name: the name of a key, the prefix of a challenge password, or the purpose of a service key.
    :param row: the binding to its row; see :mod:`pikachu.core.sealing`.
    """

    kind: str
    name: str
    sealed: bytes = field(repr=False)
    row: bytes = field(repr=False)

    @property
    def purpose(self) -> str:
        """The purpose of its key."""
        if self.kind == "challenge password":
            return "challenge"
        return f"service key {self.name}" if self.kind == "service key" else self.kind


@dataclass(frozen=True, slots=True)
class Resealed:
    """A value resealed under another key.

    :param lookup: the lookup digest of a challenge password; otherwise ``None``.
    """

    sealed: bytes = field(repr=False)
    lookup: bytes | None = field(default=None, repr=False)


#: Reseals one value; returns ``None`` if it is sealed under the new key already.  Raises SecretKeyChanged if it
#: opens under neither key.
Reseal: TypeAlias = Callable[[Sealed], Resealed | None]


@dataclass(slots=True)
class Resealing:
    """The numbers of resealed values, and of deleted ones that did not open, by kind."""

    changed: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)


class ISealedStore(Protocol):
    """All values sealed under SECRET_KEY."""

    def newest_sealed(self) -> list[Sealed]:
        """Return the newest sealed value of each kind, at start; blocks."""

    def unlock(self, sealer: Sealer, now: datetime, *, renew: bool = False) -> None:
        """Open the key of the audit log, without which no event can be written or verified; blocks.

        The first time, bind the sealed values of an earlier version to their rows, verify the events of an earlier
        version, and create the key.

        :param renew: replace a key that does not open; `audit verify` tells of that ever after.
        :raises SecretKeyChanged: when it was sealed under another SECRET_KEY.
        """

    def reseal(self, reseal: Reseal, event: Event | None, now: datetime, *, drop: bool = False) -> Deferred[Resealing]:
        """Reseal all values in one transaction.

        :param event: recorded if any value has changed.
        :param drop: delete values that open under neither key; otherwise they cause Conflict.

        Fails with Conflict while others are connected to a PostgreSQL database.
        """


class IStore(
    ICertificateReader,
    IIssuanceStore,
    INodeStore,
    IIdempotencyStore,
    IPolicyStore,
    IAccountStore,
    IChallengeStore,
    IBatchStore,
    IDeviceStore,
    IIdentityListStore,
    IOwnerStore,
    ITemplateStore,
    ISessionStore,
    IAuditStore,
    IStatisticsStore,
    IKeyStore,
    ISealedStore,
    IInfrastructureStore,
    IBackfillStore,
    IRecoveryStore,
    ICRLPartStore,
    IEngineStore,
    IJobStore,
    ISignInStore,
    IPreferenceStore,
    ISetupStore,
    ISecondFactorStore,
    IPasskeyStore,
    ILogStore,
    IHousekeepingStore,
    IRevocationMessageStore,
    Protocol,
):
    """The whole database.  Methods that add an object fail with QuotaExceeded when its owner has reached the quota.

    A *decide* argument returns the event for the object to delete, or raises; see :class:`IOwnerStore`.
    """

    def subscribe(self, callback: Callable[[list[StatusChange]], None]) -> None:
        """Call *callback* with the status changes of each commit of this process, before its Deferreds fire."""

    def watch_events(self, callback: Callable[[int], None]) -> None:
        """Call *callback* with the id of the newest audit event of each commit of this process."""

    def check(self) -> Deferred[None]:
        """Fail with StoreUnavailable when the database does not answer."""

    def close(self) -> Deferred[None]:
        """Finish the queued writes, then close."""
