"""Passkeys of accounts: public keys of WebAuthn credentials."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Passkey:
    """A stored passkey.

    :param host: the host of the pages for which the browser made it (RP ID); it signs for no other.
    :param credential_id: chosen by the authenticator, unique.
    :param public_key: in COSE form.
    :param sign_count: the counter of the last signature; an authenticator without one keeps it at 0.
    :param user_handle: random bytes that stand for the account in the authenticator.
    """

    id: int
    account_id: int
    name: str
    host: str
    credential_id: bytes
    public_key: bytes = field(repr=False)
    sign_count: int
    user_handle: bytes = field(repr=False)
    created_at: datetime
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewPasskey:
    """A passkey to store; see :class:`Passkey`.

    :param challenged_at: microseconds since 1970 at which its challenge was made.
    :param recovery_digests: stored if it is the account's first second factor.
    """

    account_id: int
    name: str
    host: str
    credential_id: bytes
    public_key: bytes = field(repr=False)
    sign_count: int
    user_handle: bytes = field(repr=False)
    challenged_at: int
    recovery_digests: tuple[bytes, ...] = field(repr=False)
