"""Client certificates: this authority's own, which its database must know, and those of ``client_ca``.

The TLS handshake, or the signature of a SCEP message, has proved that the peer holds the key; here it is decided
whether the certificate is worth anything.  Everything is refused that is not positively known to be good, with a
reason of its own (403, not 401: other credentials of the same kind would do).
"""

from __future__ import annotations

import functools
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from pikachu.core.concurrency import uncancelled
from pikachu.core.errors import NotAuthorized, RequestError, UnknownSerial
from pikachu.core.interfaces import IClock, IStore
from pikachu.core.model.certificates import CertificateStatus, IssuerRecord, format_serial
from pikachu.core.model.people import PresentedCertificate
from pikachu.core.model.times import utc
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
    parse_certificate,
)
from pikachu.x509.signature import verify_signature
from pikachu.x509.spki import KeyDescription, describe_spki

MAXIMUM_INTERMEDIATES: Final = 8
REMEMBERED_SIGNATURES: Final = 4096
REMEMBERED_INTERMEDIATES: Final = 64
_CERTIFICATE_POLICIES: Final = "2.5.29.32"
_FOREIGN: Final = "the client certificate was not issued by this authority or one that it trusts"

# What a critical extension may be: those that are looked at here, and those that restrict nothing that matters
# to a login.  Anything else critical refuses the path (RFC 5280 sections 6.1.4 (o) and 6.1.5 (f)).
_UNDERSTOOD: Final = frozenset(
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
    """Decides what a presented certificate is worth.

    :param issuers: every generation of the issuing CAs, as they are now.
    :param trust_anchors: the certificates of ``client_ca``, as they are now; each is an anchor of its own.
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
        # A device comes back with the same certificate; its signature is verified once.
        self._signatures = _VerifiedSignatures()
        # In a resumed TLS session no intermediates are sent: those that once led to an anchor are kept.
        self._intermediates: OrderedDict[bytes, Certificate] = OrderedDict()

    @uncancelled
    async def authenticate(
        self, der: bytes, intermediates: Sequence[bytes] = (), *, client_auth: bool = True
    ) -> PresentedCertificate:
        """The certificate *der*, checked.

        :param intermediates: what the peer sent with it, to find a way to a trust anchor; at most eight are used.
        :param client_auth: whether it must be fit for TLS clients: an extendedKeyUsage that names neither
            clientAuth nor anyExtendedKeyUsage refuses it; an absent one restricts nothing (RFC 5280 section
            4.2.1.12).  The signer of a SCEP message need not be.

        Fails with NotAuthorized: foreign, unknown or deleted, revoked, expired, not yet valid, unfit, or one whose
        owner is not active.
        """
        certificate = _read(der)
        now = utc(self._clock.seconds())
        issuer_id = self._own_issuer(certificate)
        if issuer_id is not None:
            owner_id = await self._check_own(certificate, issuer_id, now)
        else:
            self._check_foreign(certificate, intermediates, now)
            await self._check_former(certificate)
            owner_id = None
        if client_auth:
            _check_purpose(certificate)
        return PresentedCertificate(
            certificate.der, certificate.subject_der, certificate.serial, issuer_id is not None, owner_id
        )

    def _own_issuer(self, certificate: Certificate) -> int | None:
        for record, issuer in self._issuers():
            # Either will do: a CA that was renamed keeps its key, and what that key has signed is ours.
            named = issuer.key_identifier == certificate.authority_key_identifier
            if (named or issuer.subject_der == certificate.issuer_der) and self._signatures.holds(
                certificate, issuer.spki_der
            ):
                return record.id
        return None

    async def _check_own(self, certificate: Certificate, issuer_id: int, now: datetime) -> int | None:
        """Its owner.  What one of our keys has signed is never looked up among the trust anchors instead: that
        would let a revoked or deleted certificate in again where ``client_ca`` holds our own root.
        """
        serial = format_serial(certificate.serial)
        try:
            record = await self._store.certificate_by_serial(certificate.serial)
        except UnknownSerial as error:
            raise NotAuthorized("the client certificate is not known here any more", serial=serial) from error
        if record.der != certificate.der or record.issuer_id != issuer_id:
            raise NotAuthorized("the client certificate is not the one that was issued", serial=serial)
        if record.status(now) is CertificateStatus.REVOKED:
            raise NotAuthorized("the client certificate is revoked", serial=serial)
        _check_validity(certificate, now)
        await self._store.require_active_owner(record.owner_id)
        return record.owner_id

    async def _check_former(self, certificate: Certificate) -> None:
        """A CA that is in service no more is foreign, and trusted where ``client_ca`` holds a root above it; what the
        database knows of its certificates still counts.
        """
        try:
            record = await self._store.certificate_by_serial(certificate.serial, deleted=True)
        except UnknownSerial:
            return
        # A revoked intent has no certificate; its serial was ours alone.
        if record.der in (certificate.der, b"") and (record.revoked_at is not None or record.deleted_at is not None):
            raise NotAuthorized("the client certificate is revoked", serial=format_serial(certificate.serial))
        if record.der == certificate.der:
            await self._store.require_active_owner(record.owner_id)

    def _check_foreign(self, certificate: Certificate, intermediates: Sequence[bytes], now: datetime) -> None:
        """A path from *certificate* to a trust anchor (RFC 5280 section 6.1, without policies and names)."""
        anchors = self._trust_anchors()
        if not anchors:
            raise NotAuthorized(_FOREIGN)
        unused = [found for der in intermediates[:MAXIMUM_INTERMEDIATES] if (found := _read_issuer(der)) is not None]
        unused += self._intermediates.values()
        path = []
        current = certificate
        # The number of CA certificates below the one that is looked at, self-issued ones not counted.
        depth = 0
        while True:
            if any(self._is_issued_by(current, anchor, depth, now) for anchor in anchors):
                break
            above = next((found for found in unused if self._is_issued_by(current, found, depth, now)), None)
            if above is None:
                raise NotAuthorized(_FOREIGN)
            unused = [found for found in unused if found is not above]
            path.append(above)
            depth += not above.self_issued
            current = above
        _check_validity(certificate, now)
        if not _is_understood(certificate):
            raise NotAuthorized("the client certificate has a critical extension that is not understood here")
        for above in path:
            self._intermediates[above.der] = above
            self._intermediates.move_to_end(above.der)
        while len(self._intermediates) > REMEMBERED_INTERMEDIATES:
            self._intermediates.popitem(last=False)

    def _is_issued_by(self, certificate: Certificate, issuer: Certificate, depth: int, now: datetime) -> bool:
        return (
            _names(certificate, issuer)
            and issuer.is_ca
            and (issuer.key_usage is None or KEY_CERT_SIGN in issuer.key_usage)
            and (issuer.path_length is None or issuer.path_length >= depth)
            and issuer.not_before <= now <= issuer.not_after
            and _is_understood(issuer)
            and self._signatures.holds(certificate, issuer.spki_der)
        )


class _VerifiedSignatures:
    """Which certificates are known to be signed with which keys.  Only successes are remembered, as digests."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, None] = OrderedDict()

    def holds(self, certificate: Certificate, spki_der: bytes) -> bool:
        """Whether the key *spki_der* has signed *certificate*."""
        entry = hashlib.sha256(spki_der).digest() + hashlib.sha256(certificate.der).digest()
        if entry in self._known:
            self._known.move_to_end(entry)
            return True
        try:
            verify_signature(
                _describe(spki_der), certificate.signature_algorithm_der, certificate.signature, certificate.tbs
            )
        except RequestError:
            return False
        self._known[entry] = None
        if len(self._known) > REMEMBERED_SIGNATURES:
            self._known.popitem(last=False)
        return True


@functools.lru_cache(maxsize=64)
def _describe(spki_der: bytes) -> KeyDescription:
    return describe_spki(spki_der)


# A connection's requests all come with the same one.
@functools.lru_cache(maxsize=256)
def _read(der: bytes) -> Certificate:
    try:
        certificate = parse_certificate(der)
        # What is looked at below is decoded here, so that nothing malformed is met half-way.
        _ = certificate.authority_key_identifier, certificate.extended_key_usage
    except RequestError as error:
        raise NotAuthorized("the client certificate can't be read", reason=error.public) from error
    return certificate


def _read_issuer(der: bytes) -> Certificate | None:
    """An intermediate that the peer sent, where it can be one."""
    try:
        certificate = _read(der)
        _describe(certificate.spki_der)
        _ = certificate.key_identifier, certificate.path_length, certificate.key_usage
        return certificate if certificate.is_ca else None
    except RequestError:
        return None


def _names(certificate: Certificate, issuer: Certificate) -> bool:
    """Whether *certificate* says that *issuer* issued it."""
    identifier = certificate.authority_key_identifier
    return certificate.issuer_der == issuer.subject_der and identifier in (None, issuer.key_identifier)


def _is_understood(certificate: Certificate) -> bool:
    return all(not extension.critical or extension.oid in _UNDERSTOOD for extension in certificate.extensions)


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
