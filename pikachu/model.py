"""The values that the rooms of the program hand to each other.

All times are aware UTC datetimes with whole seconds, serials are positive ``int``, certificates
are DER ``bytes``.  Enums carry the values that stand in the database and in JSON.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Final, Generic, TypeVar

from pikachu.errors import MalformedRequest

T = TypeVar("T")


class Role(StrEnum):
    """What an account may do."""

    ADMIN = "admin"
    USER = "user"


class AccountState(StrEnum):
    """Whether an account may be used."""

    PENDING = "pending"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    DELETED = "deleted"


class AccountSource(StrEnum):
    """Who checks the account's password."""

    LOCAL = "local"
    LDAP = "ldap"


class Scope(StrEnum):
    """What an API token may do."""

    READ = "read"
    ENROLL = "enroll"
    REVOKE = "revoke"
    ADMIN = "admin"


class Method(StrEnum):
    """How a certificate was asked for; ``CA`` marks those that the authority issues to itself."""

    UI = "UI"
    API = "API"
    CLI = "CLI"
    EST = "EST"
    SCEP = "SCEP"
    CA = "CA"


class CertificateStatus(StrEnum):
    """Computed, never stored: a hold counts as revoked, and revoked beats expired."""

    VALID = "valid"
    REVOKED = "revoked"
    EXPIRED = "expired"


class RequestState(StrEnum):
    """Where a request stands: ``issuing`` means that an intent is stored and no certificate yet."""

    PENDING = "pending"
    ISSUING = "issuing"
    ISSUED = "issued"
    REJECTED = "rejected"
    FAILED = "failed"


class RevocationReason(IntEnum):
    """CRLReason (RFC 5280 section 5.3.1)."""

    UNSPECIFIED = 0
    KEY_COMPROMISE = 1
    CA_COMPROMISE = 2
    AFFILIATION_CHANGED = 3
    SUPERSEDED = 4
    CESSATION_OF_OPERATION = 5
    CERTIFICATE_HOLD = 6
    PRIVILEGE_WITHDRAWN = 9
    AA_COMPROMISE = 10

    @property
    def wire_name(self) -> str:
        """The name that RFC 5280 gives it, such as ``keyCompromise``."""
        return _REASON_NAMES[self]

    @classmethod
    def from_name(cls, name: str) -> RevocationReason:
        """The reason of that RFC 5280 name.

        :raises MalformedRequest: when there is none, or it can't be given by a user (7, removeFromCRL).
        """
        for reason, known in _REASON_NAMES.items():
            if known == name:
                return reason
        choices = ", ".join(_REASON_NAMES.values())
        raise MalformedRequest(f"unknown revocation reason; use one of {choices}", reason=name)


_REASON_NAMES: Final = {
    RevocationReason.UNSPECIFIED: "unspecified",
    RevocationReason.KEY_COMPROMISE: "keyCompromise",
    RevocationReason.CA_COMPROMISE: "cACompromise",
    RevocationReason.AFFILIATION_CHANGED: "affiliationChanged",
    RevocationReason.SUPERSEDED: "superseded",
    RevocationReason.CESSATION_OF_OPERATION: "cessationOfOperation",
    RevocationReason.CERTIFICATE_HOLD: "certificateHold",
    RevocationReason.PRIVILEGE_WITHDRAWN: "privilegeWithdrawn",
    RevocationReason.AA_COMPROMISE: "aACompromise",
}


def utc(seconds: float) -> datetime:
    """The UTC datetime, in whole seconds, of a number of seconds since 1970."""
    return datetime.fromtimestamp(int(seconds), UTC)


def rfc3339(moment: datetime) -> str:
    """``2026-01-31T12:00:00Z``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def format_serial(serial: int) -> str:
    """Lower-case hex without 0x and leading zeros."""
    return f"{serial:x}"


SERIAL_END: Final = 1 << 168
"""No serial number of a certificate known here is this large: some CAs' have 21 octets with the sign."""


def parse_serial(text: str) -> int:
    """The serial that *text* writes in hex, with or without 0x and colons.

    :raises MalformedRequest: when it writes none of at most 20 octets.
    """
    digits = text.strip().removeprefix("0x").removeprefix("0X").replace(":", "")
    if not re.fullmatch("[0-9A-Fa-f]{1,42}", digits) or (serial := int(digits, 16)) == 0:
        raise MalformedRequest("a serial number is 1 to 40 hexadecimal digits")
    return serial


class PrincipalKind(StrEnum):
    """By what somebody proved who they are."""

    ANONYMOUS = "anonymous"
    ACCOUNT = "account"
    CLIENT_CERTIFICATE = "client certificate"
    CHALLENGE = "challenge password"
    SYSTEM = "system"


@dataclass(frozen=True, slots=True)
class PresentedCertificate:
    """A client certificate whose key the peer has proved to hold, already checked against our records.

    :param own: issued by this authority and in its database; else trusted by ``client_ca``.
    """

    der: bytes
    subject_der: bytes
    serial: int
    own: bool
    owner_id: int | None = None


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks.  Anonymous is a principal of its own, never ``None``.

    :param name: what audit events show.
    :param owner_id: the account that will own what is enrolled, or ``None``.
    :param role: of the account, where one stands behind it.
    :param scopes: what a token allows; all for a person.
    """

    kind: PrincipalKind
    name: str
    owner_id: int | None = None
    role: Role | None = None
    scopes: frozenset[Scope] = frozenset()
    certificate: PresentedCertificate | None = None
    challenge_id: int | None = None
    address: str = ""

    @property
    def is_admin(self) -> bool:
        """Whether it acts for an administrator."""
        return self.role is Role.ADMIN


ANONYMOUS: Final = Principal(PrincipalKind.ANONYMOUS, "anonymous")
SYSTEM: Final = Principal(PrincipalKind.SYSTEM, "Pikachu CA", role=Role.ADMIN, scopes=frozenset(Scope))


@dataclass(frozen=True, slots=True)
class Credentials:
    """The evidence that came with a request; nothing of it is proven yet.

    :param address: of the peer, for audit and rate limits.
    :param peer_certificate: DER; the TLS handshake proved possession of its key.
    :param peer_intermediates: DER certificates that the peer sent with it; nothing vouches for them.
    :param username: with *password*, of HTTP Basic.
    :param channel_bindings: gives the base64 values that a linked CSR may carry as its challengePassword
        (RFC 7030 section 3.5, RFC 9266); asked only for requests that have one.
    """

    address: str
    peer_certificate: bytes | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    channel_bindings: Callable[[], tuple[str, ...]] = field(default=tuple, repr=False)
    peer_intermediates: tuple[bytes, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Account:
    """A person, or a program with a password."""

    id: int
    username: str
    email: str
    role: Role
    source: AccountSource
    state: AccountState
    password_hash: str | None = field(repr=False)
    created_at: datetime
    last_login_at: datetime | None = None

    @property
    def display_name(self) -> str:
        """The name that lists show: a deleted account's is free for another one."""
        return f"{self.username} (deleted)" if self.state is AccountState.DELETED else self.username


@dataclass(frozen=True, slots=True)
class Token:
    """An API token, without its secret."""

    id: int
    account_id: int
    name: str
    scopes: frozenset[Scope]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ChallengePassword:
    """A one-time password, without its text.

    :param prefix: the first 8 digits, the only part that events name.
    :param sealed: the whole text, encrypted.
    """

    id: int
    prefix: str
    sealed: bytes = field(repr=False)
    owner_id: int | None
    created_at: datetime
    expires_at: datetime
    reserved_by: int | None = None
    consumed_at: datetime | None = None
    consumed_serial: int | None = None


class Approval(StrEnum):
    """Whether a person looks at each enrollment."""

    AUTOMATIC = "automatic"
    MANUAL = "manual"


@dataclass(frozen=True, slots=True)
class PolicyLimits:
    """POL-4: what a policy restricts.  Empty tuples and ``None`` restrict nothing beyond the CA's own rules.

    :param keys: ``RSA/2048``, ``EC/prime256v1``, ``Ed25519``, ``PQC/mldsa44`` …; ``RSA`` alone means any size.
    :param subject: pattern with ``*`` and ``?`` that the whole RFC 4514 subject must match.
    :param names: such patterns; each subjectAltName (``DNS:a.example.com``) must match one.
    :param honour_names: whether the request's subjectAltName is copied.
    :param own_subject: a client certificate may enroll its own subject only.
    :param linked: EST requests must carry the TLS channel binding.
    :param same_key: a renewal may keep its key.
    """

    keys: tuple[str, ...] = ()
    subject: str | None = None
    names: tuple[str, ...] = ()
    honour_names: bool = True
    max_days: int | None = None
    own_subject: bool = False
    linked: bool = False
    same_key: bool = True


@dataclass(frozen=True, slots=True)
class Policy:
    """An enrollment policy.

    :param id: 0 for the default policy, which lives in files (POL-2).
    :param days: validity.
    :param extensions: OpenSSL-style text (``pikachu.x509.template``).
    :param issuer: name of the issuing CA, or ``None`` for the default of the protocol.
    :param version: another one after each change; the default policy's is made of its texts.
    """

    id: int
    name: str
    days: int
    extensions: str
    system: bool = False
    use_for_est: bool = False
    use_for_scep: bool = False
    owner_id: int | None = None
    issuer: str | None = None
    approval: Approval = Approval.AUTOMATIC
    limits: PolicyLimits = PolicyLimits()
    created_at: datetime | None = None
    updated_at: datetime | None = None
    version: int = 0
    updated_by: str | None = None


@dataclass(frozen=True, slots=True)
class IssuerRecord:
    """A generation of an issuing CA that the database knows.

    :param name: ``ec``, ``rsa`` or ``mldsa``; generations of one CA share it.
    :param key_identifier: its subjectKeyIdentifier.
    """

    id: int
    name: str
    key_identifier: bytes
    certificate: bytes
    created_at: datetime


@dataclass(frozen=True, slots=True)
class CertificateRecord:
    """A certificate that was issued, and what is known of it."""

    id: int
    serial: int
    issuer_id: int
    subject: str
    common_name: str
    key_type: str
    key_id: bytes
    not_before: datetime
    not_after: datetime
    method: Method
    owner_id: int | None
    policy: str
    der: bytes
    created_at: datetime
    revoked_at: datetime | None = None
    reason: RevocationReason | None = None
    deleted_at: datetime | None = None

    def status(self, now: datetime) -> CertificateStatus:
        """What the certificate is worth at *now*."""
        if self.revoked_at is not None:
            return CertificateStatus.REVOKED
        return CertificateStatus.EXPIRED if self.not_after < now else CertificateStatus.VALID


@dataclass(frozen=True, slots=True)
class StatusRecord:
    """What OCSP needs to know of one certificate."""

    serial: int
    not_after: datetime
    revoked_at: datetime | None
    reason: RevocationReason | None
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class StatusChange:
    """One line of the log of revocations and releases; *id* rises strictly over all processes."""

    id: int
    issuer_id: int
    serial: int


@dataclass(frozen=True, slots=True)
class Intent:
    """What is about to be signed: stored before the signature, so that nothing signed is ever unknown.

    :param tbs: the DER TBSCertificate.
    :param process: who is going to sign: a node, or a command.
    """

    serial: int
    issuer_id: int
    tbs: bytes
    subject: str
    common_name: str
    key_type: str
    key_id: bytes
    not_before: datetime
    not_after: datetime
    policy: str
    process: str


@dataclass(frozen=True, slots=True)
class NewRequest:
    """An enrollment that authentication and policy have let through.

    :param dedupe: two requests with equal digests are one; ``None`` never repeats.
    :param dedupe_seconds: how long after it was made a request answers its repetition; ``None``: for ever.
    :param transaction: digest that finds the request again for polling (SCEP CertPoll), or ``None``.
    :param requester_key: SHA-256 of the SPKI that signed the SCEP request, or ``None``.
    :param subject_owner: the key may be certified again for the same owner or the same subject only.
    :param actor_id: the account of *principal*, for the audit log.
    :param csr_id: of the stored request that is handed in; what becomes of it is told there.
    :param actor_ids: accounts whose credentials vouch for it; they and the owner must be active when it is recorded.
    """

    method: Method
    csr: bytes
    subject: str
    key_type: str
    key_id: bytes
    policy: str
    issuer: str
    principal: str
    owner_id: int | None
    created_at: datetime
    address: str = ""
    actor_id: int | None = None
    dedupe: bytes | None = None
    dedupe_seconds: int | None = None
    transaction: bytes | None = None
    requester_key: bytes | None = None
    challenge_id: int | None = None
    label: str | None = None
    validity_days: int | None = None
    details: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    csr_id: int | None = None
    actor_ids: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """A stored request; one that waits for a person is an *approval*.

    :param csr: empty once the certificate is issued.
    :param address: where it came from.
    :param label: of the path that it came by (EST, SCEP).
    :param csr_id: of the request in somebody's keeping that was handed in, or ``None``.
    """

    id: int
    state: RequestState
    method: Method
    csr: bytes
    subject: str
    key_type: str
    key_id: bytes
    policy: str
    issuer: str
    principal: str
    owner_id: int | None
    created_at: datetime
    challenge_id: int | None
    requester_key: bytes | None
    validity_days: int | None
    serial: int | None
    certificate_id: int | None
    process: str | None
    decided_at: datetime | None = None
    decided_by: str | None = None
    reason: str | None = None
    address: str = ""
    label: str | None = None
    csr_id: int | None = None


@dataclass(frozen=True, slots=True)
class StoredCSR:
    """A certificate signing request that somebody keeps here (CSR-1).

    :param key_id: of the stored key that it was made with, or ``None``.
    :param template: the name of the certificate template that it was made with, or ``None``.
    :param certificate_id: of what was issued for it last, or ``None``.
    """

    id: int
    name: str
    der: bytes
    subject: str
    key_type: str
    owner_id: int | None
    created_at: datetime
    state: str = "pending"
    key_id: int | None = None
    template: str | None = None
    certificate_id: int | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """An audit event before it is chained.

    :param type: ``create``, ``update``, ``delete``, ``revoke``, ``sign``, ``approve`` … (AUD-1), or of
        accounts ``login``, ``failed login`` … (AUD-2).
    :param details: values that JSON can hold; never a secret.
    :param owner_id: whose object it is: who besides admins may see the event.
    """

    type: str
    resource_type: str
    resource_name: str
    actor: str
    details: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    owner_id: int | None = None
    actor_id: int | None = None
    about_account: bool = False


@dataclass(frozen=True, slots=True)
class EventRecord:
    """An audit event in the chain: *hash* covers *previous* and everything else."""

    id: int
    at: datetime
    event: Event
    previous: bytes
    hash: bytes


@dataclass(frozen=True, slots=True)
class CRLRecord:
    """A CRL that was published."""

    issuer_id: int
    number: int
    this_update: datetime
    next_update: datetime
    entries: int
    last_change: int


@dataclass(frozen=True, slots=True)
class ListQuery:
    """What one page of a list shows.

    :param limit: rows, 1 to 1000.
    :param cursor: opaque; of the page before.
    :param q: free text over the list's text columns.
    :param sort: a field name, with ``-`` in front for descending.
    :param owner_id: only what this account owns; ``None`` for all.
    :param filters: exact values by field name, such as ``status``.
    :param count: whether the page shall say how many rows there are.
    """

    limit: int = 25
    cursor: str | None = None
    q: str | None = None
    sort: str = "-id"
    owner_id: int | None = None
    filters: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    count: bool = False


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list.

    :param next_cursor: of the page that follows; ``None`` on the last.
    :param previous_cursor: of the page that precedes; ``None`` on the first.
    :param total: rows in all, where they were counted: exact to 10,000; 10,001 means more.
    """

    items: tuple[T, ...]
    next_cursor: str | None
    previous_cursor: str | None = None
    total: int | None = None
