"""Service keys and certificates that the CA issues and renews itself: OCSP responders, SCEP RAs and signers of
revocation messages.

They are stored in the database, with the key sealed under SECRET_KEY, so that every node uses the same ones, also
after a restart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from cryptography.hazmat.primitives.asymmetric import rsa

from pikachu.ca.issuance import CertificateAuthority
from pikachu.ca.issuers import IssuingCA
from pikachu.ca.leadership import IsLeader, always_leader
from pikachu.core.concurrency import SingleFlight, start
from pikachu.core.errors import PikachuError, UnknownSerial
from pikachu.core.interfaces import IStore, IWorkerPool
from pikachu.core.model.account_objects import NewServiceCredential, ServiceCredential
from pikachu.core.model.certificates import Infrastructure, StatusChange
from pikachu.core.sealing import Sealer, credential_row
from pikachu.signers.key import KeySigner, RSADecrypter
from pikachu.x509.certificate import (
    DIGITAL_SIGNATURE,
    KEY_ENCIPHERMENT,
    OCSP_SIGNING,
    REVOCATION_SIGNING,
    parse_certificate,
)
from pikachu.x509.keys import PrivateKey, describe_private_key, generate_private_key, load_private_key, private_key_info
from pikachu.x509.names import COMMON_NAME, build_name
from pikachu.x509.profile import service_extensions
from pikachu.x509.spki import KeyDescription, KeyFamily

log = Logger()

# A failed renewal is not retried at each request, since each attempt generates a key.
_RETRY = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Purpose:
    """The purpose and profile of a service credential.

    :param label: the text before the issuing CA's name in the subject.
    :param days: the validity; it is renewed when fewer than *renew_days* are left.
    """

    name: str
    label: str
    usage: tuple[int, ...]
    extended_usage: tuple[str, ...]
    days: int
    renew_days: int
    no_check: bool
    key_type: Callable[[KeyDescription], str]
    role: Infrastructure


def responder_key_type(issuer: KeyDescription) -> str:
    """Return the fast key type of the issuer's family, which its clients support: RSA-2048, P-256 or ML-DSA-44."""
    if issuer.family is KeyFamily.RSA:
        return "rsa2048"
    return "mldsa44" if issuer.family is KeyFamily.ML_DSA else "prime256v1"


# RFC 6960 section 4.2.2.2: issued by the CA itself, id-kp-OCSPSigning, nocheck since it is short-lived.
OCSP = Purpose(
    "ocsp",
    "OCSP responder",
    (DIGITAL_SIGNATURE,),
    (OCSP_SIGNING,),
    30,
    12,
    True,
    responder_key_type,
    Infrastructure.OCSP_RESPONDER,
)
# RFC 8894 section 2.1.2: an RA decrypts and signs for a CA that can't.
SCEP_RA = Purpose(
    "ra",
    "SCEP RA",
    (DIGITAL_SIGNATURE, KEY_ENCIPHERMENT),
    (),
    365,
    60,
    False,
    lambda issuer: "rsa2048",
    Infrastructure.SCEP_RA,
)
# P-256 whatever the issuer's key is: subscribers verify every message, and CMS libraries know it.
REVOCATION_MESSAGES = Purpose(
    "revocation",
    "Revocation messages",
    (DIGITAL_SIGNATURE,),
    (REVOCATION_SIGNING,),
    90,
    30,
    False,
    lambda issuer: "prime256v1",
    Infrastructure.REVOCATION_SIGNER,
)


class IHasResponder(Protocol):
    """The properties of an issuer that a credential depends on."""

    @property
    def key_identifier(self) -> bytes:
        """The subjectKeyIdentifier."""

    @property
    def chain(self) -> tuple[bytes, ...]:
        """DER certificates from the issuer to the root."""


def new_service_key(
    sealer: Sealer, key_identifier: bytes, purpose: str, certificate: bytes, private_key: PrivateKey
) -> NewServiceCredential:
    """Return a service key to store.

    :param certificate: DER; the CSR where the certificate is yet to come.
    """
    plaintext = private_key_info(private_key)

    def seal(row_id: int) -> bytes:
        return sealer.seal(f"service key {purpose}", plaintext, credential_row(row_id, key_identifier, certificate))

    return NewServiceCredential(key_identifier, purpose, certificate, seal)


def open_service_key(sealer: Sealer, stored: ServiceCredential) -> PrivateKey:
    """Decrypt a stored service key.

    :raises SecretKeyChanged: when it was sealed under another SECRET_KEY or for another row.
    """
    row = credential_row(stored.id, stored.key_identifier, stored.certificate)
    return load_private_key(sealer.open(f"service key {stored.purpose}", stored.sealed, row))


@dataclass(frozen=True, slots=True)
class Credential:
    """A service key with its certificate, for signing and, if RSA, decrypting."""

    signer: KeySigner
    decrypter: RSADecrypter | None
    key: KeyDescription
    not_before: datetime
    not_after: datetime

    def is_valid(self, now: datetime) -> bool:
        """Return whether the certificate is valid at *now*."""
        return self.not_before <= now < self.not_after


class ServiceCertificates:
    """Issues and renews the service credentials of issuing CAs on demand.

    :param pool: the pool for key generation and slow signatures.
    :param is_leader: whether this node renews what is still valid; others use what the leader has stored.
    """

    def __init__(
        self,
        store: IStore,
        authority: CertificateAuthority,
        sealer: Sealer,
        pool: IWorkerPool,
        is_leader: IsLeader = always_leader,
    ) -> None:
        self._is_leader = is_leader
        self._store = store
        self._authority = authority
        self._sealer = sealer
        self._pool = pool
        self._ready: dict[tuple[int, str], Credential] = {}
        self._in_flight: SingleFlight[Credential] = SingleFlight()
        self._failed_at: dict[tuple[int, str], datetime] = {}

    def try_get(self, issuer: IssuingCA, purpose: Purpose) -> Credential | None:
        """Return the cached credential, or None when it must be loaded, issued or renewed first."""
        key = (issuer.id, purpose.name)
        credential = self._ready.get(key)
        if credential is None or not self._is_due(credential, purpose, issuer):
            return credential
        failed_at = self._failed_at.get(key)
        now = self._authority.now()
        # A failure in the future predates a clock that was set back.
        failed_recently = failed_at is not None and timedelta(0) <= now - failed_at < _RETRY
        return credential if failed_recently and credential.is_valid(now) else None

    async def installed(self, issuer: IHasResponder, purpose: Purpose) -> Credential | None:
        """Return the newest stored credential of an offline CA, or None, also when that is revoked.

        Fails with StoreUnavailable.
        """
        stored = await self._store.service_credential(issuer.key_identifier, purpose.name)
        return None if stored is None else await self._open_unless_revoked(issuer, stored)

    def newest(self, issuer: IssuingCA, purpose: Purpose) -> Credential | None:
        """Return the cached credential, or None when it has not been needed yet."""
        return self._ready.get((issuer.id, purpose.name))

    def get(self, issuer: IssuingCA, purpose: Purpose) -> Deferred[Credential]:
        """Return the credential; issue or renew it first if necessary.

        After a failed renewal the old one stays in service as long as it is valid.
        """
        return start(self._get(issuer, purpose))

    async def _get(self, issuer: IssuingCA, purpose: Purpose) -> Credential:
        ready = self.try_get(issuer, purpose)
        if ready is not None:
            return ready
        return await self._in_flight.run((issuer.id, purpose.name), lambda: self._load_and_cache(issuer, purpose))

    async def _load_and_cache(self, issuer: IssuingCA, purpose: Purpose) -> Credential:
        credential = await self._load_or_make(issuer, purpose)
        self._ready[issuer.id, purpose.name] = credential
        return credential

    def _is_due(self, credential: Credential, purpose: Purpose, issuer: IssuingCA) -> bool:
        now = self._authority.now()
        left = credential.not_after - now
        if left <= timedelta(0):
            return True
        # No certificate can begin before that of the CA.
        if now < credential.not_before and issuer.certificate.not_before < credential.not_before:
            return True
        # A certificate can't expire later than its CA and those above.
        return left < timedelta(days=purpose.renew_days) and credential.not_after < issuer.path.ends_at

    async def _load_or_make(self, issuer: IssuingCA, purpose: Purpose) -> Credential:
        credential = self._ready.get((issuer.id, purpose.name))
        if credential is None or self._is_due(credential, purpose, issuer):
            # Another process may have renewed it.
            stored = await self._store.service_credential(issuer.key_identifier, purpose.name)
            if stored is not None:
                credential = await self._open_unless_revoked(issuer, stored)
        if credential is not None and not self._is_due(credential, purpose, issuer):
            return credential
        now = self._authority.now()
        if credential is not None and credential.is_valid(now) and not self._is_leader():
            # Look again after a while.
            self._failed_at[issuer.id, purpose.name] = now
            return credential
        if credential is not None and now < credential.not_before:
            log.error(
                "The {purpose} certificate of {issuer} is not valid before {begin:%Y-%m-%d %H:%M:%S} UTC, and this "
                "machine's clock is behind that. Issuing a new one; check the clock and its synchronization.",
                purpose=purpose.label,
                issuer=issuer.name,
                begin=credential.not_before,
            )
        try:
            return await self._make(issuer, purpose)
        except PikachuError as error:
            if credential is not None and credential.is_valid(now):
                self._failed_at[issuer.id, purpose.name] = now
                log.error(
                    "The {purpose} of {issuer} was not renewed: {error}",
                    purpose=purpose.label,
                    issuer=issuer.name,
                    error=error.public,
                )
                return credential
            raise

    def forget(self, changes: Iterable[StatusChange]) -> None:
        """Drop cached credentials whose certificates were revoked: the next use replaces them."""
        changed = {(change.issuer_id, change.serial) for change in changes}
        for key, credential in list(self._ready.items()):
            if (key[0], parse_certificate(credential.signer.certificate).serial) in changed:
                del self._ready[key]
                self._failed_at.pop(key, None)

    async def _open_unless_revoked(self, issuer: IHasResponder, stored: ServiceCredential) -> Credential | None:
        serial = parse_certificate(stored.certificate).serial
        try:
            record = await self._store.certificate_by_serial(serial, deleted=True)
        except UnknownSerial:
            # Whoever keeps the root elsewhere need not have told this server of the certificate.
            return self._open(issuer, stored)
        if record.revoked_at is not None and record.der in (stored.certificate, b""):
            return None
        return self._open(issuer, stored)

    def _open(self, issuer: IHasResponder, stored: ServiceCredential) -> Credential:
        return self._credential(issuer, open_service_key(self._sealer, stored), stored.certificate)

    def _credential(self, issuer: IHasResponder, private_key: PrivateKey, certificate: bytes) -> Credential:
        signer = KeySigner(private_key, certificate, (certificate, *issuer.chain), self._pool)
        decrypter = (
            RSADecrypter(private_key, certificate, self._pool) if isinstance(private_key, rsa.RSAPrivateKey) else None
        )
        parsed = parse_certificate(certificate)
        return Credential(signer, decrypter, describe_private_key(private_key), parsed.not_before, parsed.not_after)

    async def _make(self, issuer: IssuingCA, purpose: Purpose) -> Credential:
        private_key = await self._pool.run(generate_private_key, purpose.key_type(issuer.key))
        subject = build_name([(COMMON_NAME, f"{purpose.label} of {issuer.name}, {issuer.key_identifier.hex()[:16]}")])
        key = describe_private_key(private_key)
        extensions = service_extensions(
            key=key,
            issuer=issuer.certificate,
            usage=purpose.usage,
            purposes=purpose.extended_usage,
            no_check=purpose.no_check,
        )
        record = await self._authority.issue_service(issuer, subject, key, extensions, purpose.days, purpose.role)
        credential = new_service_key(self._sealer, issuer.key_identifier, purpose.name, record.der, private_key)
        await self._store.put_service_credential(credential, self._authority.now())
        return self._credential(issuer, private_key, record.der)

    def former(self, issuer: IssuingCA, purpose: Purpose) -> Deferred[list[Credential]]:
        """Return the valid credentials of that purpose, newest first: a client may still use a former one."""

        async def work() -> list[Credential]:
            stored = await self._store.service_credentials(issuer.key_identifier, purpose.name)
            opened = [await self._open_unless_revoked(issuer, one) for one in stored[:3]]
            now = self._authority.now()
            return [credential for credential in opened if credential is not None and credential.not_after > now]

        return start(work())
