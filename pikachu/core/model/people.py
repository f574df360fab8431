"""Accounts, principals, credentials and what signs in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final


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
