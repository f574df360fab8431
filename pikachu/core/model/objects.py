"""What people keep here, as values: sessions, client certificates that sign in, keys, certificate templates.

Times are aware UTC datetimes with whole seconds, as in the other modules here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from pikachu.core.model.certificates import RevocationReason


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who is signed in, without the secret of their cookie.

    :param confirmed_at: when the password was last asked for; ``None``: it never was.
    """

    id: int
    account_id: int
    created_at: datetime
    last_seen_at: datetime
    confirmed_at: datetime | None
    address: str
    agent: str


@dataclass(frozen=True, slots=True)
class AccountCertificate:
    """A client certificate that signs in an account.

    :param fingerprint: SHA-256 of its DER.
    """

    id: int
    account_id: int
    fingerprint: bytes
    subject: str
    serial: int
    not_after: datetime
    created_at: datetime


@dataclass(frozen=True, slots=True)
class OwnerRevocation:
    """An order to revoke all valid certificates of an account.

    :param actor: whom the audit events name.
    """

    account_id: int
    reason: RevocationReason
    actor: str
    actor_id: int | None


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A private key that somebody keeps here (KEY-1).

    :param key_type: ``RSA/2048``, ``EC/prime256v1``, ``Ed25519``, ``PQC/mldsa44`` …
    :param key_id: SHA-256 of *spki*, as certificates and requests have it.
    :param spki: DER SubjectPublicKeyInfo.
    :param sealed: the PKCS #8 PrivateKeyInfo, encrypted under SECRET_KEY.
    """

    id: int
    name: str
    key_type: str
    key_id: bytes
    spki: bytes
    sealed: bytes = field(repr=False)
    owner_id: int | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class KeyUse:
    """How much would miss a stored key.

    :param requests: stored certificate requests that were made with it.
    :param certificates: that certify it and were not deleted.
    """

    requests: int
    certificates: int


@dataclass(frozen=True, slots=True)
class CertificateTemplate:
    """An OpenSSL-style configuration text with a name (TPL-1).

    :param profile_type: free text.
    :param origin: ``manually``, or the ``.j2`` file that it was rendered from.
    :param for_requests: it has a ``[ req ]`` section.
    :param for_extensions: it has a ``[ v3_ext ]`` section.
    :param owner_id: ``None`` for those that everybody sees.
    :param version: 1, and one more with each change.
    :param updated_by: who changed it last; ``None`` where that was not recorded yet.
    """

    id: int
    name: str
    profile_type: str
    origin: str
    content: str
    for_requests: bool
    for_extensions: bool
    owner_id: int | None
    created_at: datetime
    updated_at: datetime
    version: int = 0
    updated_by: str | None = None


@dataclass(frozen=True, slots=True)
class Quotas:
    """How many objects of each kind an account that is not an administrator's may own; 0: any number.

    :param challenge_passwords: that were not used yet.
    """

    keys: int = 0
    csrs: int = 0
    templates: int = 0
    tokens: int = 0
    challenge_passwords: int = 0
    policies: int = 0
