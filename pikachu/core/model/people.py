"""Accounts, principals and credentials."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, TypeAlias


class Role(StrEnum):
    """The role of an account."""

    ADMIN = "admin"
    OPERATOR = "operator"
    AUDITOR = "auditor"
    USER = "user"


class AccountState(StrEnum):
    """The state of an account."""

    PENDING = "pending"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    DELETED = "deleted"


class AccountSource(StrEnum):
    """The authority for an account's password."""

    LOCAL = "local"
    LDAP = "ldap"
    OIDC = "oidc"


class Scope(StrEnum):
    """A permission of a role, which an API token may lack.

    *operate* is for everybody's certificates, CSRs, approvals, batches and jobs; *audit* reads everything without
    secrets; *admin* includes both.
    """

    READ = "read"
    ENROLL = "enroll"
    REVOKE = "revoke"
    OPERATE = "operate"
    AUDIT = "audit"
    ADMIN = "admin"


class PrincipalKind(StrEnum):
    """The authentication method of a principal."""

    ANONYMOUS = "anonymous"
    ACCOUNT = "account"
    CLIENT_CERTIFICATE = "client certificate"
    CHALLENGE = "challenge password"
    SYSTEM = "system"


@dataclass(frozen=True, slots=True)
class PresentedCertificate:
    """A validated client certificate with proof of possession of its key.

    :param own: issued by this authority and in its database; otherwise trusted by ``client_ca``.
    """

    der: bytes
    subject_der: bytes
    serial: int
    own: bool
    owner_id: int | None = None


@dataclass(frozen=True, slots=True)
class BoundNames:
    """The names that a challenge password is bound to.

    :param subject: RFC 4514; empty for an empty subject.
    :param sans: the subject alternative names, such as ``DNS:a.example.com``.
    :param subject_der: the subject as a DER Name.
    :param san_der: the subject alternative names as DER GeneralNames; empty without any.
    """

    subject: str
    sans: tuple[str, ...]
    subject_der: bytes = field(repr=False)
    san_der: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Principal:
    """The requester of an operation.  Anonymous is a principal, never ``None``.

    :param name: the name in audit events.
    :param owner_id: the account that will own enrolled certificates, or ``None``.
    :param authenticated_id: the account whose credentials vouch for the request beside a challenge password of
        *owner_id*, or ``None``.
    :param role: the role of the account, or ``None`` without an account.
    :param scopes: the permitted scopes; those of the role unless a token restricts them.
    :param job_id: the job that acts for the account, or ``None``.
    :param challenge_label: the label of the challenge password; empty without one.
    :param added_names: the subject alternative names that the challenge password adds to those of the CSR, as DER
        GeneralNames; empty without any.
    :param challenge_policy: the name of the only policy that the challenge password enrolls under; ``None``: any.
    :param cached_account: the account as it was cached, when that has authenticated the requester: the transaction
        that records the request requires that it is unchanged.
    """

    kind: PrincipalKind
    name: str
    owner_id: int | None = None
    role: Role | None = None
    scopes: frozenset[Scope] = frozenset()
    certificate: PresentedCertificate | None = None
    challenge_id: int | None = None
    address: str = ""
    authenticated_id: int | None = None
    job_id: int | None = None
    challenge_label: str = ""
    added_names: bytes = b""
    challenge_policy: str | None = None
    cached_account: Account | None = None

    @property
    def is_admin(self) -> bool:
        """Whether the principal acts for an administrator."""
        return self.role is Role.ADMIN


ANONYMOUS: Final = Principal(PrincipalKind.ANONYMOUS, "anonymous")


SYSTEM: Final = Principal(PrincipalKind.SYSTEM, "Pikachu CA", role=Role.ADMIN, scopes=frozenset(Scope))


@dataclass(frozen=True, slots=True)
class Credentials:
    """The unverified credentials of a request.

    :param address: the peer's address, for audit and rate limits.
    :param peer_certificate: DER certificate; the TLS handshake proved possession of its key.
    :param peer_intermediates: unverified DER certificates that the peer sent with it.
    :param username: the user name of HTTP Basic, with *password*.
    :param channel_bindings: returns the base64 values that a channel-bound CSR may have as challengePassword
        (RFC 7030 section 3.5, RFC 9266); called only for CSRs with one.
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
    """The account of a person or a program.

    :param directory_id: the unique id of its entry in the directory, which no other entry ever has; ``None`` for a
        local account and for a directory without such ids.
    :param must_change_password: the account may do nothing but set its own password.
    :param has_second_factor: the password alone does not sign in.
    :param suspended_by_directory: suspended because the directory removed or disabled it, until that is undone there.
    """

    id: int
    username: str
    email: str
    role: Role
    source: AccountSource
    state: AccountState
    password_hash: str | None = field(repr=False)
    created_at: datetime
    last_login_at: datetime | None = None
    directory_id: str | None = None
    suspended_by_directory: bool = False
    must_change_password: bool = False
    has_second_factor: bool = False

    @property
    def display_name(self) -> str:
        """The name in lists, marked when deleted, since another account may reuse the name."""
        return f"{self.username} (deleted)" if self.state is AccountState.DELETED else self.username


@dataclass(frozen=True, slots=True)
class NewAccount:
    """An account to create; *directory_id* and *must_change_password* as in :class:`Account`."""

    username: str
    email: str
    role: Role
    state: AccountState
    password_hash: str | None = field(repr=False)
    source: AccountSource = AccountSource.LOCAL
    directory_id: str | None = None
    must_change_password: bool = False


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
class NewToken:
    """An API token to create.

    :param digest: SHA-256 of the token's text.
    :param expires_at: ``None`` for a token without an end.
    """

    account_id: int
    name: str
    digest: bytes = field(repr=False)
    scopes: frozenset[Scope]
    expires_at: datetime | None


#: Seals a secret for the row with that id, which a new row gets when it is inserted.
SealFor: TypeAlias = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class ChallengePassword:
    """A challenge password (one-time), without its plaintext.

    :param prefix: the first 8 digits, the only ones in events.
    :param sealed: the encrypted plaintext.
    :param label: chosen by its owner; empty without one.
    :param names: the only names that can be enrolled with it; ``None``: any.
    :param policy: the name of the only policy that it enrolls under; ``None``: any.
    :param batch_id: the id of its enrollment batch, or ``None``.
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
    label: str = ""
    names: BoundNames | None = None
    policy: str | None = None
    batch_id: int | None = None


@dataclass(frozen=True, slots=True)
class NewChallengePassword:
    """A challenge password to create.

    :param lookup: the HMAC by which it is found.
    :param prefix: the first 8 digits.
    :param seal: seals the plaintext for its row.
    :param label: as in :class:`ChallengePassword`, like *names*, *policy* and *batch_id*.
    """

    lookup: bytes = field(repr=False)
    prefix: str
    seal: SealFor = field(repr=False)
    owner_id: int | None
    expires_at: datetime
    label: str = ""
    names: BoundNames | None = None
    policy: str | None = None
    batch_id: int | None = None
