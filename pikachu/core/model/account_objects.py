"""Objects of accounts: sessions, sign-in certificates, keys, certificate templates.

Times are aware UTC datetimes with whole seconds, as in the other modules of this package.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from pikachu.core.model.certificates import RevocationReason
from pikachu.core.model.people import Account, SealFor


@dataclass(frozen=True, slots=True)
class Session:
    """A sign-in session, without the secret of its cookie.

    :param confirmed_at: when the password was last confirmed; ``None`` if never.
    """

    id: int
    account_id: int
    created_at: datetime
    last_seen_at: datetime
    confirmed_at: datetime | None
    address: str
    agent: str


@dataclass(frozen=True, slots=True)
class NewSession:
    """A sign-in session to create.

    :param digest: SHA-256 of the secret in its cookie.
    :param account: the account as it was when its credentials were verified.
    :param confirmed: whether the password was given.
    """

    digest: bytes = field(repr=False)
    account: Account
    confirmed: bool
    address: str
    agent: str


@dataclass(frozen=True, slots=True)
class AccountCertificate:
    """A client certificate bound to an account for signing in.

    :param fingerprint: SHA-256 of the DER certificate.
    """

    id: int
    account_id: int
    fingerprint: bytes
    subject: str
    serial: int
    not_after: datetime
    created_at: datetime


@dataclass(frozen=True, slots=True)
class NewAccountCertificate:
    """A client certificate to bind to an account for signing in.

    :param fingerprint: SHA-256 of the DER certificate.
    """

    account_id: int
    fingerprint: bytes
    subject: str
    serial: int
    not_after: datetime


@dataclass(frozen=True, slots=True)
class OwnerRevocation:
    """An order to revoke all valid certificates of an account.

    :param actor: the actor in the audit events.
    """

    account_id: int
    reason: RevocationReason
    actor: str
    actor_id: int | None


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A private key stored for an account (KEY-1).

    :param key_type: ``RSA/2048``, ``EC/prime256v1``, ``Ed25519``, ``PQC/mldsa44`` …
    :param key_id: SHA-256 of *spki*, as in certificate and request records.
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
class NewKey:
    """A private key to store; the fields are those of :class:`StoredKey`.

    :param seal: seals the PKCS #8 PrivateKeyInfo for its row.
    """

    name: str
    key_type: str
    key_id: bytes
    spki: bytes
    seal: SealFor = field(repr=False)
    owner_id: int | None


@dataclass(frozen=True, slots=True)
class ServiceCredential:
    """A stored key of an OCSP responder or SCEP RA.

    :param key_identifier: that of the issuer's key.
    :param certificate: DER; the CSR where the certificate is yet to come.
    :param sealed: the PKCS #8 PrivateKeyInfo, encrypted under SECRET_KEY.
    """

    id: int
    key_identifier: bytes
    purpose: str
    certificate: bytes
    sealed: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class NewServiceCredential:
    """A key of an OCSP responder or SCEP RA to store; the fields are those of :class:`ServiceCredential`."""

    key_identifier: bytes
    purpose: str
    certificate: bytes
    seal: SealFor = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeyUse:
    """The numbers of objects that use a stored key.

    :param requests: stored CSRs created with it.
    :param certificates: certificates for it that were not deleted.
    :param unissued: enrollment requests for it that are pending or being issued.
    """

    requests: int
    certificates: int
    unissued: int = 0


@dataclass(frozen=True, slots=True)
class CertificateTemplate:
    """A named OpenSSL-style configuration (TPL-1).

    :param profile_type: free text.
    :param origin: ``manually``, the ``.j2`` file from which it was rendered, or the file of which it was imported.
    :param for_requests: whether it has a ``[ req ]`` section.
    :param for_extensions: whether it has a ``[ v3_ext ]`` section.
    :param owner_id: ``None`` for shared templates.
    :param version: starts at 1 and increases with each change.
    :param updated_by: the user of the last change; ``None`` if not recorded.
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
    """The maximum number of objects of each kind per account, except for administrators; 0 for no limit.

    :param challenge_passwords: unused challenge passwords.
    """

    keys: int = 0
    csrs: int = 0
    templates: int = 0
    tokens: int = 0
    challenge_passwords: int = 0
    policies: int = 0
