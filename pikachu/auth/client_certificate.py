"""Client certificates: those issued by this authority, which its database must know, and those of ``client_ca``.

The TLS handshake, or the signature of a SCEP message, has proved possession of the key; this module decides whether
the certificate is trusted.  A certificate not positively known to be good is refused, each cause with its own reason
(403, not 401: other credentials of the same kind would be accepted).
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from pikachu.core.cache import BoundedCache
from pikachu.core.concurrency import uncancelled
from pikachu.core.errors import NotAuthorized, RequestError, UnknownSerial
from pikachu.core.interfaces import IClock, IStore
from pikachu.core.model.certificates import CertificateStatus, IssuerRecord, Method, format_serial
from pikachu.core.model.people import PresentedCertificate
from pikachu.core.model.times import utc
from pikachu.core.owners import require_active
from pikachu.x509.certificate import (
    ANY_EXTENDED_KEY_USAGE,
    AUTHORITY_KEY_IDENTIFIER,
    BASIC_CONSTRAINTS,
    CLIENT_AUTH,
    EXTENDED_KEY_USAGE,
    KEY_CERT_SIGN,
    KEY_USAGE,
    SUBJECT_ALTERNATIVE_NAME,
    SUBJECT_KEY_IDENTIFIER,
    Certificate,
    names_match,
    parse_certificate,
)
from pikachu.x509.signature import verify_signature
from pikachu.x509.spki import KeyDescription, describe_spki

MAXIMUM_INTERMEDIATES: Final = 8
REMEMBERED_SIGNATURES: Final = 4096
REMEMBERED_INTERMEDIATES: Final = 64
_CERTIFICATE_POLICIES: Final = "2.5.29.32"
_FOREIGN: Final = "the client certificate was not issued by this authority or one that it trusts"

# Critical extensions that are processed here or do not restrict authentication.  Any other critical extension makes
# the path invalid (RFC 5280 sections 6.1.4 (o) and 6.1.5 (f)).
_PROCESSED_EXTENSIONS: Final = frozenset(
    {
        BASIC_CONSTRAINTS,
        KEY_USAGE,
        EXTENDED_KEY_USAGE,
        SUBJECT_KEY_IDENTIFIER,
        AUTHORITY_KEY_IDENTIFIER,
        SUBJECT_ALTERNATIVE_NAME,
        _CERTIFICATE_POLICIES,
    }
)


class ClientCertificateAuthenticator:
    """Validates presented client certificates.

    :param issuers: returns the current generations of all issuing CAs.
    :param trust_anchors: returns the current certificates of ``client_ca``; each is a trust anchor.
    """

    def __init__(
        self,
        store: IStore,
        issuers: Callable[[], Sequence[tuple[IssuerRecord, Certificate]]],
        trust_anchors: Callable[[], Sequence[Certificate]],
        clock: IClock,
    ) -> None:
        self._store = store
        self._issuers = issuers
        self._trust_anchors = trust_anchors
        self._clock = clock
        # Devices present the same certificate again and again; its signature is verified once.
        self._signatures = _VerifiedSignatures()
        # A resumed TLS session sends no intermediates, so those that once led to a trust anchor are cached.
        self._intermediates: BoundedCache[bytes, Certificate] = BoundedCache(REMEMBERED_INTERMEDIATES)

    @uncancelled
    async def authenticate(
        self, der: bytes, intermediates: Sequence[bytes] = (), *, client_auth: bool = True
    ) -> PresentedCertificate:
        """Return the validated certificate *der*.

        :param intermediates: DER certificates that the peer sent with it, for building the path; at most eight are
            used.
        :param client_auth: require that an extendedKeyUsage, if present, contains clientAuth or anyExtendedKeyUsage
            (RFC 5280 section 4.2.1.12); not required of the signer of a SCEP message.

        Fails with NotAuthorized for a certificate that is foreign, unknown, deleted, revoked, expired, not yet valid or
        not for clients, or whose owner is not active.
        """
        certificate = _parse(der)
        now = utc(self._clock.seconds())
        issuer_id = self._own_issuer(certificate)
        if issuer_id is not None:
            owner_id = await self._check_own(certificate, issuer_id, now)
        else:
            path = self._check_foreign(certificate, intermediates, now)
            for one in (certificate, *path):
                await self._check_former(one)
            await self._check_cas(path)
            owner_id = None
        if client_auth:
            _check_purpose(certificate)
        return PresentedCertificate(
            certificate.der, certificate.subject_der, certificate.serial, issuer_id is not None, owner_id
        )

    def _own_issuer(self, certificate: Certificate) -> int | None:
        for record, issuer in self._issuers():
            # Either suffices: a renamed CA keeps its key, and certificates signed with that key are this authority's.
            names_key = issuer.key_identifier == certificate.authority_key_identifier
            if (names_key or names_match(issuer.subject_der, certificate.issuer_der)) and self._signatures.verify(
                certificate, issuer.spki_der
            ):
                return record.id
        return None

    async def _check_own(self, certificate: Certificate, issuer_id: int, now: datetime) -> int | None:
        """Check a certificate of this authority and return its owner.

        It is never validated against the trust anchors instead: where ``client_ca`` contains this authority's root,
        that would accept revoked and deleted certificates.
        """
        serial = format_serial(certificate.serial)
        try:
            record, owner = await self._store.certificate_with_owner(certificate.serial)
        except UnknownSerial as error:
            raise NotAuthorized("the client certificate is not known here any more", serial=serial) from error
        if record.der != certificate.der or record.issuer_id != issuer_id:
            raise NotAuthorized("the client certificate is not the one that was issued", serial=serial)
        if record.method is Method.CA:
            # Whoever serves TLS or answers OCSP with such a key has not enrolled, and may not enroll with it.
            raise NotAuthorized("the client certificate is one of the authority's own, which enroll nothing")
        if record.status(now) is CertificateStatus.REVOKED:
            raise NotAuthorized("the client certificate is revoked", serial=serial)
        _check_validity(certificate, now)
        if record.owner_id is not None:
            require_active(owner)
        return record.owner_id

    async def _check_former(self, certificate: Certificate) -> None:
        """Check a certificate of a foreign path against the database, in case a CA no longer in service issued it.

        Such a CA is trusted where ``client_ca`` contains a root above it, but revocations in the database still count.
        """
        try:
            record = await self._store.certificate_by_serial(certificate.serial, deleted=True)
        except UnknownSerial:
            return
        # A revoked intent has no certificate; its serial number belongs to this authority alone.
        if record.der in (certificate.der, b"") and (record.revoked_at is not None or record.deleted_at is not None):
            raise NotAuthorized("the client certificate is revoked", serial=format_serial(certificate.serial))
        if record.der == certificate.der:
            await self._store.require_active_owner(record.owner_id)

    async def _check_cas(self, path: Sequence[Certificate]) -> None:
        """Require that no CA of a path is revoked in the database, itself or by the compromise of its key."""
        revoked = await self._store.revoked_cas() if path else ()
        for ca in path:
            key_id = _describe_key(ca.spki_der).key_id
            if any(one.applies_to(key_id, ca.der) for one in revoked):
                raise NotAuthorized("a CA above the client certificate is revoked", serial=format_serial(ca.serial))

    def _check_foreign(
        self, certificate: Certificate, intermediates: Sequence[bytes], now: datetime
    ) -> list[Certificate]:
        """Validate a path from *certificate* to a trust anchor (RFC 5280 section 6.1, without policies and names).

        Return its CAs, without the anchor.
        """
        anchors = self._trust_anchors()
        if not anchors:
            raise NotAuthorized(_FOREIGN)
        candidates = [
            candidate
            for der in intermediates[:MAXIMUM_INTERMEDIATES]
            if (candidate := _parse_intermediate(der)) is not None
        ]
        candidates += self._intermediates.values()
        path = []
        current = certificate
        # The number of CA certificates below the current issuer, self-issued ones not counted.
        depth = 0
        while True:
            if any(self._is_issued_by(current, anchor, depth, now) for anchor in anchors):
                break
            issuer = next(
                (candidate for candidate in candidates if self._is_issued_by(current, candidate, depth, now)), None
            )
            if issuer is None:
                raise NotAuthorized(_FOREIGN)
            candidates = [candidate for candidate in candidates if candidate is not issuer]
            path.append(issuer)
            depth += not issuer.self_issued
            current = issuer
        _check_validity(certificate, now)
        if not _is_understood(certificate):
            raise NotAuthorized("the client certificate has a critical extension that is not understood here")
        for issuer in path:
            self._intermediates.put(issuer.der, issuer)
        return path

    def _is_issued_by(self, certificate: Certificate, issuer: Certificate, depth: int, now: datetime) -> bool:
        return (
            _names_issuer(certificate, issuer)
            and (issuer.is_ca or (issuer.is_root_without_extensions and issuer in self._trust_anchors()))
            and (issuer.key_usage is None or KEY_CERT_SIGN in issuer.key_usage)
            and (issuer.path_length is None or issuer.path_length >= depth)
            and issuer.not_before <= now <= issuer.not_after
            and _is_understood(issuer)
            and self._signatures.verify(certificate, issuer.spki_der)
        )


class _VerifiedSignatures:
    """A cache of verified signatures, as digests of key and certificate; failures are not cached."""

    def __init__(self) -> None:
        self._verified: BoundedCache[bytes, bool] = BoundedCache(REMEMBERED_SIGNATURES)

    def verify(self, certificate: Certificate, spki_der: bytes) -> bool:
        """Return whether the key *spki_der* has signed *certificate*."""
        entry = hashlib.sha256(spki_der).digest() + hashlib.sha256(certificate.der).digest()
        if self._verified.get(entry):
            return True
        try:
            verify_signature(
                _describe_key(spki_der), certificate.signature_algorithm_der, certificate.signature, certificate.tbs
            )
        except RequestError:
            return False
        self._verified.put(entry, True)
        return True


@functools.lru_cache(maxsize=64)
def _describe_key(spki_der: bytes) -> KeyDescription:
    return describe_spki(spki_der)


# All requests of a connection present the same certificate.
@functools.lru_cache(maxsize=256)
def _parse(der: bytes) -> Certificate:
    try:
        certificate = parse_certificate(der)
        # Decoded here, so that malformed extensions are detected before validation begins.
        _ = certificate.authority_key_identifier, certificate.extended_key_usage
    except RequestError as error:
        raise NotAuthorized("the client certificate can't be read", reason=error.public) from error
    return certificate


def _parse_intermediate(der: bytes) -> Certificate | None:
    """Return an intermediate sent by the peer, or None when it is not a usable CA certificate."""
    try:
        certificate = _parse(der)
        _describe_key(certificate.spki_der)
        _ = certificate.key_identifier, certificate.path_length, certificate.key_usage
        return certificate if certificate.is_ca else None
    except RequestError:
        return None


def _names_issuer(certificate: Certificate, issuer: Certificate) -> bool:
    """Return whether *certificate* names *issuer* as its issuer."""
    identifier = certificate.authority_key_identifier
    return names_match(certificate.issuer_der, issuer.subject_der) and identifier in (None, issuer.key_identifier)


def _is_understood(certificate: Certificate) -> bool:
    return all(not extension.critical or extension.oid in _PROCESSED_EXTENSIONS for extension in certificate.extensions)


def _check_validity(certificate: Certificate, now: datetime) -> None:
    serial = format_serial(certificate.serial)
    if now > certificate.not_after:
        raise NotAuthorized("the client certificate has expired", serial=serial)
    if now < certificate.not_before:
        raise NotAuthorized("the client certificate is not yet valid", serial=serial)


def _check_purpose(certificate: Certificate) -> None:
    purposes = certificate.extended_key_usage
    if purposes is not None and not purposes & {CLIENT_AUTH, ANY_EXTENDED_KEY_USAGE}:
        raise NotAuthorized(
            "the client certificate is not meant for clients: its extendedKeyUsage lacks clientAuth",
            serial=format_serial(certificate.serial),
        )
