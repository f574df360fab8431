"""The boundaries between layers, as structural types (``typing.Protocol``; see docs/adr/0002).

Every method that may wait returns a Deferred.  One store method is one transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import ParamSpec, Protocol, TypeAlias, TypeVar

from twisted.internet.defer import Deferred

from pikachu.core.audit_interfaces import IAuditStore
from pikachu.core.model.certificates import (
    CertificateRecord,
    CRLRecord,
    IssuerRecord,
    Method,
    RevocationReason,
    StatusChange,
    StatusRecord,
)
from pikachu.core.model.counts import Batch, Counts
from pikachu.core.model.events import Event
from pikachu.core.model.lists import ListQuery, Page
from pikachu.core.model.objects import (
    AccountCertificate,
    CertificateTemplate,
    KeyUse,
    NewAccountCertificate,
    NewKey,
    NewSession,
    Session,
    StoredKey,
)
from pikachu.core.model.people import Account, ChallengePassword, NewAccount, NewChallengePassword, NewToken, Token
from pikachu.core.model.policies import Policy
from pikachu.core.model.requests import Intent, NewCSR, NewRequest, RequestRecord, StoredCSR
from pikachu.core.node_interfaces import INodeStore
from pikachu.core.owner_interfaces import IOwnerStore

P = ParamSpec("P")
T = TypeVar("T")


class IDelayedCall(Protocol):
    """A call that a clock has scheduled."""

    def cancel(self) -> None:
        """Do not make the call."""

    def active(self) -> bool:
        """Whether the call is still to come."""


class IClock(Protocol):
    """Time: the system clock, or Twisted's ``Clock`` in tests.  It drives timers and certificate dates alike."""

    def seconds(self) -> float:
        """Seconds since 1970."""

    def callLater(  # noqa: N802 - Twisted's name
        self,
        delay: float,
        callable: Callable[P, object],
        *args: P.args,
        **kw: P.kwargs,
    ) -> IDelayedCall:
        """Call in *delay* seconds."""


class IWorkerPool(Protocol):
    """Threads with a name and a bound, for work that would block the reactor."""

    def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Do *work* in a thread.

        The Deferred fails with :class:`pikachu.core.errors.Overloaded` when the pool's queue is full.
        """


@dataclass(frozen=True, slots=True)
class ToBeSigned:
    """A certificate that is about to be signed, and what a signer that builds by itself needs."""

    tbs: bytes
    serial: int
    not_before: datetime
    not_after: datetime
    csr: bytes


class ISigner(Protocol):
    """One issuing key.  Nothing else in the program can use the key.

    :ivar certificate: DER, of the issuer.
    :ivar chain: DER certificates from the issuer to the root, both included.
    :ivar algorithm: the DER AlgorithmIdentifier that its signatures have.
    """

    @property
    def certificate(self) -> bytes: ...
    @property
    def chain(self) -> tuple[bytes, ...]: ...
    @property
    def algorithm(self) -> bytes: ...

    def sign_certificate(self, to_be_signed: ToBeSigned) -> Deferred[bytes]:
        """The DER certificate; fails with SignerUnavailable."""

    def sign(self, data: bytes) -> Deferred[bytes]:
        """The signature value over a TBSCertList, a ResponseData or CMS attributes; fails with SignerUnavailable."""


class IDecrypter(Protocol):
    """A key that opens what was encrypted for its RSA certificate (SCEP)."""

    @property
    def certificate(self) -> bytes: ...

    def decrypt(self, encrypted_key: bytes, *, oaep_hash: str | None) -> Deferred[bytes | None]:
        """The content-encryption key, or ``None`` when the padding is wrong (RSAES-PKCS1-v1_5, or OAEP)."""


# --- storage -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Begun:
    """The request is recorded and its intent stored: sign now."""

    request_id: int


@dataclass(frozen=True, slots=True)
class Repeated:
    """The same request was here before.

    :param certificate: where it was issued.
    """

    request: RequestRecord
    certificate: CertificateRecord | None


class ICertificateReader(Protocol):
    """Reading what was issued; all that lists, OCSP and downloads need."""

    def certificate(self, certificate_id: int) -> Deferred[CertificateRecord]:
        """Fails with NotFound; deleted ones are not found."""

    def certificate_by_serial(self, serial: int, *, deleted: bool = False) -> Deferred[CertificateRecord]:
        """Fails with UnknownSerial; *deleted*: give deleted ones also, and revoked serials of which no certificate
        is known (id 0, no DER).
        """

    def certificates(self, query: ListQuery, now: datetime) -> Deferred[Page[CertificateRecord]]:
        """Q over subject, common name and serial (a text that thousands hold: over common names and the newest
        subjects); filters status, method, issuer; sorts id, serial, common_name, not_after, created_at, and those
        of status revoked by revoked_at.
        """

    def expired_ids(self, now: datetime, after: int, limit: int) -> Deferred[list[int]]:
        """Ids above *after* of certificates whose end is past, ascending."""

    def status(self, issuer_id: int, serial: int) -> Deferred[StatusRecord | None]:
        """``None`` when that issuer never issued it."""

    def changes_since(self, change_id: int, limit: int = 1000) -> Deferred[list[StatusChange]]:
        """Revocations and releases after that one, in order, over all processes."""

    def latest_change(self) -> Deferred[int]:
        """0 when there was none."""

    def crl_entries(self, issuer_id: int, after: int) -> Deferred[tuple[int, int, bytes] | None]:
        """(last change id, number of entries, their joined DER) of what was revoked after change *after* and
        stands today; in order of revocation.  ``None`` when an entry given up to *after* was released or replaced
        since: begin again with 0.
        """

    def last_crl(self, issuer_id: int) -> Deferred[CRLRecord | None]:
        """The newest one recorded."""


class IIssuanceStore(Protocol):
    """The writes of the RA and the CA.  Each method is one transaction."""

    def register_issuer(self, name: str, key_identifier: bytes, certificate: bytes, now: datetime) -> IssuerRecord:
        """Synchronous, at start: the record of that certificate's key, made when it is new."""

    def begin(self, request: NewRequest, intent: Intent | None, now: datetime) -> Deferred[Begun | Repeated]:
        """Record the request and, unless it waits for approval (*intent* is ``None``), the intent; reserve its
        challenge password.

        Fails with Conflict when the challenge password is no longer available, and with PolicyViolation when the
        key was certified for another owner and another subject.
        """

    def approve(
        self, request_id: int, intent: Intent, actor: str, event: Event, now: datetime
    ) -> Deferred[RequestRecord]:
        """Pending → issuing.  Fails with NotFound, Conflict."""

    def reject(self, request_id: int, actor: str, reason: str, event: Event, now: datetime) -> Deferred[RequestRecord]:
        """Pending → rejected, the challenge password is freed, and the stored request that was handed in is marked.
        Fails with NotFound, Conflict.
        """

    def complete(
        self, request_id: int, certificate: bytes, method: Method, event: Event, now: datetime
    ) -> Deferred[CertificateRecord]:
        """Issuing → issued: certificate, audit event and consumed challenge together (owner, subject … come from
        the request and its intent); the stored request that was handed in is marked as signed, with an event.
        """

    def fail(self, request_id: int, reason: str, event: Event, now: datetime) -> Deferred[None]:
        """Issuing → failed: the signer gave no signature; the challenge is freed, the request may be repeated."""

    def repeated(self, dedupe: bytes, now: datetime) -> Deferred[Repeated | None]:
        """The request that has that digest within its window, as ``begin`` would find it; nothing is written."""

    def request(self, request_id: int) -> Deferred[RequestRecord]: ...
    def request_by_transaction(self, transaction: bytes) -> Deferred[Repeated | None]:
        """The newest request of that transaction digest."""

    def check_key(self, key_id: bytes, owner_id: int | None, subject: str, request_id: int = ...) -> Deferred[None]:
        """That ``begin`` (or ``approve``, of that request) would let this owner have the key certified; nothing is
        written.  Fails with PolicyViolation.
        """

    def requests(self, query: ListQuery) -> Deferred[Page[RequestRecord]]:
        """Filters ``state``, ``method``, and ``approval`` (``true``): those that wait for a person or were decided by
        one; q over subject and principal.
        """

    def abandon(self, request_id: int, event: Event, now: datetime) -> Deferred[None]:
        """An orphaned intent → failed with its serial kept; the challenge is freed, the request may be repeated."""

    def revoke(
        self, serial: int, revoked_at: datetime, reason: RevocationReason, event: Event
    ) -> Deferred[tuple[CertificateRecord, bool]]:
        """(record, whether anything changed).  Repeating changes nothing, but a hold becomes a final revocation.
        Writes certificate, CRL entry, status change and event.  An abandoned or orphaned intent's serial can be
        revoked too.  Fails with UnknownSerial.
        """

    def release(self, serial: int, event: Event, now: datetime) -> Deferred[CertificateRecord]:
        """Fails with UnknownSerial, and Conflict when it is not on hold."""

    def delete_certificate(self, certificate_id: int, event: Event, now: datetime) -> Deferred[None]: ...

    def next_crl_number(self, issuer_id: int, above: int) -> Deferred[int]:
        """A number above *above* and every number given before, stored before it is used."""

    def record_crl(self, record: CRLRecord) -> Deferred[None]: ...
    def drop_listed_expired(self, issuer_id: int, ended_before: datetime, listed: int = ...) -> Deferred[int]:
        """Forget CRL entries (not the revocations) of certificates that ended before that; how many.

        :param listed: only those of changes up to this one: later ones were on no CRL yet.
        """

    def relist_unexpired(self, issuer_id: int, now: datetime) -> Deferred[int]: ...
    def service_credential(self, key_identifier: bytes, purpose: str) -> Deferred[tuple[bytes, bytes] | None]:
        """(certificate DER, sealed key) of the newest OCSP or RA credential of that issuer key."""

    def service_credentials(self, key_identifier: bytes, purpose: str) -> Deferred[list[tuple[bytes, bytes]]]:
        """All of them, newest first."""

    def put_service_credential(
        self, key_identifier: bytes, purpose: str, certificate: bytes, sealed_key: bytes, now: datetime
    ) -> Deferred[None]: ...


class IPolicyStore(Protocol):
    """Enrollment policies other than the default one."""

    def policy(self, policy_id: int) -> Deferred[Policy]: ...
    def policy_by_name(self, name: str) -> Deferred[Policy | None]: ...
    def policy_for(self, protocol: Method, owner_id: int | None) -> Deferred[Policy | None]:
        """The owner's policy flagged for EST or SCEP; *owner_id* ``None``: the system one."""

    def policies(self, query: ListQuery) -> Deferred[Page[Policy]]:
        """With *owner_id*: that owner's and the system ones."""

    def add_policy(self, policy: Policy, event: Event, now: datetime) -> Deferred[Policy]:
        """Fails with Conflict: the name is taken, or another policy of the owner holds the flag (and is named)."""

    def update_policy(self, policy: Policy, event: Event, now: datetime) -> Deferred[Policy]:
        """Fails as :meth:`add_policy`, and with EditConflict when the stored one has another version than *policy*."""

    def delete_policy(self, policy_id: int, decide: Callable[[Policy], Event], now: datetime) -> Deferred[None]: ...


class IAccountStore(Protocol):
    """Accounts, tokens, challenge passwords and stored CSRs."""

    def account(self, account_id: int) -> Deferred[Account]: ...
    def accounts_of(self, account_ids: Sequence[int]) -> Deferred[dict[int, Account]]: ...
    def account_by_name(self, username: str) -> Deferred[Account | None]: ...
    def accounts(self, query: ListQuery) -> Deferred[Page[Account]]: ...
    def add_account(self, account: NewAccount, event: Event, now: datetime) -> Deferred[Account]:
        """Fails with Conflict when the name is taken (names are compared without case)."""

    def add_token(self, token: NewToken, event: Event, now: datetime) -> Deferred[Token]:
        """Fails with Conflict when the account is not active, or has a token of that name."""

    def token(self, token_id: int) -> Deferred[Token]:
        """Fails with NotFound."""

    def token_by_digest(self, digest: bytes) -> Deferred[tuple[Token, Account] | None]: ...
    def touch_token(self, token_id: int, now: datetime) -> Deferred[None]: ...
    def tokens(self, query: ListQuery) -> Deferred[Page[Token]]: ...
    def delete_token(self, token_id: int, decide: Callable[[Token], Event], now: datetime) -> Deferred[None]: ...

    def add_challenge(
        self, challenge: NewChallengePassword, event: Event, now: datetime
    ) -> Deferred[ChallengePassword]: ...
    def challenge(self, challenge_id: int) -> Deferred[ChallengePassword]: ...
    def challenge_by_lookup(self, lookup: bytes) -> Deferred[ChallengePassword | None]: ...
    def challenges(self, query: ListQuery, now: datetime) -> Deferred[Page[ChallengePassword]]:
        """Filter ``status``: available, consumed, expired."""

    def delete_challenge(
        self, challenge_id: int, decide: Callable[[ChallengePassword], Event], now: datetime
    ) -> Deferred[None]: ...
    def delete_expired_challenges(self, owner_id: int | None, event: Event, now: datetime) -> Deferred[int]: ...

    def add_csr(self, csr: NewCSR, event: Event, now: datetime) -> Deferred[StoredCSR]: ...
    def csr(self, csr_id: int) -> Deferred[StoredCSR]: ...
    def csrs(self, query: ListQuery) -> Deferred[Page[StoredCSR]]: ...
    def delete_csr(self, csr_id: int, decide: Callable[[StoredCSR], Event], now: datetime) -> Deferred[None]: ...
    def reject_csr(self, csr_id: int, event: Event, now: datetime) -> Deferred[StoredCSR]:
        """Pending → rejected; those that are signed are told of by ``complete``.  Fails with NotFound, Conflict."""


class ITemplateStore(Protocol):
    """Certificate templates."""

    def template(self, template_id: int) -> Deferred[CertificateTemplate]: ...
    def templates(self, query: ListQuery) -> Deferred[Page[CertificateTemplate]]:
        """With *owner_id*: that owner's and those without an owner, which are everybody's."""

    def add_template(self, template: CertificateTemplate, event: Event, now: datetime) -> Deferred[CertificateTemplate]:
        """Keep a new one, whatever its id and times say."""

    def update_template(
        self, template: CertificateTemplate, event: Event, now: datetime
    ) -> Deferred[CertificateTemplate]:
        """Fails with EditConflict when the stored one has another version than *template*."""

    def delete_template(
        self, template_id: int, decide: Callable[[CertificateTemplate], Event], now: datetime
    ) -> Deferred[None]: ...


class ISessionStore(Protocol):
    """Who is signed in, and which client certificates sign in."""

    def add_session(self, session: NewSession, event: Event, now: datetime) -> Deferred[Session]:
        """With the account's last login.  An account has at most twenty; the oldest end.  Fails with NotFound, and with
        Conflict when the account is not active or has another password than *account*.
        """

    def session_by_digest(self, digest: bytes) -> Deferred[tuple[Session, Account] | None]: ...
    def sessions_of(self, account_id: int) -> Deferred[list[Session]]:
        """Newest first."""

    def touch_session(self, session_id: int, now: datetime) -> Deferred[None]: ...
    def confirm_session(self, session_id: int, now: datetime) -> Deferred[None]: ...
    def end_session(self, session_id: int, event: Event | None, now: datetime) -> Deferred[None]:
        """Fails with NotFound."""

    def end_sessions(self, account_id: int, event: Event, now: datetime) -> Deferred[int]:
        """How many there were.  Fails with NotFound."""

    def end_idle_sessions(
        self, before: datetime, record: Callable[[Session, Account], Event], now: datetime, most: int
    ) -> Deferred[int]:
        """End *most* of those whose users were not seen since *before*, each with the event that *record* makes (maybe
        more than once, and in another thread); how many there were.
        """

    def last_seen(self, account_ids: Iterable[int]) -> Deferred[dict[int, datetime]]:
        """When those of the accounts that are signed in were seen last."""

    def bind_certificate(
        self, certificate: NewAccountCertificate, event: Event, now: datetime
    ) -> Deferred[AccountCertificate]:
        """Fails with Conflict when it signs in an account already."""

    def account_certificates(self, account_id: int) -> Deferred[list[AccountCertificate]]: ...
    def account_certificate(self, certificate_id: int) -> Deferred[AccountCertificate]: ...
    def unbind_certificate(
        self, certificate_id: int, decide: Callable[[AccountCertificate, Account], Event], now: datetime
    ) -> Deferred[None]: ...
    def account_by_certificate(self, fingerprint: bytes) -> Deferred[Account | None]: ...


class IKeyStore(Protocol):
    """Private keys that people keep here, sealed."""

    def add_key(self, key: NewKey, event: Event, now: datetime) -> Deferred[StoredKey]:
        """Store a private key."""

    def key(self, key_id: int) -> Deferred[StoredKey]: ...
    def keys_of_public(self, public: bytes) -> Deferred[list[StoredKey]]:
        """Those whose SubjectPublicKeyInfo has that SHA-256, the oldest first."""

    def keys(self, query: ListQuery) -> Deferred[Page[StoredKey]]:
        """Q over name and type; filter ``type``: RSA, EC, Ed25519, PQC; sorts id, created_at, name."""

    def key_use(self, key_id: int) -> Deferred[KeyUse]: ...
    def delete_key(
        self, key_id: int, decide: Callable[[StoredKey, KeyUse], Event], now: datetime
    ) -> Deferred[None]: ...


@dataclass(frozen=True, slots=True)
class Sealed:
    """A value that is sealed under SECRET_KEY, as it stands in the database.

    :param kind: ``key``, ``challenge password`` or ``service key``.
    :param name: of a key, the first digits of a challenge password, the purpose of a service key.
    """

    kind: str
    name: str
    sealed: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Resealed:
    """The same under another key.

    :param lookup: the digest by which a challenge password is found; else ``None``.
    """

    sealed: bytes = field(repr=False)
    lookup: bytes | None = field(default=None, repr=False)


#: Seals one value anew; ``None`` where it is sealed under the new key already.  Raises SecretKeyChanged where it opens
#: under neither.
Reseal: TypeAlias = Callable[[Sealed], Resealed | None]


@dataclass(slots=True)
class Resealing:
    """How many values of each kind were sealed anew, and how many were removed since they do not open."""

    changed: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)


class ISealedStore(Protocol):
    """All that is sealed under SECRET_KEY, whatever it is."""

    def newest_sealed(self) -> list[Sealed]:
        """Synchronous, at start: the newest sealed value of each kind that there is."""

    def reseal(self, reseal: Reseal, event: Event | None, now: datetime, *, drop: bool = False) -> Deferred[Resealing]:
        """Seal everything anew, in one transaction: all of it or nothing.

        :param event: is recorded when anything was changed.
        :param drop: remove what opens under neither key.  Else such a value fails it with Conflict.

        Fails with Conflict while others are connected to a PostgreSQL database.
        """


class IStatisticsStore(Protocol):
    """Counting: what one owner has, or (``None``) all have."""

    def count(self, owner_id: int | None, now: datetime) -> Deferred[Counts]:
        """What there is now; a million certificates take a fraction of a second."""

    def issued_before(self, owner_id: int | None, certificate_id: int, rows: int) -> Deferred[Batch]:
        """The *rows* certificates with the next smaller ids; what they are never changes, so each is counted once."""

    def issued_after(self, owner_id: int | None, certificate_id: int, rows: int) -> Deferred[Batch]:
        """The *rows* certificates with the next greater ids."""

    def newest_event(self) -> Deferred[int]:
        """Its id, 0 where there is none: it rises with each event of any process."""

    def event_owners(self, after: int, until: int) -> Deferred[dict[int | None, int]]:
        """Whose objects the events after *after* up to *until* are about, with the newest event of each owner."""


class IStore(
    ICertificateReader,
    IIssuanceStore,
    INodeStore,
    IPolicyStore,
    IAccountStore,
    IOwnerStore,
    ITemplateStore,
    ISessionStore,
    IAuditStore,
    IStatisticsStore,
    IKeyStore,
    ISealedStore,
    Protocol,
):
    """The whole database.  What adds to an account that has as many as it may fails with QuotaExceeded.

    *decide* gives the event of what it is shown and is about to be deleted, or raises; see :class:`IOwnerStore`.
    """

    def subscribe(self, callback: Callable[[list[StatusChange]], None]) -> None:
        """Have *callback* called with what each commit of this process revoked, released or deleted, before those who
        asked for it are told that it is done.
        """

    def watch_events(self, callback: Callable[[int], None]) -> None:
        """Have *callback* called with the id of the newest audit event of each commit here that wrote one."""

    def check(self) -> Deferred[None]:
        """Fails with StoreUnavailable when the database does not answer."""

    def close(self) -> Deferred[None]:
        """Finish what is queued, then close."""
