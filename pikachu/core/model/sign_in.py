"""Ended sessions, and form drafts that outlive them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class SessionEnd(StrEnum):
    """The reason for which a session ended without its user's sign-out there."""

    IDLE = "idle"
    AGE = "age"
    ADMINISTRATOR = "administrator"
    ELSEWHERE = "elsewhere"
    PASSWORD = "password"  # noqa: S105 - a reason
    ACCOUNT = "account"
    LIMIT = "limit"


class Restriction(StrEnum):
    """A duty of an account before anything else after signing in."""

    CHANGE_PASSWORD = "change its password"  # noqa: S105 - a restriction
    SECOND_FACTOR = "set up a second factor"


@dataclass(frozen=True, slots=True)
class EndedSession:
    """A session that has ended recently."""

    account_id: int
    reason: SessionEnd
    ended_at: datetime


@dataclass(frozen=True, slots=True)
class NewPasswordReset:
    """A one-time code that sets the password of an account.

    :param digest: SHA-256 of the code.
    """

    account_id: int
    digest: bytes = field(repr=False)
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Draft:
    """The entries of a form that was not processed.

    :param page: path and query of the page that the form stood on.
    :param action: the path that it was sent to.
    :param fields: names and values, without secrets and files.
    """

    page: str
    action: str
    fields: tuple[tuple[str, str], ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class StoredDraft:
    """A stored draft.

    :param sealed: the encrypted :class:`Draft`.
    """

    id: int
    account_id: int
    sealed: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ExternalIdentity:
    """A person at an OpenID Connect provider, whom nothing else identifies.

    :param issuer: the provider's issuer URL.
    :param subject: the provider's id of the person.
    """

    issuer: str
    subject: str
